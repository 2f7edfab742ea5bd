"""Keep a year of frames on flash: the meter's memory, oldest overwritten first.

A record is a frame without its first byte, the format, which is always 1, and the CRC-32 of the
rest: 43 bytes. A segment is a file of up to 1,141 records, which fit twelve blocks of littlefs;
its name is the sequence of its first, in as few digits as it takes. The place of a record tells
its sequence, so the start reads no record at all, and no damage can make a sequence repeat.

To list a folder takes littlefs a walk through its log for each name, and to tidy that log, too,
after a hundred appends. So the newest segment has the folder to itself, the others are in "full",
with a record of all names, the index. It goes before they change and is written anew after, so it
is right where it is there; but a version that knows of none may have run since.
"""

import os
from binascii import crc32

import records

SEGMENT_RECORDS = 1141
YEAR_RECORDS = 35_136  # 366 days of 15 minutes
_SMALL_RECORDS = 285  # of segments that older versions made
_FRAME_SIZE = 40
_STORED_SIZE = 39
_RECORD_SIZE = 43
_FORMAT = b"\x01"
_SEQUENCE_MOST = 0xFFFFFFFF
_ABSENT = 2  # ENOENT
_FULL = 28  # ENOSPC
_DAMAGED = 84  # EILSEQ, which is littlefs's LFS_ERR_CORRUPT
_IS_FOLDER = 21  # EISDIR


class JournalError(Exception):
    """A frame that does not follow, is not held, or is damaged; the others are as they were."""


class Journal:
    """Hold the last `capacity` frames or more in `folder`, which is made if it is not there.

    `oldest` and `next` are sequences: oldest <= held < next; both are 1 in a new journal.
    `damaged` counts the reads that found a damaged record.

    Another `segment_records` may be used on a journal that is there. The start reads the index and
    opens the newest file; where that does not agree it lists the folder. Where the newest is
    damaged, it goes on after the last sequence that the file can have held.
    """

    def __init__(self, folder, capacity=YEAR_RECORDS, segment_records=SEGMENT_RECORDS):
        self.damaged = 0
        self._folder = folder
        self._full = folder + "/full"
        self._index = self._full + "/index"
        self._capacity = capacity
        self._segment_records = segment_records
        # One more than the capacity needs, since the oldest goes as a whole.
        self._segments_max = -(-capacity // min(segment_records, _SMALL_RECORDS)) + 1
        self._records_most = max(segment_records, SEGMENT_RECORDS)
        self._record = bytearray(_RECORD_SIZE)
        self._writer = None
        self._reader = None
        self._reading = None
        self.next = self._end = 1
        self._is_indexed = True  # as far as is known
        self._astray = False  # whether there are segments that are to be found at the next start
        if not self.restore():
            self.next = self._end = 1
            self.check()

    # main lets go of these two once the meter runs.

    def restore(self):
        """Take the segments from the index; return whether it is there and no older than they."""
        try:
            index = records.load(self._index) or b""
            places = range(0, len(index), 4)
            self._firsts = [int.from_bytes(index[at : at + 4], "big") for at in places]
            self._take_stock(self._records_most)
            os.stat(_path(self._folder, (self._firsts or [0])[-1]))
        except (records.RecordError, OSError):
            return False
        try:
            os.stat(_path(self._folder, self.next))  # begun by a version that knows of no index
        except OSError:
            rise = self._firsts == sorted(set(self._firsts))
            return rise and self._firsts[:1] > [0]
        return False

    def check(self):
        """Believe the folder, not the index; `next` does not go back. Call it before `append`."""
        self.close()
        self._firsts = firsts = []
        records.folder(self._folder)
        for folder in (self._full, self._folder):
            records.folder(folder)
            names = os.listdir(folder)
            for first in map(_first, names):
                if first and first not in firsts:
                    firsts.append(first)
        firsts.sort()
        for first in map(_first, names):  # of a version that had one folder, or by a cut
            if first and first != firsts[-1]:
                self._move(first)
        self._take_stock(self._records_most)
        self._note()

    @property
    def oldest(self):
        """The sequence of the oldest frame held; `next` while there is none."""
        return self._firsts[0] if self._firsts else self.next

    def append(self, frame):
        """Add a frame (40 bytes) whose sequence is `next`; durable on return.

        When the journal is full, or the flash, the oldest segment goes first. A newest segment
        that takes no more is left for a new one. Raises JournalError for another sequence. After
        an OSError the frame may be held or not: `next` tells.
        """
        if len(frame) != _FRAME_SIZE or frame[:1] != _FORMAT:
            raise JournalError("frame must have 40 bytes and format 1")
        sequence = int.from_bytes(frame[4:8], "big")
        if sequence != self.next:
            raise JournalError("sequence %d does not follow, must be %d" % (sequence, self.next))
        record = bytes(frame[1:])
        record += crc32(record).to_bytes(4, "big")
        left = False
        while True:
            try:
                self._write(record)
                return
            except OSError as error:
                self._abandon(self._close_writer)
                self._take_stock()
                if self.next > sequence:
                    return
                if self.made_room(error):
                    continue
                if left or error.errno == _FULL:
                    raise
                left = True
                self._leave_newest()

    def skip(self, sequence):
        """Go on at `sequence` if that is after `next`; what is between reads as damaged."""
        if sequence > self.next:
            self._close_writer()
            self.next = self._end = sequence

    def read(self, sequence):
        """Return the frame (40 bytes) of a sequence.

        Raises JournalError, and nothing else, when it is not held, and when it is damaged or
        cannot be read, which says nothing of the others.
        """
        if not self.oldest <= sequence < self.next:
            raise JournalError(
                "sequence %d is not held, %d to %d are" % (sequence, self.oldest, self.next - 1)
            )
        first = self._firsts[0]
        for later in self._firsts:
            if later > sequence:
                break
            first = later
        record = self._record
        try:
            size = self._read_record(first, sequence - first)
        except OSError:
            size = 0
            self._abandon(self._close_reader)
        stored = bytes(record[:_STORED_SIZE])
        frame = _FORMAT + stored
        if (
            size != _RECORD_SIZE
            or crc32(stored).to_bytes(4, "big") != record[_STORED_SIZE:]
            or int.from_bytes(frame[4:8], "big") != sequence
        ):
            self.damaged += 1
            raise JournalError("the record of sequence %d is damaged" % sequence)
        return frame

    def made_room(self, error):
        """Let the oldest segment go if `error` is of a full flash; return whether one went.

        The only one stays.
        """
        if error.errno != _FULL or len(self._firsts) < 2:
            return False
        self._drop_oldest()
        return True

    def close(self):
        """Let go of the files; the next call opens them again."""
        self._close_reader()
        self._close_writer()

    def _read_record(self, first, place):
        reader = self._opened(first)
        reader.seek(place * _RECORD_SIZE)
        return reader.readinto(self._record)

    def _opened(self, first):
        if self._reading != first:
            self._close_reader()
            # Kept open: the uplink reads one frame after the other, and so does the start.
            try:
                self._reader = open(_path(self._folder, first), "rb")  # noqa: SIM115
            except OSError as error:
                if error.errno != _ABSENT:
                    raise
                self._reader = open(_path(self._full, first), "rb")  # noqa: SIM115
            self._reading = first
        return self._reader

    def _note(self):
        """Write the index; without it the next start takes longer, and no more."""
        self._is_indexed = True
        if self._firsts and not self._astray:
            try:
                index = b"".join([first.to_bytes(4, "big") for first in self._firsts])
                records.save(self._index, index)
            except OSError:
                pass

    def _forget(self):
        """Remove the index, before the segments change."""
        if self._is_indexed:
            self._is_indexed = False
            try:
                os.remove(self._index)
            except OSError:
                pass  # none is there; one that stays is found to be old

    def _take_stock(self, unknown=0):
        """Find `next`, which never goes back, and where the newest segment ends, by its size.

        `unknown` is how many records to allow for where it has no size that can be.
        """
        if not self._firsts:
            return
        first = self._firsts[-1]
        size = self._size(first)
        count, torn = (unknown, 1) if size is None else divmod(size, _RECORD_SIZE)
        if torn or first + count < self.next:
            # Not the work of a power cut, littlefs sees to that. Write elsewhere.
            self.next = max(self.next, first + count)
            self._leave_newest()
        else:
            self.next = first + count
            self._end = first + self._segment_records

    def _size(self, first):
        """Return the size of a segment, None if it is none that this firmware can have made."""
        try:
            size = self._opened(first).seek(0, 2)
        except OSError as error:
            self._abandon(self._close_reader)
            if error.errno not in (_DAMAGED, _IS_FOLDER):
                raise
            return None
        return size if size <= (self._records_most + 1) * _RECORD_SIZE else None

    def _leave_newest(self):
        """Begin a new segment with the next frame, in the place of the newest if that is empty."""
        self._end = self.next
        if self._firsts and self._firsts[-1] == self.next:
            self._firsts.pop()

    def _write(self, record):
        if self.next >= self._end:
            self._close_writer()
            while self._holds_more():
                self._drop_oldest()
        if self._reading in self._firsts[-1:]:
            # littlefs may reuse the block that the reader would look at, or it is to move.
            self._close_reader()
        if self._writer is None:
            self._open_writer()
        self._writer.write(record)
        # MicroPython's flush is lfs_file_sync: the record is durable after it. Keeping the file
        # open spares a walk through the folder at every frame.
        self._writer.flush()
        self.next += 1

    def _holds_more(self):
        """Return whether the oldest segment is not needed; versions before made shorter ones."""
        firsts = self._firsts
        many = len(firsts) >= self._segments_max
        return len(firsts) > 1 and (many or self.next - firsts[1] >= self._capacity)

    def _open_writer(self):
        if self.next < self._end:
            self._writer = open(_path(self._folder, self._firsts[-1]), "r+b")  # noqa: SIM115
            self._writer.seek(0, 2)
            return
        self._forget()
        self._writer = records.create(_path(self._folder, self.next))
        for first in self._firsts[-1:]:
            self._move(first)
        self._firsts.append(self.next)
        self._end = self.next + self._segment_records
        self._note()

    def _drop_oldest(self):
        self._forget()
        first = self._firsts.pop(0)
        if self._reading == first:
            self._abandon(self._close_reader)
        try:
            self._move(first)
            records.clear(_path(self._full, first))
        except OSError:
            # What cannot go takes room until the next start, and must not keep frames from coming.
            self._astray = True

    def _move(self, first):
        """Take a segment to the full ones, if it is not there; where it stays it is found, too."""
        try:
            os.rename(_path(self._folder, first), _path(self._full, first))
        except OSError:
            pass

    def _close_writer(self):
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _abandon(self, close):
        try:
            close()
        except OSError:
            # The error that led here is the one to tell.
            pass

    def _close_reader(self):
        reader, self._reader, self._reading = self._reader, None, None
        if reader is not None:
            reader.close()


def _path(folder, first):
    return "%s/%d" % (folder, first)


def _first(name):
    """Return the first sequence of the segment of that name, 0 for other files."""
    first = int(name) if name.isdigit() and name[0] != "0" and len(name) <= 10 else 0
    return first if first <= _SEQUENCE_MOST else 0
