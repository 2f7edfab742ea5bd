"""Let a meter live on without a network until its journal is full, and more (MicroPython).

    micropython yearoffline.py INTERVAL_S FRAMES RESTARTS SEGMENT_RECORDS

It reads at that interval, keeps FRAMES, and is reset RESTARTS times; the journal, of files of so
many records, runs over by two. Then a relay comes that has nothing. Prints a line of JSON with
the figures: what the journal takes, what starts take beside the frames that are held, how often
blocks were erased.
"""

import gc
import json
import os
import sys

if __name__ == "__main__":
    _root = __file__.rsplit("/", 1)[0] + "/../.."
    sys.path[:0] = [_root, _root + "/firmware"]
    sys.path.append(_root + "/firmware/lib")  # behind MICROPYPATH, where ecdsa may be built

import vfs

import ecdsa
import wire
from hil_tests.firmware import day, flash
from hil_tests.firmware.house import RESET, House
from hil_tests.firmware.meter import Meter, load_firmware, service
from hil_tests.firmware.signers import bundle, permit

BLOCKS = 512  # 2 MB, as an ESP32's with 4 MB has them for files
SLOT = bytes(92000)
CLOCK_MS = 300000  # how often the clock is saved
SAMPLE = 500  # of the signatures, one in so many is verified
DAY_MS = 86400000
_SIZE = 39  # of a frame without its format


class Worn(flash.Memory):
    """Flash that counts the erases of each block."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.erased = [0] * blocks

    def ioctl(self, operation, argument):
        if operation == 6:
            self.erased[argument] += 1
        return super().ioctl(operation, argument)


class Book:
    """Keep frames by sequence in one piece: a dict of a year's would scatter over the heap."""

    def __init__(self, most):
        self._data = bytearray(_SIZE * most)

    def __setitem__(self, sequence, stored):
        self._data[_SIZE * sequence : _SIZE * (sequence + 1)] = stored[:_SIZE]

    def __getitem__(self, sequence):
        return bytes(self._data[_SIZE * sequence : _SIZE * (sequence + 1)])


class Verifier:
    """A relay's ear: the order of what arrives, and of some their signature."""

    def __init__(self, meter):
        self._key = meter.app._uplink._identity.public_key
        self._domain = wire.reading_domain("bench")
        self.count = self.verified = 0
        self.first = None

    def hear(self, signed):
        for frame, signature in signed:
            sequence = wire.parse(frame).sequence
            if self.first is None:
                self.first = sequence
            assert sequence == self.first + self.count, "out of order"
            self.count += 1
            if sequence % SAMPLE == 0:
                s, recovery = ecdsa.expand(signature)
                digest = wire.digest(self._domain, frame)
                assert ecdsa.recover(digest, s, recovery) == self._key, "not its signature"
                self.verified += 1


def start(house, device, figures):
    """Start after a reset; note what it took."""
    gc.collect()
    before = gc.mem_alloc()
    meter = Meter(house, device, RESET)
    gc.collect()
    held = meter.journal.next - meter.journal.oldest
    figures["starts"].append((held, meter.start_operations, gc.mem_alloc() - before))
    return meter


def used():
    total, free = os.statvfs("/")[2:4]
    return total - free


def overwritten(meter):
    """Check what tells of overwritten frames; return how many events do."""
    journal = meter.journal
    told, due, last = 0, False, None
    for sequence in range(journal.oldest, journal.next):
        frame = wire.parse(journal.read(sequence))
        if isinstance(frame, wire.Event):
            if frame.code == wire.EVENT_JOURNAL_OVERWRITE:
                assert frame.c == frame.b, "not all of them are counted"
                assert last is None or frame.a == last + 1, "told with a gap"
                told, due, last = told + 1, True, frame.b
        else:
            flagged = bool(frame.flags & wire.FLAG_JOURNAL_OVERWROTE)
            assert flagged == due, "the flag of an overwritten journal"
            due = False
    assert last == journal.oldest - 1, "what was overwritten last is not told"
    return told


def main(interval_s, frames, restarts, segment_records):
    load_firmware(segment_records)
    house = House()
    segments = -(-frames // segment_records) + 3
    house.frames = Book((segments + 1) * segment_records)
    config = day.configuration(interval_s=interval_s, journal_frames=frames)
    house.images = {"a": (SLOT,)}
    house.configs = (day.checksum(config),)
    house.online = False
    device = Worn(BLOCKS)
    vfs.VfsLfs2.mkfs(device)
    with service(device):
        for path, data in (("/config.json", config), ("/a.fw", SLOT), ("/b.fw", SLOT)):
            with open(path, "wb") as file:
                file.write(data)
    device.erased = [0] * BLOCKS
    figures = {"interval_s": interval_s, "journal_frames": frames, "starts": []}
    meter = start(house, device, figures)
    meter.give(bundle(permit(1, days=3650)))
    empty = most = used()
    step_ms = min(CLOCK_MS, 1000 * interval_s)
    while meter.journal.next <= segments * segment_records:
        meter.run(1000 * interval_s, step_ms)
        if meter.journal.next * restarts // frames > len(figures["starts"]) - 1:
            meter.close()
            meter = start(house, device, figures)
        if meter.journal.next % segment_records in (0, segment_records - 1):
            most = max(most, used())
    meter.check_register()
    assert house.closed
    figures["days"] = round(house.now_ms / DAY_MS, 1)
    figures["journal_bytes_most"] = (most - empty) * flash.BLOCK
    figures["erases"] = sum(device.erased)
    figures["erases_most"] = max(device.erased)
    figures["blocks_erased"] = len([None for count in device.erased if count])
    figures["held"] = meter.journal.next - meter.journal.oldest
    assert figures["held"] >= frames
    assert meter.journal.oldest > segment_records
    meter.close()
    meter = start(house, device, figures)
    figures["overwrites_told"] = overwritten(meter)
    ear = Verifier(meter)
    receive = meter._receive

    def hear(signed):
        ear.hear(signed)
        receive(signed)

    meter._receive = hear
    house.online = True
    oldest = meter.journal.oldest
    meter.run(10000)
    assert (ear.first, ear.first + ear.count) == (oldest, meter.journal.next)
    figures["backfilled"], figures["verified"] = ear.count, ear.verified
    meter.close()
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(*[int(word) for word in sys.argv[1:]]))
