"""The register over sensors that wrap, get reset, get swapped, jump, and lie once."""

from register import SENSOR_MODULUS_WH, Register, RegisterError

import wire
from hil_tests.firmware.check import raises

WRAP, RESET, SWAP, HELD = (
    wire.EVENT_REGISTER_WRAP,
    wire.EVENT_REGISTER_RESET,
    wire.EVENT_REGISTER_SWAP,
    wire.EVENT_STEP_HELD,
)
TOP = SENSOR_MODULUS_WH


def run(steps, ct_ratio=1, register=None):
    """Feed (sensor_wh, elapsed_s) to unit 7. Returns (register, events)."""
    register = register or Register(None, [(7, ct_ratio)])
    events = []
    for sensor_wh, elapsed_s in steps:
        before = register.energy_wh
        events += register.update(7, sensor_wh, elapsed_s)
        assert register.energy_wh >= before, "the register decreased"
    return register, events


def settled(*counts):
    """A sensor that shows `counts` one second apart, then the last of them for a minute."""
    return [(count, 1) for count in counts] + [(counts[-1], 1)] * 60


# what happens: (steps, energy, events)
CASES = {
    "the first count is a beginning": ([(5000, None)], 0, []),
    "it counts": ([(5000, None), (5010, 10), (5010, 10), (5015, 10)], 15, []),
    "full power for an hour": ([(0, None), (23_000, 3600)], 23_000, []),
    "most of a poll": ([(0, None), (71, 1)], 71, []),
    # Nobody knows how long the sensor had for it.
    "an outage of unknown length": ([(5000, None), (905_000, None)], 900_000, []),
    # One Wh more than 23 kW for 11 s.
    "a step is held, then a new level": (
        [(0, None), (72, 1)] + settled(72, 73, 75),
        3,
        [(HELD, 7, 72, 1), (SWAP, 7, 0, 72)],
    ),
    "a great step": (
        [(1000, None), (900_000, 1)] + settled(900_001),
        1,
        [(HELD, 7, 899_000, 1), (SWAP, 7, 1000, 900_000)],
    ),
    "a step that waits does not become plausible": (
        [(1000, None), (1200, 1)] + [(1200, 1)] * 59,
        0,
        [(HELD, 7, 200, 1)],
    ),
    "one mad answer upwards": (
        [(1000, None), (9_000_000, 1), (1002, 1)],
        2,
        [(HELD, 7, 8_999_000, 1)],
    ),
    "one mad answer downwards": ([(1000, None), (3, 1), (1002, 1)], 2, []),
    "one mad answer a little downwards": ([(1000, None), (980, 1), (1002, 1)], 2, []),
    "mad answers in a row": (
        [(1000, None), (5_000_000, 1), (17, 1), (8_000_000, 1), (1003, 1)],
        3,
        [(HELD, 7, 4_999_000, 1)],
    ),
    "a mad answer after a long silence": (
        [(1000, None), (9_000_000, 7200), (41_000, 1)],
        40_000,
        [(HELD, 7, 8_999_000, 7200)],
    ),
    "reset": ([(50_000, None)] + settled(0, 1, 2), 2, [(RESET, 7, 50_000, 0)]),
    "reset, seen late": ([(50_000, None)] + settled(40, 41), 41, [(RESET, 7, 50_000, 40)]),
    "reset in an outage": (
        [(50_000, None), (900, None)] + settled(901),
        901,
        [(RESET, 7, 50_000, 900)],
    ),
    "reset while silent, and much counted since: no one's to add": (
        [(50_000, None), (1001, 36_000)] + settled(1002),
        1,
        [(SWAP, 7, 50_000, 1001)],
    ),
    "reset of a sensor that is nearly new is a return": (
        [(30, None), (0, 1), (10, 1), (31, 1)],
        1,
        [],
    ),
    "swap to a lower count": (
        [(50_000, None)] + settled(20_000, 20_001),
        1,
        [(SWAP, 7, 50_000, 20_000)],
    ),
    "swap to a lower count in an outage": (
        [(50_000, None), (20_000, None)] + settled(20_001),
        1,
        [(SWAP, 7, 50_000, 20_000)],
    ),
    "wrap": (
        [(TOP - 10, None)] + settled(5, 7),
        17,
        [(WRAP, 7, TOP - 10, 5)],
    ),
    "wrap at the last moment": (
        [(TOP - 1, None)] + settled(0, 0),
        1,
        [(WRAP, 7, TOP - 1, 0)],
    ),
    "wrap in an outage": (
        [(TOP - 40_000, None), (60_000, None)] + settled(60_002),
        100_002,
        [(WRAP, 7, TOP - 40_000, 60_000)],
    ),
    "too far round for a wrap": (
        [(TOP - 40_000, None), (60_001, None)] + settled(60_001),
        0,
        [(SWAP, 7, TOP - 40_000, 60_001)],
    ),
    "near the top, but reset": (
        [(TOP - 5000, None)] + settled(0, 3),
        3,
        [(RESET, 7, TOP - 5000, 0)],
    ),
    "a sensor beyond its range is reset": (
        [(TOP + 500, None)] + settled(0, 3),
        3,
        [(RESET, 7, TOP + 500, 0)],
    ),
    "a second jump starts the minute again": (
        [(1000, None)] + [(5, 1)] * 50 + settled(2, 2),
        2,
        [(RESET, 7, 1000, 2)],
    ),
    "unknown time settles nothing": (
        [(50_000, None)] + [(10, None)] * 200,
        0,
        [],
    ),
}


def test_cases():
    for name, (steps, energy_wh, events) in CASES.items():
        register, got = run(steps)
        assert got == events, (name, got)
        assert register.energy_wh == energy_wh, (name, register.energy_wh)


def test_cases_behind_a_transformer():
    for name, (steps, energy_wh, events) in CASES.items():
        scaled = [(sensor_wh * 40, elapsed_s) for sensor_wh, elapsed_s in steps]
        register, got = run(scaled, ct_ratio=40)
        assert [event[0] for event in got] == [event[0] for event in events], (name, got)
        assert register.energy_wh == energy_wh * 40, (name, register.energy_wh)


def test_cases_with_a_restart_after_every_step():
    # What is saved carries a jump over the restart; its minute and the time since begin again.
    for name in ("a great step", "reset", "swap to a lower count", "wrap", "it counts"):
        steps, energy_wh, events = CASES[name]
        saved, got = None, []
        for sensor_wh, elapsed_s in steps[:-61] or steps:
            register = Register(saved, [(7, 1)])
            got += register.update(7, sensor_wh, elapsed_s)
            saved = register.save()
        register, more = run(steps[-61:] + steps[-1:], register=Register(saved, [(7, 1)]))
        if name != "it counts":
            assert got + more == events, (name, got, more)
            assert register.energy_wh == energy_wh, name


def test_an_old_count_now_and_then_is_no_jump():
    # A rehearsal polls once an hour of its clock; the sensor shows 20 kW, at times an hour late.
    register, events = run(
        [(0, None)] + [(20_000 * hour, 3600) for hour in (1, 1, 3, 3, 5, 6, 6, 8)]
    )
    assert events == []
    assert register.energy_wh == 160_000


def test_the_margin_is_given_once():
    # 70 Wh a second are 250 kW: the first second has the margin, the others do not.
    register, events = run([(0, None), (70, 1), (140, 1), (210, 1)])
    assert [event[0] for event in events] == [HELD]
    assert register.energy_wh == 70


def test_a_held_step_is_not_believed_after_an_outage():
    register, events = run([(1000, None), (900_000, 1)])
    assert events == [(HELD, 7, 899_000, 1)]
    register = Register(register.save(), [(7, 1)])
    register, events = run([(900_500, None)] + settled(900_500), register=register)
    assert events == [(SWAP, 7, 1000, 900_000)]
    assert register.energy_wh == 500


def test_a_flapping_sensor_fills_no_journal():
    register = Register(None, [(7, 1)])
    register.update(7, 1000, None)
    events = []
    for _ in range(1000):
        events += register.update(7, 5_000_000, 1)
        events += register.update(7, 1000, 1)
    assert register.steps_held == 1000
    assert 30 <= len(events) <= 35
    assert register.energy_wh == 0


def test_three_sensors_are_independent():
    register = Register(None, [(1, 1), (2, 1), (3, 1)])
    for unit_id, sensor_wh in ((1, 100), (2, 2000), (3, 30_000)):
        assert register.update(unit_id, sensor_wh, None) == []
    for unit_id, sensor_wh in ((1, 105), (2, 2010), (3, 30_020)):
        assert register.update(unit_id, sensor_wh, 5) == []
    assert register.energy_wh == 35
    events = []
    for _ in range(62):
        for unit_id, sensor_wh in ((1, 105), (2, 0), (3, 30_020)):
            events += register.update(unit_id, sensor_wh, 1)
    assert events == [(RESET, 2, 2010, 0)]
    with raises(KeyError):
        register.update(4, 0, 1)


def test_saved_and_loaded():
    register, _ = run([(100, None), (190, 60)])
    saved = register.save()
    assert len(saved) == 9 + 26
    # Sensor 7 goes on, sensor 8 is new and begins at what it shows.
    register = Register(saved, [(8, 1), (7, 1)])
    assert register.energy_wh == 90
    assert register.update(8, 777, None) == []
    assert register.update(7, 200, None) == []
    assert register.energy_wh == 100
    assert Register(Register(None, [(7, 1)]).save(), [(7, 1)]).update(7, 5000, None) == []


def test_a_great_register_survives():
    saved = bytearray(Register(None, [(7, 1)]).save())
    saved[1:9] = b"\x7f" + b"\xff" * 7
    register = Register(bytes(saved), [(7, 1)])
    run([(0, None), (1, 1)], register=register)
    assert register.energy_wh == 1 << 63
    assert Register(register.save(), [(7, 1)]).energy_wh == 1 << 63


def test_other_saved_states_are_refused():
    good = Register(None, [(7, 1)]).save()
    for bad in (b"", good[:8], good[:-1], good + b"\0", b"\2" + good[1:], b"\0" + good[1:]):
        with raises(RegisterError):
            Register(bad, [(7, 1)])
