"""Keep two times: the one that frames are stamped with, and the one that permits expire by.

`now()` follows the real-time clock once network or signed time has set it. `not_before()` is the
latest instant that the meter has provably lived through: the greatest of what it saved and of what
the signers signed, plus the milliseconds it was energised since. Network time never moves it, so
that a forged answer can neither cut a house nor stretch a permit. The two need not agree: the
real-time clock may be wrong, late, or of a rehearsal that runs faster than the ticks.
"""

import struct

from wire import EVENT_CLOCK_SET, TRUST_NETWORK, TRUST_NONE, TRUST_SIGNED

EARLIEST_S = 1735689600  # 2025-01-01; before that no Parwana meter existed
SIGNED_WINDOW_S = 7200  # how long after its issue a signed time may arrive and still confirm

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
        self._signed_s = 0
        self._ahead_s = 0  # how far the last known stamp was ahead of not_before
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
        """Return (Unix seconds, trust); with trust 0 the seconds are an estimate."""
        lived_s = self.not_before()
        if self._trust == TRUST_NONE:
            return lived_s + self._ahead_s, TRUST_NONE
        return self._wall(), self._trust

    def lived(self, time_s):
        """Move `not_before` up to a time that the signers signed, and nothing else."""
        forward_s = time_s - self.not_before()
        if forward_s > 0:
            self._not_before_s = time_s
            self._ms = 0
            self._ahead_s = max(0, self._ahead_s - forward_s)

    def network(self, time_s):
        """Take network time: set the real-time clock, at most to trust 1.

        A time that `not_before` disproves is refused. Signed trust survives a correction within
        the window, unless it goes behind what was signed. Returns an event (code, a, b, c) or
        None.
        """
        if not self._plausible(time_s):
            return None
        old = self.now()
        signed = (
            old[1] == TRUST_SIGNED
            and abs(time_s - old[0]) <= SIGNED_WINDOW_S
            and time_s + _STEP_S >= self._signed_s
        )
        return self._set(old, time_s, TRUST_SIGNED if signed else TRUST_NETWORK)

    def signed(self, time_s):
        """Take a verified time frame's issued_at_s: move `not_before`, confirm or correct `now`.

        A signed time proves that it is not earlier. It confirms a clock that is at most the window
        ahead of it; a clock further ahead may be right and the frame late, so its trust stays.
        Returns an event (code, a, b, c) or None.
        """
        old = self.now()
        self.lived(time_s)
        self._signed_s = max(self._signed_s, time_s)
        if not self._plausible(time_s):
            return None  # a replay of long ago says nothing about now
        if old[1] == TRUST_NONE:
            return self._set(old, self.not_before(), TRUST_SIGNED)
        if old[0] > time_s + SIGNED_WINDOW_S:
            return None
        return self._set(old, max(old[0], time_s), TRUST_SIGNED)

    def save(self):
        """Return the record (9 bytes) that the next start needs. Save it every few minutes."""
        lived_s = self.not_before()
        return struct.pack(_SAVED, _VERSION, lived_s, min(max(lived_s, self.now()[0]), _LATEST_S))

    def _restore(self, saved):
        if len(saved) != struct.calcsize(_SAVED) or saved[0] != _VERSION:
            self.lost = True
            return
        _, self._not_before_s, stamp_s = struct.unpack(_SAVED, saved)
        self._ahead_s = max(0, stamp_s - self._not_before_s)

    def _plausible(self, time_s):
        return EARLIEST_S <= time_s <= _LATEST_S and time_s + SIGNED_WINDOW_S >= self.not_before()

    def _set(self, old, time_s, trust):
        if time_s != old[0] or old[1] == TRUST_NONE:
            self._set_wall(time_s)
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
