"""Each fault at each byte of an exchange with a sensor: nothing false is believed or counted."""

from register import SENSOR_MODULUS_WH, Register

import wire
from hil_tests.firmware.check import MICROPYTHON
from hil_tests.firmware.sensorline import FAULTS, FOUND, REFUSED, Meter

SILENT, BACK = wire.EVENT_SENSOR_SILENT, wire.EVENT_SENSOR_BACK
WRAP, SWAP = wire.EVENT_REGISTER_WRAP, wire.EVENT_REGISTER_SWAP
SILENT_POLLS = 5
LENGTHS = (1, 4, 5, 7)  # in polls, of a fault
STRIDE = 7 if MICROPYTHON else 1


def suffer(name, place, polls, count=1):
    """Have unit 1 of `count` fail for so many polls. Returns the meter, when it is well again."""
    case = "%s at %d, %d polls, %d sensors" % (name, place, polls, count)
    meter = Meter(count)
    meter.poll()
    start_wh = [unit.wh for unit in meter.units]
    meter.line.fault = (name, place)
    heard = 0
    for _ in range(polls):
        got = meter.poll()
        assert meter.believed_only_what_was_said(), case
        assert [i for i in got if i > 1] == list(range(2, count + 1)), (case, got)
        heard += 1 in got
        counted = sum(meter.units[i].wh - start_wh[i] for i in range(count))
        assert meter.energy_wh <= counted, case
        assert meter.metering.power_dw in (None, 36_000 * count), case
    if name in REFUSED:
        assert heard == 0, case
    if name in FOUND:
        assert heard == polls, case
    meter.line.fault = None
    assert meter.poll() == list(range(1, count + 1)) or name.startswith("late"), case
    meter.poll()
    assert meter.poll() == list(range(1, count + 1)), case
    counted = sum(meter.units[i].wh - start_wh[i] for i in range(count))
    assert meter.energy_wh == counted, (case, meter.energy_wh, counted)
    codes = [event[:2] for event in meter.events]
    silent = polls >= SILENT_POLLS and heard == 0
    assert codes == ([(SILENT, 1), (BACK, 1)] if silent else []), (case, meter.events)
    return meter


def exhaust(stride, lengths, count):
    """Try each fault at every so many of its places; return how many exchanges that spoilt."""
    tried = 0
    for name in FAULTS:
        for place in range(0, FAULTS[name][0], stride):
            for polls in lengths:
                suffer(name, place, polls, count)
                tried += polls
    return tried


def test_each_fault_of_one_sensor():
    assert exhaust(STRIDE, (1, 5), 1) > 500


def test_a_faulty_sensor_does_not_silence_the_others_on_its_line():
    assert exhaust(2 * STRIDE + 1, (5,), 3) > 200


def long_each_fault_at_each_byte_for_each_length():
    tried = sum(exhaust(1, LENGTHS, count) for count in (1, 2, 3))
    print("spoilt %d exchanges, with 1 to 3 sensors on the line" % tried)


# What a sensor answers, whole and with a right CRC, instead of its count.
LIES = {
    "nothing": lambda *_: 0,
    "the most": lambda *_: 0xFFFFFFFF,
    "the same": lambda _, since: since,
    "an hour ago": lambda _, since: since - 3600,
    "less and less": lambda wh, since: 2 * since - wh,
    "up and down": lambda wh, _: wh + (1 if wh & 1 else -1) * 100_000,
}
PLAUSIBLE_WH = 65  # 23 kW for 10 s, and 1 Wh of rounding: what one poll may add unseen
WRAPS_WH = SENSOR_MODULUS_WH - 50  # it does so before the lie; a lie may be told with that
BASES_WH = (100, 5_000, 65_500, 4_000_000, WRAPS_WH)
LOST_WH = 3  # the steps to a jump, and back, are nobody's
BEGINS_S = 70
SETTLES_S = 60
POWER_MAX_WH = 23_000 * SETTLES_S // 3600


def lie(name, wh, since):
    if name in LIES:
        return max(0, LIES[name](wh, since))
    return wh ^ 1 << name


def lied_to(base_wh, name, polls):
    """Return (energy, what was counted, events but a wrap's) of a sensor that lies for `polls`."""
    register = Register(None, [(1, 1)])
    events = []
    seconds = BEGINS_S + polls + 2 * SETTLES_S + 10
    for second in range(seconds):
        wh = (base_wh + second) % SENSOR_MODULUS_WH
        before_wh = register.energy_wh
        if BEGINS_S <= second < BEGINS_S + polls:
            wh = lie(name, wh, (base_wh + BEGINS_S) % SENSOR_MODULUS_WH)
        events += register.update(1, wh, 1)
        assert register.energy_wh >= before_wh, "the register went back"
        # Each new beginning has a margin of its own; who is not believed for long, 23 kW as long.
        most_wh = second + (POWER_MAX_WH if polls > SETTLES_S else 0)
        assert register.energy_wh <= most_wh + PLAUSIBLE_WH * (1 + len(events)), "it jumped"
    return register.energy_wh, seconds - 1, [e[0] for e in events if e[0] != WRAP]


def test_whatever_count_a_sensor_shows_the_register_neither_jumps_nor_goes_back():
    for at in range(0, len(BASES_WH), 2 if MICROPYTHON else 1):
        base_wh = BASES_WH[at]
        at_wh = (base_wh + BEGINS_S) % SENSOR_MODULUS_WH
        for name in list(LIES) + list(range(32)):
            step_wh = lie(name, at_wh, at_wh) - at_wh
            for polls in (1, 30):
                energy_wh, counted_wh, codes = lied_to(base_wh, name, polls)
                case = (base_wh, name, polls, energy_wh, counted_wh, codes)
                # A step that it could have made, from which it does not come back, is a swap.
                assert energy_wh == counted_wh or SWAP in codes, case
                assert codes or 0 <= step_wh <= PLAUSIBLE_WH or base_wh == WRAPS_WH, case
                assert len(codes) <= (1 if polls == 1 or step_wh > PLAUSIBLE_WH else 2), case
            energy_wh, counted_wh, codes = lied_to(base_wh, name, SETTLES_S + 10)
            case = (base_wh, name, energy_wh, counted_wh, codes)
            lost_wh = SETTLES_S + 10 + LOST_WH + (BEGINS_S - 50 if base_wh == WRAPS_WH else 0)
            assert counted_wh - lost_wh <= energy_wh, case
            assert len(codes) <= 4, case
