"""The supply of a house as docs/supply.md tells it: a second opinion on firmware/supply.py.

Written from that page and docs/protocol.md 1.2 and 1.3 alone, with times of the day where the
firmware counts down. Times in ms.
"""

from copy import copy
from dataclasses import dataclass, field

DAY_S = 86400

DISCONNECTED, RECONNECTED, READY, WARNING, LOCKED, BYPASSED = 9, 10, 11, 14, 15, 28
NEVER, EXPIRED, USED_UP, OVERLOAD, OVERLOAD_LOCKED, NEW_PERMIT, RETRY, BUTTON, RESTORED = range(
    1, 10
)


@dataclass(frozen=True)
class Rules:
    """The numbers of docs/supply.md; smaller ones make all states few enough to visit."""

    apart_ms: int = 10_000
    overload_ms: int = 10_000
    retry_ms: int = 60_000
    retries: int = 5
    window_ms: int = 1_800_000
    again_most_ms: int = 6 * 3_600_000
    behind_dw: int = 100  # more of it behind an open contactor is a load


@dataclass(frozen=True)
class Given:
    """What a meter sees at one moment.

    `running` and `ended` are what the permits say: they run, or why they do not (2, 3), or
    neither: 0 nobody knows, 1 there never was one.
    """

    running: bool = False
    ended: int = 0
    serial: int = 0
    limit_dw: int = 0
    by_hand: bool = False
    end_s: int = 0
    power_dw: int | None = None
    closed: bool | None = False
    pressed: bool = False


@dataclass
class House:
    """Connected or not, why, and what was when."""

    rules: Rules
    on: bool = False
    ready: bool = False
    why: int = NEVER
    serial: int = 0
    trips: tuple[int, ...] = ()
    cut: int = 0
    bypass_told: bool = False
    warned: tuple[int, int] = (0, 0)  # of which end, how often
    now: int | None = None
    kept: bool = False  # it goes on from a record
    blind: bool = False  # the record was lost, so where the contactor was is not known either
    moved: int | None = None
    driven: int = 0  # in vain, since the contactor was last where it should be
    drove: int = 0
    hand: bool = False
    sample: int | None = None
    sampled: int = 0
    above: int | None = None  # for how long samples in a row prove too much power
    events: list[tuple[int, int]] = field(default_factory=list)
    move: bool | None = None

    def lasting(self) -> tuple[object, ...]:
        """Return what a restart must not forget."""
        return self.on, self.ready, self.why, self.serial, self.bypass_told

    def restarted(self) -> "House":
        """Return the house after a restart from what was kept now."""
        after = copy(self)
        after.kept, after.moved, after.driven, after.hand = True, None, 0, False
        after.blind = False
        after.sample, after.above = None, None
        return after

    def step(self, now: int, given: Given, not_before_s: int, sample: int, period_ms: int) -> None:
        """Live on until `now`: `move` and `events` (code, reason) say what happened."""
        self.events, self.move = [], None
        begins = self.moved is None and (self.kept or given.running)
        if self.now is not None and self.kept:  # all that was kept moves to the new time
            shift = now - self.now
            self.trips = tuple(at + shift for at in self.trips)
            self.cut += shift
        if begins and (self.kept or self.now is None):
            self.moved = now  # a move just before the restart is possible
        if self.now is None or self.kept:
            self.sampled = now
        self.now, self.kept = now, False
        self.trips = tuple(at for at in self.trips if now - at < self.rules.window_ms)
        seen = self.on if self.blind and given.closed is None else given.closed
        if seen is self.on:
            self.driven = 0
        self._measure(now, given, seen, sample, period_ms)
        if given.running:
            self._warn(given.end_s, not_before_s)
        rests = self.moved is not None and now - self.moved < self.rules.apart_ms
        ended = 0 if given.running or given.ended == NEVER else given.ended
        if self.on:
            if given.running and given.serial > self.serial:
                self.serial, self.trips = given.serial, ()
            if not rests:
                self._while_on(now, given, seen, ended)
        else:
            self.hand = self.hand or given.pressed
            self._while_off(now, given, ended, rests)
            if not self.on and seen is not False and not rests:
                self._drive(now, False)

    def _measure(
        self, now: int, given: Given, seen: bool | None, sample: int, period_ms: int
    ) -> None:
        limit_dw: int | None = given.limit_dw if given.running else 0
        if self.on and not (limit_dw and seen):
            self.above = None
            return
        if given.power_dw is None or sample == self.sample:
            return
        if given.power_dw <= (limit_dw if self.on and limit_dw else self.rules.behind_dw):
            self.above = None
        elif self.above is None:
            self.above = 0
        else:
            self.above += min(now - self.sampled, period_ms)
        self.sample, self.sampled = sample, now

    def _proven(self, given: Given) -> bool:
        proven = self.above is not None and self.above >= self.rules.overload_ms
        return proven and given.power_dw is not None

    def _warn(self, end_s: int, not_before_s: int) -> None:
        told = self.warned[1] if self.warned[0] == end_s else 0
        left_s = end_s - not_before_s
        due = sum(left_s <= days * DAY_S for days in (7, 3, 1)) if left_s >= 0 else told
        if due > told:
            self.events.append((WARNING, (7, 3, 1)[due - 1]))
        self.warned = end_s, max(due, told)

    def _while_on(self, now: int, given: Given, seen: bool | None, ended: int) -> None:
        if ended:
            self._open(now, ended)
        elif self._proven(given):
            self.trips += (now,)
            self.cut = now
            locks = len(self.trips) > self.rules.retries
            self._open(now, OVERLOAD_LOCKED if locks else OVERLOAD)
            if locks:
                self.events.append((LOCKED, len(self.trips)))
        elif seen is not True:
            self._drive(now, True)

    def _while_off(self, now: int, given: Given, ended: int, rests: bool) -> None:
        if self._proven(given) and not self.bypass_told and self.why != NEVER:
            self.bypass_told = True
            self.events.append((BYPASSED, self.why))
        if ended and ended != self.why:
            self.ready, self.why, self.hand = False, ended, False
        if not given.running:
            return
        if self.why in (OVERLOAD, OVERLOAD_LOCKED) and given.serial > self.serial:
            reason = NEW_PERMIT
        elif self.why == OVERLOAD:
            reason = RETRY if now - self.cut >= self.rules.retry_ms else 0
        elif self.why == OVERLOAD_LOCKED:
            reason = BUTTON if self.hand else 0
        elif not given.by_hand:
            reason = RESTORED if self.why == RESTORED else NEW_PERMIT
        elif not self.ready:
            self.ready, self.why, self.hand = True, NEW_PERMIT, False
            self.events.append((READY, NEW_PERMIT))
            return
        else:
            reason = BUTTON if self.hand else 0
        if reason and not rests:
            self.trips = self.trips if reason == RETRY else ()
            self.on, self.ready, self.why, self.bypass_told = True, False, reason, False
            self.hand = False
            self.serial = max(self.serial, given.serial)
            self._moves(now, True)
            self.events.append((RECONNECTED, reason))

    def _open(self, now: int, why: int) -> None:
        self.on, self.why = False, why
        self._moves(now, False)
        self.events.append((DISCONNECTED, why))

    def _drive(self, now: int, closed: bool) -> None:
        """Drive a contactor that is not where it should be, unless that was done not long ago."""
        wait_ms = min(self.rules.apart_ms << max(self.driven - 1, 0), self.rules.again_most_ms)
        if self.driven and now - self.drove < wait_ms:
            return
        self.driven += 1
        self.drove = now
        self._moves(now, closed)
        self.events.append((RECONNECTED if closed else DISCONNECTED, RESTORED))

    def _moves(self, now: int, closed: bool) -> None:
        self.move, self.moved, self.above = closed, now, None


def lost(rules: Rules, closed: bool | None) -> House:
    """Return a house whose record is lost: the contactor is believed to be right."""
    return House(rules, on=closed is not False, why=RESTORED, kept=True, blind=True)
