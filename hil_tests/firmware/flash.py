"""A littlefs on a block device of the test's own: counted, and cut off at will (MicroPython)."""

import os
from hashlib import sha256

BLOCK = 4096
MOUNT = "/flash"
_EIO = 5
_ERASED = b"\xff" * 256


def programmed(old, new):
    """Return what bytes hold once programmed: that clears bits, an erase alone sets them."""
    if old.count(b"\xff") == len(old):
        return new
    both = int.from_bytes(old, "big") & int.from_bytes(new, "big")
    return both.to_bytes(len(old), "big")


class Memory:
    """Flash as a board has it: blocks to erase, bytes to program, nothing else.

    `data` is the content to start from, a list of blocks: a small heap has room for many blocks,
    but not in one piece.
    """

    def __init__(self, blocks, data=None):
        self.data = data if data is not None else [bytearray(BLOCK) for _ in range(blocks)]
        self.blocks = blocks
        self.writes = 0
        self.reads = 0
        self._cut_at = None
        self._torn = 0

    def cut_at(self, write, torn=0):
        """Take the power away at a write or erase, counted from now, 1 the next.

        Of that one, `torn` sixteenths still happen. It fails, and so does all that follows.
        """
        self.writes = 0
        self._cut_at = write
        self._torn = torn

    def readblocks(self, block, buffer, offset=0):
        self.reads += 1
        if self.is_cut():
            return -_EIO
        buffer[:] = memoryview(self.data[block])[offset : offset + len(buffer)]
        return 0

    def writeblocks(self, block, buffer, offset=0):
        size = self._write(len(buffer))
        if size:
            page = self.data[block][offset : offset + size]
            self.data[block][offset : offset + size] = programmed(page, bytes(buffer[:size]))
        return -_EIO if self.is_cut() else 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return self.blocks
        if operation == 5:
            return BLOCK
        if operation == 6:
            for at in range(0, self._write(BLOCK), 256):
                self.data[argument][at : at + 256] = _ERASED
            return -_EIO if self.is_cut() else 0
        return 0

    def _write(self, size):
        self.writes += 1
        if self._cut_at is None or self.writes < self._cut_at:
            return size
        return size * self._torn // 16 if self.writes == self._cut_at else 0

    def is_cut(self):
        """Return whether the power is gone."""
        # An error is returned, not raised: files that a cut left open are closed by the garbage
        # collector, which must not allocate.
        return self._cut_at is not None and self.writes >= self._cut_at


class File(Memory):
    """The same, in a file: a whole chip does not fit the heap of a test."""

    def __init__(self, blocks, path):
        super().__init__(blocks, [])
        with open(path, "wb") as file:
            for _ in range(blocks):
                file.write(b"\xff" * BLOCK)
        self._file = open(path, "r+b")  # noqa: SIM115

    def readblocks(self, block, buffer, offset=0):
        self.reads += 1
        self._file.seek(block * BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self.writes += 1
        self._file.seek(block * BLOCK + offset)
        self._file.write(buffer)

    def ioctl(self, operation, argument):
        if operation == 6:
            self.writes += 1
            self._file.seek(argument * BLOCK)
            self._file.write(b"\xff" * BLOCK)
            return 0
        return super().ioctl(operation, argument)


class Diary(Memory):
    """Keep what each write did, and what `note()` said right before it.

    The blocks of `data` stay as they are: one that is written to is copied first.
    """

    def __init__(self, data, note):
        super().__init__(len(data), list(data))
        self.entries = []
        self._note = note
        self._own = set()

    def writeblocks(self, block, buffer, offset=0):
        self._happen((block, offset, bytes(buffer), self._note()))
        return 0

    def ioctl(self, operation, argument):
        if operation != 6:
            return super().ioctl(operation, argument)
        self._happen((argument, 0, None, self._note()))
        return 0

    def _happen(self, entry):
        self.writes += 1
        self.entries.append(entry)
        block = entry[0]
        if block not in self._own:
            self._own.add(block)
            self.data[block] = bytearray(self.data[block])
        happen(self.data[block], entry)


NOT_BEGUN, TORN, FLIPPED = range(3)
HALVES = (NOT_BEGUN, TORN, FLIPPED)
_PAGE = 256  # what a chip programs at once
_NOISE = b"".join(sha256(b"noise %d" % i).digest() for i in range(2 * BLOCK // 32))


def happen(block, entry, half=None, seed=0):
    """Do a write of a diary to its block; `half` of it where the power fails in it.

    Of one that is torn, some bytes are done. In one that flipped, some bytes are, and in the page
    under work, or the block that is erased, each bit is as before or as it shall be.
    """
    _, offset, data, _ = entry
    erase = data is None
    size = BLOCK if erase else len(data)
    done = size if half is None else 0 if half == NOT_BEGUN else seed * 7 % 16 * size // 16
    if erase:
        block[:done] = b"\xff" * done
    else:
        block[offset : offset + done] = programmed(block[offset : offset + done], data[:done])
    if half != FLIPPED:
        return
    until = size if erase else min(size, done + _PAGE)
    rest = block[offset + done : offset + until]
    at = seed * 31 % BLOCK
    noise = int.from_bytes(_NOISE[at : at + len(rest)], "big")
    bits = int.from_bytes(rest, "big")
    bits = bits | noise if erase else bits & (int.from_bytes(data[done:until], "big") | noise)
    block[offset + done : offset + until] = bits.to_bytes(len(rest), "big")


class mounted:
    """Have a device mounted at MOUNT for the block, formatted first if `make`.

    `booted`: as boot.py mounts it.
    """

    def __init__(self, device, make=False, booted=False):
        self._device = device
        self._make = make
        self._options = {"readsize": 128, "lookahead": 64, "mtime": False} if booted else {}

    def __enter__(self):
        import vfs

        if self._make:
            vfs.VfsLfs2.mkfs(self._device)
        vfs.mount(vfs.VfsLfs2(self._device, **self._options), MOUNT)
        return self._device

    def __exit__(self, *_):
        import vfs

        vfs.umount(MOUNT)


def used_blocks():
    """Return how many blocks the mounted file system uses."""
    total, free = os.statvfs(MOUNT)[2:4]
    return total - free
