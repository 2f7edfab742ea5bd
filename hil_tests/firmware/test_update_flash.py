"""Test update on a littlefs whose power is cut at every write (MicroPython): old or new."""

import ecdsa  # noqa: F401  before the chip: its tables need room in one piece
from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON
from hil_tests.firmware.updating import ARCHIVE, PIECES, Meter, offer, piece

BLOCKS = 8
# Taken while the heap is in few pieces, and used again and again.
CHIP = flash.Memory(BLOCKS).data if MICROPYTHON else None

OLD = b"old, in a block of its own " * 30


class Restart(Exception):
    """The meter restarted itself."""


class Updated(Meter):
    """A meter whose flash is as the cut left it, and which is gone once it restarts."""

    def write(self, name, data):
        pass

    def restart(self):
        raise Restart


class Flash:
    """What lies on the flash."""

    root = flash.MOUNT + "/"

    def holds(self, name, data):
        """Return whether a file holds `data`; the heap has no room for all of it again."""
        with open(self.root + name, "rb") as file:
            for start in range(0, len(data), 256):
                if file.read(256) != data[start : start + 256]:
                    return False
            return not file.read(1)

    def check(self):
        """Check that the old version is whole, and the new one where it would be tried."""
        assert self.holds("a.fw", OLD)
        if self.holds("slot", b"a"):
            return False
        assert self.holds("slot", b"b try")
        assert self.holds("b.fw", ARCHIVE), "boot.py would try half an archive"
        return True


def prepare():
    for block in CHIP:
        for start in range(0, flash.BLOCK, 256):
            block[start : start + 256] = b"\xff" * 256
    with flash.mounted(flash.Memory(BLOCKS, CHIP), make=True):
        for name, data in (("slot", b"a"), ("a.fw", OLD), ("b.fw", OLD[1:])):
            Meter.write(Flash, name, data)


def live():
    """Start, take the offer unless it was taken, fetch; return whether it came to the restart."""
    try:
        meter = Updated(flash.MOUNT)
        if not meter.update._offer.serial:
            meter.update.take(offer())
        meter.live(4 * PIECES, piece)
    except Restart:
        return True
    except OSError:
        pass
    return False


def cut_everywhere():
    """Cut the power at each write in turn, and at one of the writes of each recovery."""
    cut_at = 1
    whole = False
    while not whole:
        prepare()
        for cut in (cut_at, cut_at * 7 % 40 + 1):
            device = flash.Memory(BLOCKS, CHIP)
            with flash.mounted(device):
                device.cut_at(cut, cut % 17)
                whole = live() and cut == cut_at
                device.cut_at(1 << 29)
            with flash.mounted(flash.Memory(BLOCKS, CHIP)):
                if Flash().check():
                    break
        with flash.mounted(flash.Memory(BLOCKS, CHIP)):
            assert Flash().check() or live(), cut_at
            assert Flash().check(), cut_at
        cut_at += 1
    print("cuts:", cut_at - 1)
    assert cut_at > 40


def test_power_cut_at_every_flash_write():
    if MICROPYTHON:
        cut_everywhere()
