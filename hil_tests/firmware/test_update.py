"""Test update: fetched whole or not at all, whatever the network sends and when power fails."""

import os

import records
import update as under_test
import version
from permits import Refused
from update import trying

import wire
from hil_tests.firmware.check import in_folder, raises
from hil_tests.firmware.updating import ARCHIVE, NEW, PIECES, PROCESSOR, Cut, Meter, offer, piece

MINUTE_MS = 60000


class running:
    """Have another version run in the block."""

    def __init__(self, text):
        self._text = text

    def __enter__(self):
        self._before = version.VERSION
        version.VERSION = self._text

    def __exit__(self, *_):
        version.VERSION = self._before


def test_nothing_is_asked_for_without_an_offer():
    with in_folder() as folder:
        meter = Meter(folder)
        assert meter.live(10) == []
        assert meter.read("b.fw") == b"older"


def test_an_update_is_fetched_in_order_and_switched_to():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        assert meter.fetch() == list(range(PIECES))
        assert meter.switched()
        assert meter.restarts == 1
        assert meter.read("a.fw") == b"old"
        assert trying(records.load(folder + "/update.rec"))
        assert not meter.events


def test_a_meter_in_the_other_slot_fills_this_one():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.write("slot", b"b")
        meter.update.take(offer())
        meter.fetch()
        assert meter.read("slot") == b"a try"
        assert meter.read("a.fw") == ARCHIVE
        assert meter.read("b.fw") == b"older"


def test_one_piece_a_turn():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        size = -1
        for _ in range(3 * PIECES):
            meter.live(1, piece)
            file = meter.update._file
            now = file.tell() if file else 0
            assert size < 0 or now - size <= 512
            size = now


def test_a_restart_goes_on_behind_what_is_there():
    with in_folder() as folder:
        for kept in range(PIECES + 1):
            meter = Meter(folder)
            meter.update.take(offer())
            meter.write("b.fw.new", ARCHIVE[: kept * 512])
            meter.start()
            assert meter.fetch() == list(range(kept, PIECES))
            assert meter.switched()
            os.remove(folder + "/update.rec")


def test_what_is_no_whole_piece_goes():
    with in_folder() as folder:
        for left in (ARCHIVE[:700], ARCHIVE + bytes(512)):
            meter = Meter(folder)
            meter.update.take(offer())
            meter.write("b.fw.new", left)
            assert meter.start().fetch() == list(range(PIECES))
            assert meter.switched()
            os.remove(folder + "/update.rec")


def test_a_piece_is_asked_for_again_after_any_time_without_a_network():
    for days in (1, 7, 11):  # ticks come round in 12.4
        with in_folder() as folder:
            meter = Meter(folder)
            meter.update.take(offer())
            assert meter.live(3) == [0]
            meter.ticks.now_ms += days * 1440 * MINUTE_MS
            assert meter.live(1) == [0], days
            meter.update._file.close()


def test_another_hash_is_told_and_fetched_again_later():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        lie = bytes(512)

        def lying(number):
            return lie if number == 7 else piece(number)

        wait = 60000
        for times in range(1, 9):
            meter.live(3 * PIECES, lying)
            told = (wire.EVENT_UPDATE_ENDED, wire.UPDATE_SPOILT, 7, PROCESSOR << 24 | NEW)
            assert meter.events == [told] * times
            assert meter.read("b.fw.new") is None
            assert meter.read("slot") == b"a"
            assert meter.restarts == 0
            assert meter.live(3, lying) == []
            meter.ticks.now_ms += wait - 4000
            assert meter.live(3, lying) == []
            meter.ticks.now_ms += 4000
            wait = min(2 * wait, 3600000)
        meter.fetch()
        assert meter.switched()


def test_a_spoilt_file_of_before_is_found_too():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.write("b.fw.new", bytes(5 * 512))
        meter.start().fetch()
        assert meter.events[0][1] == wire.UPDATE_SPOILT
        assert meter.restarts == 0


def test_what_was_not_asked_for_is_dropped():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.piece(0, 0, bytes(512))
        assert meter.live(3) == []
        meter.update.take(offer())

        def flooded(number):
            for other in (number - 1, number + 1, 0xFFFF):
                meter.update.piece(7, other, bytes(512))
            for serial in (0, 6, 8):
                meter.update.piece(serial, number, bytes(512))
            return piece(number)

        assert meter.live(3 * PIECES, flooded) == list(range(PIECES))
        assert meter.switched()


def test_pieces_that_come_while_it_reads_back_change_nothing():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.live(PIECES + 2, piece)
        for _ in range(2 * PIECES):
            for number in range(PIECES):
                meter.update.piece(7, number, bytes(512))
            meter.live(1)
        assert meter.switched()


def test_without_an_answer_it_asks_ever_more_rarely():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        asked = []
        for second in range(3600):
            meter.ticks.now_ms += 950
            asked += [second] * len(meter.live(1))
        gaps = [later - earlier for earlier, later in zip(asked, asked[1:])]  # noqa: B905
        assert gaps == [10, 20, 40, 80, 160, 320, 600, 600, 600, 600]
        meter.live(40)
        meter.update.piece(7, 0, piece(0))
        assert meter.live(2, piece)[0] == 1
        assert meter.live(3 * PIECES, piece)[-1] == PIECES - 1


def test_the_power_may_fail_at_each_step_of_the_switch():
    def after_the_record(meter):
        meter.cut = 2  # trying

    def after_the_rename(_):
        os_rename = os.rename

        def rename(old, new):
            os_rename(old, new)
            if new.endswith(".fw"):
                raise Cut

        under_test.os = type("", (), {"rename": staticmethod(rename), "stat": os.stat})

    for prepare in (after_the_record, after_the_rename):
        with in_folder() as folder:
            meter = Meter(folder)
            meter.update.take(offer())
            prepare(meter)
            try:
                with raises(Cut):
                    meter.fetch()
            finally:
                under_test.os = os
            assert meter.read("slot") == b"a"
            meter.cut = None
            meter.start()
            assert meter.switched()
            assert meter.restarts == 1


def test_a_version_on_trial_is_told_when_it_proved_well():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.fetch()
        with running("0.2.0"):
            meter.write("slot", b"b tried")
            meter.start()
            assert meter.update.trial
            assert not meter.events
            meter.update.proved()
            told = [(wire.EVENT_UPDATE_ENDED, wire.UPDATE_RUNS, 7, PROCESSOR << 24 | NEW)]
            assert meter.events == told
            assert not meter.update.trial
            meter.update.proved()
            meter.write("slot", b"b")
            meter.start()
            assert not meter.update.trial
            assert meter.events == told
            assert meter.live(10) == []


def test_a_power_cut_right_after_the_slot_is_confirmed():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.fetch()
        with running("0.2.0"):
            meter.write("slot", b"b")
            meter.start()
            assert not meter.update.trial
            assert [event[1] for event in meter.events] == [wire.UPDATE_RUNS]


def test_a_version_that_fell_back_is_told_and_not_taken_again():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.fetch()
        meter.write("slot", b"a stay")
        meter.start()
        assert [event[1] for event in meter.events] == [wire.UPDATE_FELL_BACK]
        assert not meter.update.trial
        meter.start()
        assert len(meter.events) == 1
        assert meter.restarts == 1
        with raises(Refused, "known already"):
            meter.update.check(offer())
        meter.update.check(offer(serial=8))


def test_a_trial_that_boot_could_not_note_makes_no_loop():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.fetch()
        meter.start()
        assert meter.restarts == 1
        assert not meter.update.trial


def test_a_slot_that_vanished_is_fetched_again():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.fetch()
        meter.write("slot", b"a")
        meter.write("b.fw", b"something else")
        meter.start()
        assert meter.restarts == 1
        assert meter.fetch() == list(range(PIECES))
        assert meter.switched()


def test_only_what_is_new_is_taken():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.check(offer())
        meter.update.take(offer())
        for serial in (0, 6, 7):
            with raises(Refused, "known already"):
                meter.update.check(offer(serial=serial))
        meter.start()
        with raises(Refused, "known already"):
            meter.update.check(offer(serial=7))
        with raises(Refused, "known already"):
            meter.update.check(offer(serial=8, processor=PROCESSOR ^ 1))
        for target in (0, version.number() - 1, version.number()):
            with raises(Refused, "reason 10"):
                meter.update.check(offer(serial=8, target=target))
        meter.update.check(offer(serial=8, target=0xFFFFFF))


def test_a_newer_offer_takes_the_place_of_one_under_way():
    with in_folder() as folder:
        meter = Meter(folder)
        other = bytes(512) * 9
        meter.update.take(offer(archive=other))
        meter.live(5, lambda _: bytes(512))
        meter.update.take(offer(serial=8))
        assert meter.read("b.fw.new") is None
        assert meter.fetch() == list(range(PIECES))
        assert meter.switched()


def test_an_offer_that_cannot_be_kept_is_none():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.broken = True
        with raises(OSError):
            meter.update.take(offer())
        assert meter.live(10) == []
        meter.broken = False
        meter.update.check(offer())
        meter.update.take(offer())
        meter.fetch()
        assert meter.switched()


def test_a_flash_that_takes_no_archive_is_told_and_tried_again():
    class Full:
        closed = 0

        def write(self, _data):
            raise OSError(28)

        def close(self):
            self.closed += 1
            raise OSError(28)

    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        meter.live(5, piece)
        meter.update._file.close()
        meter.update._file = Full()
        meter.live(1, piece)
        assert [event[1] for event in meter.events] == [wire.UPDATE_UNWRITTEN]
        assert meter.read("b.fw.new") is None
        assert meter.live(20, piece) == []
        meter.ticks.now_ms += MINUTE_MS
        assert meter.fetch() == list(range(PIECES))
        assert meter.switched()


def test_a_version_that_came_over_the_cable_ends_the_fetching():
    with in_folder() as folder:
        meter = Meter(folder)
        meter.update.take(offer())
        with running("0.3.0"):
            meter.start()
            assert not meter.update.trial
            assert meter.live(10, piece) == []
            meter.update.proved()
            assert [event[1] for event in meter.events] == [wire.UPDATE_RUNS]


def test_a_damaged_record_is_told_once_and_nothing_is_fetched():
    with in_folder() as folder:
        for damaged in (b"\x02\x00damaged", b"\x07" * 5):
            meter = Meter(folder)
            meter.write("update.rec", damaged)
            meter.start()
            assert meter.events == [(wire.EVENT_STATE_LOST, wire.STATE_UPDATE, 0, 0)]
            assert meter.live(10) == []
            meter.start()
            assert len(meter.events) == 1
        records.save(folder + "/update.rec", b"whole, and of another form")
        assert meter.start().events[1:] == [(wire.EVENT_STATE_LOST, wire.STATE_UPDATE, 0, 0)]


def test_trying():
    assert not trying(None)
    assert not trying(b"")
    assert not trying(b"\1rest")
    assert trying(b"\2rest")
