"""Keep the meter's own state and its journal in step, whatever flash write a power cut hits.

A frame that goes with a change of state is saved in the state's record first, with its sequence,
and appended to the journal after. The record is replaced as a whole, so that is the instant at
which both happened: at the next start, what the journal lacks of the record's frames is appended.
Nothing is lost, nothing is repeated. Several events without a change of state between them need
the record once.
"""

import struct

import wire
from records import RecordError, load, save

_HEAD = ">BIIIIIIIBBB"
_HEAD_SIZE = 32
_VERSION = 2
_HEAD_SIZE_1 = 26  # of version 1, which ended with `overwritten` and how many frames follow
_RANGE = ">II"
_RANGE_SIZE = 8
_RANGES_MOST = 16
_SPARE = 285  # sequences that may be used without the record's knowledge
_NEWEST_FRAMES = 8  # that are looked at for one that can be read
_TIME = 8  # where a frame has them
_TRUST = 39


class Recorder:
    """Own the sequence: every reading and every event is recorded here.

    `path` is the record's file, `make_register(saved)` returns the register for its saved bytes,
    None when there are none, and raises ValueError for bytes it does not know. Whatever is lost
    is told by an event.
    """

    def __init__(self, path, journal, clock, make_register, log):
        self._path = path
        self._journal = journal
        self._clock = clock
        self._log = log
        self.boots = 0
        self.closing_day = 0  # number of the last trusted reading's day (config.closing_s), plus 1
        self.reading_s = 0
        self.events = 0
        self.readings = 0
        self.overwrote = False
        self._config_crc = 0
        self._asked = 0
        self._overwritten = 0
        self._told = journal.oldest  # every frame before it was asked past, or told as overwritten
        self._damaged = []  # ranges of frames (first, last) told as damaged
        self._lost = False
        self.left_s = 0  # when the register was saved before this start, if by signed time, else 0
        self._kept = None  # the state that the record holds, without its frames
        pending, saved = self._load()
        try:
            self.register = make_register(saved)
        except ValueError as error:
            self._log.error("%s", error)
            self._lost = True
            self.register = make_register(None)
        if pending and pending[-1][_TRUST] == wire.TRUST_SIGNED:
            self.left_s = struct.unpack_from(">I", pending[-1], _TIME)[0]
        self._catch_up(pending)
        self._resume()
        if self._lost:
            self.register.energy_wh = max(self.register.energy_wh, self._last_energy_wh())

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
            _HEAD,
            _VERSION,
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
        rest = b"".join(struct.pack(_RANGE, *pair) for pair in self._damaged)
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

    def _catch_up(self, pending):
        """Append what the journal lacks of the record's frames.

        A journal that lacks frames before these has lost its newest, and perhaps more than the
        record knows of. It goes on where no sequence can have been used.
        """
        journal = self._journal
        lost = self._asked > journal.next
        for frame in pending:
            sequence = struct.unpack_from(">I", frame, 4)[0]
            lost = lost or sequence > journal.next
            journal.skip(sequence)
            if sequence == journal.next:
                journal.append(frame)
        if lost:
            self._log.error("the newest frames of the journal are lost")
            journal.skip(max(journal.next, self._asked) + _SPARE)

    def _resume(self):
        """Have the clock go on no earlier than the newest frames, which a cut left here.

        What was before an event was not later, but where signed time put the clock back: then the
        event tells. What was before a reading was in its interval at the latest: it takes two.
        """
        times = []
        for frame in self._newest(_NEWEST_FRAMES):
            times.append(frame.time_s)
            if len(times) == 2 or isinstance(frame, wire.Event):
                break
        for time_s in times or [self.reading_s]:
            self._clock.resume(time_s)

    def _last_energy_wh(self):
        """Return the energy of the newest frame that can be read: the register never goes back."""
        for frame in self._newest(self._journal.next):
            return frame.energy_wh
        return 0

    def _newest(self, most):
        """Yield what can be read of the newest `most` frames, newest first."""
        last = self._journal.next - 1
        for sequence in range(last, max(last - most, self._journal.oldest - 1), -1):
            try:
                frame = wire.parse(self._journal.read(sequence))
            except Exception as error:  # what is damaged must not keep the meter from starting
                self._log.error("%s", error)
                continue
            yield frame

    def _load(self):
        """Take the saved state; return (frames that may not be in the journal, register)."""
        try:
            saved = load(self._path)
        except RecordError as error:
            saved = None
            self._lost = True
            self._log.error("%s", error)
        if saved is not None and saved[0] == 1 and len(saved) >= _HEAD_SIZE_1:
            told = self._told.to_bytes(4, "big")
            saved = bytes([_VERSION]) + saved[1:25] + told + b"\0\0" + saved[25:]
        if saved is not None and (len(saved) < _HEAD_SIZE or saved[0] != _VERSION):
            saved = None
            self._lost = True
        if saved is None:
            # No record beside a journal with frames in it: the record was lost, not never made.
            self._lost = self._lost or self._journal.next > 1
            return [], None
        (
            _,
            self.boots,
            self.closing_day,
            self.reading_s,
            self._config_crc,
            self._asked,
            self._overwritten,
            self._told,
            overwrote,
            ranges,
            count,
        ) = struct.unpack_from(_HEAD, saved)
        self.overwrote = bool(overwrote)
        end = _HEAD_SIZE + count * wire.FRAME_SIZE
        starts = range(_HEAD_SIZE, end, wire.FRAME_SIZE)
        pending = [saved[at : at + wire.FRAME_SIZE] for at in starts]
        start, end = end, end + ranges * _RANGE_SIZE
        starts = range(start, end, _RANGE_SIZE)
        self._damaged = [struct.unpack_from(_RANGE, saved, at) for at in starts]
        return pending, saved[end:]
