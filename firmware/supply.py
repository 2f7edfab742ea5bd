"""Decide whether the house is connected: the disconnect-control table, as a state machine.

It takes what the permits grant, the power, the contactor's position and the button, and answers
with events and at times a move of the contactor. It never asks the network, and of the clock it
knows only `not_before`. A silent sensor, an unknown clock, a lost record or a restart moves
nothing. Source: DLMS Blue Book, Disconnect control (class 70); docs/protocol.md 1.2 and 1.3.
"""

import struct

import wire
from wire import CONTROL_CONNECTED, CONTROL_DISCONNECTED, CONTROL_READY

HOLD_MS = 10000  # the least between two operations of the contactor
OVERLOAD_MS = 10000  # how long samples in a row may show more power than the limit
RETRY_MS = 60000
TRIPS_MOST = 5  # that are retried ...
TRIPS_WINDOW_MS = 1800000  # ... within this time
OPEN_MOST_DW = 100  # that a sensor may show behind an open contactor: the meter's own
AGAIN_MOST_MS = 6 * 3600 * 1000  # between attempts on a contactor that does not follow

_DAY_S = 86400
_WARNING_DAYS = (7, 3, 1)
_TICKS_MASK = 0x3FFFFFFF  # ticks wrap at 2**30 on 32-bit boards, at a multiple of it elsewhere
_TICKS_HALF = 0x20000000
_VERSION = 1
_SAVED = ">BBBIIBIB"
_SAVED_SIZE = struct.calcsize(_SAVED)


class Supply:
    """Keep control_state (wire.CONTROL_*) and the reason of its last change (wire.REASON_*).

    saved    what `save` returned last, None at the first start, b"" when it was corrupt: then
             `lost` is True and the contactor's position stands in for the state
    closed   the contactor's position now; None where nobody can tell, as on a latching one
             without an auxiliary contact: then it is driven once to where it was last

    After each step: `move` is None, or the position (True = closed) that the contactor has to take
    now, once `save` is stored and the events are recorded; then call `operated`. Where `repeats`
    is True, the permits alone led to the move: a restart from the last record would make it
    again, so it need not wait. `dirty` is True when `save` returns something new; whoever stored
    it clears it.
    """

    def __init__(self, saved, closed):
        self.control_state = CONTROL_DISCONNECTED
        self.reason = wire.REASON_NO_PERMIT
        self.move = None
        self.repeats = False
        self.dirty = False
        self.lost = False
        self.warning = 0  # how many of the 7, 3 and 1 days' warnings are out
        self.bypassed = False  # power has passed the contactor since it was to open
        self._serial = 0  # the permit under which the contactor moved last
        self._end_s = 0  # what the warnings warn of
        self._trips = []  # ages in ms, oldest first
        self._retry_ms = 0
        self._hold_ms = 0
        self._sample = None  # the number of the sample seen last, ...
        self._sample_age_ms = 0  # ... since when, ...
        self._over_ms = None  # ... and how long it and those before it were above the limit
        self._again_ms = 0  # until a contactor that did not follow is driven again
        self._attempts = 0
        self._hand = False
        self._ticks = None
        if saved is not None:
            # Whether the contactor moved just before the restart is unknown.
            self._hold_ms = HOLD_MS
            self._restore(saved, closed)

    def step(
        self, ticks_ms, grant, not_before_s, power_dw, closed, pressed, sample, period_ms
    ):  # fmt: skip
        """Advance to `ticks_ms`; return events (code, a, b, c), usually none.

        grant     what the permits grant now (permits.Grant)
        power_dw  tenths of a watt, None while the sensor is silent or its sample is old
        closed    the contactor's position, None where nobody can tell
        pressed   True once for each press of the button
        sample    another number for each sample of power_dw, which counts once
        period_ms the time between two samples, the most that one proves
        """
        self.move = None
        if self._ticks is None and grant.running:
            self._hold_ms = HOLD_MS  # it may have moved before its first record was written
        elapsed_ms = self._pass(ticks_ms)
        if closed is None and self.lost:
            closed = self.control_state == CONTROL_CONNECTED  # no memory and no eyes: no change
        if closed == (self.control_state == CONTROL_CONNECTED):
            self._again_ms = self._attempts = 0
        self._sample_age_ms += elapsed_ms
        self._watch_power(grant, power_dw, closed, sample, period_ms)
        events = []
        if grant.running:
            self._warn(events, grant, not_before_s)
        if self.control_state == CONTROL_CONNECTED:
            self._connected(events, grant, power_dw, closed)
        else:
            self._hand = self._hand or pressed
            self._watch_opening(events, power_dw)
            self._disconnected(events, grant, power_dw or 0, closed)
        return events

    def operated(self, ticks_ms):
        """Start the least time between operations anew: the contactor has moved just now."""
        self._pass(ticks_ms)
        self._hold_ms = HOLD_MS

    def save(self):
        """Return the record (17 to 41 bytes) that the next start needs."""
        head = struct.pack(
            _SAVED,
            _VERSION,
            self.control_state,
            self.reason,
            self._serial,
            self._end_s,
            self.warning | self.bypassed << 7,
            self._retry_ms,
            len(self._trips),
        )
        return head + b"".join(struct.pack(">I", age_ms) for age_ms in self._trips)

    def _restore(self, saved, closed):
        size = len(saved)
        if (
            size < _SAVED_SIZE
            or saved[0] != _VERSION
            or saved[1] > CONTROL_READY
            or saved[_SAVED_SIZE - 1] > TRIPS_MOST + 1
            or size != _SAVED_SIZE + 4 * saved[_SAVED_SIZE - 1]
        ):
            self.lost = True
            self.control_state = CONTROL_DISCONNECTED if closed is False else CONTROL_CONNECTED
            self.reason = wire.REASON_RESTORED
            return
        (
            _,
            self.control_state,
            self.reason,
            self._serial,
            self._end_s,
            self.warning,
            self._retry_ms,
            _,
        ) = struct.unpack_from(_SAVED, saved)
        self.bypassed = self.warning > 0x7F
        self.warning &= 0x7F
        for at in range(_SAVED_SIZE, size, 4):
            self._trips.append(min(TRIPS_WINDOW_MS, struct.unpack_from(">I", saved, at)[0]))

    def _pass(self, ticks_ms):
        elapsed_ms = 0
        if self._ticks is not None:
            elapsed_ms = (ticks_ms - self._ticks) & _TICKS_MASK
            if elapsed_ms >= _TICKS_HALF:
                elapsed_ms = 0  # the ticks went back
        self._ticks = ticks_ms
        self._hold_ms = max(0, self._hold_ms - elapsed_ms)
        self._retry_ms = max(0, self._retry_ms - elapsed_ms)
        self._again_ms = max(0, self._again_ms - elapsed_ms)
        for i in range(len(self._trips)):
            self._trips[i] += elapsed_ms
        while self._trips and self._trips[0] >= TRIPS_WINDOW_MS:
            self._trips.pop(0)
        return elapsed_ms

    def _watch_power(self, grant, power_dw, closed, sample, period_ms):
        """Measure from one sample above the limit to the next; a contactor to be open has its own.

        The first of them proves no time, and none more than its period. A missed one neither
        proves an overload nor its end.
        """
        limit_dw = grant.power_limit_dw
        if self.control_state != CONTROL_CONNECTED:
            limit_dw = closed = OPEN_MOST_DW
        if not (limit_dw and closed):
            self._over_ms = None
        elif power_dw is not None and sample != self._sample:
            if power_dw <= limit_dw:
                self._over_ms = None
            elif self._over_ms is None:
                self._over_ms = 0
            else:
                self._over_ms += min(self._sample_age_ms, period_ms)
            self._sample = sample
            self._sample_age_ms = 0

    def _watch_opening(self, events, power_dw):
        """Tell once of a contactor that is welded or bridged; a feeder's meter has none."""
        if (
            (self._over_ms or 0) >= OVERLOAD_MS
            and power_dw is not None
            and not self.bypassed
            and self.reason != wire.REASON_NO_PERMIT
        ):
            self.bypassed = self.dirty = True
            events.append((wire.EVENT_CONTACTOR_BYPASSED, self.reason, power_dw, 0))

    def _warn(self, events, grant, not_before_s):
        if grant.end_s != self._end_s:
            self._end_s = grant.end_s
            self.warning = 0
            self.dirty = True
        left_s = grant.end_s - not_before_s
        due = self.warning
        while due < len(_WARNING_DAYS) and 0 <= left_s <= _WARNING_DAYS[due] * _DAY_S:
            due += 1
        if due > self.warning:
            self.warning = due
            self.dirty = True
            days = _WARNING_DAYS[due - 1]
            events.append((wire.EVENT_EXPIRY_WARNING, days, grant.end_s, grant.serial))

    def _connected(self, events, grant, power_dw, closed):
        if grant.serial > self._serial and grant.running:
            self._serial = grant.serial
            self._trips = []
            self.dirty = True
        reason = self._money_reason(grant)
        if self._hold_ms:
            return
        if reason:
            self._disconnect(events, reason, grant, power_dw or 0)
        elif power_dw is not None and (self._over_ms or 0) >= OVERLOAD_MS:
            self._trip(events, grant, power_dw)
        elif not closed:
            self._restore_output(events, True, grant, power_dw or 0)

    def _disconnected(self, events, grant, power_dw, closed):
        reason = self._money_reason(grant)
        if reason and reason != self.reason:
            # What cut it first, an overload say, no longer matters.
            self._become(CONTROL_DISCONNECTED, reason)
        if grant.running:
            self._reconnect(events, grant, power_dw)
        if self.control_state != CONTROL_CONNECTED and closed is not False and not self._hold_ms:
            self._restore_output(events, False, grant, power_dw)

    def _reconnect(self, events, grant, power_dw):
        fresh = grant.serial > self._serial
        if self.reason in (wire.REASON_OVERLOAD, wire.REASON_OVERLOAD_LOCKED):
            if fresh:
                reason = wire.REASON_NEW_PERMIT
            elif self.reason == wire.REASON_OVERLOAD:
                reason = 0 if self._retry_ms else wire.REASON_OVERLOAD_RETRY
            else:
                reason = wire.REASON_BUTTON if self._hand else 0
        elif not grant.needs_button:
            lost = self.reason == wire.REASON_RESTORED
            reason = wire.REASON_RESTORED if lost else wire.REASON_NEW_PERMIT
        elif self.control_state != CONTROL_READY:
            self._become(CONTROL_READY, wire.REASON_NEW_PERMIT)
            events.append((wire.EVENT_READY_FOR_RECONNECTION, self.reason, grant.serial, 0))
            reason = 0
        else:
            reason = wire.REASON_BUTTON if self._hand else 0
        if reason and not self._hold_ms:
            if reason != wire.REASON_OVERLOAD_RETRY:
                self._trips = []
            self._connect(events, reason, grant, power_dw)

    def _money_reason(self, grant):
        """Return why the permits no longer carry the supply, 0 while they do or nobody knows."""
        if grant.reason == wire.REASON_NO_PERMIT:
            return (
                0  # where it is connected there was one: its record is gone, and that is unknown
            )
        return grant.reason

    def _trip(self, events, grant, power_dw):
        self._trips.append(0)
        if len(self._trips) <= TRIPS_MOST:
            self._retry_ms = RETRY_MS
            self._disconnect(events, wire.REASON_OVERLOAD, grant, power_dw)
            return
        self._disconnect(events, wire.REASON_OVERLOAD_LOCKED, grant, power_dw)
        events.append((wire.EVENT_OVERLOAD_LOCKED, len(self._trips), power_dw, 0))

    def _restore_output(self, events, closed, grant, power_dw):
        """Drive the contactor to where it should be; ever more rarely if it does not follow."""
        if self._again_ms:
            return
        self._again_ms = min(HOLD_MS << self._attempts, AGAIN_MOST_MS)
        self._attempts = min(self._attempts + 1, 12)
        self._operate(closed)
        code = wire.EVENT_RECONNECTED if closed else wire.EVENT_DISCONNECTED
        events.append((code, wire.REASON_RESTORED, grant.serial, power_dw))

    def _disconnect(self, events, reason, grant, power_dw):
        self._become(CONTROL_DISCONNECTED, reason)
        self._operate(False)
        events.append((wire.EVENT_DISCONNECTED, reason, grant.serial, power_dw))

    def _connect(self, events, reason, grant, power_dw):
        self._become(CONTROL_CONNECTED, reason)
        self._operate(True)
        self.bypassed = False
        self.repeats = reason == wire.REASON_NEW_PERMIT
        self._serial = max(self._serial, grant.serial)
        events.append((wire.EVENT_RECONNECTED, reason, grant.serial, power_dw))

    def _become(self, control_state, reason):
        self.control_state = control_state
        self.reason = reason
        self._hand = False  # a press counts for the state it was made in
        self.dirty = True

    def _operate(self, closed):
        self.move = closed
        self.repeats = False
        self._over_ms = None
        self._hold_ms = HOLD_MS
