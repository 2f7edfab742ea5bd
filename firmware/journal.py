"""Keep a year of frames on flash: the meter's memory, oldest overwritten first.

A record is a frame without its first byte, the format, which is always 1, and the CRC-32 of the
rest: 43 bytes. A segment is a file of up to 285 records, which fit three blocks of littlefs; its
name is the sequence of its first, in as few digits as it takes, since 125 names take blocks too.
The place of a record tells its sequence, so the start reads no record at all, and no damage can
make a sequence repeat.
"""

import os
from binascii import crc32

SEGMENT_RECORDS = 285
YEAR_RECORDS = 35_136  # 366 days of 15 minutes
_FRAME_SIZE = 40
_STORED_SIZE = 39
_RECORD_SIZE = 43
_FORMAT = b"\x01"
_FULL = 28  # ENOSPC
_EXISTS = 17  # EEXIST


class JournalError(Exception):
    """A frame that does not follow, is not held, or is damaged; the others are as they were."""


class Journal:
    """Hold the last `capacity` frames or more in `folder`, which is made if it is not there.

    `oldest` and `next` are sequences: oldest <= held < next; both are 1 in a new journal.
    `damaged` counts the reads that found a damaged record.

    Another `segment_records` may be used on a journal that is there. The start lists the folder,
    at most capacity / segment_records + 2 names, and looks at the size of one file.
    """

    def __init__(self, folder, capacity=YEAR_RECORDS, segment_records=SEGMENT_RECORDS):
        self.damaged = 0
        self._folder = folder
        self._segment_records = segment_records
        # One more than the capacity needs, since the oldest goes as a whole.
        self._segments_max = -(-capacity // segment_records) + 1
        self._record = bytearray(_RECORD_SIZE)
        self._writer = None
        self._reader = None
        self._reading = None
        try:
            os.mkdir(folder)
        except OSError as error:
            if error.errno != _EXISTS:
                raise
        self._firsts = sorted(_first(name) for name in os.listdir(folder) if _first(name))
        self._take_stock()

    @property
    def oldest(self):
        """The sequence of the oldest frame held; `next` while there is none."""
        return self._firsts[0] if self._firsts else self.next

    def append(self, frame):
        """Add a frame (40 bytes) whose sequence is `next`; durable on return.

        When the journal is full, or the flash, the oldest segment goes first. Raises JournalError
        for another sequence. After an OSError the frame may be held or not: `next` tells.
        """
        if len(frame) != _FRAME_SIZE or frame[:1] != _FORMAT:
            raise JournalError("frame must have 40 bytes and format 1")
        sequence = int.from_bytes(frame[4:8], "big")
        if sequence != self.next:
            raise JournalError("sequence %d does not follow, must be %d" % (sequence, self.next))
        record = bytes(frame[1:])
        record += crc32(record).to_bytes(4, "big")
        while True:
            try:
                self._write(record)
                return
            except OSError as error:
                self._abandon_writer()
                self._take_stock()
                if self.next > sequence:
                    return
                if not self.made_room(error):
                    raise

    def read(self, sequence):
        """Return the frame (40 bytes) of a sequence.

        Raises JournalError when it is not held, and when it is damaged, which says nothing of
        the others.
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
        if self._reading != first:
            self._close_reader()
            # Kept open: the uplink reads one frame after the other.
            self._reader = open(self._path(first), "rb")  # noqa: SIM115
            self._reading = first
        record = self._record
        self._reader.seek((sequence - first) * _RECORD_SIZE)
        size = self._reader.readinto(record)
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

    def _take_stock(self):
        """Find `next`, and where the newest segment ends, from its size."""
        if not self._firsts:
            self.next = self._end = 1
            return
        first = self._firsts[-1]
        records, torn = divmod(os.stat(self._path(first))[6], _RECORD_SIZE)
        self.next = first + records
        self._end = first + self._segment_records
        if torn:
            # Not the work of a power cut, littlefs sees to that. Leave it, write elsewhere.
            self._end = self.next
            if not records:
                os.remove(self._path(first))
                self._firsts.pop()

    def _write(self, record):
        if self.next >= self._end:
            self._close_writer()
            while len(self._firsts) >= self._segments_max:
                self._drop_oldest()
        if self._writer is None:
            self._open_writer()
        if self._reading == self._firsts[-1]:
            # littlefs may reuse the block that the reader would look at.
            self._close_reader()
        self._writer.write(record)
        # MicroPython's flush is lfs_file_sync: the record is durable after it. Keeping the file
        # open spares a walk through the folder at every frame.
        self._writer.flush()
        self.next += 1

    def _open_writer(self):
        first = self._firsts[-1] if self.next < self._end else self.next
        self._writer = open(self._path(first), "ab")  # noqa: SIM115
        if self.next >= self._end:
            self._firsts.append(first)
            self._end = first + self._segment_records

    def _drop_oldest(self):
        if self._reading == self._firsts[0]:
            self._close_reader()
        os.remove(self._path(self._firsts[0]))
        self._firsts.pop(0)

    def _close_writer(self):
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _abandon_writer(self):
        try:
            self._close_writer()
        except OSError:
            # The error that led here is the one to tell.
            pass

    def _close_reader(self):
        reader, self._reader, self._reading = self._reader, None, None
        if reader is not None:
            reader.close()

    def _path(self, first):
        return "%s/%d" % (self._folder, first)


def _first(name):
    """Return the first sequence of the segment of that name, 0 for other files."""
    return int(name) if name.isdigit() and name[0] != "0" else 0
