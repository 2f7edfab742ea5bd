"""Keep two times: the one that frames are stamped with, and the one that permits expire by.

`now()` follows the real-time clock once network or signed time has set it, and goes back only
where signed time says so. `not_before()` is the latest instant that the meter has provably lived
through: the greatest of what it saved and of what the signers signed, plus the milliseconds it was
energised since. Network time never moves it, so that a forged answer can neither cut a house nor
stretch a permit. The two need not agree: the real-time clock may be wrong, late, or of a rehearsal
that runs faster than the ticks.

Network time can be forged, signed time only be held back: docs/protocol.md, 6.1, has the rules.
"""

import struct

from version import BUILT_S
from wire import EVENT_CLOCK_SET, TRUST_NETWORK, TRUST_NONE, TRUST_SIGNED

NETWORK_SPAN_S = 94867200  # 3 years: as far past what is proven, network time is believed
SIGNED_WINDOW_S = 7200  # how much later than signed time a clock may be and still agree with it

_DAY_S = 86400
_TICKS_MASK = 0x3FFFFFFF  # ticks wrap at 2**30 on 32-bit boards, at a multiple of it elsewhere
_TICKS_HALF = 0x20000000
_STEP_S = 60  # a smaller correction is no event
_LATEST_S = 0xFFFFFFFF
_SAVED = ">BII"
_VERSION = 1


class Clock:
    """Tell the time and how far it can be trusted.

    `wall()` returns the real-time clock in Unix seconds, `set_wall(time_s)` sets it, `ticks_ms()`
    is `time.ticks_ms`. `saved` is what `save` returned before the restart, None at the first
    start, b"" when it was corrupt: then `lost` is True and the time starts from nothing until the
    next signed one.
    """

    def __init__(self, wall, set_wall, ticks_ms, saved):
        self._wall = wall
        self._set_wall = set_wall
        self._ticks_ms = ticks_ms
        self._ticks = ticks_ms()
        self._trust = TRUST_NONE
        self._not_before_s = 0
        self._signed_s = 0  # the newest signed time; at the start, what was proven before it
        self._lead_s = None  # how far `ran` was ahead of it; None: none was heard since the start
        self._put_s = 0  # how far `wall` was put forward since the start
        self._ahead_s = 0  # how far the last known stamp was ahead of not_before
        self._stamp_s = 0
        self._ms = 0
        self.lost = False
        if saved is not None:
            self._restore(saved)

    def not_before(self):
        """Return Unix seconds that have certainly passed. Call at least once in six days."""
        ticks = self._ticks_ms()
        passed = (ticks - self._ticks) & _TICKS_MASK
        self._ticks = ticks
        if passed < _TICKS_HALF:  # else the ticks went back: nothing is proven
            self._ms += passed
            if self._ms >= 1000:
                self._not_before_s += self._ms // 1000
                self._ms %= 1000
        return self._not_before_s

    def now(self):
        """Return (Unix seconds, trust) to stamp a frame with; with trust 0 an estimate.

        Only here is it seen to that a stamp fits its 4 bytes, is not before `not_before`, and
        does not go back: a clock put back by network time is waited for.
        """
        lived_s = self.not_before()
        time_s = lived_s + self._ahead_s if self._trust == TRUST_NONE else self._wall()
        self._stamp_s = min(max(time_s, lived_s, self._stamp_s), _LATEST_S)
        return self._stamp_s, self._trust

    def resume(self, stamp_s):
        """Go on no earlier than `stamp_s`, which a frame had before the restart.

        One that no network time may have is passed over: it was made by a firmware that took any.
        """
        lived_s = self.not_before()
        if stamp_s <= max(BUILT_S, lived_s) + NETWORK_SPAN_S:
            self._ahead_s = max(self._ahead_s, stamp_s - lived_s)

    def ran(self):
        """Return seconds that go on as the real-time clock runs, whoever sets it: only their
        difference counts. Nothing forged moves them, and in a rehearsal they keep up with it.
        """
        return self._wall() - self._put_s

    def lived(self, time_s):
        """Move `not_before` up to a time that the signers signed, and nothing else."""
        forward_s = time_s - self.not_before()
        if forward_s > 0:
            self._not_before_s = time_s
            self._ms = 0
            self._ahead_s = max(0, self._ahead_s - forward_s)

    def believes(self, time_s):
        """Tell whether stamps would follow network time `time_s`.

        They would not before the firmware was built, nor further past what is proven than the
        span, nor further back than the window, nor where a clock of trust 2 disagrees.
        """
        now_s, trust = self.now()
        latest_s = min(max(BUILT_S, self.not_before()) + NETWORK_SPAN_S, _LATEST_S)
        if not max(BUILT_S, now_s - SIGNED_WINDOW_S) <= time_s <= latest_s:
            return False
        return trust < TRUST_SIGNED or self._agrees(time_s)

    def network(self, time_s):
        """Take network time: set the real-time clock.

        If it is believed, trust is 2 where it agrees with a signed time heard since the start,
        else 1. If not, a clock that nothing better holds is set all the same, since certificates
        are judged by it, and without them no signed time may come; stamps go on by the ticks, with
        trust 0. Returns an event (code, a, b, c) or None.
        """
        believed = self.believes(time_s)
        old = self.now()
        if believed:
            trust = TRUST_NETWORK
            if self._agrees(time_s) and self._agrees(max(time_s, old[0])):  # a stamp may stand
                trust = TRUST_SIGNED
            self._put(time_s)
            return self._told(old, time_s, trust)
        held = old[1] == TRUST_SIGNED or (old[1] == TRUST_NETWORK and time_s > old[0])
        if held or not BUILT_S <= time_s <= _LATEST_S:
            return None
        self._ahead_s = old[0] - self._not_before_s
        self._put(time_s)
        return self._told(old, old[0], TRUST_NONE)

    def signed(self, time_s):
        """Take a verified time frame's issued_at_s: move `not_before`, confirm or correct `now`.

        Whoever carries it can hold it back, so one that is no newer than what was proven before
        says nothing of now. The first since the start may be late still: it puts a clock forward,
        with trust 1, and confirms one that agrees. From the second on it corrects in both
        directions. Returns an event (code, a, b, c) or None.
        """
        old = self.now()
        live = self._lead_s is not None
        # In a rehearsal the ticks are behind, so the last one is gone on with by the clock, too.
        due_s = max(self.not_before(), self.ran() - self._lead_s if live else 0)
        late = time_s <= self._signed_s or time_s + SIGNED_WINDOW_S < due_s
        self.lived(time_s)
        if late:
            return None
        self._signed_s = time_s
        self._lead_s = self.ran() - time_s
        ahead_s = old[0] - time_s
        if ahead_s > SIGNED_WINDOW_S and not live:
            return None  # the clock is wrong or this is late: the next one decides
        new_s = old[0] if 0 <= ahead_s <= SIGNED_WINDOW_S else self.not_before()
        if new_s != old[0] or old[1] == TRUST_NONE:
            self._stamp_s = new_s
            self._put(new_s)
        confirmed = live or (old[1] != TRUST_NONE and ahead_s >= -SIGNED_WINDOW_S)
        return self._told(old, new_s, TRUST_SIGNED if confirmed else TRUST_NETWORK)

    def save(self):
        """Return the record (9 bytes) that the next start needs. Save it every few minutes."""
        stamp_s = self.now()[0]
        return struct.pack(_SAVED, _VERSION, min(self._not_before_s, _LATEST_S), stamp_s)

    def _restore(self, saved):
        if len(saved) != struct.calcsize(_SAVED) or saved[0] != _VERSION:
            self.lost = True
            return
        _, self._not_before_s, stamp_s = struct.unpack(_SAVED, saved)
        self._signed_s = self._not_before_s
        self.resume(stamp_s)

    def _agrees(self, time_s):
        """Tell whether a signed time since the start, gone on with the clock, confirms this."""
        if self._lead_s is None:
            return False
        return -_STEP_S <= self._lead_s + time_s - self.ran() <= SIGNED_WINDOW_S

    def _put(self, time_s):
        self._put_s += time_s - self._wall()
        self._set_wall(time_s)

    def _told(self, old, time_s, trust):
        self._trust = trust
        if trust == old[1] and abs(time_s - old[0]) < _STEP_S:
            return None
        return EVENT_CLOCK_SET, old[0], time_s, trust


def local_day(time_s, utc_offset_s):
    """Return the number of the local day, counted from 1970-01-01."""
    return (time_s + utc_offset_s) // _DAY_S


def weekday(time_s, utc_offset_s):
    """Return the local weekday, 0 = Monday to 6 = Sunday."""
    return (local_day(time_s, utc_offset_s) + 3) % 7  # 1970-01-01 was a Thursday
