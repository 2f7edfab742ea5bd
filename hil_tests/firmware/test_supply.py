"""Test supply: every row of the disconnect-control table, and what holds whatever happens."""

import supply
from permits import Grant
from supply import Supply

import wire
from hil_tests.firmware.check import MICROPYTHON, Dice
from hil_tests.firmware.signers import DAY_S, T0, Flash, bundle, permit, trusting
from wire import CONTROL_CONNECTED, CONTROL_DISCONNECTED, CONTROL_READY

NEVER = Grant(False, wire.REASON_NO_PERMIT, 0, 0, 0, False)
UNKNOWN = Grant(False, 0, 0, 0, 0, False)
EXPIRED = Grant(False, wire.REASON_EXPIRED, 1, 0, 0, False)
USED_UP = Grant(False, wire.REASON_ENERGY_LIMIT, 1, 0, 0, False)
STEP_MS = 200


def running(serial=1, limit_dw=0, needs_button=False, end_s=T0 + 30 * DAY_S):
    return Grant(True, 0, serial, end_s, limit_dw, needs_button)


class House:
    """A supply with its contactor, run by the ticks; `events` are (ms, event)."""

    def __init__(self, saved=None, closed=False, ticks=0):
        self.ticks = ticks
        self.passed_ms = 0
        self.closed = closed
        self.supply = Supply(saved, closed)
        self.events = []
        self.operations = []
        self.stuck = False
        self.period_ms = 1000  # of the samples of power

    def step(self, grant, power_dw=100, pressed=False, not_before_s=T0, ms=STEP_MS):
        self.ticks = (self.ticks + ms) & 0x3FFFFFFF
        self.passed_ms += ms
        power_dw = power_dw if self.closed or power_dw is None else 0
        self.supply.dirty = False
        before = len(self.events)
        for event in self.supply.step(
            self.ticks,
            grant,
            not_before_s,
            power_dw,
            self.closed,
            pressed,
            (self.passed_ms - 1) // self.period_ms,
            self.period_ms,
        ):
            self.events.append((self.passed_ms, event))
        if self.supply.move is not None:
            assert len(self.events) > before, "an operation without an event"
            assert self.supply.dirty or self.supply.move == self.desired()
            self.closed = self.closed if self.stuck else self.supply.move
            self.operations.append(self.passed_ms)
            self.supply.operated(self.ticks)

    def desired(self):
        return self.supply.control_state == CONTROL_CONNECTED

    def run(self, seconds, grant, power_dw=100, **inputs):
        for _ in range(seconds * 1000 // STEP_MS):
            self.step(grant, power_dw, **inputs)
        return self

    def codes(self):
        """Return the (code, reason) of all events and forget them."""
        codes = [event[:2] for _, event in self.events]
        self.events = []
        return codes

    def restarted(self, closed=None):
        """Return the same house after a restart, its contactor where it was unless told."""
        closed = self.closed if closed is None else closed
        return House(self.supply.save(), closed, ticks=123)


def connected(grant=None):
    """Return a house connected for a minute."""
    house = House().run(60, grant or running())
    assert house.closed
    house.codes()
    return house


# Permits


def test_never_had_a_permit():
    house = House().run(60, NEVER, pressed=True)
    assert not house.closed
    assert house.events == []
    assert house.supply.control_state == CONTROL_DISCONNECTED
    assert house.supply.reason == wire.REASON_NO_PERMIT


def test_first_permit_connects_at_once():
    house = House().run(5, NEVER).run(1, running(7))
    assert house.closed
    assert house.events == [(5200, (wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT, 7, 0))]
    assert house.supply.control_state == CONTROL_CONNECTED


def test_first_permit_held_at_the_start_waits():
    # The power may have failed after its move and before its record.
    house = House().run(9, running(7))
    assert not house.closed
    house.run(2, running(7))
    assert house.closed


def test_end_of_the_permit_disconnects():
    for grant in (EXPIRED, USED_UP):
        house = connected()
        house.run(1, grant)
        assert not house.closed
        assert house.codes() == [(wire.EVENT_DISCONNECTED, grant.reason)]
        assert house.supply.control_state == CONTROL_DISCONNECTED
        house.run(3600, grant, pressed=True)
        assert house.events == []


def test_payment_reconnects_within_two_seconds():
    house = connected().run(60, EXPIRED)
    house.codes()
    paid_ms = house.passed_ms
    house.run(2, running(2))
    assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)]
    assert house.operations[-1] - paid_ms <= 2000


def test_permit_that_asks_for_a_hand():
    grant = running(2, needs_button=True)
    house = connected().run(60, EXPIRED)
    house.codes()
    house.run(60, grant)
    assert not house.closed
    assert [event for _, event in house.events] == [
        (wire.EVENT_READY_FOR_RECONNECTION, wire.REASON_NEW_PERMIT, 2, 0)
    ]
    house.codes()
    assert house.supply.control_state == CONTROL_READY
    house = house.restarted().run(60, grant)
    assert house.codes() == []
    house.step(grant, pressed=True)
    assert house.closed
    assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_BUTTON)]


def test_hand_before_it_is_asked_for_does_not_count():
    house = connected().run(1, EXPIRED)
    house.step(EXPIRED, pressed=True)
    house.step(running(2, needs_button=True), pressed=True)
    house.run(30, running(2, needs_button=True))
    assert not house.closed
    assert house.supply.control_state == CONTROL_READY


def test_hand_during_the_least_time_is_remembered():
    grant = running(2, needs_button=True)
    house = connected().run(1, EXPIRED).run(1, grant)
    house.step(grant, pressed=True)
    assert not house.closed
    house.run(10, grant)
    assert house.closed


def test_ready_ends_with_the_permit():
    house = connected().run(60, EXPIRED).run(60, running(2, needs_button=True))
    house.codes()
    house.run(1, Grant(False, wire.REASON_EXPIRED, 2, 0, 0, False))
    house.run(60, EXPIRED, pressed=True)
    assert house.codes() == []
    assert house.supply.control_state == CONTROL_DISCONNECTED


def test_connected_house_needs_no_hand_for_the_next_permit():
    house = connected().run(60, running(2, needs_button=True))
    assert house.closed
    assert house.codes() == []


# What changes nothing


def test_lost_permits_change_nothing():
    for lost in (UNKNOWN, NEVER):
        house = connected().run(3600, lost, pressed=True)
        assert house.closed
        assert house.codes() == []
        dark = connected().run(60, EXPIRED)
        dark.codes()
        dark.run(3600, lost, pressed=True)
        assert not dark.closed
        assert dark.codes() == []


def test_silent_sensor_is_no_overload():
    house = connected(running(limit_dw=1000))
    house.run(3600, running(limit_dw=1000), power_dw=None)
    assert house.closed
    assert house.codes() == []


def test_restart_changes_nothing():
    for before, grant in ((running(), running()), (EXPIRED, EXPIRED)):
        house = connected().run(60, before)
        house.codes()
        closed = house.closed
        state = house.supply.control_state
        house = house.restarted().run(3600, grant)
        assert house.closed == closed
        assert house.events == []
        assert house.supply.control_state == state


def test_plain_contactor_follows_after_an_outage():
    house = connected().restarted(closed=False).run(9, running())
    assert not house.closed  # whether it operated just before the outage is unknown
    house.run(2, running())
    assert house.closed
    assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_RESTORED)]
    house = connected().restarted(closed=False).run(12, UNKNOWN)
    assert house.closed


def test_contactor_found_closed_is_opened():
    house = connected().run(60, EXPIRED).restarted(closed=True).run(12, EXPIRED)
    assert not house.closed
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_RESTORED)]
    assert house.supply.reason == wire.REASON_EXPIRED


def test_lost_record_takes_the_contactor_at_its_word():
    good = connected().supply.save()
    for bad in (b"", good[:-1], good + b"\0", b"\x09" + good[1:]):
        house = House(bad, closed=True).run(60, running())
        assert house.supply.lost
        assert house.closed
        assert house.codes() == []
        for grant in (NEVER, UNKNOWN):
            house = House(bad, closed=False).run(60, grant, pressed=True)
            assert not house.closed
            assert house.codes() == []
        for grant in (NEVER, UNKNOWN):
            house = House(bad, closed=True).run(60, grant)
            assert house.closed
            assert house.restarted().run(60, grant).closed
        house = House(bad, closed=False).run(12, running())
        assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_RESTORED)]
        house = House(bad, closed=True).run(12, EXPIRED)
        assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED)]


def test_blind_contactor_is_driven_to_where_it_was_last():
    house = connected().restarted()
    house.closed = None
    house.run(60, running())
    assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_RESTORED)]
    house = connected().run(60, EXPIRED).restarted()
    house.closed = None
    house.run(60, EXPIRED)
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_RESTORED)]
    house = House(closed=None).run(60, NEVER)
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_RESTORED)]


def test_blind_contactor_and_a_lost_record_are_left_alone():
    for grant in (running(), UNKNOWN, NEVER):
        house = House(b"", closed=None).run(60, grant)
        assert house.operations == []
    house = House(b"", closed=None).run(60, EXPIRED)
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED)]


def test_contactor_that_does_not_follow_is_driven_ever_more_rarely():
    house = connected()
    house.stuck = True
    for _ in range(24 * 3600 // 5):
        house.step(EXPIRED, ms=5000)
    assert house.closed
    assert house.codes()[0] == (wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED)
    assert 10 < len(house.operations) < 20
    gaps = [house.operations[i + 1] - house.operations[i] for i in range(1, 10)]
    assert gaps == sorted(gaps)
    house.stuck = False
    for _ in range(7 * 3600 // 5):
        house.step(EXPIRED, ms=5000)
    assert not house.closed


def test_contactor_that_followed_once_is_driven_at_once_again():
    house = connected()
    house.stuck = True
    house.run(600, EXPIRED)
    house.stuck = False
    house.run(600, EXPIRED)
    assert not house.closed
    house.closed = True  # somebody's hand, or a latching contactor's shock
    house.codes()
    house.run(1, EXPIRED)
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_RESTORED)]


def test_least_time_runs_from_the_move_not_from_its_decision():
    house = connected()
    house.step(EXPIRED)
    house.ticks += 3000  # the flash was slow
    house.supply.operated(house.ticks)
    house.run(9, running(2))
    assert not house.closed
    house.run(2, running(2))
    assert house.closed


def test_ticks_that_go_back_count_as_none():
    house = connected().run(1, EXPIRED)
    house.ticks -= 5000
    house.run(9, running(2))
    assert not house.closed
    house.run(2, running(2))
    assert house.closed


# Overload


def test_ten_seconds_above_the_limit_disconnect():
    grant = running(limit_dw=5000)
    house = connected(grant)
    house.run(60, grant, power_dw=5000)
    house.run(9, grant, power_dw=5001).run(1, grant, power_dw=5000).run(9, grant, power_dw=9000)
    assert house.closed
    house.run(2, grant, power_dw=9000)
    assert not house.closed
    assert [event for _, event in house.events] == [
        (wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD, 1, 9000)
    ]


def test_missed_samples_neither_prove_nor_end_an_overload():
    grant = running(limit_dw=5000)
    house = connected(grant)
    for _ in range(10):  # the first proves no time, the others a second each
        house.run(1, grant, power_dw=9000).run(3, grant, power_dw=None)
    assert house.closed
    house.run(2, grant, power_dw=9000)
    assert not house.closed


def test_one_late_sample_is_no_overload():
    grant = running(limit_dw=5000)
    house = connected(grant)
    house.step(grant, power_dw=9000, ms=30000)
    house.step(grant, power_dw=9000, ms=30000)
    assert house.closed


def test_a_sample_counts_once_however_long_it_stands():
    grant = running(limit_dw=5000)
    house = connected(grant)
    house.period_ms = 1 << 40  # no other sample comes
    house.run(3600, grant, power_dw=9000)
    assert house.closed


def test_slow_samples_prove_an_overload_from_one_to_the_next():
    for period_ms, needed in ((10000, 2), (5000, 3), (4000, 4), (1000, 11)):
        grant = running(limit_dw=5000)
        house = connected(grant)
        house.period_ms = period_ms
        house.passed_ms = 0
        house.run(60, grant)
        for over in range(1, needed + 1):
            assert house.closed, (period_ms, over)
            house.run(period_ms // 1000, grant, power_dw=9000)
        assert not house.closed, period_ms
        # One less, and one below the limit between: it begins anew.
        house = connected(grant)
        house.period_ms = period_ms
        house.passed_ms = 0
        for _ in range(20):
            house.run((needed - 1) * period_ms // 1000, grant, power_dw=9000)
            house.run(period_ms // 1000, grant)
        assert house.closed, period_ms


def test_an_overload_proven_while_the_contactor_rests_is_not_judged_later_without_a_sample():
    grant = running(limit_dw=5000)
    house = connected(grant)
    house.supply.operated(house.ticks)
    house.run(9, grant, power_dw=9000)
    house.supply.operated(house.ticks)  # the least time lasts longer than the proof takes
    house.run(3, grant, power_dw=9000)
    house.run(60, grant, power_dw=None)
    assert house.closed
    house.run(2, grant, power_dw=9000)
    assert not house.closed


def test_overload_is_retried_after_a_minute():
    grant = running(limit_dw=5000, needs_button=True)
    house = connected(running(limit_dw=5000)).run(11, grant, power_dw=9000)
    cut_ms = house.operations[-1]
    house.run(62, grant)
    assert house.codes() == [
        (wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD),
        (wire.EVENT_RECONNECTED, wire.REASON_OVERLOAD_RETRY),
    ]
    assert 60000 <= house.operations[-1] - cut_ms <= 60200


def locked():
    """Return a house locked by an overload that lasts."""
    house = connected(running(limit_dw=5000)).run(600, running(limit_dw=5000), power_dw=9000)
    locks = [event for _, event in house.events if event[0] == wire.EVENT_OVERLOAD_LOCKED]
    codes = house.codes()
    assert codes == [
        (wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD),
        (wire.EVENT_RECONNECTED, wire.REASON_OVERLOAD_RETRY),
    ] * 5 + [
        (wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD_LOCKED),
        (wire.EVENT_OVERLOAD_LOCKED, 6),
    ]
    assert not house.closed
    assert locks == [(wire.EVENT_OVERLOAD_LOCKED, 6, 9000, 0)]
    return house


def test_locked_after_five_retries_until_the_button():
    for house in (locked(), locked().restarted()):
        house.run(600, running(limit_dw=5000))
        assert house.codes() == []
        house.step(running(limit_dw=5000), pressed=True)
        assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_BUTTON)]
        house.run(30, running(limit_dw=5000), power_dw=9000)  # the count starts anew
        assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD)]


def test_locked_until_a_new_permit():
    for house in (locked(), locked().restarted()):
        house.run(60, running(1, limit_dw=5000))
        assert not house.closed
        house.run(12, running(2, limit_dw=5000))
        assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)]


def test_overloads_far_apart_do_not_lock():
    grant = running(limit_dw=5000)
    house = connected(grant)
    for _ in range(10):
        house.run(11, grant, power_dw=9000).run(7 * 60, grant)
    assert house.closed
    assert (wire.EVENT_OVERLOAD_LOCKED, 6) not in house.codes()


def test_new_permit_forgives_the_trips_before_it():
    grant = running(limit_dw=5000)
    house = connected(grant)
    for _ in range(5):
        house.run(11, grant, power_dw=9000).run(62, grant)
    grant = running(2, limit_dw=5000)
    house.run(1, grant)
    house.codes()
    house.run(11, grant, power_dw=9000)
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD)]
    house.run(62, grant)
    assert house.closed


def test_what_a_restart_needs_is_dirty_once():
    house = House()
    house.step(NEVER)
    assert not house.supply.dirty
    house.step(running(1))
    assert house.supply.dirty
    house.step(running(1))
    assert not house.supply.dirty
    house.step(running(2))
    assert house.supply.dirty


def test_least_time_holds_for_a_move_that_failed():
    house = connected()
    house.supply.step(house.ticks, EXPIRED, T0, 100, True, False, 0, 1000)
    assert house.supply.move is False  # and nobody carries it out
    for _ in range(9):
        house.run(1, EXPIRED)
    assert house.closed
    house.run(2, EXPIRED)
    assert not house.closed


def test_trips_survive_a_restart():
    grant = running(limit_dw=5000)
    house = connected(grant)
    for _ in range(5):
        house.run(11, grant, power_dw=9000).run(62, grant)
    house = house.restarted().run(12, grant)
    house.codes()
    house.run(11, grant, power_dw=9000)
    assert (wire.EVENT_OVERLOAD_LOCKED, 6) in house.codes()


def test_higher_limit_reconnects_before_the_retry():
    house = connected(running(limit_dw=5000)).run(11, running(limit_dw=5000), power_dw=9000)
    house.codes()
    house.run(12, running(2))
    assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)]


def test_permit_that_ends_during_an_overload_keeps_the_house_off():
    house = connected(running(limit_dw=5000)).run(11, running(limit_dw=5000), power_dw=9000)
    house.codes()
    house.run(600, EXPIRED)
    assert house.codes() == []
    assert house.supply.reason == wire.REASON_EXPIRED
    house.run(2, running(2))
    assert house.codes() == [(wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)]


# A contactor that is welded, or bridged


def load_behind(house, grant, seconds, power_dw=3000):
    """Let power flow whatever the contactor says."""
    for _ in range(seconds * 1000 // STEP_MS):
        house.ticks += STEP_MS
        house.passed_ms += STEP_MS
        sample = (house.passed_ms - 1) // house.period_ms
        for event in house.supply.step(
            house.ticks, grant, T0, power_dw, house.closed, False, sample, house.period_ms
        ):
            house.events.append((house.passed_ms, event))
    return house


BYPASSED = (wire.EVENT_CONTACTOR_BYPASSED, wire.REASON_EXPIRED)


def test_a_load_behind_an_open_contactor_is_told_once():
    for closed in (False, None):  # by an auxiliary contact, and where nobody can tell
        house = connected().run(60, EXPIRED)
        house.codes()
        house.supply.dirty = False
        house.closed = closed
        load_behind(house, EXPIRED, 9)
        assert BYPASSED not in house.codes()
        load_behind(house, EXPIRED, 600)
        assert house.codes().count(BYPASSED) == 1
        assert house.supply.bypassed
        assert house.supply.dirty, "a restart would tell it again"
        house = house.restarted(closed=False)
        load_behind(house, EXPIRED, 600)
        assert BYPASSED not in house.codes()
        house.run(20, running(2))
        assert not house.supply.bypassed
        house.run(20, EXPIRED)
        house.codes()
        load_behind(house, EXPIRED, 20)
        assert house.codes() == [BYPASSED]


def test_what_the_meter_itself_takes_is_no_load():
    house = connected().run(60, EXPIRED)
    house.codes()
    load_behind(house, EXPIRED, 600, power_dw=supply.OPEN_MOST_DW)
    load_behind(house, EXPIRED, 600, power_dw=None)
    assert house.codes() == []


def test_a_feeder_has_no_contactor_to_be_bypassed():
    house = load_behind(House(), NEVER, 600)
    assert house.codes() == []


def test_a_welded_contactor_is_driven_and_told():
    house = connected()
    house.stuck = True
    house.run(60, EXPIRED, power_dw=3000)
    codes = house.codes()
    assert codes[0] == (wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED)
    assert codes.count(BYPASSED) == 1


# Warnings


def test_warnings_at_7_3_and_1_days_once_each():
    house = connected(running(end_s=T0 + 30 * DAY_S))
    end_s = T0 + 30 * DAY_S
    seen = []
    for day in range(22, 30):
        for hour in range(0, 24, 6):
            not_before_s = T0 + day * DAY_S + hour * 3600
            house.step(running(end_s=end_s), not_before_s=not_before_s)
            for _, event in house.events:
                assert house.supply.dirty, "a restart would warn again"
                seen.append((day, hour, event))
            house.events = []
            if hour == 12:
                house = house.restarted()
    assert seen == [
        (23, 0, (wire.EVENT_EXPIRY_WARNING, 7, end_s, 1)),
        (27, 0, (wire.EVENT_EXPIRY_WARNING, 3, end_s, 1)),
        (29, 0, (wire.EVENT_EXPIRY_WARNING, 1, end_s, 1)),
    ]
    assert house.supply.warning == 3


def test_time_that_jumps_warns_once():
    house = connected()
    house.run(5, running(), not_before_s=T0 + 29 * DAY_S + 1)
    assert house.codes() == [(wire.EVENT_EXPIRY_WARNING, 1)]


def test_next_permit_is_warned_of_anew():
    house = connected()
    house.run(5, running(), not_before_s=T0 + 28 * DAY_S)
    house.run(5, running(2, end_s=T0 + 60 * DAY_S), not_before_s=T0 + 28 * DAY_S)
    assert house.supply.warning == 0
    house.run(5, running(2, end_s=T0 + 60 * DAY_S), not_before_s=T0 + 58 * DAY_S)
    assert house.codes() == [(wire.EVENT_EXPIRY_WARNING, 3)] * 2


# With real permits


def test_house_that_pays_late():
    flash = Flash()
    holder = trusting(flash)
    house = House()

    def at(day_s, seconds=30, energy_wh=0):
        for _ in range(seconds):
            grant = holder.grant(T0 + day_s, energy_wh)
            house.run(1, grant, not_before_s=T0 + day_s)
        return house.codes()

    def pay(day_s, **terms):
        holder.accept(bundle(permit(**terms)), T0 + day_s, 0)

    assert at(0) == []
    pay(0, serial=1, days=10, grace_days=2, no_cut_from_h=18, no_cut_to_h=8)
    assert at(0) == [(wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)]
    assert at(9 * DAY_S) == [(wire.EVENT_EXPIRY_WARNING, 3)]
    assert at(12 * DAY_S) == [(wire.EVENT_EXPIRY_WARNING, 1)]
    assert at(12 * DAY_S + 1) == []  # midnight: nobody is cut in the dark
    assert at(12 * DAY_S + 8 * 3600 - 1) == []
    assert at(12 * DAY_S + 8 * 3600) == [(wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED)]
    assert at(13 * DAY_S) == []
    pay(13 * DAY_S, serial=2, days=40, energy_limit_wh=900)
    assert at(13 * DAY_S, 2) == [(wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)]
    assert at(14 * DAY_S, energy_wh=899) == []
    assert at(14 * DAY_S, energy_wh=900) == [(wire.EVENT_DISCONNECTED, wire.REASON_ENERGY_LIMIT)]
    pay(14 * DAY_S, serial=3, days=15, flags=wire.PERMIT_PROTECTED, power_limit_dw=5000)
    assert at(14 * DAY_S)[-1] == (wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT)
    assert at(400 * DAY_S, energy_wh=10**9) == []
    house.run(12, holder.grant(T0 + 400 * DAY_S, 0), power_dw=5001)
    assert house.codes() == [(wire.EVENT_DISCONNECTED, wire.REASON_OVERLOAD)]


# Whatever happens


GRANTS = (NEVER, UNKNOWN, EXPIRED, USED_UP)
MONEY = (wire.REASON_NO_PERMIT, wire.REASON_EXPIRED, wire.REASON_ENERGY_LIMIT)


def live(seed, steps):
    """Lead a house through a random life and check what must hold at every step."""
    dice = Dice(seed)
    house = House(ticks=dice.roll(65536) << 14)
    serial = 0
    grant = NEVER
    power_dw = 100
    overs = 0  # samples above the limit in a row
    counted = None
    moved_ms = None
    for _ in range(steps):
        if not dice.roll(40):
            serial += dice.roll(2)
            grant = running(max(serial, 1), dice.roll(3) * 500, not dice.roll(4))
            serial = grant.serial
        elif not dice.roll(60):
            grant = GRANTS[dice.roll(4)]
            if grant == NEVER and serial:
                grant = UNKNOWN
        if not dice.roll(20):
            power_dw = (None, 100, 700, 2000)[dice.roll(4)]
        if not dice.roll(150):
            house.supply.step(house.ticks, grant, T0, None, house.closed, False, 0, 1000)
            again = house.restarted(closed=house.closed and bool(dice.roll(2)))
            again.passed_ms = house.passed_ms
            house = again
            moved_ms = None
            overs = 0
            counted = None
        ms = 50 + dice.roll(400) if dice.roll(100) else dice.roll(20000)
        was = house.closed
        limited = grant.running and grant.power_limit_dw
        sample = (house.passed_ms + ms - 1) // house.period_ms
        if not (was and limited):
            overs = 0
        elif power_dw is not None and sample != counted:
            overs = overs + 1 if power_dw > limited else 0
            counted = sample
        house.step(grant, power_dw, pressed=not dice.roll(30), ms=ms)
        reasons = [event[1] for _, event in house.events if event[0] != wire.EVENT_EXPIRY_WARNING]
        house.events = []
        if house.closed == was:
            assert house.supply.move in (None, was)
            continue
        if moved_ms is not None:
            assert house.passed_ms - moved_ms >= supply.HOLD_MS, "operated too soon"
        moved_ms = house.passed_ms
        if was:
            proven = overs > supply.OVERLOAD_MS // house.period_ms
            assert not grant.running or proven, "cut a house that may have its supply"
            assert grant.running or grant.reason, "cut a house because a record was lost"
            if not grant.running:
                assert reasons[0] in MONEY
            overs = 0
        else:
            assert grant.running or reasons == [wire.REASON_RESTORED], "connected for nothing"


def test_random_lives():
    for seed in range(3 if MICROPYTHON else 60):
        live(seed, 1500)


def test_step_allocates_little():
    if not MICROPYTHON:
        return
    import gc

    house = connected(running(limit_dw=5000))
    machine = house.supply
    grant = running(limit_dw=5000)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(100):
        machine.step(house.ticks, grant, T0, 900, True, False, 0, 1000)
    spent = gc.mem_alloc() - before
    gc.enable()
    assert spent <= 100 * 128, spent
