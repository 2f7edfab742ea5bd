"""The machine code that an ESP32 runs, executed: all of ecdsa on a simulator of its processor."""

import hashlib
import random
import struct
import sys
from pathlib import Path

import coincurve
import pytest

from bench import mpy
from bench.xtensa import Function, XtensaError
from ecdsa.curve import P
from hil_tests import ecdsakit
from parwana.image import ecdsa_build, ecdsa_machine

HERE = Path(sys.executable)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ecdsakit.place_simulated(tmp_path_factory.mktemp("xtensawin"))


def compiled(source: str, folder: Path) -> list[Function]:
    """Return the viper functions of a source."""
    path = folder / "snippet.mpy"
    ecdsa_build.compile_source("import micropython\n" + source, "snippet.py", "xtensawin", path)
    return [Function(f.code) for f in mpy.functions(path) if f.kind == "viper"]


def test_it_signs_and_verifies(library: Path, tmp_path: Path) -> None:
    lines = []
    for i in range(3):
        key = coincurve.PrivateKey(hashlib.sha256(b"xtensa %d" % i).digest())
        digest = hashlib.sha256(b"reading %d" % i).digest()
        signed = key.sign_recoverable(digest, hasher=None)
        forms = key.public_key.format(compressed=False)[1:].hex(), key.public_key.format().hex()
        fields = digest.hex(), key.secret.hex(), signed[:64].hex(), str(signed[64]), *forms
        lines.append(" ".join(fields))
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("\n".join(lines) + "\n")
    done = ecdsakit.run("vectors.py", library, vectors, 1, program=HERE)
    assert done.stdout.splitlines()[-1:] == ["fast checked 3"], done.stdout[-2000:]


def test_the_field_at_its_edges(library: Path) -> None:
    done = ecdsakit.run("field.py", library, 200, program=HERE)
    assert done.stdout.splitlines()[-1:] == ["rounds 200"], done.stdout[-2000:]


ARITHMETIC = """
@micropython.viper
def f(a: int, b: int, out: ptr32):
    out[0] = a + b
    out[1] = a - b
    out[2] = a * b
    out[3] = a & b
    out[4] = a | b
    out[5] = a ^ b
    out[6] = a << 5
    out[7] = a >> 7
    out[8] = -a
    out[9] = int(a < b)
    out[10] = int(a >= b)
    out[11] = int(a == b)
    out[12] = int(uint(a) < uint(b))
    out[13] = int(uint(a) >> 3)
    n = 0
    while n < 1000:
        n += 7
    out[14] = n
    out[15] = 0x12345678
"""


def test_simulator_computes(tmp_path: Path) -> None:
    (f,) = compiled(ARITHMETIC, tmp_path)
    rng = random.Random(1)
    edges = [0, 1, -1, 2**30 - 1, -(2**30)]
    for _ in range(200):
        a, b = (rng.choice([*edges, rng.randrange(-(2**30), 2**30)]) for _ in "ab")
        out = bytearray(64)
        f(a, b, out)
        ua, ub = a % 2**32, b % 2**32
        comparisons = [a < b, a >= b, a == b, ua < ub]
        expected = [a + b, a - b, a * b, a & b, a | b, a ^ b, a << 5, a >> 7, -a]
        expected += [*map(int, comparisons), ua >> 3, 1001, 0x12345678]
        found = [int.from_bytes(out[i : i + 4], "little") for i in range(0, 64, 4)]
        assert found == [value % 2**32 for value in expected], (a, b)


def test_stores_at_constant_indices(tmp_path: Path) -> None:
    """What mpy-cross 1.25 compiles to stores through the wrong register."""
    indices = [0, 1, 2, 15, 16, 17, 100, 127]
    source = ""
    for kind in ("ptr8", "ptr16", "ptr32"):
        stores = "".join(f"    p[{i}] = v + {i}\n" for i in indices)
        source += f"@micropython.viper\ndef {kind}_(p: {kind}, v: int):\n{stores}\n"
    for f, size in zip(compiled(source, tmp_path), (1, 2, 4), strict=True):
        out = bytearray(128 * size)
        f(out, 77)
        for i in range(128):
            expected = 77 + i if i in indices else 0
            assert int.from_bytes(out[i * size : (i + 1) * size], "little") == expected


def test_simulator_refuses(tmp_path: Path) -> None:
    odd, endless = compiled(
        "@micropython.viper\ndef odd(p: ptr8):\n    q = ptr32(int(p) + 2)\n    q[0] = 1\n"
        "@micropython.viper\ndef endless():\n    while True:\n        pass\n",
        tmp_path,
    )
    with pytest.raises(XtensaError, match="not aligned"):
        odd(bytearray(16))
    endless._limit = 1000
    with pytest.raises(XtensaError, match="still running"):
        endless()
    with pytest.raises(XtensaError, match="not known"):
        Function(bytes.fromhex("000000"))()
    with pytest.raises(XtensaError, match="runs out"):
        Function(bytes.fromhex("4d04"))()  # mov.n a4, a4, and nothing after it


def test_a_wrong_instruction_is_noticed(library: Path) -> None:
    """Spoil one product among the machine's 500: the simulated code is what decides."""
    code = mpy.functions(next(library.rglob("built/native.mpy")))[1].code
    at = next(
        i
        for i in range(len(code) // 8, len(code))
        # mull a4, a4, a2 and the like: format RRR, op1 = 2, op2 = 8
        if code[i] & 15 == 0 and code[i + 2] == 0x82
    )
    assert product(code) == (2**260 - 1) ** 2 % P
    assert product(code[: at + 2] + b"\x80" + code[at + 3 :]) != (2**260 - 1) ** 2 % P


def product(code: bytes) -> int:
    """Square 2**260 - 1 by the multiplication of the machine."""
    registers = bytearray(b"\xff\x1f\x00\x00" * 20 * 3)
    end = bytes((ecdsa_machine.END, 0, 0, 0, 0, 0))
    multiply = bytes((ecdsa_machine.MULTIPLY, 0, 1, 2, 0, ecdsa_machine.BIAS))
    Function(code)(0, 0, b"\x01\x00\xff", end + multiply + end, registers, b"", b"")
    limbs = struct.unpack("<20i", registers[:80])
    return sum(limb << 13 * i for i, limb in enumerate(limbs)) % P
