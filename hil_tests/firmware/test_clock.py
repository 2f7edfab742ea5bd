"""Test clock: two times, and who may move which."""

import struct

import clock
import version
from clock import Clock

import wire

T0 = 1790000000  # 2026-09-21
DAY_S = 86400


class World:
    """A board's ticks and real-time clock; the latter runs `factor` times faster."""

    def __init__(self, factor=1, ticks=0):
        self.ticks = ticks
        self.rtc_ms = 0
        self.factor = factor

    def pass_ms(self, ms):
        self.ticks = (self.ticks + ms) & 0x3FFFFFFF
        self.rtc_ms += ms * self.factor

    def set_wall(self, time_s):
        self.rtc_ms = time_s * 1000

    def clock(self, saved=None):
        return Clock(lambda: self.rtc_ms // 1000, self.set_wall, lambda: self.ticks, saved)


def test_knows_nothing_at_first():
    world = World()
    made = world.clock()
    world.pass_ms(5400)
    assert made.now() == (5, wire.TRUST_NONE)
    assert made.not_before() == 5
    assert not made.lost


def test_network_time_never_moves_not_before():
    made = World().clock()
    made.lived(T0)
    for answer in (T0 + 10, T0 + 500 * DAY_S, T0 + clock.NETWORK_SPAN_S):
        made.network(answer)
        assert made.now() == (answer, wire.TRUST_NETWORK)
        assert made.not_before() == T0


def test_network_time_that_cannot_be_is_refused():
    made = World().clock()
    made.lived(T0)
    kiss_of_death = 2085978496  # 2036-02-07, what an ESP32 makes of an answer of zeros
    past = T0 + clock.NETWORK_SPAN_S + 1
    for answer in (0, T0 - 7201, past, kiss_of_death, 0xFFFFFFFF, 1 << 32, 1 << 40, -5):
        assert not made.believes(answer)
        assert made.network(answer) is None
        assert made.now() == (T0, wire.TRUST_NONE)


def test_network_time_from_before_the_build_is_refused():
    made = World().clock()
    for answer in (0, version.BUILT_S - 1, version.BUILT_S + clock.NETWORK_SPAN_S + 1):
        assert made.network(answer) is None
        assert made.now() == (0, wire.TRUST_NONE)
    assert made.network(version.BUILT_S)
    made = World().clock()
    assert made.network(version.BUILT_S + clock.NETWORK_SPAN_S)


def test_network_time_starts_a_meter_that_lay_for_two_years():
    made = World().clock()
    made.signed(T0)
    world = World()
    made = world.clock(made.save())
    assert made.network(T0 + 730 * DAY_S)
    assert made.now() == (T0 + 730 * DAY_S, wire.TRUST_NETWORK)
    # One that lay for longer than the span waits for the signers.
    made = World().clock(made.save())
    late_s = T0 + clock.NETWORK_SPAN_S + DAY_S
    assert made.network(late_s) is None
    made.signed(late_s - 300)
    assert made.network(late_s)
    assert made.now() == (late_s, wire.TRUST_SIGNED)


def test_network_time_is_an_event_once():
    world = World()
    made = world.clock()
    assert made.network(T0) == (wire.EVENT_CLOCK_SET, 0, T0, wire.TRUST_NETWORK)
    world.pass_ms(60000)
    assert made.network(T0 + 70) is None
    assert made.now() == (T0 + 70, wire.TRUST_NETWORK)
    assert made.network(T0 + 130) == (wire.EVENT_CLOCK_SET, T0 + 70, T0 + 130, 1)


def test_network_time_puts_no_stamp_back():
    world = World()
    made = world.clock()
    made.network(T0 + 600)
    event = made.network(T0)
    assert event == (wire.EVENT_CLOCK_SET, T0 + 600, T0, wire.TRUST_NETWORK)
    assert made.now() == (T0 + 600, wire.TRUST_NETWORK)
    world.pass_ms(599_000)
    assert made.now()[0] == T0 + 600
    world.pass_ms(2000)
    assert made.now()[0] == T0 + 601  # it was waited for


def test_network_time_that_contradicts_itself_is_no_trust():
    world = World()
    made = world.clock()
    made.lived(T0)
    made.network(T0 + 400 * DAY_S)
    ahead_s = T0 + 400 * DAY_S
    assert made.network(T0 + 10) == (wire.EVENT_CLOCK_SET, ahead_s, ahead_s, wire.TRUST_NONE)
    world.pass_ms(5000)
    assert made.now() == (ahead_s + 5, wire.TRUST_NONE)  # stamps go on, and not back
    assert made.network(T0 + 15) is None
    assert world.rtc_ms == (T0 + 15) * 1000  # a certificate is valid again, signed time can come
    made.signed(T0 + 20)
    assert made.now() == (ahead_s + 5, wire.TRUST_NONE)
    event = made.signed(T0 + 30)
    assert event == (wire.EVENT_CLOCK_SET, ahead_s + 5, T0 + 30, wire.TRUST_SIGNED)
    assert made.now() == (T0 + 30, wire.TRUST_SIGNED)


def test_a_clock_that_nothing_holds_is_set_for_the_certificates():
    made = World().clock()
    made.lived(T0)
    past_s = T0 + 4 * 365 * DAY_S
    world = World()
    made = world.clock(made.save())
    assert made.network(past_s) is None
    assert made.now() == (T0, wire.TRUST_NONE)
    assert world.rtc_ms == past_s * 1000
    made.network(T0 + DAY_S)
    for refused in (past_s, version.BUILT_S - 1, 1 << 32):
        made.network(refused)
        assert made.now() == (T0 + DAY_S, wire.TRUST_NETWORK)
        assert world.rtc_ms == (T0 + DAY_S) * 1000


def test_a_stamp_is_never_before_what_was_lived():
    made = World().clock()
    made.lived(T0)
    made.network(T0 - 7000)
    assert made.now() == (T0, wire.TRUST_NETWORK)


def test_signed_time_moves_not_before_forward_only():
    world = World()
    made = world.clock()
    made.signed(T0)
    made.signed(T0 - 500)
    assert made.not_before() == T0
    world.pass_ms(999)
    assert made.not_before() == T0
    world.pass_ms(1)
    assert made.not_before() == T0 + 1
    made.signed(T0 + 1000)
    assert made.not_before() == T0 + 1000


def test_the_first_signed_time_may_be_late_the_second_is_trusted():
    world = World()
    made = world.clock()
    assert made.signed(T0) == (wire.EVENT_CLOCK_SET, 0, T0, wire.TRUST_NETWORK)
    world.pass_ms(2000)
    assert made.now() == (T0 + 2, wire.TRUST_NETWORK)
    assert made.signed(T0) is None  # the same again is not a second one
    assert made.now() == (T0 + 2, wire.TRUST_NETWORK)
    event = made.signed(T0 + 900)
    assert event == (wire.EVENT_CLOCK_SET, T0 + 2, T0 + 900, wire.TRUST_SIGNED)
    assert made.now() == (T0 + 900, wire.TRUST_SIGNED)


def test_signed_and_network_time_that_agree_are_trusted():
    for ahead_s, trust in ((0, 2), (1, 2), (7200, 2), (7201, 1), (10**7, 1)):
        made = World().clock()
        made.network(T0 + ahead_s)
        made.signed(T0)
        assert made.now() == (T0 + ahead_s, trust), ahead_s
        assert made.not_before() == T0
    for ahead_s, trust in ((-59, 2), (0, 2), (7200, 2), (7201, 1), (10**7, 1)):
        world = World(factor=60)
        made = world.clock()
        made.signed(T0)
        world.pass_ms(100_000)
        made.network(T0 + 6000 + ahead_s)
        assert made.now() == (T0 + 6000 + max(0, ahead_s), trust), ahead_s


def test_signed_time_steps_up_a_clock_behind():
    made = World().clock()
    made.network(T0 - 90000)
    assert made.signed(T0) == (wire.EVENT_CLOCK_SET, T0 - 90000, T0, wire.TRUST_NETWORK)
    assert made.now() == (T0, wire.TRUST_NETWORK)
    assert made.signed(T0 + 900)
    assert made.now() == (T0 + 900, wire.TRUST_SIGNED)


def test_signed_time_puts_back_a_clock_that_network_time_pushed_ahead():
    for ahead_s in (7201, 90 * DAY_S, clock.NETWORK_SPAN_S):
        world = World()
        made = world.clock()
        made.lived(T0)
        made.network(T0 + ahead_s)
        world.pass_ms(1000)
        assert made.signed(T0 + 1) is None  # it may be late, and the network right
        world.pass_ms(900_000)
        event = made.signed(T0 + 901)
        assert event == (wire.EVENT_CLOCK_SET, T0 + ahead_s + 901, T0 + 901, wire.TRUST_SIGNED)
        assert made.now() == (T0 + 901, wire.TRUST_SIGNED)
        world.pass_ms(1000)
        assert made.now() == (T0 + 902, wire.TRUST_SIGNED)
        # From here on the forger is not heard any more, and a right answer is.
        assert made.network(T0 + ahead_s + 902) is None
        assert made.now() == (T0 + 902, wire.TRUST_SIGNED)
        made.network(T0 + 930)
        assert made.now() == (T0 + 930, wire.TRUST_SIGNED)


def test_stamps_that_stand_ahead_have_no_trust_from_what_is_behind_them():
    """Found by test_hostile_clock: trust 2 with a stamp up to four hours ahead."""
    world = World()
    made = world.clock()
    made.network(T0 + 9759)
    made.signed(T0)  # the first: it or the clock is wrong
    made.network(T0 + 3181)  # agrees with it, but stamps stand at T0 + 9759 until then
    assert made.now() == (T0 + 9759, wire.TRUST_NETWORK)
    world.pass_ms(7000 * 1000)
    made.network(T0 + 3181 + 7000)
    assert made.now() == (T0 + 3181 + 7000, wire.TRUST_SIGNED)


def test_network_time_cannot_creep_away_from_signed_time():
    world = World()
    made = world.clock()
    made.signed(T0)
    made.network(T0)
    for _ in range(50):
        world.pass_ms(60_000)
        made.network(made.now()[0] + 600)
    time_s, trust = made.now()
    assert trust == wire.TRUST_SIGNED
    assert T0 + 3000 < time_s <= T0 + 3000 + clock.SIGNED_WINDOW_S


def test_signed_time_that_is_not_newer_than_what_is_known_says_nothing():
    world = World()
    made = world.clock()
    made.signed(T0)
    made.signed(T0 + 900)
    world.pass_ms(600_000)
    saved = made.save()
    # Days without power; then the broker, or whoever carries it, repeats what it kept.
    for replayed in (T0 - 90000, T0, T0 + 900, T0 + 1500):
        made = World().clock(saved)
        assert made.signed(replayed) is None
        assert made.now() == (T0 + 1500, wire.TRUST_NONE)
    # The network, asked first or last, is right, and no replay changes that.
    for when in (0, 1):
        made = World().clock(saved)
        if when:
            made.signed(T0 + 900)
        made.network(T0 + 5 * DAY_S)
        made.signed(T0 + 900)
        assert made.now() == (T0 + 5 * DAY_S, wire.TRUST_NETWORK)


def test_signed_time_held_back_over_days_without_power_is_no_trust():
    made = World().clock()
    made.signed(T0)
    world = World()
    made = world.clock(made.save())
    made.signed(T0 + 900)  # newer than all the meter knows, and days old
    assert made.now() == (T0 + 900, wire.TRUST_NETWORK)
    made.network(T0 + 5 * DAY_S)
    assert made.now() == (T0 + 5 * DAY_S, wire.TRUST_NETWORK)
    made.signed(T0 + 5 * DAY_S + 900)
    assert made.now() == (T0 + 5 * DAY_S + 900, wire.TRUST_SIGNED)


def test_no_time_raises():
    latest = 0xFFFFFFFF
    world = World()
    made = world.clock()
    made.signed(latest - 10)
    made.signed(latest)
    for _ in range(3):
        world.pass_ms(3600_000)
        assert made.now() == (latest, wire.TRUST_SIGNED)
        saved = made.save()
    made = World().clock(saved)
    assert made.now() == (latest, wire.TRUST_NONE)
    made.resume(1 << 40)
    assert made.now() == (latest, wire.TRUST_NONE)


def test_a_record_that_forged_network_time_spoilt_heals():
    """The first firmware believed 2106, and saved it."""
    for stamp_s in (2085978496, 0xFFFFFFFF):
        world = World()
        made = world.clock(struct.pack(">BII", 1, T0, stamp_s))
        made.resume(stamp_s)  # frames were stamped so, too
        assert not made.lost
        assert made.now() == (T0, wire.TRUST_NONE)
        made.network(T0 + DAY_S)
        assert made.now() == (T0 + DAY_S, wire.TRUST_NETWORK)


def test_ticks_wrap():
    world = World(ticks=0x3FFFFFFF - 400)
    made = world.clock()
    for _ in range(100):
        world.pass_ms(60 * 60 * 1000)
        made.not_before()
    assert made.not_before() == 100 * 3600


def test_ticks_that_go_back_prove_nothing():
    world = World(ticks=5000)
    made = world.clock()
    world.ticks = 4000
    assert made.not_before() == 0
    world.pass_ms(1000)
    assert made.not_before() == 1


def test_fractions_add_up():
    world = World()
    made = world.clock()
    for _ in range(1000):
        world.pass_ms(333)
        made.not_before()
    assert made.not_before() == 333


def test_fast_world_does_not_hurry_not_before():
    world = World(factor=2000)
    made = world.clock()
    made.network(T0)
    made.signed(T0)
    world.pass_ms(3000)
    assert made.now() == (T0 + 6000, wire.TRUST_SIGNED)
    assert made.not_before() == T0 + 3
    made.signed(T0 + 5900)
    assert made.not_before() == T0 + 5900
    assert made.now() == (T0 + 6000, wire.TRUST_SIGNED)


def test_signed_time_that_comes_late_puts_nothing_back():
    for factor in (1, 2000):
        world = World(factor=factor)
        made = world.clock()
        made.network(T0)
        made.signed(T0)
        world.pass_ms(20_000_000 // factor)
        assert made.signed(T0 + 12000) is None
        assert made.now() == (T0 + 20000, wire.TRUST_SIGNED)


def test_restart_keeps_what_was_lived():
    world = World()
    made = world.clock()
    made.signed(T0)
    world.pass_ms(9000)
    saved = made.save()
    world = World(ticks=77)
    made = world.clock(saved)
    world.pass_ms(1000)
    assert made.not_before() == T0 + 10
    assert made.now() == (T0 + 10, wire.TRUST_NONE)


def test_restart_estimates_from_the_last_stamp():
    world = World()
    made = world.clock()
    made.signed(T0)
    made.network(T0 + 5000)
    made = World().clock(made.save())
    assert made.not_before() == T0
    assert made.now() == (T0 + 5000, wire.TRUST_NONE)
    made.lived(T0 + 100)
    assert made.now() == (T0 + 5000, wire.TRUST_NONE)
    made.lived(T0 + 6000)
    assert made.now() == (T0 + 6000, wire.TRUST_NONE)


def test_stamps_go_on_from_the_newest_frame():
    made = World().clock()
    made.signed(T0)
    saved = made.save()
    world = World()
    made = world.clock(saved)
    made.resume(T0 + 240)
    made.resume(T0 + 200)
    assert made.now() == (T0 + 240, wire.TRUST_NONE)
    assert made.not_before() == T0  # a stamp proves nothing
    world.pass_ms(1000)
    assert made.now() == (T0 + 241, wire.TRUST_NONE)


def test_corrupt_record_is_lost():
    saved = World().clock().save()
    for bad in (b"", saved[:-1], saved + b"\0", b"\x02" + saved[1:]):
        made = World().clock(bad)
        assert made.lost
        assert made.not_before() == 0


def test_local_calendar():
    # 2026-11-22 18:29:59 UTC is a Sunday; in India (+5:30) it is 23:59:59.
    time_s = 1795372199
    assert clock.weekday(time_s, 0) == 6
    assert clock.weekday(time_s, 19800) == 6
    assert clock.weekday(time_s + 1, 19800) == 0
    assert clock.local_day(time_s + 1, 19800) == clock.local_day(time_s, 19800) + 1
    assert clock.local_day(0, 0) == 0
    assert clock.weekday(0, 0) == 3
