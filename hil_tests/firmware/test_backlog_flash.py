"""A damaged littlefs below journal, recorder and backlog (MicroPython)."""

import gc

from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON

BLOCKS = 12
# Taken while the heap is in one piece.
CHIP = flash.Memory(BLOCKS).data if MICROPYTHON else None

from backlog import Backlog  # noqa: E402
from journal import Journal, JournalError  # noqa: E402
from recorder import Recorder  # noqa: E402

import wire  # noqa: E402
from hil_tests.firmware.world import Clock, Quiet, Ticks  # noqa: E402

NOON = 1_800_014_400


class Register:
    """A register at rest."""

    energy_wh = 0

    def __init__(self, saved):
        assert saved in (None, bytes(8))

    def save(self):
        return bytes(8)


def read_of(journal):
    def read(sequence):
        try:
            return journal.read(sequence)
        except JournalError:
            return None

    return read


def carry(journal, recorder, held):
    """Give a relay that holds `held` all that it lacks, until it lacks only what is told."""
    backlog = Backlog(journal, read_of(journal), lambda _: bytes(64), recorder, Quiet())
    for _ in range(60):
        lacking = 1
        while lacking in held or recorder.knows_damaged(lacking):
            lacking += 1
        backlog.want(lacking)
        while not backlog.empty:
            message = backlog.step()
            if message:
                for frame, _ in wire.parse_message(message)[1]:
                    held.add(wire.parse(frame).sequence)
                break
        else:
            return


def test_a_damaged_pointer_is_told_by_one_event_and_the_rest_goes_out():
    if not MICROPYTHON:
        return  # needs littlefs
    with flash.mounted(flash.Memory(BLOCKS, CHIP), make=True):
        journal = Journal(flash.MOUNT + "/journal", 1000, 285)
        for sequence in range(1, 301):
            journal.append(wire.pack_event(wire.EVENT_TAMPER, sequence, NOON, 0, sequence))
        journal.close()
    newest = wire.pack_event(wire.EVENT_TAMPER, 285, NOON, 0, 285)[1:]
    (last,) = [block for block in CHIP if block.find(newest) >= 0]
    last[:8] = b"\xff" * 8  # the third block's pointers to the two before it
    for start in range(2):
        gc.collect()
        with flash.mounted(flash.Memory(BLOCKS, CHIP)):
            journal = Journal(flash.MOUNT + "/journal", 1000, 285)
            clock = Clock(Ticks(), NOON)
            path = flash.MOUNT + "/state.rec"
            recorder = Recorder(path, journal, clock, Register, Quiet())
            recorder.start(1, 0x000100, 77)
            held = set()
            carry(journal, recorder, held)
            assert held == set(range(191, journal.next)) or held == set(range(192, journal.next))
            told = [wire.parse(journal.read(s)) for s in range(301, journal.next)]
            told = [(f.b, f.c) for f in told if (f.code, f.a) == (wire.EVENT_STATE_LOST, 5)]
            assert told == [(1, min(held) - 1)], (start, told)
            journal.close()
