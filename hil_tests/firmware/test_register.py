"""The register over sensors that wrap, get reset, get swapped, jump, and lie once."""

from register import SENSOR_MODULUS_WH, Register, RegisterError

import wire
from hil_tests.firmware.check import raises

WRAP, RESET, SWAP, HELD, COUNTED = (
    wire.EVENT_REGISTER_WRAP,
    wire.EVENT_REGISTER_RESET,
    wire.EVENT_REGISTER_SWAP,
    wire.EVENT_STEP_HELD,
    wire.EVENT_STEP_COUNTED,
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
    # Nobody knows how long the sensor had for it: 23 kW for 20 minutes, and its rounding.
    "an unknown time": ([(5000, None), (12_667, None)], 7667, []),
    "an unknown time is no time for more": (
        [(5000, None), (12_668, None)],
        0,
        [(HELD, 7, 7668, 0)],
    ),
    "unknown times do not add up": (
        [(5000, None)] + [(5000, None)] * 100 + [(20_000, None)],
        0,
        [(HELD, 7, 15_000, 0)],
    ),
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
    "one mad answer downwards": ([(1000, None), (3, 1), (1002, 1)], 2, [(HELD, 7, 0, 2)]),
    "one mad answer a little downwards": (
        [(1000, None), (980, 1), (1002, 1)],
        2,
        [(HELD, 7, 0, 2)],
    ),
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
        [(HELD, 7, 0, 3)],
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
    "wrap in an unknown time": (
        [(TOP - 4000, None), (3667, None)] + settled(3669),
        7669,
        [(WRAP, 7, TOP - 4000, 3667)],
    ),
    "too much of a wrap for an unknown time": (
        [(TOP - 4000, None), (3668, None)] + settled(3669),
        1,
        [(SWAP, 7, TOP - 4000, 3668)],
    ),
    "wrap while silent": (
        [(TOP - 40_000, None), (60_000, 16_000)] + settled(60_002),
        100_002,
        [(WRAP, 7, TOP - 40_000, 60_000)],
    ),
    "too far round for a wrap": (
        [(TOP - 40_000, None), (60_001, 36_000)] + settled(60_001),
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


def after_restart(before_wh, restart_s=1200, ct_ratio=1):
    """A register saved at `before_wh`, started again."""
    register, _ = run([(before_wh, None)], ct_ratio)
    return Register(register.save(), [(7, ct_ratio)], restart_s)


def test_a_restart_loses_nothing_that_it_can_have_lasted():
    for restart_s, most_wh in ((1200, 7667), (360, 2301), (3900, 24_917)):
        register = after_restart(1000, restart_s)
        assert register.update(7, 1000 + most_wh, 0) == []
        assert register.energy_wh == most_wh
        register = after_restart(1000, restart_s)
        assert register.update(7, 1002 + most_wh, 0) == [(HELD, 7, 2 + most_wh, 0)]
        # And what the meter ran, until a sensor that was silent answered.
        register = after_restart(1000, restart_s)
        assert register.update(7, 1000 + most_wh + 2300, 360) == []


def test_the_room_of_a_restart_is_given_once():
    register = after_restart(1000)
    assert register.update(7, 1001, 1) == []
    assert register.update(7, 1001 + 500, 1) == [(HELD, 7, 500, 1)]


def test_a_swapped_sensor_adds_nothing_over_a_restart():
    for proven_s in (0, 10, 36_000, 700_000):
        register = after_restart(99)
        _, events = run(settled(5_000_000, 5_000_002), register=register)
        assert events == [(HELD, 7, 4_999_901, 1), (SWAP, 7, 99, 5_000_000)]
        assert register.update(7, 5_000_003, 1, proven_s) == []
        assert register.energy_wh == 3


def test_a_step_over_a_restart_is_added_when_it_is_proven():
    register = after_restart(1000)
    _, events = run(settled(31_000), register=register)
    assert events == [(HELD, 7, 30_000, 1), (SWAP, 7, 1000, 31_000)]
    # 30 kWh at 23 kW take 4,696 s, 1,200 of which the restart may have lasted; 1 Wh is rounding.
    for proven_s in (0, 1000, 3490):
        assert register.update(7, 31_000, 10_000, proven_s) == []
    assert register.energy_wh == 0  # however long it waits
    assert register.update(7, 31_001, 1, 3496) == [(COUNTED, 7, 30_000, 3496)]
    assert register.energy_wh == 30_001
    assert register.update(7, 31_001, 1, 100_000) == []
    assert register.energy_wh == 30_001


def test_a_step_over_a_restart_is_not_added_while_the_sensor_is_elsewhere():
    register = after_restart(1000)
    run(settled(31_000), register=register)
    assert register.update(7, 17, 1, 100_000) == []
    assert register.energy_wh == 0
    run(settled(17), register=register)  # it was swapped
    assert register.update(7, 17, 1, 100_000) == []
    assert register.energy_wh == 17


def test_a_wrap_over_a_restart_is_added_when_it_is_proven():
    register = after_restart(TOP - 40_000)
    _, events = run(settled(20_000), register=register)
    assert events == [(SWAP, 7, TOP - 40_000, 20_000)]
    assert register.update(7, 20_000, 1, 10_000) == [(COUNTED, 7, 60_000, 10_000)]
    # Farther round than any wrap: whatever is proven, it is another sensor.
    register = after_restart(TOP - 40_000)
    run(settled(60_001), register=register)
    assert register.update(7, 60_001, 1, 10_000_000) == []


def test_a_jump_before_the_restart_is_not_proven_by_it():
    register, _ = run([(1000, None), (31_000, 1)])
    register = Register(register.save(), [(7, 1)])
    run([(31_000, 1)] * 70, register=register)
    assert register.update(7, 31_000, 1, 100_000) == []
    assert register.energy_wh == 0


def test_a_mad_answer_after_a_restart_costs_nothing():
    for mad_wh in (0xFFFFFFFF, 1_000_000, 0):
        register = after_restart(100_000)
        register.update(7, mad_wh, 1)
        register.update(7, 103_000, 1)
        assert register.energy_wh == 3000


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
