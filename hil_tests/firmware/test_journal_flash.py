"""The journal on littlefs: every cut, a full flash, a year of frames. Needs MicroPython."""

import os
import time

from journal import SEGMENT_RECORDS, YEAR_RECORDS, Journal, JournalError

import wire
from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON, in_folder, raises

FOLDER = flash.MOUNT + "/journal"


def frame(sequence):
    return wire.pack_event(wire.EVENT_BOOT, sequence, 1_800_000_000 + sequence, 7 * sequence)


def append_until_cut(journal, count):
    """Append `count` frames or until the flash fails. Returns the last sequence promised."""
    promised = journal.next - 1
    try:
        for _ in range(count):
            journal.append(frame(promised + 1))
            promised += 1
    except OSError:
        pass
    return promised


def assert_holds_all(journal, promised, capacity):
    # What was under way at the cut may be held as well: never more, never torn.
    assert journal.next - 1 in (promised, promised + 1), (journal.next, promised)
    assert journal.oldest <= max(1, journal.next - capacity), journal.oldest
    for sequence in range(journal.oldest, journal.next):
        assert journal.read(sequence) == frame(sequence)


def live(device, promised, count, capacity, segment_records):
    """Start on a device, look at all that was promised, append. Returns what is promised now."""
    with flash.mounted(device):
        try:
            journal = Journal(FOLDER, capacity, segment_records)
        except OSError:
            return promised
        try:
            if device.is_cut():  # while the index was written
                return promised
            assert_holds_all(journal, promised, capacity)
            return append_until_cut(journal, count)
        finally:
            try:
                journal.close()
            except OSError:
                pass


def cut_everywhere(blocks, count, capacity, segment_records, torn, step=1):
    """Cut the power at every flash write of `count` appends, and again while recovering."""
    data = flash.Memory(blocks).data
    cut_at = 1
    while True:
        device = flash.Memory(blocks, data)
        with flash.mounted(device, make=True):
            os.mkdir(FOLDER)
        device.cut_at(cut_at, torn)
        promised = live(device, 0, count, capacity, segment_records)
        if device.writes < cut_at:
            assert promised == count
            return cut_at - 1
        device = flash.Memory(blocks, data)
        device.cut_at(1 + cut_at % 13, torn)
        promised = live(device, promised, 3, capacity, segment_records)
        for more in (3, 0):
            device = flash.Memory(blocks, data)
            promised = live(device, promised, more, capacity, segment_records)
        cut_at += step


if MICROPYTHON:

    def test_cut_at_every_write_around_a_wrap():
        # Small segments: creation, inline files, removal of the oldest, several times over.
        for torn in (0, 7, 16):
            cuts = cut_everywhere(10, 14, 6, 3, torn)
            print("cuts:", cuts)
            assert cuts > 30

    def test_cut_at_every_write_across_blocks():
        # 95 records fill a block: the list of blocks grows, the last one is copied at each.
        for torn in (0, 9):
            cuts = cut_everywhere(12, 108, 100, 100, torn, step=41)
            print("cuts: %d / 41" % cuts)
            assert cuts > 1000

    def test_durable_on_return():
        data = flash.Memory(12).data
        for count in (1, 2, 10, 22, 23, 24, 94, 95, 96, 100, 101):
            device = flash.Memory(12, data)
            with flash.mounted(device, make=True):
                journal = Journal(FOLDER, 300, 100)
                assert append_until_cut(journal, count) == count
                # Neither close nor unmount can add anything from here on.
                device.cut_at(1)
                journal.close()
            live(flash.Memory(12, data), count, 0, 300, 100)

    def test_a_full_flash_loses_the_oldest_not_the_newest():
        with flash.mounted(flash.Memory(14), make=True):
            with open(flash.MOUNT + "/other", "wb") as file:
                file.write(bytes(flash.BLOCK))
            # Far more than what is left would hold.
            journal = Journal(FOLDER, 1000, 20)
            for sequence in range(1, 400):
                journal.append(frame(sequence))
                assert journal.read(sequence) == frame(sequence)
            print("full: %d to %d" % (journal.oldest, journal.next - 1))
            assert journal.next == 400
            assert 280 <= journal.oldest <= 340
            for sequence in range(journal.oldest, 400):
                assert journal.read(sequence) == frame(sequence)
            assert os.stat(flash.MOUNT + "/other")[6] == flash.BLOCK
            journal.close()

    def test_damage_anywhere_is_a_journal_error_or_nothing():
        """A flipped pointer is OSError 84 in a part of a file; other damage shows otherwise."""
        seen = set()
        with in_folder() as folder:
            device = flash.Memory(14)
            with flash.mounted(device, make=True):
                journal = Journal(FOLDER, 1000, 285)
                append_until_cut(journal, 320)
                for _ in range(60):  # until both blocks of the folder with the index are written
                    journal.check()
                journal.close()
            with open(folder + "/chip", "wb") as file:
                for block in device.data:
                    file.write(block)
            for at in range(0, 14 * flash.BLOCK, flash.BLOCK):
                for word in (b"\xff\xff\xff\xff", b"\x29\x80\0\0", b"\x03\0\0\0"):
                    with open(folder + "/chip", "rb") as file:
                        for block in device.data:
                            file.readinto(block)
                    device.data[at // flash.BLOCK][:8] = word + word
                    with flash.mounted(flash.Memory(14, device.data)):
                        seen.add(read_all_and_go_on(Journal(FOLDER, 1000, 285)))
        print("damaged:", sorted(seen))
        assert 0 in seen
        assert 100 < max(seen) < 300

    def long_a_year_fits_and_wraps():
        with in_folder() as folder:
            device = flash.File(512, folder + "/flash.img")
            with flash.mounted(device, make=True, booted=True):
                year(device)


def read_all_and_go_on(journal):
    """Read what is held and append to it; return how many are damaged."""
    damaged = 0
    for sequence in range(journal.oldest, journal.next):
        try:
            assert journal.read(sequence) == frame(sequence)
        except JournalError:
            damaged += 1
    assert journal.damaged == damaged
    following = journal.next
    assert append_until_cut(journal, 3) == following + 2
    for sequence in range(following, following + 3):
        assert journal.read(sequence) == frame(sequence)
    journal.close()
    return damaged


def year(device):
    empty = flash.used_blocks()
    # An old meter: six digits to a name.
    os.mkdir(FOLDER)
    with open(FOLDER + "/900001", "wb"):
        pass
    journal = Journal(FOLDER)
    most = 0
    started = time.ticks_ms()
    while journal.next <= 900_000 + YEAR_RECORDS + 2 * SEGMENT_RECORDS:
        journal.append(frame(journal.next))
        # The most is held when the newest segment is full.
        if (journal.next - journal.oldest) % SEGMENT_RECORDS in (0, SEGMENT_RECORDS - 1):
            most = max(most, flash.used_blocks() - empty)
    spent_ms = time.ticks_diff(time.ticks_ms(), started)
    assert journal.next - journal.oldest >= YEAR_RECORDS
    assert journal.oldest > 900_001
    journal.close()
    print("a year and more: %d bytes, %d ms" % (most * flash.BLOCK, spent_ms))
    assert most * flash.BLOCK <= 1_610_000  # its two folders and their index included
    device.reads = 0
    journal = Journal(FOLDER)
    print("start-up: %d reads of the flash" % device.reads)
    assert device.reads < 100
    for sequence in range(journal.oldest, journal.next, 97):
        assert journal.read(sequence) == frame(sequence)
    with raises(JournalError, "not held"):
        journal.read(journal.oldest - 1)
    journal.close()
