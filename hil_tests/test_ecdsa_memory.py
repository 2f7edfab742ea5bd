"""What ecdsa takes of a 32-bit board's memory."""

from pathlib import Path

import coincurve
import pytest

from bench import mpy
from hil_tests import ecdsakit
from parwana.image import ecdsa_build
from parwana.world import runtime

KEPT_MAX = 30 * 1024
GARBAGE_MAX = 8 * 1024
HEAP_MAX = "26k"
CODE_MAX = 22 * 1024
_KEY = coincurve.PrivateKey(b"k" * 32)
CASE = (
    _KEY.sign_recoverable(b"d" * 32, hasher=None)[:64].hex(),
    _KEY.public_key.format(compressed=False)[1:].hex(),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ecdsa as a board carries it: compiled."""
    program = runtime.micropython()
    if ecdsakit.architecture(program) != "x86":
        pytest.skip("a 64-bit MicroPython says nothing about the memory of a board")
    return ecdsakit.place(tmp_path_factory.mktemp("fast"), "x86", compiled=True)


def often(library: Path, what: str, times: int, heap: str) -> str:
    done = ecdsakit.run(
        "often.py", library, what, times, *CASE, heap=heap, program=runtime.micropython()
    )
    return done.stdout.strip()


def test_heap_kept_and_garbage(library: Path) -> None:
    done = ecdsakit.run("memory.py", library, *CASE, program=runtime.micropython())
    name, *figures = done.stdout.split()
    kept, *garbage = map(int, figures)
    print(f"kept {kept}, garbage of sign, verify, verify prepared: {garbage}")
    assert name == "fast"
    assert kept <= KEPT_MAX
    assert max(garbage) <= GARBAGE_MAX
    assert min(garbage) > 1024  # it was measured


@pytest.mark.parametrize("what", ["sign", "verify"])
def test_least_heap(library: Path, what: str) -> None:
    assert often(library, what, 20, HEAP_MAX) == "done"


def test_a_heap_can_be_too_small(library: Path) -> None:
    assert "MemoryError" in often(library, "both", 1, "20k")


def test_a_thousand_in_a_row(library: Path) -> None:
    assert often(library, "both", 1_000, "28k") == "done"


def test_code_size(tmp_path: Path) -> None:
    native = ecdsa_build.build("xtensawin", tmp_path)[0]
    size = sum(len(f.code) for f in mpy.functions(native) if f.kind != "bytecode")
    print(f"{size} bytes of xtensawin code")
    assert 10_000 < size <= CODE_MAX
