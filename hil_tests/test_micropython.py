"""Run hil_tests/firmware under the MicroPython, word size and heap of a board."""

import subprocess
from pathlib import Path

import pytest

from parwana.world import runtime

FOLDER = Path(__file__).parent / "firmware"
HEAP = "145k"
TIMEOUT_S = 300
LONG_S = 3600


def run(
    test: Path, *prefix: str, timeout_s: int = TIMEOUT_S
) -> "subprocess.CompletedProcess[str]":
    """Run one file of tests, or its functions of a prefix; its output is in `.stdout`."""
    command = [
        str(runtime.micropython()),
        "-X",
        f"heapsize={HEAP}",
        str(FOLDER / "run.py"),
        str(test),
        *prefix,
    ]
    try:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"{test.name} did not end within {timeout_s} s; it printed {error.stdout!r}")


@pytest.mark.parametrize("test", sorted(FOLDER.glob("test_*.py")), ids=lambda path: path.stem)
def test_under_micropython(test: Path) -> None:
    done = run(test)
    assert done.returncode == 0, f"{test.name} failed under MicroPython:\n{done.stdout}"
    assert " 0 failed" in done.stdout
    print(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["test_app.py", "test_journal_flash.py", "test_recorder_flash.py", "test_hostile_clock.py"],
)
def test_at_length_under_micropython(name: str) -> None:
    done = run(FOLDER / name, "long_", timeout_s=LONG_S)
    assert done.returncode == 0, f"{name} failed under MicroPython:\n{done.stdout}"
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
