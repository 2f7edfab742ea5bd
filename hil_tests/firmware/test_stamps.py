"""Test stamps: clock, recorder and metering together sign no end of an interval twice."""

import struct

from clock import Clock
from journal import Journal
from metering import Metering
from recorder import Recorder
from register import Register

import wire
from hil_tests.firmware.check import in_folder
from hil_tests.firmware.test_metering import Config, Contactor, Sensor, Supply
from hil_tests.firmware.world import Quiet, Ticks, drive

T0 = 1_790_000_000  # 2026-09-21
DAY_S = 86400


class Meter:
    """What a meter is made of, on a folder; the world's time goes on while it has no power."""

    def __init__(self, folder, saved=None, utc_offset_s=0):
        self.utc_offset_s = utc_offset_s
        self.ticks = Ticks()
        self.folder = folder
        self.saved = saved
        self._set_wall(946684800)
        self.boots = 0
        self.on()

    def _set_wall(self, time_s):
        self._wall_ms = time_s * 1000 - self.ticks.now_ms

    def on(self):
        self.clock = Clock(
            lambda: (self._wall_ms + self.ticks.now_ms) // 1000,
            self._set_wall,
            self.ticks.ticks_ms,
            self.saved,
        )
        self.journal = Journal(self.folder + "/journal", 1000)
        self.recorder = Recorder(
            self.folder + "/metering.rec",
            self.journal,
            self.clock,
            lambda saved: Register(saved, [(1, 1)]),
            Quiet(),
        )
        self.boots += 1
        self.recorder.start(1, 1, 1)
        config = Config()
        config.interval_s = 60
        config.utc_offset_s = self.utc_offset_s
        self.metering = Metering(
            config, [Sensor()], self.recorder, self.clock, Supply(), Contactor(), None, None,
            self.ticks, Quiet(),
        )  # fmt: skip

    def cut(self, off_s=0):
        """Take the power away, and give it again `off_s` later."""
        self.journal.close()
        self.ticks.now_ms += off_s * 1000
        self._set_wall(946684800)
        self.on()

    def live(self, seconds):
        for _ in range(seconds):
            drive(self.ticks, self.metering.poll())
            self.ticks.now_ms += 990
        return self

    def frames(self):
        return [wire.parse(self.journal.read(s)) for s in range(1, self.journal.next)]

    @property
    def readings(self):
        return [frame for frame in self.frames() if isinstance(frame, wire.Reading)]

    @property
    def events(self):
        return [frame for frame in self.frames() if isinstance(frame, wire.Event)]


def assert_forward(frames):
    times = [frame.time_s for frame in frames]
    assert times == sorted(times), times


def test_power_cuts_without_network_time_repeat_no_end_of_an_interval():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.clock.lived(T0)
        meter.clock.network(T0)
        meter.saved = meter.clock.save()  # and never again: the worst of five minutes
        for boot in range(8):
            meter.live(70 + 7 * boot)
            meter.recorder.record(wire.EVENT_TAMPER, boot)
            meter.live(3)
            meter.cut(off_s=boot)
        readings = meter.readings
        ends = [reading.time_s for reading in readings]
        assert len(ends) >= 8
        assert len(set(ends)) == len(ends), ends
        assert_forward(readings)
        assert_forward(meter.events)
        assert {reading.clock_trust for reading in readings} == {0, 1}
        assert meter.clock.not_before() < T0 + 60  # what frames say proves nothing
        meter.journal.close()


def test_an_event_just_before_the_newest_reading_counts_as_well():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.clock.network(T0)
        meter.saved = meter.clock.save()
        meter.live(50)
        meter.recorder.record(wire.EVENT_TAMPER)
        told_s = meter.events[-1].time_s
        # What a poll records it does before it closes the interval that ended meanwhile.
        meter.recorder.reading(0, T0, 1, T0 // DAY_S, (0,) * 7)
        meter.cut()
        assert meter.events[-1].code == wire.EVENT_BOOT
        assert meter.events[-1].time_s >= told_s
        meter.journal.close()


def test_damaged_frames_leave_the_time_of_the_reading():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.clock.network(T0)
        meter.saved = meter.clock.save()
        meter.live(130)
        end_s = meter.readings[-1].time_s
        meter.journal.close()
        with open(folder + "/journal/1", "r+b") as file:
            size = len(file.read())
            file.seek(0)
            file.write(bytes(size))
        meter.on()
        assert meter.clock.now()[0] >= end_s
        meter.journal.close()


def test_signed_time_puts_a_clock_back_for_good_and_an_event_tells():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.clock.lived(T0)
        meter.clock.network(T0 + 400 * DAY_S)
        meter.live(130)
        ahead = len(meter.readings)
        assert ahead >= 2
        meter.clock.signed(T0 + 120)
        meter.live(60)
        event = meter.clock.signed(T0 + 190)
        meter.recorder.record(*event)
        meter.saved = meter.clock.save()
        told = meter.events[-1]
        assert told.code == wire.EVENT_CLOCK_SET
        assert told.a > T0 + 400 * DAY_S
        assert (told.time_s, told.b, told.c) == (T0 + 190, T0 + 190, wire.TRUST_SIGNED)
        meter.cut()  # the frames from before the correction are still the newest but two
        assert T0 + 190 <= meter.clock.now()[0] < T0 + DAY_S
        meter.live(130)
        assert T0 < meter.readings[-1].time_s < T0 + DAY_S
        meter.journal.close()


def test_a_meter_whose_first_firmware_believed_2106_goes_on():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.clock.lived(T0)
        believed = meter.clock.now
        meter.clock.now = lambda: (0xFFFFFFFF, 1)
        meter.recorder.record(wire.EVENT_TAMPER)
        meter.recorder.reading(0, 0xFFFFFFFF - 30, 1, 49710, (0,) * 7)
        meter.clock.now = believed
        meter.saved = struct.pack(">BII", 1, T0, 0xFFFFFFFF)
        meter.cut()
        meter.live(130)
        boot, *_, reading = [f for f in meter.frames() if f.sequence > 3]
        assert (boot.time_s, boot.clock_trust) == (T0, wire.TRUST_NONE)
        assert T0 < reading.time_s <= T0 + 130
        meter.clock.network(T0 + DAY_S)
        meter.live(130)
        assert meter.readings[-1].time_s > T0 + DAY_S
        assert meter.readings[-1].clock_trust == wire.TRUST_NETWORK
        meter.journal.close()


def test_metering_goes_on_to_the_end_of_the_stamps():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.clock.signed(0xFFFFFFFF - 100)
        meter.live(300)  # raises nothing
        assert meter.readings[-1].time_s <= 0xFFFFFFFF
        meter.saved = meter.clock.save()
        meter.cut(3600)
        meter.live(70)
        meter.journal.close()
