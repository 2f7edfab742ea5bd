"""A clock that may be set: all who read it follow."""

import subprocess
import sys
from pathlib import Path

import pytest

from boards.virtual.load import House, Profile
from parwana.world.clock import VARIABLE, ClockError, SetClock, WorldClock

START_S, LATER_S = 1_800_000_000.0, 1_800_070_000.0


def test_all_programs_follow_one_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SetClock.made(tmp_path / "clock", START_S, 60)
    monkeypatch.setenv(VARIABLE, str(clock))
    other = WorldClock.from_environment()
    assert START_S <= other.now() < LATER_S
    clock.set(LATER_S)
    program = "from parwana.world.clock import WorldClock as W; print(W.from_environment().now())"
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert LATER_S <= clock.now() <= other.now()
    assert float(said) >= LATER_S
    assert (clock.factor, other.factor) == (60, 60)
    assert other.real_seconds(60) == 1


@pytest.mark.parametrize("text", [None, "", "1:2", "1:2:0"])
def test_a_file_that_states_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "clock"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(VARIABLE, f"@{path}")
    with pytest.raises(ClockError, match=VARIABLE):
        WorldClock.from_environment()


def test_a_load_that_is_paused_draws_nothing_while_the_clock_is_set(tmp_path: Path) -> None:
    clock = SetClock.made(tmp_path / "clock", START_S, 1)
    house = House(Profile([1000.0], START_S), clock)
    with house.paused():
        clock.set(LATER_S)
    assert house.energy_wh() < 20
    clock.set(clock.now() + 3600)
    assert 1000 <= house.energy_wh() < 1020
