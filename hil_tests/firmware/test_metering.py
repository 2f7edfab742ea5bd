"""Test metering: intervals, closings, means, silence, and the limits on events."""

from metering import Metering
from pzem004t import SensorError, Snapshot

import wire
from hil_tests.firmware.check import raises
from hil_tests.firmware.world import Clock, Quiet, Ticks, drive

MIDNIGHT = 1_800_057_600 - 1_800_057_600 % 86400


class Config:
    interval_s = 900
    closing_s = 86400
    poll_ms = 1000
    utc_offset_s = 0


class Sensor:
    """Answers `power_dw` and the rest, or nothing while `silent`."""

    def __init__(self, unit_id=1):
        self.unit_id = unit_id
        self.silent = False
        self.power_dw = 5000
        self.voltage_dv = 2300
        self.energy_wh = 100

    def request(self):
        pass

    def receive(self):
        if self.silent:
            raise SensorError("unit %d: no answer" % self.unit_id)
        return Snapshot(self.voltage_dv, 2200, self.power_dw, self.energy_wh, 500, 98, False)


class Register:
    def __init__(self):
        self.energy_wh = 1000
        self.updates = []
        self.answer = []
        self.steps_held = self.holds = 0
        self.off_s = None

    def update(self, unit_id, sensor_wh, elapsed_s, off_s):
        self.updates = self.updates[:5] + [(unit_id, sensor_wh, elapsed_s)]
        self.off_s = off_s
        answer, self.answer = self.answer, []
        self.steps_held += self.holds
        self.holds = 0
        return answer


class Recorder:
    def __init__(self):
        self.register = Register()
        self.left_s = 0
        self.closing_day = 0
        self.reading_s = 0
        self.taken = []
        self.recorded = []

    def reading(self, flags, time_s, trust, day, values):
        self.taken.append((flags, time_s, trust, values))
        self.reading_s = time_s
        if trust:
            self.closing_day = day + 1

    def record(self, code, a=0, b=0, c=0):
        self.recorded.append((code, a, b, c))

    def record_all(self, events):
        self.recorded.extend(events)


class Supply:
    control_state = wire.CONTROL_CONNECTED


class Contactor:
    closed = True


class Line:
    def __init__(self, level):
        self.level = level

    def value(self):
        return self.level


class House:
    """A Metering with its world; `go(seconds)` lets one second a poll pass."""

    def __init__(self, time_s=MIDNIGHT + 10, trust=1, units=(1,), mains=None, tamper=None, **keys):
        self.ticks = Ticks()
        self.clock = Clock(self.ticks, time_s, trust)
        self.sensors = [Sensor(unit_id) for unit_id in units]
        self.recorder = Recorder()
        self.log = Quiet()
        config = Config()
        for key, value in keys.items():
            setattr(config, key, value)
        self.metering = Metering(
            config, self.sensors, self.recorder, self.clock, Supply(), Contactor(), mains, tamper,
            self.ticks, self.log,
        )  # fmt: skip

    def go(self, polls, step_s=1):
        for _ in range(polls):
            drive(self.ticks, self.metering.poll())
            self.ticks.now_ms += 1000 - 10 * len(self.sensors)
            self.clock.time_s += step_s

    @property
    def readings(self):
        return self.recorder.taken

    @property
    def events(self):
        return self.recorder.recorded


SUPPLY = wire.FLAG_OUTPUT_CLOSED | wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT


def test_energy_behind_an_open_contactor_is_signed_as_such():
    """Somebody bridges the contactor of a house that was cut: what flows is measured and told."""
    house = House()
    house.go(891)
    house.metering._contactor.closed = False
    house.metering._supply.control_state = wire.CONTROL_DISCONNECTED
    house.recorder.register.energy_wh += 700
    house.go(900)
    (flags, _, _, values) = house.readings[-1]
    assert len(house.readings) == 2
    assert flags & (wire.FLAG_OUTPUT_CLOSED | 3 << wire.CONTROL_SHIFT) == 0
    assert values[0] == 5000
    assert house.recorder.register.energy_wh == 1700


def test_a_reading_that_cannot_be_recorded_is_tried_again():
    house = House()
    house.go(889)
    record = house.recorder.reading

    def full(*_):
        raise OSError(28)

    house.recorder.reading = full
    house.go(1)
    with raises(OSError, "28"):
        house.go(1)
    house.recorder.reading = record
    house.go(3)
    assert [reading[1] for reading in house.readings] == [MIDNIGHT + 900]


def test_power_grows_old_when_polls_stop():
    for poll_ms, period_ms in ((1000, 1000), (10000, 10000), (200, 1000)):
        house = House(poll_ms=poll_ms)
        assert house.metering.power_dw is None
        house.go(888)
        assert (house.metering.samples, house.metering.period_ms) == (888, period_ms)

        def full(*_):
            raise OSError(28)

        house.recorder.reading = full
        house.sensors[0].power_dw = 12000  # a motor starts, and then metering stops
        house.go(1)
        with raises(OSError, "28"):
            house.go(2)
        assert house.metering.power_dw == 12000
        taken = house.metering.samples
        house.ticks.now_ms += 2 * period_ms
        assert house.metering.power_dw == 12000
        house.ticks.now_ms += 1
        assert house.metering.power_dw is None
        assert house.metering.samples == taken


def test_reading_at_the_end_of_the_interval():
    house = House()
    house.go(891)
    assert house.readings == [
        (
            SUPPLY | wire.FLAG_BOOT | wire.FLAG_CLOSING,
            MIDNIGHT + 900,
            1,
            (5000, 5000, 2200, 2300, 2300, 500, 98),
        )
    ]
    house.go(900)
    assert house.readings[1][:2] == (SUPPLY, MIDNIGHT + 1800)
    house.go(900 * 2)
    assert len(house.readings) == 4


def test_mean_greatest_and_least():
    house = House()
    house.go(891)
    sensor = house.sensors[0]
    sensor.power_dw = 0
    house.go(450)
    sensor.power_dw, sensor.voltage_dv = 10000, 2100
    house.go(449)
    sensor.power_dw, sensor.voltage_dv = 0, 2300
    house.go(2)
    power_dw, power_max_dw, _, voltage_dv, voltage_min_dv, _, _ = house.readings[1][3]
    assert abs(power_dw - 5000) <= 25, power_dw
    assert power_max_dw == 10000
    assert abs(voltage_dv - 2200) <= 2
    assert voltage_min_dv == 2100


def test_closing_is_the_first_trusted_reading_of_the_local_day():
    house = House(MIDNIGHT - 1000, utc_offset_s=19800)
    house.recorder.closing_day = (MIDNIGHT - 1000 + 19800) // 86400 + 1
    house.go(120, 900)
    closings = [time_s for flags, time_s, _, _ in house.readings if flags & wire.FLAG_CLOSING]
    assert closings == [MIDNIGHT + 86400 - 19800]


def test_where_periods_are_hours_each_end_of_one_closes():
    house = House(MIDNIGHT - 1000, utc_offset_s=19800, closing_s=6 * 3600)
    house.recorder.closing_day = (MIDNIGHT - 1000 + 19800) // (6 * 3600) + 1
    house.go(120, 900)
    closings = [time_s for flags, time_s, _, _ in house.readings if flags & wire.FLAG_CLOSING]
    first = MIDNIGHT + 6 * 3600 - 19800
    assert closings == [first + 6 * 3600 * number for number in range(5)]


def test_untrusted_reading_does_not_close_the_day():
    house = House(MIDNIGHT - 100, trust=0)
    house.recorder.closing_day = MIDNIGHT // 86400  # yesterday's reading, plus 1
    house.go(3, 900)
    assert [flags & (wire.FLAG_CLOSING | wire.FLAG_CLOCK_UNTRUSTED)
            for flags, _, _, _ in house.readings] == [wire.FLAG_CLOCK_UNTRUSTED] * 2  # fmt: skip
    house.clock.trust = 1
    house.go(2, 900)
    flags, time_s, trust, _ = house.readings[2]
    assert flags & wire.FLAG_CLOSING
    assert trust == 1
    assert time_s % 900 == 0


def test_first_setting_of_the_clock_ends_no_interval():
    house = House(MIDNIGHT + 10, trust=0)
    house.go(5)
    house.clock.time_s = MIDNIGHT + 9 * 3600 + 400
    house.clock.trust = 1
    house.go(5)
    assert house.readings == []
    house.go(500)
    assert [time_s for _, time_s, _, _ in house.readings] == [MIDNIGHT + 9 * 3600 + 900]


def test_clock_put_back_across_a_boundary_repeats_no_reading():
    house = House(MIDNIGHT + 890)
    house.go(15)
    assert len(house.readings) == 1
    house.clock.time_s = MIDNIGHT + 895
    house.go(10)
    assert len(house.readings) == 1
    house.go(900)
    assert [time_s for _, time_s, _, _ in house.readings] == [MIDNIGHT + 900, MIDNIGHT + 1800]


def test_lateness_is_measured():
    house = House()
    hold_ups = [0, 0, 700, 0]

    class Enough(Exception):
        pass

    def hold_up():
        if not hold_ups:
            raise Enough
        house.ticks.now_ms += hold_ups.pop(0)

    house.ticks.on_sleep = hold_up
    try:
        drive(house.ticks, house.metering.run())
    except Enough:
        pass
    # The second poll's reply comes 700 ms late, which makes nothing wait; a late start does.
    assert house.metering.late_ms == 0
    hold_ups[:] = [0, 400, 0, 0]
    try:
        drive(house.ticks, house.metering.run())
    except Enough:
        pass
    assert house.metering.late_ms == 400


def test_clock_faster_than_polls_gives_one_reading_a_poll():
    house = House()
    house.go(6, 2000)
    assert len(house.readings) == 5
    assert house.recorder.register.updates[0][2] == 1  # since it started
    assert house.recorder.register.updates[1][2] == 2001


def test_elapsed_time_follows_the_ticks_when_the_clock_stands():
    house = House()
    house.go(1)
    house.ticks.now_ms += 100_000
    house.go(1, 0)
    assert house.recorder.register.updates[1] == (1, 100, 101 + 1)


def test_a_clock_that_is_set_gives_a_sensor_no_time():
    house = House()
    house.go(2)
    house.clock.put(MIDNIGHT + 365 * 86400)
    house.go(1)
    assert [elapsed_s for _, _, elapsed_s in house.recorder.register.updates] == [1, 2, 2]
    assert house.recorder.register.off_s == 0


def test_register_events_are_recorded_and_flagged():
    house = House()
    house.go(2)
    house.recorder.register.answer = [(wire.EVENT_REGISTER_WRAP, 1, 9999990, 3)]
    house.go(1)
    house.recorder.register.answer = [(wire.EVENT_STEP_HELD, 1, 5000, 1)]
    house.recorder.register.holds = 1
    house.go(900)
    assert house.events == [
        (wire.EVENT_REGISTER_WRAP, 1, 9999990, 3),
        (wire.EVENT_STEP_HELD, 1, 5000, 1),
    ]
    flags = house.readings[0][0]
    assert flags & wire.FLAG_REGISTER_EVENT
    assert flags & wire.FLAG_STEP_HELD
    house.go(900)
    assert house.readings[1][0] == SUPPLY


def test_silence_is_a_flag_and_never_zero_watts():
    house = House()
    house.go(400)
    house.sensors[0].silent = True
    house.go(4)
    assert house.events == []
    assert house.metering.power_dw is None
    house.go(100)
    assert len(house.events) == 1
    assert house.events[0] in (
        (wire.EVENT_SENSOR_SILENT, 1, 4, 0),
        (wire.EVENT_SENSOR_SILENT, 1, 5, 0),
    )
    house.sensors[0].silent = False
    house.go(400)
    assert house.events[1][:2] == (wire.EVENT_SENSOR_BACK, 1)
    assert 104 <= house.events[1][2] <= 105
    flags, _, _, values = house.readings[0]
    assert flags & wire.FLAG_SENSOR_SILENT
    assert values[0] == 5000
    assert house.metering.power_dw == 5000


def test_interval_without_a_sample_has_zeros_and_the_flag():
    house = House()
    house.sensors[0].silent = True
    house.go(900)
    flags, _, _, values = house.readings[0]
    assert flags & wire.FLAG_SENSOR_SILENT
    assert values == (0, 0, 0, 0, 0, 0, 0)
    house.go(900)
    assert house.readings[1][0] & wire.FLAG_SENSOR_SILENT


def test_one_missed_poll_is_not_silence():
    house = House()
    house.go(10)
    house.sensors[0].silent = True
    house.go(1)
    house.sensors[0].silent = False
    house.go(900)
    assert house.readings[0][0] == SUPPLY | wire.FLAG_BOOT | wire.FLAG_CLOSING
    assert house.metering.failures == 1


def test_three_sensors_add_up():
    house = House(units=(1, 2, 3))
    house.sensors[1].power_dw = 1000
    house.sensors[2].voltage_dv = 2200
    house.go(900)
    power_dw, power_max_dw, current_ma, voltage_dv, voltage_min_dv, _, _ = house.readings[0][3]
    assert (power_dw, power_max_dw, current_ma) == (11000, 11000, 6600)
    assert (voltage_dv, voltage_min_dv) == (2266, 2200)
    assert house.metering.power_dw == 11000


def test_silent_one_of_three_hides_the_sum_not_the_others():
    house = House(units=(1, 2, 3))
    house.sensors[1].silent = True
    house.go(900)
    assert house.metering.power_dw is None
    flags, _, _, values = house.readings[0]
    assert flags & wire.FLAG_SENSOR_SILENT
    assert values[0] == 10000


def test_silent_sensor_fills_no_console():
    house = House()
    house.go(3)
    house.sensors[0].silent = True
    house.go(6)
    assert house.events[-1][0] == wire.EVENT_SENSOR_SILENT
    house.log.lines = []
    failures = house.metering.failures
    house.go(20)
    assert house.log.lines == []
    assert house.metering.failures == failures + 20


def test_mains_outage_by_voltage_and_by_input():
    house = House()
    house.go(3)
    house.sensors[0].voltage_dv = 700
    house.go(7)
    house.sensors[0].voltage_dv = 2300
    house.go(3)
    assert house.events == [(wire.EVENT_MAINS_OUTAGE, 0, 0, 0), (wire.EVENT_MAINS_BACK, 7, 0, 0)]
    mains = Line(1)
    house = House(mains=mains)
    house.go(3)
    mains.level = 0
    house.go(900)
    assert house.events[0][0] == wire.EVENT_MAINS_OUTAGE
    assert house.readings[0][0] & wire.FLAG_MAINS_OUTAGE


def test_flapping_cover_cannot_fill_the_journal():
    tamper = Line(0)
    house = House(tamper=tamper)
    for _ in range(200):
        tamper.level = 1 - tamper.level
        house.go(1)
    assert house.events == [(wire.EVENT_TAMPER, 1, 0, 0), (wire.EVENT_TAMPER, 0, 0, 0)] * 2
    house.go(700)
    assert house.readings[0][0] & wire.FLAG_TAMPER
    tamper.level = 1
    house.go(1)
    assert len(house.events) == 5
