"""Records on a littlefs whose power is cut at every write (MicroPython)."""

import os

import records

from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON, raises

# Taken while the heap is in one piece, and used again and again.
CHIP = flash.Memory(10).data if MICROPYTHON else None
PATH = flash.MOUNT + "/a.rec"
# What littlefs keeps among the names, and in blocks of its own; longer than before, and shorter.
SIZES = ((40, 40), (40, 100), (100, 40), (400, 900), (900, 900), (900, 6000), (6000, 900))


def payload(size, seed):
    return (bytes((seed, seed + 1, seed + 2)) * (size // 3 + 1))[:size]


def saved(device, data):
    """Save a record; return whether the power lasted."""
    with flash.mounted(device):
        try:
            records.save(PATH, data)
        except OSError:
            return False
    return True


if MICROPYTHON:

    def test_a_cut_leaves_the_old_record_or_the_new_one():
        for before, after in SIZES:
            old, new = payload(before, 1), payload(after, 7)
            writes = []
            for torn in (0, 7, 16):
                cut_at = 0
                while True:
                    device = flash.Memory(10, CHIP)
                    with flash.mounted(device, make=True):
                        records.save(PATH, old)
                    cut_at += 1
                    device.cut_at(cut_at, torn)
                    lasted = saved(device, new)
                    with flash.mounted(flash.Memory(10, CHIP)):
                        held = records.load(PATH)
                        assert held == new or (held == old and not lasted), (before, after, cut_at)
                        records.save(PATH, old)  # what the cut left is in nobody's way
                        assert records.load(PATH) == old
                    if device.writes < cut_at:
                        break
                writes.append(cut_at - 1)
            print("%d to %d bytes: %r writes" % (before, after, writes))

    def test_a_record_that_does_not_shrink_is_one_commit():
        for before, after in ((40, 40), (40, 48), (48, 40)):
            device = flash.Memory(10, CHIP)
            with flash.mounted(device, make=True):
                records.save(PATH, payload(before, 1))
                device.writes = 0
                records.save(PATH, payload(after, 2))
                assert (device.writes == 1) == (after >= before), (before, after)
                assert os.listdir(flash.MOUNT) == ["a.rec"]

    def test_a_write_that_fails_leaves_the_old_record():
        """A full flash has no blocks for a longer record, and to close its file writes nothing."""
        with flash.mounted(flash.Memory(8, CHIP), make=True):
            records.save(PATH, payload(900, 1))
            with open(flash.MOUNT + "/other", "wb") as file:
                try:
                    while True:
                        file.write(bytes(512))
                        file.flush()
                except OSError:
                    pass
            with raises(OSError, "28"):
                records.save(PATH, payload(6000, 2))
            assert records.load(PATH) == payload(900, 1)
