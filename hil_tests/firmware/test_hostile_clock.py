"""Whoever forges network time, holds back signed time and cuts the power gains what is told.

docs/supply.md and docs/protocol.md 6.1 state the bounds that are tested here.
"""

from clock import Clock

import wire
from hil_tests.firmware.check import MICROPYTHON, Dice, in_folder
from hil_tests.firmware.signers import DAY_S, OFFSET_S, T0
from hil_tests.firmware.test_stamps import Meter

STEP_S = 900  # between two signed times
RTC_AT_POWER_ON_S = 946684800
WINDOW_S = 7200
KEPT = 60 if MICROPYTHON else 600  # signed times that somebody may hold back
DAYS = 3
LIES_S = (
    0, 1, RTC_AT_POWER_ON_S, 2085978496, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**34,
)  # fmt: skip


class World:
    """What is true, a meter's clock, and who stands between it and the world."""

    def __init__(self, seed):
        self.dice = Dice(seed)
        self.time_s = T0 + self.dice.roll(400) * DAY_S
        self.signed_s = [self.time_s]  # what the signers have signed
        self.saved = None
        self.slack_s = 0  # how far the clock may be behind by now: off, or unsaved
        self.known = False
        self.start()

    def start(self):
        """Power the meter on, with ticks and a real-time clock that know nothing."""
        self.ticks = self.dice.roll(32768) << 15
        self.rtc_s = RTC_AT_POWER_ON_S
        self.clock = Clock(lambda: self.rtc_s, self.set_rtc, lambda: self.ticks, self.saved)
        self.heard = 0  # signed times that count, since the start
        self.newest_s = self.clock.not_before()
        self.helped = False  # by anything signed
        self.ran_s = self.unsaved_s = 0
        self.save_s = 10
        self.keep()
        self.stamp_s = 0

    def set_rtc(self, time_s):
        assert 0 <= time_s <= 0xFFFFFFFF
        self.rtc_s = time_s

    def keep(self):
        self.saved = self.clock.save()
        self.kept_s = self.clock.not_before()
        self.unsaved_s = 0

    def run(self, seconds):
        """Let time pass with power; the clock is kept as control keeps it."""
        while seconds > 0:
            step_s = min(seconds, self.save_s - self.unsaved_s)
            seconds -= step_s
            self.time_s += step_s
            self.rtc_s += step_s
            self.ticks = (self.ticks + 1000 * step_s) & 0x3FFFFFFF
            self.ran_s += step_s
            self.unsaved_s += step_s
            newest_s = self.time_s - (self.time_s - self.signed_s[-1]) % STEP_S
            first_s = max(self.signed_s[-1], newest_s - KEPT * STEP_S) + STEP_S
            self.signed_s += range(first_s, newest_s + 1, STEP_S)
            del self.signed_s[:-KEPT]
            self.clock.not_before()
            if self.unsaved_s >= self.save_s:
                self.save_s = min(2 * self.save_s, 300)
                self.keep()

    def off(self, seconds):
        """Cut the power for so long."""
        lost_s = self.clock.not_before() - self.kept_s
        assert lost_s <= 300
        assert self.helped or lost_s <= min(self.ran_s, (self.ran_s + 10) // 2) + 1
        self.slack_s += seconds + lost_s + 1
        self.time_s += seconds
        self.signed_s.append(self.time_s)
        self.start()

    def network(self, time_s):
        self.told(self.clock.now(), self.clock.network(time_s))

    def signed(self, time_s):
        """Hand over a signed time, new or old."""
        self.helped = True
        self.told(self.clock.now(), self.clock.signed(time_s))
        if time_s >= self.time_s - STEP_S:
            self.slack_s = self.time_s - time_s + 1
            self.known = True
            self.heard += time_s > self.newest_s
            self.newest_s = max(self.newest_s, time_s)

    def told(self, old, event):
        new = self.clock.now()
        if self.clock.not_before() - self.kept_s >= 300:
            self.keep()
        if new[0] < old[0]:
            assert event is not None
            assert event[1] == old[0]
            assert event[2] < event[1]
            assert event[3] == wire.TRUST_SIGNED
            self.stamp_s = 0

    def look(self):
        """Check all that must hold whatever came."""
        lived_s = self.clock.not_before()
        assert lived_s <= self.time_s, "a house would be cut too early"
        if self.known:
            late_s = self.time_s - lived_s
            assert late_s <= self.slack_s, ("a permit is stretched", late_s, self.slack_s)
        stamp_s, trust = self.clock.now()
        assert lived_s <= stamp_s <= 0xFFFFFFFF
        assert stamp_s >= self.stamp_s
        self.stamp_s = stamp_s
        if self.known and trust == wire.TRUST_SIGNED:
            assert stamp_s <= self.time_s + WINDOW_S + 60
        if self.heard >= 2 and self.slack_s < WINDOW_S:
            assert -1 <= stamp_s - lived_s <= WINDOW_S + 60, "two signed times did not mend it"

    def live(self):
        """Let one thing happen."""
        dice = self.dice
        what = dice.roll(12)
        if what < 4:
            self.run((1, 30, 900, 3600, DAY_S, 5 * DAY_S)[dice.roll(6)])
        elif what < 7:
            self.network(
                (
                    self.time_s, self.time_s + dice.roll(2 * WINDOW_S) - WINDOW_S,
                    self.time_s + dice.roll(2000) * DAY_S, self.time_s - dice.roll(2000) * DAY_S,
                    LIES_S[dice.roll(len(LIES_S))], self.clock.now()[0] + dice.roll(WINDOW_S),
                    self.clock.now()[0] - dice.roll(WINDOW_S),
                )[dice.roll(7)]
            )  # fmt: skip
        elif what < 9:
            self.signed(self.signed_s[-1])
        elif what < 10:
            back = self.signed_s[max(0, len(self.signed_s) - 1 - dice.roll(KEPT))]
            self.signed(back)
        elif what < 11:
            self.helped = True  # by a permit or a change of trust
            old = self.clock.now()
            self.told(old, self.clock.lived(self.signed_s[dice.roll(len(self.signed_s))]))
        else:
            self.off((1, 60, 3600, DAY_S, 100 * DAY_S)[dice.roll(5)])
        self.look()


def lives(seeds, steps):
    for seed in seeds:
        world = World(seed)
        for _ in range(steps):
            world.live()


def test_hostile_lives():
    lives(range(2 if MICROPYTHON else 25), 300)


def long_hostile_lives():
    lives(range(1000, 1400), 1000)


def test_network_time_flaps_between_all_ages():
    """Whatever comes, every second, `not_before` counts the seconds that were lived."""
    world = World(1)
    world.signed(world.signed_s[-1])
    begun_s = world.clock.not_before()
    for i in range(3000):
        world.network(LIES_S[i % len(LIES_S)] + (i & 1) * world.time_s)
        world.run(1)
        world.look()
    assert world.clock.not_before() == begun_s + 3000


def test_months_without_any_time():
    """Ticks alone count on, to the second, through 3 or 40 wraps."""
    days = 40 if MICROPYTHON else 500
    world = World(2)
    world.signed(world.signed_s[-1])
    begun_s = world.clock.not_before()
    for _ in range(days):
        world.run(DAY_S)
        world.look()
    assert world.clock.not_before() == begun_s + days * DAY_S


def test_the_worst_that_power_cuts_do_to_a_permit():
    """How many times as long it lasts, in percent, where runs end so often (docs/supply.md)."""
    for every_s, percent in ((3600, 109), (609, 197), (69, 230), (29, 290)):
        world = World(3)
        world.signed(world.signed_s[-1])
        begun_s = world.clock.not_before()
        while world.clock.not_before() < begun_s + DAYS * DAY_S:
            world.run(every_s)
            world.off(0)
            world.look()
        lasted_s = world.time_s - begun_s
        assert percent - 1 <= 100 * lasted_s // (DAYS * DAY_S) <= percent, (every_s, lasted_s)


# Midnights and ends of months, with power cuts around them

LAST_OF_MONTHS = (T0 + 8 * DAY_S, 1_835_375_400, 2_147_365_800)  # midnights in India, as T0 is


def test_power_cuts_around_midnights_close_each_day_once():
    """One closing a local day that is known to have ended, and no energy twice or lost."""
    assert all((midnight + OFFSET_S) % DAY_S == 0 for midnight in LAST_OF_MONTHS)
    for midnight in LAST_OF_MONTHS[: 1 if MICROPYTHON else 3]:
        for before_s in (61, 2, 1, 0, -1, -59, -61):
            for off_s in (1, 59, 60, 3600, DAY_S - 30):
                close(midnight, before_s, off_s)


def close(midnight, before_s, off_s):
    with in_folder() as folder:
        meter = Meter(folder, utc_offset_s=OFFSET_S)
        time_s = midnight - 150
        meter.clock.lived(min(time_s, 2**31))
        meter.clock.signed(time_s)
        meter.clock.network(time_s)
        meter.live(150 - before_s)
        time_s = midnight - before_s
        meter.saved = meter.clock.save()
        meter.cut(off_s)
        time_s += off_s
        meter.live(2)
        meter.clock.network(time_s + 2)
        meter.live(130)
        closings = {}
        for reading in meter.readings:
            if reading.flags & wire.FLAG_CLOSING:
                day = (reading.time_s + OFFSET_S) // DAY_S
                closings[day] = closings.get(day, 0) + 1
                assert reading.clock_trust
        today = (midnight + OFFSET_S) // DAY_S
        assert closings.pop(today, 0) == 1 or off_s == DAY_S - 30, (before_s, off_s)
        assert max(closings.values()) == 1
        ends = [reading.time_s for reading in meter.readings]
        assert ends == sorted(set(ends)), (before_s, off_s, ends)
        energies = [reading.energy_wh for reading in meter.readings]
        assert energies == sorted(energies)
        meter.journal.close()
