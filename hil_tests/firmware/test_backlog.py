"""Test backlog: a frame a step, batches, what a relay moves. test_uplink.py has the rest."""

from backlog import Backlog

import wire
from hil_tests.firmware.world import Quiet


class Journal:
    def __init__(self, count, damaged=()):
        self.oldest = 1
        self.next = count + 1
        self.damaged = damaged
        self.reads = 0

    def read(self, sequence):
        self.reads += 1
        assert self.oldest <= sequence < self.next, sequence
        if sequence in self.damaged:
            return None
        return wire.pack_event(wire.EVENT_TAMPER, sequence, 1_800_000_000, 5, sequence)


class Recorder:
    def __init__(self):
        self.up_to = 0
        self.told = []

    def asked(self, sequence):
        self.up_to = max(self.up_to, sequence)

    def knows_damaged(self, sequence):
        return any(first <= sequence <= last for first, last in self.told)

    def damaged(self, first, last):
        self.told.append((first, last))


class World:
    def __init__(self, count, damaged=()):
        self.journal = Journal(count, damaged)
        self.recorder = Recorder()
        self.signed = 0
        self.backlog = Backlog(self.journal, self.journal.read, self._sign, self.recorder, Quiet())

    def _sign(self, frame):
        self.signed += 1
        return frame[:4] * 16

    def message(self):
        """Step until a message is whole, or all is done; return its sequences."""
        while True:
            reads, signed = self.journal.reads, self.signed
            message = self.backlog.step()
            assert self.journal.reads - reads <= 1
            assert self.signed - signed <= 1
            if message:
                return [wire.parse(frame).sequence for frame, _ in wire.parse_message(message)[1]]
            if self.backlog.empty:
                return []


def test_batches_of_eight_and_the_rest():
    world = World(20)
    assert world.backlog.pointer is None
    for wanted, sent in ((1, range(1, 9)), (9, range(9, 17)), (17, range(17, 21))):
        assert world.backlog.want(wanted)
        assert world.message() == list(sent)
    assert world.backlog.want(21)
    assert world.backlog.empty
    assert world.recorder.up_to == 21
    world.journal.next = 22
    assert not world.backlog.empty
    assert world.message() == [21]


def test_what_is_sent_again_is_not_signed_again():
    world = World(4)
    world.backlog.want(1)
    assert world.message() == [1, 2, 3, 4]
    assert not world.backlog.want(1)
    world.journal.next = 9
    assert world.message() == [1, 2, 3, 4]
    assert world.signed == 4


def test_a_want_moves_the_pointer_and_is_brought_into_range():
    world = World(20)
    world.journal.oldest = 5
    for wanted, pointer in ((0, 5), (4_000_000_000, 21), (12, 12)):
        assert world.backlog.want(wanted)
        assert world.backlog.pointer == pointer
    assert world.message() == list(range(12, 20))
    world.backlog.go_to(None)
    assert world.backlog.pointer is None
    assert world.backlog.want(12)
    assert world.message() == list(range(12, 20))


def test_damage_is_told_at_its_end_and_passed_over():
    world = World(20, (1, 2, 5, 19, 20))
    for wanted, sent in ((1, [3, 4]), (1, list(range(6, 14))), (1, list(range(14, 19))), (1, [])):
        assert world.backlog.want(wanted)
        assert world.message() == sent
    assert world.recorder.told == [(1, 2), (5, 5), (19, 20)]
    # Out of turn: somebody else, or who forgot it all.
    assert world.backlog.want(1)
    assert world.message() == [3, 4]
    assert world.recorder.told == [(1, 2), (5, 5), (19, 20)]


def test_a_repeated_want_does_not_send_it_back_while_it_looks():
    world = World(40, range(1, 31))
    world.backlog.want(1)
    for _ in range(10):
        assert world.backlog.step() is None
    assert not world.backlog.want(1)
    assert world.backlog.pointer == 11
    assert world.backlog.want(3)  # another one does
    assert world.backlog.pointer == 3
    assert world.message() == list(range(31, 39))
    assert world.recorder.told == [(3, 30)]
    assert world.backlog.want(1)
    assert world.message() == list(range(31, 39))
    assert world.recorder.told == [(3, 30), (1, 2)]
