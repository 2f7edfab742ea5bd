"""The journal in a folder: order, wrap, damage, restart. test_journal_flash.py has the flash."""

import os
from binascii import crc32

import journal as under_test
from journal import SEGMENT_RECORDS, YEAR_RECORDS, Journal, JournalError

import wire
from hil_tests.firmware.check import in_folder, raises


def frame(sequence):
    return wire.pack_event(wire.EVENT_BOOT, sequence, 1_800_000_000 + sequence, 7 * sequence)


def fill(journal, count):
    for _ in range(count):
        journal.append(frame(journal.next))


def assert_holds(journal, oldest, following):
    assert (journal.oldest, journal.next) == (oldest, following), (journal.oldest, journal.next)
    for sequence in range(oldest, following):
        assert journal.read(sequence) == frame(sequence)
    for sequence in (0, oldest - 1, following, following + 1):
        with raises(JournalError, "not held"):
            journal.read(sequence)


def test_new():
    with in_folder() as folder:
        journal = Journal(folder + "/journal")
        assert_holds(journal, 1, 1)
        fill(journal, 3)
        assert_holds(journal, 1, 4)
        journal.close()


def test_layout():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        fill(journal, 5)
        journal.close()
        assert sorted(os.listdir(folder)) == ["5", "full"]
        assert sorted(os.listdir(folder + "/full")) == ["1", "index"]
        with open(folder + "/5", "rb") as file:
            data = file.read()
        assert data == frame(5)[1:] + crc32(frame(5)[1:]).to_bytes(4, "big")


def test_only_the_next_sequence():
    with in_folder() as folder:
        journal = Journal(folder)
        for sequence in (0, 2, 1 << 31):
            with raises(JournalError, "must be 1"):
                journal.append(frame(sequence))
        fill(journal, 1)
        for sequence in (1, 3):
            with raises(JournalError, "must be 2"):
                journal.append(frame(sequence))
        for size in (0, 39, 41):
            with raises(JournalError, "40 bytes"):
                journal.append((frame(2) + b"\0")[:size])
        with raises(JournalError, "format 1"):
            journal.append(b"\2" + frame(2)[1:])
        assert_holds(journal, 1, 2)
        journal.close()


def test_restart_at_every_length():
    with in_folder() as folder:
        for count in range(11):
            journal = Journal(folder, 100, 4)
            assert_holds(journal, 1, 1 + count)
            fill(journal, 1)
            journal.close()


def test_overwrites_the_oldest_segment_only_when_full():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        fill(journal, 12)
        assert_holds(journal, 1, 13)
        fill(journal, 1)
        assert_holds(journal, 5, 14)
        for _ in range(40):
            fill(journal, 1)
            assert journal.next - journal.oldest >= 8
        assert_holds(journal, 45, 54)
        assert len(os.listdir(folder + "/full")) == 2 + 1
        journal.close()
        journal = Journal(folder, 8, 4)
        assert_holds(journal, 45, 54)
        journal.close()
        # Another size of segments and another capacity from here on.
        journal = Journal(folder, 4, 2)
        fill(journal, 4)
        assert_holds(journal, 53, 58)
        journal.close()


def test_reading_while_appending_and_wrapping():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        for sequence in range(1, 60):
            fill(journal, 1)
            assert journal.read(sequence) == frame(sequence)
            assert journal.read(journal.oldest) == frame(journal.oldest)
        journal.close()


def test_a_segment_fills_twelve_blocks():
    # Block n > 0 of littlefs begins with as many pointers as n has trailing zeros, plus 1
    # (littlefs DESIGN.md, CTZ skip-lists).
    room = 12 * 4096 - 4 * (1 + 2 + 1 + 3 + 1 + 2 + 1 + 4 + 1 + 2 + 1)
    assert room // 43 == SEGMENT_RECORDS
    # With the year's segments, one more, and two blocks of names: 1.6 MB.
    assert (-(-YEAR_RECORDS // SEGMENT_RECORDS) + 1) * 12 + 2 <= 1_600_000 // 4096


def test_damage_is_told_and_leaves_the_others():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        fill(journal, 8)
        journal.close()
        path = folder + "/5"
        with open(path, "rb") as file:
            good = file.read()
        for bit in range(0, 8 * 43, 3):
            data = bytearray(good)
            data[43 + bit // 8] ^= 1 << bit % 8
            with open(path, "wb") as file:
                file.write(data)
            journal = Journal(folder, 8, 4)
            with raises(JournalError, "sequence 6 is damaged"):
                journal.read(6)
            assert journal.damaged == 1
            for sequence in (1, 2, 3, 4, 5, 7, 8):
                assert journal.read(sequence) == frame(sequence)
            assert journal.next == 9
            journal.close()


def test_a_record_in_another_place_is_damage():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        fill(journal, 4)
        journal.close()
        path = folder + "/1"
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(data[:43] + data[:43] + data[86:])
        journal = Journal(folder, 8, 4)
        with raises(JournalError, "damaged"):
            journal.read(2)
        assert journal.read(3) == frame(3)
        journal.close()


def test_a_torn_tail_is_left_behind():
    for size in (1, 42, 44, 85, 87, 128):
        with in_folder() as folder:
            journal = Journal(folder, 100, 4)
            fill(journal, 3)
            journal.close()
            path = folder + "/1"
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(data[:size])
            journal = Journal(folder, 100, 4)
            assert journal.next == 1 + size // 43
            fill(journal, 6)
            assert_holds(journal, 1, 7 + size // 43)
            journal.close()
            journal = Journal(folder, 100, 4)
            assert_holds(journal, 1, 7 + size // 43)
            journal.close()


def test_a_segment_cut_short_in_the_middle():
    with in_folder() as folder:
        journal = Journal(folder, 12, 4)
        fill(journal, 9)
        journal.close()
        with open(folder + "/full/5", "wb") as file:
            file.write(b"")
        os.remove(folder + "/full/1")
        os.remove(folder + "/full/index")
        journal = Journal(folder, 12, 4)
        assert (journal.oldest, journal.next) == (5, 10)
        for sequence in range(5, 9):
            with raises(JournalError, "damaged"):
                journal.read(sequence)
        assert journal.damaged == 4
        assert journal.read(9) == frame(9)
        journal.close()


class Failing:
    """A module or file of which one function fails, as littlefs does at a damaged pointer."""

    def __init__(self, real, name, number=84):
        self._real = real
        self._number = number
        setattr(self, name, self._fail)

    def _fail(self, *_):
        raise OSError(self._number, "broken")

    def __getattr__(self, name):
        return getattr(self._real, name)


class failing:
    """Have `open` in the journal give files of `segment` that fail at `name` ("open": at all)."""

    def __init__(self, segment, name, number=84):
        self._end = "/%d" % segment
        self._name = name
        self._number = number

    def __enter__(self):
        under_test.open = self._open

    def __exit__(self, *_):
        del under_test.open

    def _open(self, path, mode):
        if not path.endswith(self._end):
            return open(path, mode)  # noqa: SIM115
        if self._name == "open":
            raise OSError(self._number, "broken")
        return Failing(open(path, mode), self._name, self._number)  # noqa: SIM115


def test_a_segment_that_cannot_be_read_is_damage_and_nothing_else():
    for name in ("open", "seek", "readinto"):
        for number in (84, 5, 21):
            with in_folder() as folder:
                journal = Journal(folder, 100, 4)
                fill(journal, 10)
                with failing(5, name, number):
                    for _ in range(2):
                        for sequence in range(1, 11):
                            if 5 <= sequence < 9:
                                with raises(JournalError, "damaged"):
                                    journal.read(sequence)
                            else:
                                assert journal.read(sequence) == frame(sequence)
                assert journal.damaged == 8
                if name == "open":
                    assert_holds(journal, 1, 11)
                journal.close()


def test_a_newest_segment_that_takes_no_more_is_left():
    for name in ("open", "write", "flush"):
        with in_folder() as folder:
            journal = Journal(folder, 100, 4)
            fill(journal, 6)
            journal.close()
            with failing(5, name):
                journal.append(frame(7))
                fill(journal, 3)
            assert_holds(journal, 1, 11)
            journal.close()
            journal = Journal(folder, 100, 4)
            fill(journal, 1)
            assert_holds(journal, 1, 12)
            journal.close()


def test_a_flash_that_takes_nothing_is_an_error_and_the_frame_may_come_again():
    with in_folder() as folder:
        journal = Journal(folder, 100, 4)
        fill(journal, 6)
        journal.close()
        under_test.open = under_test.records.open = Failing(None, "_fail")._fail
        try:
            for _ in range(2):
                with raises(OSError, "84"):
                    journal.append(frame(7))
                assert (journal.oldest, journal.next) == (1, 7)
        finally:
            del under_test.open, under_test.records.open
        fill(journal, 1)
        assert_holds(journal, 1, 8)
        journal.close()


def test_a_newest_segment_of_no_size_that_can_be_makes_no_sequence_repeat():
    for damage in ("folder", "large", "pointer"):
        with in_folder() as folder:
            journal = Journal(folder, 2000, 285)
            fill(journal, 290)
            journal.close()
            path = folder + "/286"
            if damage == "folder":
                os.remove(path)
                os.mkdir(path)
            elif damage == "large":
                with open(path, "wb") as file:
                    file.write(bytes((SEGMENT_RECORDS + 2) * 43))
            if damage == "pointer":
                with failing(286, "open"):
                    journal = Journal(folder, 2000, 285)
            else:
                journal = Journal(folder, 2000, 285)
            following = 286 + SEGMENT_RECORDS
            assert (journal.oldest, journal.next) == (1, following)
            fill(journal, 3)
            assert journal.read(285) == frame(285)
            assert journal.read(following + 2) == frame(following + 2)
            with raises(JournalError, "damaged"):
                journal.read(following - 1)
            journal.close()
            journal = Journal(folder, 2000, 285)
            assert journal.next == following + 3
            journal.close()


def test_a_size_that_shrinks_under_way_makes_no_sequence_repeat():
    with in_folder() as folder:
        journal = Journal(folder, 100, 10)
        fill(journal, 6)
        journal.close()
        with open(folder + "/1", "wb") as file:
            file.write(bytes(2 * 43))
        with failing(1, "open"):
            journal.append(frame(7))
        assert journal.next == 8
        assert journal.read(7) == frame(7)
        with raises(JournalError, "damaged"):
            journal.read(6)
        journal.close()


def test_what_stands_in_the_way_of_a_segment_goes_aside():
    with in_folder() as folder:
        journal = Journal(folder, 100, 4)
        fill(journal, 3)
        os.mkdir(folder + "/5")
        os.mkdir(folder + "/5/inside")
        fill(journal, 4)
        assert_holds(journal, 1, 8)
        assert sorted(os.listdir(folder)) == ["5", "5.aside1", "full"]
        journal.close()
        with open(folder + "/file", "w"):
            pass
        journal = Journal(folder + "/file", 100, 4)
        fill(journal, 1)
        assert_holds(journal, 1, 2)
        journal.close()


def test_an_oldest_segment_that_cannot_go_stops_nothing():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        fill(journal, 12)
        under_test.records.os = Failing(os, "remove")
        try:
            fill(journal, 5)
        finally:
            under_test.records.os = os
        assert_holds(journal, 9, 18)
        journal.close()
        journal = Journal(folder, 8, 4)
        assert_holds(journal, 1, 18)  # it is there yet, and goes with the next
        fill(journal, 4)
        assert_holds(journal, 13, 22)
        assert len(os.listdir(folder + "/full")) == 2 + 1
        journal.close()


def test_skipped_sequences_read_as_damaged():
    with in_folder() as folder:
        journal = Journal(folder, 100, 4)
        fill(journal, 2)
        for sequence in (0, 2, 3):
            journal.skip(sequence)
            assert journal.next == 3
        journal.skip(7)
        fill(journal, 2)
        for sequence in range(3, 7):
            with raises(JournalError, "damaged"):
                journal.read(sequence)
        for sequence in (1, 2, 7, 8):
            assert journal.read(sequence) == frame(sequence)
        journal.close()
        journal = Journal(folder, 100, 4)
        assert (journal.oldest, journal.next) == (1, 9)
        journal.close()


def test_strangers_in_the_folder_are_ignored():
    with in_folder() as folder:
        long = "9" * 30
        for name in ("readme.txt", "x", "1.seg", "0", "007", "-1", "4294967296", long):
            with open(folder + "/" + name, "w") as file:
                file.write("hello")
        journal = Journal(folder, 8, 4)
        fill(journal, 5)
        assert_holds(journal, 1, 6)
        journal.close()


def test_a_folder_that_cannot_be():
    with in_folder() as folder, raises(OSError):
        Journal(folder + "/absent/journal")


class Listed:
    """The module os, which counts how often it lists."""

    count = 0

    def __getattr__(self, name):
        return getattr(os, name)

    def listdir(self, path):
        self.count += 1
        return os.listdir(path)


def opened(folder, *arguments):
    """Return a journal, and whether its start listed the folder."""
    under_test.os = Listed()
    try:
        return Journal(folder, *arguments), under_test.os.count > 0
    finally:
        under_test.os = os


def test_a_start_asks_the_index():
    with in_folder() as folder:
        for count in range(60):
            journal, listed = opened(folder, 8, 4)
            assert listed == (count == 0), count
            assert_holds(journal, max(1, (count - 1) // 4 * 4 - 7), count + 1)
            fill(journal, 1)
            journal.close()


def test_an_index_that_is_damaged_is_written_anew():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        fill(journal, 11)
        journal.close()
        with open(folder + "/full/index", "rb") as file:
            good = file.read()
        for damage in (None, b"", good[:-1], good[:3] + b"\2" + good[4:], bytes(len(good))):
            os.remove(folder + "/full/index")
            if damage is not None:
                with open(folder + "/full/index", "wb") as file:
                    file.write(damage)
            for listed in (True, False):
                journal, really = opened(folder, 8, 4)
                assert really == listed, damage
                assert_holds(journal, 1, 12)
                journal.close()


def test_an_index_from_before_a_version_without_one_is_found_out():
    """Whatever that one did since: went on in the newest segment, began more, let others go."""
    for before in (1, 3, 4, 5, 11, 12):
        for since in range(1, 20):
            for segment_records in (4, 3):
                with in_folder() as folder:
                    journal = Journal(folder, 8, 4)
                    fill(journal, before)
                    journal.close()
                    with open(folder + "/full/index", "rb") as file:
                        index = file.read()
                    journal = Journal(folder, 8, segment_records)
                    fill(journal, since)
                    oldest = journal.oldest
                    journal.close()
                    with open(folder + "/full/index", "wb") as file:
                        file.write(index)
                    journal = Journal(folder, 8, 4)
                    assert_holds(journal, oldest, before + since + 1)
                    journal.close()


def test_segments_of_a_version_with_one_folder_are_taken_to_the_full_ones():
    with in_folder() as folder:
        journal = Journal(folder, 12, 4)
        fill(journal, 15)
        journal.close()
        for name in os.listdir(folder + "/full"):
            os.rename(folder + "/full/" + name, folder + "/" + name)
        os.rmdir(folder + "/full")
        for count, oldest in ((15, 1), (16, 1), (17, 5)):
            journal, listed = opened(folder, 12, 4)
            assert listed == (count == 15)
            assert_holds(journal, oldest, count + 1)
            assert len(os.listdir(folder)) == 3  # the newest, "full", the old index
            fill(journal, 1)
            journal.close()


def test_a_newest_segment_among_the_full_ones_takes_no_more():
    with in_folder() as folder:
        journal = Journal(folder, 100, 4)
        fill(journal, 6)
        journal.close()
        os.rename(folder + "/5", folder + "/full/5")
        for _ in range(2):
            journal = Journal(folder, 100, 4)
            assert_holds(journal, 1, journal.next)
            fill(journal, 1)
            journal.close()
        journal = Journal(folder, 100, 4)
        assert_holds(journal, 1, 9)
        journal.close()


def test_segments_of_an_older_version_go_as_a_year_has_passed_over_them():
    with in_folder() as folder:
        journal = Journal(folder, 600, 285)
        fill(journal, 900)
        assert journal.oldest == 1
        journal.close()
        journal = Journal(folder, 600, 450)
        for _ in range(1500):
            fill(journal, 1)
            held = journal.next - journal.oldest
            assert 600 <= held <= 600 + 2 * 450, held
        assert_holds(journal, journal.oldest, 2401)
        journal.close()


def test_no_more_than_so_many_segments():
    with in_folder() as folder:
        journal = Journal(folder, 8, 4)
        for sequence in range(1, 200, 2):  # each in a segment of its own
            journal.skip(sequence)
            fill(journal, 1)
            assert len(journal._firsts) <= 3
        journal.close()
