"""Whatever the sensors show, the register never decreases and never counts what cannot be."""

from hypothesis import given
from hypothesis import strategies as st
from register import SENSOR_POWER_MAX_W, Register  # type: ignore[import-not-found]

RESTART_S = 600

counts = st.one_of(st.integers(0, 200), st.integers(0, 12_000_000))
elapsed = st.integers(0, 4000)


@given(st.lists(st.tuples(counts, elapsed), max_size=60))
def test_hostile_sensor(steps: "list[tuple[int, int]]") -> None:
    register = Register(None, [(1, 1)])
    time_s = 10
    for sensor_wh, elapsed_s in steps:
        before_wh = register.energy_wh
        events = register.update(1, sensor_wh, elapsed_s)
        # A new beginning brings new margins, for what led to it and for what follows.
        time_s += elapsed_s + 30 * len(events)
        assert register.energy_wh >= before_wh
        assert register.energy_wh <= SENSOR_POWER_MAX_W * time_s // 3600 + len(steps)
        assert Register(register.save(), [(1, 1)]).save() == register.save()


@given(st.lists(st.tuples(counts, elapsed, st.booleans(), elapsed), max_size=60))
def test_hostile_sensor_and_restarts(steps: "list[tuple[int, int, bool, int]]") -> None:
    """What it counts fits what it ran, what was proven, and what a restart may have lasted."""
    register = Register(None, [(1, 1)], RESTART_S)
    time_s, off_s = 10, 0
    for sensor_wh, elapsed_s, restarts, proven_s in steps:
        if restarts:
            register = Register(register.save(), [(1, 1)], RESTART_S)
            time_s += RESTART_S + off_s
            off_s = 0
        off_s = max(off_s, proven_s)
        events = register.update(1, sensor_wh, elapsed_s, off_s)
        time_s += elapsed_s + 30 * len(events)
        most_wh = SENSOR_POWER_MAX_W * (time_s + off_s) // 3600
        assert register.energy_wh <= most_wh + 2 * len(steps)


@given(
    st.integers(0, 9_000_000), st.lists(st.tuples(st.integers(0, 23_000), elapsed), max_size=60)
)
def test_honest_sensor(first_wh: int, steps: "list[tuple[int, int]]") -> None:
    """A sensor that never jumps is believed to the Wh, over restarts too."""
    register = Register(None, [(1, 1)])
    register.update(1, first_wh, None)
    sensor_wh = first_wh
    for power_w, elapsed_s in steps:
        sensor_wh += power_w * elapsed_s // 3600
        assert register.update(1, sensor_wh, elapsed_s) == []
        register = Register(register.save(), [(1, 1)])
    assert register.energy_wh == sensor_wh - first_wh
