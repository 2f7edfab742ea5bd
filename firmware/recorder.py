"""Keep the meter's own state and its journal in step, whatever flash write a power cut hits.

A frame that goes with a change of state is saved in the state's record first, with its sequence,
and appended to the journal after. The record is replaced as a whole, so that is the instant at
which both happened: at the next start, what the journal lacks of the record's frames is appended.
Nothing is lost, nothing is repeated. Several events without a change of state between them need
the record once.
"""

import struct

import wire
from records import save
from recovery import HEAD, RANGE, VERSION

_RANGES_MOST = 16
_TIME = 8  # where a frame has them
_TRUST = 39


class Recorder:
    """Own the sequence: every reading and every event is recorded here.

    `path` is the record's file, `make_register(saved)` returns the register for its saved bytes,
    None when there are none, and raises ValueError for bytes it does not know. Whatever is lost
    is told by an event.
    """

    def __init__(self, path, journal, clock, make_register, log):
        import recovery

        self._path = path
        self._journal = journal
        self._clock = clock
        self._log = log
        self.events = 0
        self.readings = 0
        self._kept = None  # the state that the record holds, without its frames
        self._lost, state = recovery.state(path, journal, log)
        (
            self.boots,
            self.closing_day,  # of the last trusted reading (config.closing_s), plus 1
            self.reading_s,
            self._config_crc,
            self._asked,
            self._overwritten,
            self._told,  # every frame before it was asked past, or told as overwritten
            self.overwrote,
            self._damaged,  # ranges of frames (first, last) told as damaged
            pending,
            saved,
        ) = state
        try:
            self.register = make_register(saved)
        except ValueError as error:
            self._log.error("%s", error)
            self._lost = True
            self.register = make_register(None)
        self.left_s = 0  # when the register was saved before this start, if by signed time, else 0
        if pending and pending[-1][_TRUST] == wire.TRUST_SIGNED:
            self.left_s = struct.unpack_from(">I", pending[-1], _TIME)[0]
        recovery.catch_up(journal, pending, self._asked, log)
        recovery.resume(clock, journal, self.reading_s, log)
        if self._lost:
            last_wh = recovery.last_energy_wh(journal, log)
            self.register.energy_wh = max(self.register.energy_wh, last_wh)

    def made_room(self, error):
        """Let the oldest frames go if `error` is of a full flash; return whether any went."""
        return self._journal.made_room(error)

    @property
    def next(self):
        """The sequence of the next frame."""
        return self._journal.next

    def start(self, cause, version, config_crc):
        """Count this boot and record it: `cause` and `version` are numbers (event 1)."""
        first = self.boots == 0
        changed = not first and config_crc != self._config_crc
        self.boots += 1
        self._config_crc = config_crc
        events = [(wire.EVENT_BOOT, cause, version, self.boots)]
        if changed:
            events.append((wire.EVENT_CONFIG_CHANGED, config_crc, 0, 0))
        if self._lost:
            events.append((wire.EVENT_STATE_LOST, wire.STATE_REGISTER, 0, 0))
        self.record_all(events)

    def record(self, code, a=0, b=0, c=0):
        """Append an event, durably; values out of a frame's range are cut to it."""
        self.record_all([(code, a, b, c)])

    def record_all(self, events):
        """Append events (code, a, b, c) together with the state they tell of."""
        first = self.next
        frames = [self._event(first + i, *events[i]) for i in range(len(events))]
        self._commit(frames)
        self.events += len(frames)

    def reading(self, flags, time_s, trust, day, values):
        """Append a reading, together with the state; `values` follow energy_wh in the frame."""
        if self.overwrote:
            flags |= wire.FLAG_JOURNAL_OVERWROTE
        energy_wh = self.register.energy_wh
        frame = wire.pack_reading(flags, self.next, time_s, energy_wh, *values, trust)
        before = self.reading_s, self.closing_day, self.overwrote
        self.reading_s = time_s
        if trust:
            self.closing_day = day + 1
        self.overwrote = False
        try:
            self._commit([frame])
        except OSError:  # the flash is full: it is to be tried again
            self.reading_s, self.closing_day, self.overwrote = before
            raise
        self.readings += 1

    def asked(self, sequence):
        """Note that a relay holds everything below `sequence`."""
        self._asked = max(self._asked, sequence)

    def knows_damaged(self, sequence):
        """Return whether an event tells of that frame's damage."""
        return any(first <= sequence <= last for first, last in self._damaged)

    def damaged(self, first, last):
        """Tell by one event that the frames `first` to `last` cannot be read any more."""
        before = self._damaged
        held = [pair for pair in before if pair[1] >= self._journal.oldest]
        self._damaged = held[1 - _RANGES_MOST :] + [(first, last)]
        try:
            self.record(wire.EVENT_STATE_LOST, wire.STATE_JOURNAL, first, last)
        except OSError:
            self._damaged = before
            raise

    def _event(self, sequence, code, a, b, c):
        time_s, trust = self._clock.now()
        a, b, c = (min(max(0, int(value)), 0xFFFFFFFF) for value in (a, b, c))
        return wire.pack_event(code, sequence, time_s, self.register.energy_wh, a, b, c, trust)

    def _commit(self, frames):
        head = struct.pack(
            HEAD,
            VERSION,
            self.boots,
            self.closing_day,
            self.reading_s,
            self._config_crc,
            self._asked,
            self._overwritten,
            self._told,
            self.overwrote,
            len(self._damaged),
            len(frames),
        )
        rest = b"".join(struct.pack(RANGE, *pair) for pair in self._damaged)
        rest += self.register.save()
        state = head[:-1] + rest
        kept, self._kept = self._kept, None
        if state != kept:  # else the journal alone keeps the frames whole
            save(self._path, head + b"".join(frames) + rest, self._journal.made_room)
        for frame in frames:
            self._journal.append(frame)
        self._kept = state
        self._tell_overwritten()

    def _tell_overwritten(self):
        """Tell of frames that went unasked, whenever they went: before a power cut, or for room.

        The event and `_told` are durable in one step, so each is counted once.
        """
        before = self._told, self._overwritten
        oldest = self._journal.oldest
        first = max(self._told, self._asked)
        if first >= oldest:
            return
        self.overwrote = True
        self._told = oldest
        self._overwritten += oldest - first
        event = (wire.EVENT_JOURNAL_OVERWRITE, first, oldest - 1, self._overwritten)
        try:
            self.record_all([event])
        except OSError as error:  # what led here is recorded; this is told with what comes next
            self._told, self._overwritten = before
            self._log.error("overwritten frames could not be told: %s", error)
