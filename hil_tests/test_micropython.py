"""Run hil_tests/firmware under the MicroPython, word size and heap of a board."""

import subprocess
from pathlib import Path

import pytest

from parwana.world import runtime

FOLDER = Path(__file__).parent / "firmware"
HEAP_KB = 145
MACHINE_CODE_KB = 20  # with its tables; a board has no tests beside it
TIMEOUT_S = 300
LONG_S = 3600


def run(
    test: Path, library: Path, prefix: str = "test_", timeout_s: int = TIMEOUT_S
) -> "subprocess.CompletedProcess[str]":
    """Run one file's functions of a prefix; its output is in `.stdout`.

    Signatures are made as on a meter, by the machine code of `library`; but not in test_ecdsa.py,
    which is for all that MicroPython may run: test_ecdsa.py beside this file has the others.
    """
    libraries = [] if test.name == "test_ecdsa.py" else [str(library)]
    heap_kb = HEAP_KB + MACHINE_CODE_KB * len(libraries)
    command = [
        str(runtime.micropython()),
        "-X",
        f"heapsize={heap_kb}k",
        str(FOLDER / "run.py"),
        str(test),
        prefix,
        *libraries,
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
def test_under_micropython(test: Path, machine_code: Path) -> None:
    done = run(test, machine_code)
    assert done.returncode == 0, f"{test.name} failed under MicroPython:\n{done.stdout}"
    assert " 0 failed" in done.stdout
    print(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["test_app.py", "test_journal_flash.py", "test_recorder_flash.py", "test_hostile_clock.py"],
)
def test_at_length_under_micropython(name: str, machine_code: Path) -> None:
    done = run(FOLDER / name, machine_code, "long_", LONG_S)
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
    done = run(bad, tmp_path / "none")
    assert done.returncode != 0 or " 0 failed" not in done.stdout
