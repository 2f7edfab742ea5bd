"""Programs in the background, and the world's clock that they share."""

import sys
import time
from pathlib import Path

import pytest

from parwana.world.clock import ClockError, WorldClock
from parwana.world.programs import Program, ProgramError, run


def python(code: str) -> list[str | Path]:
    return [sys.executable, "-c", code]


def test_waits_for_words_and_ends_what_it_started(tmp_path: Path) -> None:
    code = "import os, time; print('port', os.environ['PORT'], flush=True); time.sleep(60)"
    with Program("server", python(code), tmp_path / "log" / "a", {"PORT": "17"}) as program:
        assert program.wait_for(r"port (\d+)", 10)[1] == "17"
        assert program.running
    assert not program.running


def test_a_silent_program_is_told_with_its_last_words(tmp_path: Path) -> None:
    code = "import time; print('thinking', flush=True); time.sleep(60)"
    with Program("server", python(code), tmp_path / "log") as program:
        program.wait_for("thinking", 10)
        with pytest.raises(ProgramError, match=r"did not say 'ready' in 0.2 s: thinking .*log"):
            program.wait_for("ready", 0.2)


def test_a_program_that_ends_is_told_at_once(tmp_path: Path) -> None:
    with (
        Program("server", python("raise SystemExit('no port')"), tmp_path / "log") as program,
        pytest.raises(ProgramError, match="server ended: no port"),
    ):
        program.wait_for("ready", 10)


def test_one_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parwana.world.programs._STOP_S", 0.5)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    with Program("server", python(code), tmp_path / "log") as program:
        program.wait_for("deaf", 10)
    assert not program.running


def test_run_gives_output_or_says_why_not() -> None:
    assert run("sum", python("print(1 + 1)"), 30) == "2\n"
    assert run("three", python("print(7); raise SystemExit(3)"), 30, good=(0, 3)) == "7\n"
    with pytest.raises(ProgramError, match=r"three failed \(3\)"):
        run("three", python("raise SystemExit(3)"), 30)
    with pytest.raises(ProgramError, match="sleeper did not end within 0.3 s"):
        run("sleeper", python("import time; time.sleep(60)"), 0.3)


def test_the_clock_runs_faster_and_travels_as_text() -> None:
    clock = WorldClock.starting(1_000_000.0, 3600)
    time.sleep(0.05)
    assert 1_000_100 < clock.now() < 1_100_000
    assert WorldClock.parse(str(clock)) == clock
    assert clock.real_seconds(7200) == 2
    assert abs(WorldClock().now() - time.time()) < 5


@pytest.mark.parametrize(
    "text",
    ["1", "1:2", "1:2:0", "1:2:-5", "1:2:x", "nan:0:1", "1:2:3:4", "1e12:0:1", "0:0:inf", "::"],
)
def test_the_clock_refuses_what_is_no_clock(text: str) -> None:
    with pytest.raises(ClockError, match="PARWANA_CLOCK is"):
        WorldClock.parse(text)


def test_the_environment_carries_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARWANA_CLOCK", "10:20:30")
    assert WorldClock.from_environment() == WorldClock(10, 20, 30)
    monkeypatch.delenv("PARWANA_CLOCK")
    assert WorldClock.from_environment() == WorldClock()
