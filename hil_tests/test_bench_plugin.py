"""The plugin refuses what it cannot run, and leaves a report of what it did."""

import contextlib
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from hil_tests.bench.plugin import folder_name
from parwana import REPO

FLASHED = "hil_tests/on_bench/test_flashing.py::test_the_board_runs_what_was_flashed"


def pytest_of(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        + ["--bench-logs", str(tmp_path / "logs"), "--basetemp", str(tmp_path / "tmp")],
        cwd=REPO, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_bench_that_is_not_there_ends_the_run_with_advice(tmp_path: Path) -> None:
    missing = tmp_path / "bench.toml"
    done = pytest_of(tmp_path, FLASHED, "--bench", str(missing))
    assert done.returncode == 4
    assert f"bench: there is no {missing}; copy hil_tests/bench.toml.example" in done.stdout
    missing.write_text(f'[meter]\nport = "{tmp_path}/nowhere"\n')
    done = pytest_of(tmp_path, FLASHED, "--bench", str(missing))
    assert done.returncode == 4
    assert f"bench: there is no port {tmp_path}/nowhere" in done.stdout


def test_a_board_that_cannot_be_flashed_ends_the_run_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        bench = tmp_path / "bench.toml"
        bench.write_text(f'[meter]\nport = "socket://127.0.0.1:{server.getsockname()[1]}"\n')
        done = pytest_of(tmp_path, FLASHED, "--bench", str(bench))
    assert done.returncode == 4
    assert "bench: flash.sh failed" in done.stdout
    assert "the connection broke" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.long
def test_on_hardware_only_the_tests_of_the_bench_are_run(tmp_path: Path) -> None:
    done = pytest_of(tmp_path, "--collect-only", "--bench", "some.toml", "hil_tests")
    names = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(names) > 20
    assert all(name.startswith("hil_tests/on_bench/") for name in names)


def test_a_run_is_on_the_virtual_bench_and_leaves_a_report_and_a_log_a_test(
    tmp_path: Path,
) -> None:
    done = pytest_of(tmp_path, FLASHED)
    assert done.returncode == 0, done.stdout
    logs = tmp_path / "logs"
    suite = ElementTree.parse(logs / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "0")
    kept = logs / "test_flashing.test_the_board_runs_what_was_flashed" / "console.log"
    assert kept.stat().st_size > 0
    assert "flash.sh" in (logs / "session" / "console.log").read_text(errors="replace")


def test_folders_are_named_after_tests() -> None:
    name = folder_name("hil_tests/on_bench/test_restart.py::test_a_reset[connected]")
    assert name == "test_restart.test_a_reset-connected"
