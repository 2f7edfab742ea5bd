"""What is marked `long` runs where --long asks for it, and only there."""

import subprocess
import sys
from pathlib import Path

import pytest

from parwana import REPO

TESTS = """
import pytest
def test_short(): pass
@pytest.mark.long
def test_long(): pass
def test_sample(long): assert long == {long}
"""


@pytest.mark.parametrize("options", [[], ["--long"]], ids=["not asked", "asked"])
def test_long_ones_wait_for_their_option(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(TESTS.format(long=bool(options)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "hil_tests.conftest", "-p"]
    command += ["no:cacheprovider", "-c", str(REPO / "pyproject.toml"), str(path)]
    command += ["--bench-logs", str(tmp_path / "logs"), *options]
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, timeout=60, check=False
    )
    said = "3 passed" if options else "2 passed, 1 deselected"
    assert said in done.stdout
