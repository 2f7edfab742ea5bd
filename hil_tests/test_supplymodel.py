"""firmware/supply.py and a model from its page agree: in every state, in random lives."""

import random
import time
from collections import deque
from collections.abc import Iterator
from copy import copy
from itertools import product
from typing import Any

import pytest
import supply as firmware  # type: ignore[import-not-found]
from permits import Grant  # type: ignore[import-not-found]
from supply import Supply

import wire
from hil_tests.reliability import record
from hil_tests.supplymodel import DAY_S, Given, House, Rules, lost

T0 = 1_800_000_000
END_S = T0 + 40 * DAY_S
LIMIT_DW = 5000
STATES = {wire.CONTROL_DISCONNECTED: (False, False), wire.CONTROL_CONNECTED: (True, False),
          wire.CONTROL_READY: (False, True)}  # fmt: skip


def grant(given: Given) -> Grant:
    """Return what permits.Permits says of it."""
    if given.running:
        return Grant(True, 0, given.serial, given.end_s, given.limit_dw, given.by_hand)
    return Grant(False, given.ended, given.serial, 0, 0, False)


class Both:
    """One house in the firmware and in the model, and what was kept of both."""

    def __init__(self, machine: Any, house: House, kept: "tuple[bytes | None, House]") -> None:
        self.machine = machine
        self.house = house
        self.kept = kept

    @classmethod
    def new(cls, rules: Rules, closed: bool | None) -> "Both":
        return cls(Supply(None, closed), House(rules), (None, House(rules)))

    def step(
        self, now: int, given: Given, not_before_s: int, sample: int, period_ms: int
    ) -> "list[tuple[bytes | None, House]]":
        """Live on, compare, and return what a power cut in this step can leave as kept."""
        before = self.kept
        lasting = self.house.lasting()
        machine = self.machine
        machine.dirty = False
        events = machine.step(
            now & 0x3FFFFFFF, grant(given), not_before_s, given.power_dw, given.closed,
            given.pressed, sample, period_ms,
        )  # fmt: skip
        self.house.step(now, given, not_before_s, sample, period_ms)
        told = [event[:2] for event in events]
        assert told == self.house.events, (given, told, self.house)
        assert machine.move == self.house.move, (given, machine.move, self.house)
        assert STATES[machine.control_state] == (self.house.on, self.house.ready), given
        assert machine.bypassed == self.house.bypass_told
        assert machine.move is None or told, "a move without an event"
        if machine.move is not None:
            machine.operated(now & 0x3FFFFFFF)
        if lasting != self.house.lasting():
            assert machine.dirty, (given, self.house)
        if machine.dirty:
            self.kept = machine.save(), copy(self.house)
        return [before, self.kept] if machine.move is not None else [self.kept]

    def restarted(self, kept: "tuple[bytes | None, House]", closed: bool | None) -> "Both":
        saved, house = kept
        if saved is None:
            return Both.new(house.rules, closed)
        if not saved:
            return Both(Supply(saved, closed), lost(house.rules, closed), kept)
        return Both(Supply(saved, closed), house.restarted(), kept)


# Every state

UNIT_MS = 1000
SMALL = Rules(apart_ms=1000, overload_ms=1000, retry_ms=2000, retries=1, window_ms=4000,
              again_most_ms=2000)  # fmt: skip
POWERS = (None, 50, 3000, 9000)
PERMITS = [Given(ended=reason) for reason in (0, 1, 2, 3)] + [
    Given(running=True, serial=serial, limit_dw=limit_dw, by_hand=by_hand, end_s=END_S)
    for serial, limit_dw, by_hand in product((1, 2), (0, LIMIT_DW), (False, True))
]


def inputs() -> "Iterator[Given]":
    """Give everything that a meter can see at a moment."""
    for permit, power_dw, closed, pressed in product(
        PERMITS, POWERS, (True, False, None), (False, True)
    ):
        yield Given(
            permit.running, permit.ended, permit.serial, permit.limit_dw, permit.by_hand,
            permit.end_s, power_dw, closed, pressed,
        )  # fmt: skip


def key(both: Both) -> "tuple[object, ...]":
    """Name a state: two that go on alike whatever comes have one name."""
    machine = both.machine
    over_ms = machine._over_ms
    return (
        machine.control_state, machine.reason, machine.lost, machine.warning, machine.bypassed,
        machine._serial, machine._end_s, *machine._trips, machine._retry_ms, machine._hold_ms,
        None if over_ms is None else min(over_ms, SMALL.overload_ms), machine._again_ms,
        machine._attempts and min(machine._attempts, 2), machine._hand, machine._ticks is None,
        both.kept[0], *name(both.house), *name(both.kept[1]),
    )  # fmt: skip


def name(house: House) -> "tuple[object, ...]":
    """Name a state of the model: what is longer ago than anything lasts is one."""
    now = house.now or 0
    return (
        *house.lasting(), house.warned, house.hand, house.kept, house.blind, house.now is None,
        *(now - at for at in house.trips),
        min(now - house.cut, SMALL.retry_ms) if house.why == wire.REASON_OVERLOAD else 0,
        None if house.moved is None else min(now - house.moved, SMALL.apart_ms),
        min(house.driven, 2), house.driven and min(now - house.drove, SMALL.again_most_ms),
        None if house.above is None else min(house.above, SMALL.overload_ms),
    )  # fmt: skip


def unit(both: Both) -> Both:
    """Return a copy to go on with, at the time 0."""
    machine = Supply.__new__(Supply)
    machine.__dict__.update(both.machine.__dict__)
    machine._trips = list(machine._trips)
    house = copy(both.house)
    return Both(machine, house, both.kept)


def visit(states_most: int) -> "tuple[int, int, bool]":
    """Compare both in each state they can come to, with each input, and cut at each moment.

    Returns how many states, how many steps, and whether these were all.
    """
    given_all = list(inputs())
    begin = [Both.new(SMALL, closed) for closed in (True, False, None)]
    begin += [Both(Supply(b"", c), lost(SMALL, c), (b"", lost(SMALL, c)))
              for c in (True, False, None)]  # fmt: skip
    first = {key(both): both for both in begin}
    known, waiting = set(first), deque(first.values())
    steps, whole = 0, True
    while waiting:
        both = waiting.popleft()
        now = both.house.now or 0
        for given in given_all:
            after = unit(both)
            steps += 1
            sample = now // UNIT_MS + 1
            kepts = after.step(now + UNIT_MS, given, T0, sample, UNIT_MS)
            coming = [after]
            if len(kepts) == 2 or kepts[0] is not both.kept:
                coming += [
                    after.restarted(kept, closed)
                    for kept in kepts
                    for closed in (True, False, None)
                ]
            for one in coming:
                name = key(one)
                if name in known:
                    continue
                if len(known) == states_most:
                    whole = False
                    continue
                known.add(name)
                waiting.append(one)
    return len(known), steps, whole


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the firmware keep the small numbers, with which all states can be visited."""
    for constant, value in (
        ("HOLD_MS", SMALL.apart_ms), ("OVERLOAD_MS", SMALL.overload_ms),
        ("RETRY_MS", SMALL.retry_ms), ("TRIPS_MOST", SMALL.retries),
        ("TRIPS_WINDOW_MS", SMALL.window_ms), ("AGAIN_MOST_MS", SMALL.again_most_ms),
    ):  # fmt: skip
        monkeypatch.setattr(firmware, constant, value)


@pytest.mark.usefixtures("small")
def test_the_states_nearest_to_the_start() -> None:
    states, steps, whole = visit(100)
    assert not whole
    assert states == 100
    assert steps == 100 * len(list(inputs()))


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_every_state_with_every_input() -> None:
    began = time.monotonic()
    states, steps, whole = visit(2_000_000)
    assert whole
    record("supply table", states=states, steps=steps, s=round(time.monotonic() - began))


def test_the_numbers_are_those_of_the_page() -> None:
    true = Rules()
    assert (
        true.apart_ms, true.overload_ms, true.retry_ms,
    ) == (firmware.HOLD_MS, firmware.OVERLOAD_MS, firmware.RETRY_MS)  # fmt: skip
    assert (
        true.retries, true.window_ms, true.again_most_ms,
    ) == (firmware.TRIPS_MOST, firmware.TRIPS_WINDOW_MS, firmware.AGAIN_MOST_MS)  # fmt: skip
    assert true.behind_dw == firmware.OPEN_MOST_DW


# Random lives, with the true numbers


class Chance(random.Random):
    """Draw what comes next for a house: most things last, and some chatter."""

    def permit(self, was: Given) -> Given:
        ended = self.choice((0, 2, 3)) if was.serial else 1
        if self.random() < 0.3:
            return Given(ended=ended, serial=was.serial)
        return Given(
            running=True, serial=max(1, was.serial + self.choice((0, 0, 1))),
            limit_dw=self.choice((0, LIMIT_DW)), by_hand=self.random() < 0.25,
            end_s=END_S + DAY_S * self.randrange(3),
        )  # fmt: skip

    def pause_ms(self, calm: float) -> int:
        if self.random() < calm:
            return self.choice((100, 101, 250, 1000, 1000))
        return self.choice((500, 3000, 10_000, 61_000, 300_000, 1_800_000, 7 * 3_600_000))


def live(seed: int, steps: int) -> "tuple[int, int]":
    """Lead both through the same life; returns how many moves and how many restarts it had."""
    chance = Chance(seed)
    calm = chance.choice((0.9, 0.99, 0.999, 1.0))
    news = chance.choice((0.02, 0.0005))  # how often permits and loads change
    chatter = chance.choice((0.0, 0.0, 0.02, 0.5))  # of the contactor, or its auxiliary contact
    period_ms = chance.choice((1000, 1000, 3000, 10_000))
    blind = chance.random() < 0.2
    latching = chance.random() < 0.5
    closed = False
    both = Both.new(Rules(), None if blind else closed)
    now, began, permit, power_dw = chance.randrange(1 << 30), 0, Given(ended=1), 100
    if chance.random() < 0.5:
        permit = Given(running=True, serial=1, limit_dw=LIMIT_DW, end_s=END_S)
        power_dw = 9000
    not_before_s = T0
    moves = restarts = 0
    for _ in range(steps):
        now += chance.pause_ms(calm)
        not_before_s += chance.choice((0, 0, 0, 1, 3600, DAY_S) if calm < 0.99 else (0, 0, 1))
        if chance.random() < news:
            permit = chance.permit(permit)
        if chance.random() < 2 * news:
            power_dw = chance.choice((0, 100, 101, LIMIT_DW, LIMIT_DW + 1, 9000, 9000))
        if chance.random() < chatter:
            closed = not closed
        given = Given(
            permit.running, permit.ended, permit.serial, permit.limit_dw, permit.by_hand,
            permit.end_s, None if chance.random() < 0.1 else power_dw,
            None if blind and both.house.moved is None else closed, chance.random() < 0.03,
        )  # fmt: skip
        kepts = both.step(now, given, not_before_s, (now - began) // period_ms, period_ms)
        move = both.machine.move
        if move is not None:
            moves += 1
        cut = chance.random() < (0.1 if move is not None else 0.002)
        if move is not None and not (cut and chance.random() < 0.5):
            closed = move if chance.random() < 0.95 else closed  # or it sticks
        if cut:  # in an operation: before or after the record, and the move
            restarts += 1
            closed = closed and latching
            both = both.restarted(chance.choice(kepts), None if blind else closed)
            now = chance.randrange(1 << 30)
    return moves, restarts


def lives(seeds: range, steps: int) -> "tuple[int, int]":
    """Return the moves and restarts of many lives."""
    sums = [live(seed, steps) for seed in seeds]
    return sum(moves for moves, _ in sums), sum(restarts for _, restarts in sums)


def test_random_lives() -> None:
    moves, restarts = lives(range(40), 2000)
    assert moves > 500
    assert restarts > 100


@pytest.mark.long
def test_many_random_lives() -> None:
    began = time.monotonic()
    moves, restarts = lives(range(1000, 4000), 5000)
    took_s = round(time.monotonic() - began)
    record("supply lives", steps=15_000_000, moves=moves, restarts=restarts, s=took_s)


@pytest.mark.parametrize(
    "constant", ["HOLD_MS", "OVERLOAD_MS", "RETRY_MS", "TRIPS_MOST", "OPEN_MOST_DW"]
)
def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch, constant: str) -> None:
    monkeypatch.setattr(firmware, constant, 2 * getattr(firmware, constant))
    with pytest.raises(AssertionError):
        lives(range(200), 2000)
