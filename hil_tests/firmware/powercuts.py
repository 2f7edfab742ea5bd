"""Cut the power at the writes of a day, and see what the next start makes of it (MicroPython).

    micropython powercuts.py SHARD OF STRIDE SECOND [forgetful]

A meter lives the day of day.py once, and the flash keeps a diary. A cut is then every write of it
up to one, and half of that one: a start, checks, a settled contactor, a relay that comes back, a
new permit. Of the writes every STRIDE-th is taken, with each way in which it can be half done; of
these, each SHARD of OF. SECOND is how many of the writes of each recovery are cut off in their
turn, 0 for none. A `forgetful` flash loses the writes before, too: that has to be found.
Prints a line of JSON with the figures at the end.
"""

import json
import sys

if __name__ == "__main__":
    _root = __file__.rsplit("/", 1)[0] + "/../.."
    sys.path[:0] = [_root, _root + "/firmware"]
    sys.path.append(_root + "/firmware/lib")  # behind MICROPYPATH, where ecdsa may be built

import wire
from hil_tests.firmware import day, flash
from hil_tests.firmware.house import ANYHOW, FIELDS, STILL, TO_CLOSE, TO_OPEN
from hil_tests.firmware.meter import Meter, load_firmware

SETTLE_MS = 100000
INTERVAL_MS = 900000
LAST_SERIAL = 100
TOLD = 5  # failures
FORGOTTEN = 8  # writes, by a forgetful flash


class Figures:
    """What was found; `most` are operations of the flash from power to the first poll."""

    def __init__(self):
        self.writes = self.cuts = self.second_cuts = self.failures = self.most = 0

    def failed(self, where, error):
        self.failures += 1
        if self.failures <= TOLD:
            print("FAILED at", where)
            sys.print_exception(error)


def recover(house, note, plain, blocks, figures):
    """Start after a cut, check all, live on; returns the house and the diary of it."""
    then = house.as_of(note)
    then.closed = then.driven and not plain  # a plain contactor falls off in an outage
    diary = flash.Diary(blocks, then.note)
    then.online = False
    meter = Meter(then, diary)
    try:
        figures.most = max(figures.most, meter.start_operations)
        values = dict(zip(FIELDS, note))  # noqa: B905  MicroPython's has no strict
        meter.check(values["next"], values["serial"], values["trust"])
        meter.run(SETTLE_MS)
        check_contactor(then, meter, values["driven"], plain)
        then.move(ANYHOW)
        then.online = True
        then.held = max(then.held, meter.journal.next - 16)
        meter.run(SETTLE_MS)
        if then.bundle and then.bundle[1] == wire.KIND_PERMIT:
            assert meter.permits.serial >= given(then.bundle), "a retained permit is not taken"
        meter.run(INTERVAL_MS, 60000)
        meter.give(day.signed(LAST_SERIAL, meter.permits.trust_serial))
        meter.run(SETTLE_MS)
        assert then.closed, "a new permit does not connect"
        assert meter.permits.serial == LAST_SERIAL
        meter.check_register()
        meter.check(meter.journal.next, LAST_SERIAL, values["trust"])
        assert then.held == meter.journal.next
    finally:
        meter.close()
    return then, diary


def check_contactor(house, meter, was, plain):
    """Check where the contactor is, now that it has settled, and what was told of its way.

    `was` is where the meter had driven it before the cut.
    """
    first, before = house.since
    if house.moving != TO_OPEN:
        assert house.closed == house.driven, "a plain contactor stays open"
    if house.moving == STILL or (house.moving == TO_OPEN and not was):
        assert house.driven == was, "the contactor stands elsewhere"
        assert house.moves == (plain and was), "the contactor moved"
    if house.moving == TO_CLOSE:
        if was or meter.permits.serial >= given(house.bundle):
            assert house.driven, "a house with a permit stays disconnected"
        assert house.moves <= 1, "the contactor moved to and fro"
    if house.moving in (TO_OPEN, TO_CLOSE) and house.closed != before:
        told = [wire.parse(meter.journal.read(s)) for s in range(first, meter.journal.next)]
        told = [frame.code for frame in told if isinstance(frame, wire.Event)]
        code = wire.EVENT_RECONNECTED if house.closed else wire.EVENT_DISCONNECTED
        assert code in told, "a move is not told"


def given(bundle):
    return int.from_bytes(bundle[4:8], "big")


def cut_all(house, blocks, entries, figures, shard, of, stride, second, late):
    """Cut at the writes of `entries`, the first of which meets `blocks`, which change.

    Of what is done by then the last `late` writes are not.
    """
    for k in range(len(entries)):
        entry = entries[k]
        if k % stride == 0 and k // stride % of == shard:
            figures.writes += 1
            for half in flash.HALVES:
                cut(house, blocks, entries, k, half, figures, second)
        if k >= late:
            entry = entries[k - late]
            flash.happen(blocks[entry[0]], entry)


def cut(house, blocks, entries, k, half, figures, second):
    """Cut off write `k` and recover; then cut that recovery off `second` times."""
    entry = entries[k]
    for plain in (False, True) if house.moving_at(entry[3]) else (bool((k + half) & 1),):
        figures.cuts += 1
        try:
            then, diary = recover(house, entry[3], plain, half_done(blocks, entry, half, k),
                                  figures)  # fmt: skip
        except Exception as error:
            figures.failed((k, half, plain), error)
            continue
        recovery = diary.entries
        for i in range(second):
            j = (k * 7 + half * 3 + i * len(recovery) // second) % len(recovery)
            again = half_done(blocks, entry, half, k)
            for done in recovery[:j]:
                again[done[0]] = bytearray(again[done[0]])
                flash.happen(again[done[0]], done)
            figures.second_cuts += 1
            other = (half + j) % 3
            try:
                recover(then, recovery[j][3], plain, half_done(again, recovery[j], other, j),
                        figures)  # fmt: skip
            except Exception as error:
                figures.failed((k, half, plain, j, other), error)


def half_done(blocks, entry, half, seed):
    """Return the blocks with half of a write done."""
    blocks = list(blocks)
    at = entry[0]
    blocks[at] = bytearray(blocks[at])
    flash.happen(blocks[at], entry, half, seed)
    return blocks


def main(shard, of, stride, second):
    load_firmware(day.SEGMENT_RECORDS)
    house, blocks = day.prepare()
    begun = [bytearray(block) for block in blocks]
    diary = flash.Diary(blocks, house.note)
    day.day(house, diary)
    figures = Figures()
    late = FORGOTTEN if "forgetful" in sys.argv else 0
    cut_all(house, begun, diary.entries, figures, shard, of, stride, second, late)
    print(json.dumps({
        "writes_of_the_day": len(diary.entries), "writes_cut": figures.writes,
        "cuts": figures.cuts, "second_cuts": figures.second_cuts,
        "failures": figures.failures, "start_operations_most": figures.most,
    }))  # fmt: skip
    return figures.failures


if __name__ == "__main__":
    sys.exit(1 if main(*[int(word) for word in sys.argv[1:5]]) else 0)
