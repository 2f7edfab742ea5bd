"""Find what the last run left of the recorder's state, and make the journal whole with it.

Needed at the start alone: main lets go of its code then.
"""

import struct

import wire
from records import RecordError, load

VERSION = 2
HEAD = ">BIIIIIIIBBB"
RANGE = ">II"
_HEAD_SIZE = 32
_HEAD_SIZE_1 = 26  # of version 1, which ended with `overwritten` and how many frames follow
_RANGE_SIZE = 8
_SPARE = 285  # sequences that may be used without the record's knowledge
_COUNT_MOST = 0xF0000000  # no meter lives to see it
_NEWEST_FRAMES = 8  # that are looked at for one that can be read


def state(path, journal, log):
    """Return whether the record was lost, and the values of HEAD that it held, or a first start's.

    Of these, instead of the version and the counts: whether frames were overwritten, the ranges
    (first, last) told as damaged, the frames that may not be in the journal, and the register's
    bytes, None when there are none.
    """
    told = journal.oldest
    lost = False
    try:
        saved = load(path)
    except RecordError as error:
        saved = None
        lost = True
        log.error("%s", error)
    if saved is not None and saved[0] == 1 and len(saved) >= _HEAD_SIZE_1:
        saved = bytes([VERSION]) + saved[1:25] + told.to_bytes(4, "big") + b"\0\0" + saved[25:]
    if saved is not None and not _whole(saved):
        saved = None
        lost = True
    if saved is None:
        # No record beside a journal with frames in it: the record was lost, not never made.
        return lost or journal.next > 1, (0, 0, 0, 0, 0, 0, told, False, [], [], None)
    values = struct.unpack_from(HEAD, saved)
    overwrote, ranges, count = values[8:]
    end = _HEAD_SIZE + count * wire.FRAME_SIZE
    starts = range(_HEAD_SIZE, end, wire.FRAME_SIZE)
    pending = [saved[at : at + wire.FRAME_SIZE] for at in starts]
    start, end = end, end + ranges * _RANGE_SIZE
    damaged = [struct.unpack_from(RANGE, saved, at) for at in range(start, end, _RANGE_SIZE)]
    return lost, values[1:8] + (bool(overwrote), damaged, pending, saved[end:])


def _whole(saved):
    """Tell whether a record is of this version, and its frames and ranges are there."""
    if len(saved) < _HEAD_SIZE or saved[0] != VERSION:
        return False
    _, boots, _, _, _, asked, overwritten, told, _, ranges, count = struct.unpack_from(HEAD, saved)
    if max(boots, asked, overwritten, told) > _COUNT_MOST:
        return False
    end = _HEAD_SIZE + count * wire.FRAME_SIZE
    if len(saved) < end + ranges * _RANGE_SIZE:
        return False
    try:
        for at in range(_HEAD_SIZE, end, wire.FRAME_SIZE):
            if wire.parse(saved[at : at + wire.FRAME_SIZE]).sequence > _COUNT_MOST:
                return False
    except (wire.FrameError, AttributeError):  # the latter: of another kind
        return False
    return True


def catch_up(journal, pending, asked, log):
    """Append what the journal lacks of the record's frames.

    A journal that lacks frames before these has lost its newest, and perhaps more than the
    record knows of. It goes on where no sequence can have been used.
    """
    first = struct.unpack_from(">I", pending[0], 4)[0] if pending else 0
    if max(asked, first) > journal.next:
        journal.check()
    lost = asked > journal.next
    for frame in pending:
        sequence = struct.unpack_from(">I", frame, 4)[0]
        lost = lost or sequence > journal.next
        journal.skip(sequence)
        if sequence == journal.next:
            journal.append(frame)
    if lost:
        log.error("the newest frames of the journal are lost")
        journal.skip(max(journal.next, asked) + _SPARE)


def resume(clock, journal, reading_s, log):
    """Have the clock go on no earlier than the newest frames, which a cut left here.

    What was before an event was not later, but where signed time put the clock back: then the
    event tells. What was before a reading was in its interval at the latest: it takes two.
    """
    times = []
    for frame in _newest(journal, _NEWEST_FRAMES, log):
        times.append(frame.time_s)
        if len(times) == 2 or isinstance(frame, wire.Event):
            break
    for time_s in times or [reading_s]:
        clock.resume(time_s)


def last_energy_wh(journal, log):
    """Return the energy of the newest frame that can be read: the register never goes back."""
    for frame in _newest(journal, journal.next, log):
        return frame.energy_wh
    return 0


def _newest(journal, most, log):
    """Yield what can be read of the newest `most` frames, newest first."""
    last = journal.next - 1
    for sequence in range(last, max(last - most, journal.oldest - 1), -1):
        try:
            frame = wire.parse(journal.read(sequence))
        except Exception as error:  # what is damaged must not keep the meter from starting
            log.error("%s", error)
            continue
        yield frame
