"""ecdsa against libsecp256k1 (coincurve), in bulk: both backends, both interpreters."""

import hashlib
import hmac
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import coincurve
import pytest

import ecdsa
from ecdsa.curve import N, nonces
from hil_tests import ecdsakit
from parwana.world import runtime

VECTORS, VECTORS_LONG = 500, 3_000
SPOILT, SPOILT_LONG = 8, 100  # signatures
KEY_EDGES = [1, 2, 3, N - 1, N - 2, N // 2, N // 2 + 1, 2**128, 2**255]
DIGEST_EDGES = [bytes(32), b"\xff" * 32, *((N + i).to_bytes(32, "big") for i in (-1, 0, 1))]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Path:
    """A file of random cases, and some at the edges, with libsecp256k1's answers."""
    rng = random.Random(20_261_122)
    lines = []
    for i in range((VECTORS_LONG if long else VECTORS) + 100):
        edge = i < 100
        d = rng.choice(KEY_EDGES) if edge else rng.randrange(1, N)
        digest = DIGEST_EDGES[i % len(DIGEST_EDGES)] if edge else rng.randbytes(32)
        key = coincurve.PrivateKey(d.to_bytes(32, "big"))
        signed = key.sign_recoverable(digest, hasher=None)
        public_key = key.public_key
        forms = public_key.format(compressed=False)[1:].hex(), public_key.format().hex()
        fields = digest.hex(), f"{d:064x}", signed[:64].hex(), str(signed[64]), *forms
        lines.append(" ".join(fields) + "\n")
    path = tmp_path_factory.mktemp("ecdsa") / "vectors.txt"
    path.write_text("".join(lines))
    return path


@dataclass(frozen=True)
class Backend:
    """A backend under an interpreter."""

    name: str
    library: Path
    program: Path

    def run(self, script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return ecdsakit.run(script, self.library, *arguments, program=self.program)

    def last_line(self, script: str, *arguments: object) -> str:
        done = self.run(script, *arguments)
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout.splitlines()[-1]


@pytest.fixture(
    scope="module",
    params=["portable, CPython", "portable, MicroPython", "fast, MicroPython", "fast, amd64"],
)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Each backend under each interpreter; the fast one for each processor that runs here."""
    name, interpreter = request.param.split(", ")
    if interpreter == "CPython":
        program = Path(sys.executable)
    elif interpreter == "MicroPython":
        program = runtime.micropython()
    else:
        program = runtime.debian_program("micropython", interpreter, "usr/bin/micropython")
    arch = ecdsakit.architecture(program) if name == "fast" else None
    return Backend(name, ecdsakit.place(tmp_path_factory.mktemp(name), arch), program)


def test_it_agrees_with_libsecp256k1(vectors: Path, backend: Backend) -> None:
    said = backend.last_line("vectors.py", vectors, 30)
    assert said == f"{backend.name} checked {len(vectors.read_text().splitlines())}"


def test_spoilt_signatures(vectors: Path, backend: Backend, long: bool) -> None:
    # On big integers all bits take minutes.
    step = 1 if backend.name == "fast" or long else 16
    count = SPOILT_LONG if long else SPOILT
    said = backend.last_line("corrupt.py", vectors, count, step)
    assert said == f"{backend.name} refused {512 * count // step}"


def test_the_field_at_its_edges(backend: Backend) -> None:
    if backend.name == "portable":
        pytest.skip("big integers have no edges")
    assert backend.last_line("field.py", 3_000) == "rounds 3000"


def test_behaviour(backend: Backend) -> None:
    if backend.name == "portable":
        pytest.skip("test_micropython.py and pytest itself run these tests with the portable one")
    done = backend.run("behaviour.py", Path(__file__).parent / "firmware" / "test_ecdsa.py")
    assert done.returncode == 0, done.stdout
    assert "ecdsa is fast" in done.stdout
    assert " 0 failed" in done.stdout


def test_scripts_can_fail(vectors: Path, backend: Backend, tmp_path: Path) -> None:
    fields = vectors.read_text().splitlines()[200].split()
    other = vectors.read_text().splitlines()[201].split()
    other[3] = str(1 - int(fields[3]))
    for i in (1, 2, 3, 4, 5):
        wrong = [*fields[:i], other[i], *fields[i + 1 :]]
        path = tmp_path / "wrong.txt"
        path.write_text(" ".join(wrong) + "\n")
        done = backend.run("vectors.py", path, 1)
        assert done.returncode != 0, i
        assert "checked" not in done.stdout


def test_all_nonces_of_rfc6979() -> None:
    """The candidates after the first, which no signature reaches, against the standard's text."""
    rng = random.Random(6979)
    for _ in range(20):
        digest, key = rng.randbytes(32), rng.randrange(1, N).to_bytes(32, "big")
        candidates = nonces(digest, key, ecdsa._engine.pad)
        assert [next(candidates) for _ in range(4)] == reference_nonces(digest, key, 4)


def reference_nonces(digest: bytes, key: bytes, count: int) -> list[int]:
    """Follow RFC 6979, section 3.2, step by step."""

    def mac(data: bytes) -> bytes:
        return hmac.new(k, data, hashlib.sha256).digest()

    h = (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    v, k = b"\x01" * 32, bytes(32)
    k = mac(v + b"\x00" + key + h)
    v = mac(v)
    k = mac(v + b"\x01" + key + h)
    v = mac(v)
    found: list[int] = []
    while len(found) < count:
        v = mac(v)
        if 0 < int.from_bytes(v, "big") < N:
            found.append(int.from_bytes(v, "big"))
        k = mac(v + b"\x00")
        v = mac(v)
    return found
