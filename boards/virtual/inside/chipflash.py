"""The flash chip: a block device over an image file, on which the power can fail."""

import chip
import registers

BLOCKS = 512
BLOCK_SIZE = 4096
_ERASED = b"\xff" * BLOCK_SIZE


class Flash:
    def __init__(self, path):
        self._file = open(path, "r+b")  # noqa: SIM115  open as long as the board runs

    def blank(self):
        """Return whether nothing was ever written to the first two blocks."""
        self._file.seek(0)
        return self._file.read(2 * BLOCK_SIZE) == b"\xff" * (2 * BLOCK_SIZE)

    def readblocks(self, block, buffer, offset=0):
        words = chip.words
        words.flash_reads += 1
        if words.read_us:
            self._wait(words.read_us)
        self._file.seek(block * BLOCK_SIZE + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        words = chip.words
        words.flash_writes += 1
        self._operate(words.write_us, block * BLOCK_SIZE + offset, buffer)

    def ioctl(self, request, block):
        if request == 4:
            return BLOCKS
        if request == 5:
            return BLOCK_SIZE
        if request == 6:
            words = chip.words
            words.flash_erases += 1
            self._operate(words.erase_us, block * BLOCK_SIZE, _ERASED)
        return 0

    def _operate(self, delay_us, start, data):
        # Nothing here allocates: a file that nobody closed is closed while the heap is locked.
        words = chip.words
        if delay_us:
            self._wait(delay_us)
        self._file.seek(start)
        if words.cut_at:
            words.cut_at -= 1
            if not words.cut_at:
                self._file.write(memoryview(data)[: len(data) // 2])
                chip.halt(registers.EXIT_CUT)
        self._file.write(data)

    def _wait(self, delay_us):
        chip.regs[registers.FLASH_BUSY] = 1
        chip.sleep_us(delay_us)
        chip.regs[registers.FLASH_BUSY] = 0
