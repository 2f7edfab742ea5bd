"""Run hil_tests/firmware under the MicroPython, word size and heap of a board."""

import subprocess
from pathlib import Path

import pytest

from parwana.world import runtime

FOLDER = Path(__file__).parent / "firmware"
HEAP = "145k"
TIMEOUT_S = 300


def run(test: Path) -> "subprocess.CompletedProcess[str]":
    """Run one file of tests; its output is in `.stdout`."""
    command = [
        str(runtime.micropython()),
        "-X",
        f"heapsize={HEAP}",
        str(FOLDER / "run.py"),
        str(test),
    ]
    try:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"{test.name} did not end within {TIMEOUT_S} s; it printed {error.stdout!r}")


@pytest.mark.parametrize("test", sorted(FOLDER.glob("test_*.py")), ids=lambda path: path.stem)
def test_under_micropython(test: Path) -> None:
    done = run(test)
    assert done.returncode == 0, f"{test.name} failed under MicroPython:\n{done.stdout}"
    assert " 0 failed" in done.stdout
    print(done.stdout)


@pytest.mark.parametrize(
    "source",
    ["", "def test_wrong():\n    assert False\n", "import absent\n", "import sys\nsys.exit(0)\n"],
    ids=["empty", "failing", "crashing", "leaving"],
)
def test_runner_can_fail(source: str, tmp_path: Path) -> None:
    bad = tmp_path / "test_bad.py"
    bad.write_text(source)
    done = run(bad)
    assert done.returncode != 0 or " 0 failed" not in done.stdout
