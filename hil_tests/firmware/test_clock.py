"""Test clock: two times, and who may move which."""

import clock
from clock import Clock

import wire

T0 = 1790000000  # 2026-09-21


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
    world = World()
    made = world.clock()
    made.lived(T0)
    for answer in (T0 + 10, T0 + 100 * 365 * 86400 // 4, T0 - 7000, 0xFFFFFFFF):
        made.network(answer)
        assert made.now() == (answer, wire.TRUST_NETWORK)
        assert made.not_before() == T0


def test_network_time_that_is_disproved_is_refused():
    made = World().clock()
    made.lived(T0)
    for answer in (0, clock.EARLIEST_S - 1, T0 - 7201, 1 << 32):
        assert made.network(answer) is None
        assert made.now() == (T0, wire.TRUST_NONE)


def test_network_time_is_an_event_once():
    world = World()
    made = world.clock()
    assert made.network(T0) == (wire.EVENT_CLOCK_SET, 0, T0, wire.TRUST_NETWORK)
    world.pass_ms(60000)
    assert made.network(T0 + 70) is None
    assert made.now() == (T0 + 70, wire.TRUST_NETWORK)
    assert made.network(T0 + 130) == (wire.EVENT_CLOCK_SET, T0 + 70, T0 + 130, 1)


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


def test_signed_time_sets_an_unset_clock():
    world = World()
    made = world.clock()
    assert made.signed(T0) == (wire.EVENT_CLOCK_SET, 0, T0, wire.TRUST_SIGNED)
    world.pass_ms(2000)
    assert made.now() == (T0 + 2, wire.TRUST_SIGNED)


def test_signed_time_confirms_within_its_window():
    for ahead_s, trust in ((0, 2), (1, 2), (7200, 2), (7201, 1), (10**8, 1)):
        made = World().clock()
        made.network(T0 + ahead_s)
        made.signed(T0)
        assert made.now() == (T0 + ahead_s, trust), ahead_s
        assert made.not_before() == T0


def test_signed_time_steps_up_a_clock_behind():
    made = World().clock()
    made.network(T0 - 90000)
    assert made.signed(T0) == (wire.EVENT_CLOCK_SET, T0 - 90000, T0, wire.TRUST_SIGNED)
    assert made.now() == (T0, wire.TRUST_SIGNED)


def test_old_signed_time_sets_nothing():
    made = World().clock()
    made.lived(T0)
    assert made.signed(T0 - 7201) is None
    assert made.now() == (T0, wire.TRUST_NONE)
    made.signed(T0 - 7200)
    assert made.now() == (T0, wire.TRUST_SIGNED)


def test_network_corrects_signed_time_only_a_little():
    made = World().clock()
    made.signed(T0)
    made.network(T0 + 7200)
    assert made.now() == (T0 + 7200, wire.TRUST_SIGNED)
    made.network(T0 + 30)
    assert made.now() == (T0 + 30, wire.TRUST_SIGNED)
    made.network(T0 - 61)
    assert made.now() == (T0 - 61, wire.TRUST_NETWORK)  # behind what was signed
    made.signed(T0 + 40)
    made.network(T0 + 40 + 7201)
    assert made.now() == (T0 + 40 + 7201, wire.TRUST_NETWORK)


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
