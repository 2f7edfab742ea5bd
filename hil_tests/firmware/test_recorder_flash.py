"""What was overwritten is told, whole and once, whatever the cut (MicroPython)."""

import gc

from journal import Journal
from recorder import Recorder

import wire
from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON
from hil_tests.firmware.test_recorder import NOON, Register, frames, read
from hil_tests.firmware.world import Clock, Quiet, Ticks

BLOCKS = 10
# Taken while the heap is in one piece, and used again and again.
CHIP = flash.Memory(BLOCKS).data if MICROPYTHON else None
STEPS = 30
ASKED = 3


def opened(capacity=7, segment_records=3):
    journal = Journal(flash.MOUNT + "/journal", capacity, segment_records)
    clock = Clock(Ticks(), NOON)
    return Recorder(flash.MOUNT + "/state.rec", journal, clock, Register, Quiet()), journal


def live(device, count, cut_at=None, torn=0):
    """Start, and record `count` times, or until a cut. Returns whether the power failed."""
    gc.collect()
    device = flash.Memory(BLOCKS, device)
    with flash.mounted(device):
        if cut_at:
            device.cut_at(cut_at, torn)
        try:
            recorder, journal = opened()
            recorder.start(1, 0x000100, 77)
            for step in range(count):
                recorder.asked(min(ASKED, journal.next))
                if step % 2:
                    recorder.record(wire.EVENT_TAMPER, step)
                else:
                    recorder.register.update(recorder.register.sensor_wh + 1)
                    read(recorder)
            journal.close()
        except OSError:
            pass
    return cut_at is not None and device.writes >= cut_at


def assert_told():
    """Start once more and record a little: then all that went is told."""
    gc.collect()
    with flash.mounted(flash.Memory(BLOCKS, CHIP)):
        recorder, journal = opened()
        recorder.start(1, 0x000100, 77)
        read(recorder)
        held = frames(journal)
        assert [f.sequence for f in held] == list(range(journal.oldest, journal.next))
        events = [f for f in held if isinstance(f, wire.Event)]
        told = [f for f in events if f.code == wire.EVENT_JOURNAL_OVERWRITE]
        # A relay asked past the first ASKED - 1 frames: the others that went are counted once.
        for event in told:
            assert event.c == event.b - ASKED + 1, (event.a, event.b, event.c)
        for i in range(1, len(told)):
            assert told[i].a == told[i - 1].b + 1
        if journal.oldest > ASKED:
            assert told[-1].b == journal.oldest - 1, (told[-1], journal.oldest)
        # The next reading says so too, and no other.
        due = None
        for f in held:
            if f in told:
                due = True
            elif isinstance(f, wire.Reading):
                flagged = bool(f.flags & wire.FLAG_JOURNAL_OVERWROTE)
                assert flagged == due or due is None, f.sequence
                due = False
        journal.close()


def blank():
    for block in CHIP:
        for start in range(0, flash.BLOCK, 256):
            block[start : start + 256] = b"\xff" * 256
    with flash.mounted(flash.Memory(BLOCKS, CHIP), make=True):
        pass


def cut_everywhere(seconds, step=1):
    """Cut at writes, and again in the recovery at each write that `seconds(first)` names."""
    first, cuts = 1 - step, 0
    cut = True
    while cut:
        first += step
        for second in seconds(first):
            blank()
            cut = live(CHIP, STEPS, first, first % 17)
            again = cut and live(CHIP, 4, second, second * 7 % 17)
            assert_told()
            cuts += 1
            if not again:
                break
    return cuts


def test_what_was_overwritten_is_told_whatever_the_cut():
    if not MICROPYTHON:
        return  # needs littlefs
    cuts = cut_everywhere(lambda first: (1 + first * 5 % 23,), 2)
    print("cuts:", cuts)
    assert cuts > 60


def test_a_start_reads_little():
    """On a slow flash each read takes a fifth of a second, so they are counted."""
    if not MICROPYTHON:
        return  # needs littlefs
    blank()
    with flash.mounted(flash.Memory(BLOCKS, CHIP), booted=True):
        recorder, journal = opened(300, 285)
        for _ in range(100):
            read(recorder)
        journal.close()
    device = flash.Memory(BLOCKS, CHIP)
    with flash.mounted(device, booted=True):
        device.reads = 0
        recorder, journal = opened(300, 285)
        print("reads of a start:", device.reads)
        assert journal.next == 101
        assert device.reads <= 200
        journal.close()


def long_what_was_overwritten_is_told_whatever_the_two_cuts():
    cuts = cut_everywhere(lambda _: range(1, 1000))
    print("cuts:", cuts)
    assert cuts > 3000
