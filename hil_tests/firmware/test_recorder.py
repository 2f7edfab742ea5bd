"""Test recorder: state and journal in step at every cut, boots, overwriting, and what is lost."""

import gc
import os
import struct

import records
from journal import Journal
from recorder import Recorder

import wire
from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON, in_folder, raises, remove
from hil_tests.firmware.world import Clock, Quiet, Ticks

VALUES = (1000, 1500, 430, 2300, 2290, 500, 99)
NOON = 1_800_014_400


class Register:
    """A register that knows one sensor and says when it went back."""

    def __init__(self, saved):
        self.energy_wh, self.sensor_wh = struct.unpack(">QI", saved) if saved else (0, 0)

    def update(self, sensor_wh):
        before, self.sensor_wh = self.sensor_wh, sensor_wh
        if sensor_wh < before:
            self.energy_wh += sensor_wh
            return [(wire.EVENT_REGISTER_RESET, 1, before, sensor_wh)]
        self.energy_wh += sensor_wh - before
        return []

    def save(self):
        return struct.pack(">QI", self.energy_wh, self.sensor_wh)


def opened(folder, capacity=1000, segment_records=285):
    journal = Journal(folder + "/journal", capacity, segment_records)
    clock = Clock(Ticks(), NOON)
    return Recorder(folder + "/state.rec", journal, clock, Register, Quiet()), journal


def frames(journal):
    return [wire.parse(journal.read(s)) for s in range(journal.oldest, journal.next)]


def read(recorder, flags=0, time_s=NOON, trust=1):
    recorder.reading(flags, time_s, trust, time_s // 86400, VALUES)


def test_first_boot_and_reading():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.start(1, 0x000100, 77)
        recorder.register.update(500)
        read(recorder, wire.FLAG_BOOT)
        boot, reading = frames(journal)
        assert (boot.code, boot.a, boot.b, boot.c) == (wire.EVENT_BOOT, 1, 0x100, 1)
        assert (boot.sequence, boot.time_s, boot.clock_trust) == (1, NOON, 1)
        assert (reading.sequence, reading.energy_wh, reading.power_dw) == (2, 500, 1000)
        assert reading.power_factor_pct == 99
        assert recorder.closing_day == NOON // 86400 + 1
        journal.close()


def test_restart_remembers():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.start(1, 0x000100, 77)
        recorder.register.update(500)
        read(recorder)
        journal.close()
        recorder, journal = opened(folder)
        assert recorder.register.energy_wh == 500
        assert recorder.reading_s == NOON
        assert recorder.closing_day == NOON // 86400 + 1
        recorder.start(3, 0x000100, 78)
        codes = [(f.code, f.a, f.c) for f in frames(journal)[2:]]
        assert codes == [(wire.EVENT_BOOT, 3, 2), (wire.EVENT_CONFIG_CHANGED, 78, 0)]
        journal.close()


def test_untrusted_reading_leaves_the_closing_day():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        read(recorder, trust=0)
        assert recorder.closing_day == 0
        journal.close()


def test_damaged_state_is_told_and_the_energy_kept():
    for damage in ("flip", "remove"):
        with in_folder() as folder:
            recorder, journal = opened(folder)
            recorder.start(1, 0x000100, 77)
            recorder.register.update(500)
            read(recorder)
            journal.close()
            path = folder + "/state.rec"
            if damage == "flip":
                with open(path, "r+b") as file:
                    file.seek(5)
                    file.write(b"\xaa")
            else:
                os.remove(path)
            recorder, journal = opened(folder)
            recorder.start(1, 0x000100, 77)
            lost = frames(journal)[-1]
            assert (lost.code, lost.a) == (wire.EVENT_STATE_LOST, wire.STATE_REGISTER)
            assert (lost.sequence, lost.energy_wh) == (4, 500)
            assert recorder.register.energy_wh == 500
            journal.close()


def test_values_are_cut_to_what_a_frame_holds():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.record(wire.EVENT_MAINS_BACK, -5, 1 << 40, 3)
        event = frames(journal)[0]
        assert (event.a, event.b, event.c) == (0, 0xFFFFFFFF, 3)
        journal.close()


def test_events_in_a_row_write_the_record_once():
    """The contactor waits for them, and an ESP32's flash is slow."""
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.record(wire.EVENT_TAMPER, 1)
        os.remove(folder + "/state.rec")
        recorder.record(wire.EVENT_TAMPER, 2)
        assert "state.rec" not in os.listdir(folder)
        recorder.register.update(500)
        recorder.record(wire.EVENT_TAMPER, 3)
        assert struct.unpack_from(">Q", records.load(folder + "/state.rec"), 32 + 40)[0] == 500
        assert [f.a for f in frames(journal)] == [1, 2, 3]
        journal.close()


def test_overwriting_unasked_frames_is_told():
    with in_folder() as folder:
        recorder, journal = opened(folder, 40, 10)
        for i in range(30):
            recorder.record(wire.EVENT_TAMPER, i)
        recorder.asked(26)
        while journal.oldest <= 26:
            recorder.record(wire.EVENT_TAMPER)
        told = [f for f in frames(journal) if f[0] == wire.EVENT_JOURNAL_OVERWRITE]
        assert [(f.a, f.b, f.c) for f in told] == [(26, 30, 5)]
        read(recorder)
        read(recorder)
        flags = [f.flags & wire.FLAG_JOURNAL_OVERWROTE for f in frames(journal)[-2:]]
        assert flags == [wire.FLAG_JOURNAL_OVERWROTE, 0]
        journal.close()
        recorder, journal = opened(folder, 40, 10)
        while len(told) < 2:
            recorder.record(wire.EVENT_TAMPER)
            told = [f for f in frames(journal) if f[0] == wire.EVENT_JOURNAL_OVERWRITE]
        assert told[-1].a == 31
        assert told[-1].c == 5 + 10
        journal.close()


def test_frames_that_went_before_a_cut_are_told_after_it():
    with in_folder() as folder:
        recorder, journal = opened(folder, 20, 5)
        for i in range(22):
            recorder.record(wire.EVENT_TAMPER, i)
        journal.made_room(OSError(28, "full"))
        journal.close()
        for _ in range(2):
            recorder, journal = opened(folder, 20, 5)
            recorder.start(1, 0x000100, 77)
            told = [f for f in frames(journal) if f.code == wire.EVENT_JOURNAL_OVERWRITE]
            assert [(f.a, f.b, f.c) for f in told] == [(1, 5, 5)]
            journal.close()
        recorder, journal = opened(folder, 20, 5)
        for _ in range(2):
            read(recorder)
        flags = [f.flags & wire.FLAG_JOURNAL_OVERWROTE for f in frames(journal)[-2:]]
        assert flags == [wire.FLAG_JOURNAL_OVERWROTE, 0]
        journal.close()


def test_what_cannot_be_told_yet_is_told_with_what_comes_next():
    with in_folder() as folder:
        recorder, journal = opened(folder, 20, 5)
        for i in range(25):
            recorder.record(wire.EVENT_TAMPER, i)
        append, journal.append = journal.append, None

        def fail_at_the_event(frame):
            if wire.parse(frame).code == wire.EVENT_JOURNAL_OVERWRITE:
                raise OSError(28, "full")
            append(frame)

        journal.append = fail_at_the_event
        recorder.record(wire.EVENT_TAMPER, 25)
        recorder.record(wire.EVENT_TAMPER, 26)
        journal.append = append
        recorder.record(wire.EVENT_TAMPER, 27)
        told = [f for f in frames(journal) if f.code == wire.EVENT_JOURNAL_OVERWRITE]
        assert [(f.a, f.b, f.c) for f in told] == [(1, 5, 5)]
        assert [f.a for f in frames(journal)[-4:-1]] == [25, 26, 27]
        journal.close()


def test_damaged_frames_are_told_once_also_across_restarts():
    with in_folder() as folder:
        recorder, journal = opened(folder, 1000, 10)
        for i in range(30):
            recorder.record(wire.EVENT_TAMPER, i)
        recorder.damaged(3, 9)
        recorder.damaged(12, 12)
        for _ in range(2):
            known = [s for s in range(1, 33) if recorder.knows_damaged(s)]
            assert known == [3, 4, 5, 6, 7, 8, 9, 12]
            read(recorder)
            journal.close()
            recorder, journal = opened(folder, 1000, 10)
        lost = [f for f in frames(journal) if f[0] == wire.EVENT_STATE_LOST]
        assert [(f.a, f.b, f.c) for f in lost] == [(5, 3, 9), (5, 12, 12)]
        assert recorder.reading_s == NOON
        for first in range(13, 30):  # the record stays small
            recorder.damaged(first, first)
        assert len(records.load(folder + "/state.rec")) <= 32 + 40 + 12 + 16 * 8
        assert recorder.knows_damaged(29)
        journal.close()


def test_damage_that_cannot_be_told_is_not_known():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.record(wire.EVENT_TAMPER)

        def fail(_):
            raise OSError(28, "full")

        append, journal.append = journal.append, fail
        with raises(OSError, "28"):
            recorder.damaged(1, 1)
        journal.append = append
        assert not recorder.knows_damaged(1)
        recorder.damaged(1, 1)
        assert recorder.knows_damaged(1)
        assert [f.code for f in frames(journal)] == [wire.EVENT_TAMPER, wire.EVENT_STATE_LOST]
        journal.close()


def test_a_journal_that_lost_its_newest_frames_repeats_no_sequence():
    """Damage to a folder of littlefs brings back its state of some writes before."""
    for damage in ("shorter", "gone"):
        with in_folder() as folder:
            recorder, journal = opened(folder, 1000, 10)
            for i in range(25):
                recorder.record(wire.EVENT_TAMPER, i)
            recorder.register.update(500)
            read(recorder)
            recorder.record(wire.EVENT_TAMPER, 25)
            journal.close()
            assert journal.next == 28
            path = folder + "/journal/21"
            with open(path, "rb") as file:
                data = file.read(3 * 43)
            os.remove(path)
            if damage == "shorter":
                with open(path, "wb") as file:
                    file.write(data)
            recorder, journal = opened(folder, 1000, 10)
            assert wire.parse(journal.read(26)).energy_wh == 500  # the record still has it
            recorder.start(1, 0x000100, 77)
            assert wire.parse(journal.read(journal.next - 1)).code == wire.EVENT_BOOT
            assert journal.next >= 28 + 285
            following = journal.next
            journal.close()
            recorder, journal = opened(folder, 1000, 10)
            assert journal.next == following
            journal.close()


def test_a_record_of_the_version_before_is_read():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.start(1, 0x000100, 77)
        recorder.asked(2)
        recorder.register.update(500)
        read(recorder)
        journal.close()
        new = records.load(folder + "/state.rec")
        records.save(folder + "/state.rec", b"\1" + new[1:25] + new[31:])
        recorder, journal = opened(folder)
        assert (recorder.boots, recorder.register.energy_wh) == (1, 500)
        recorder.start(1, 0x000100, 77)
        assert [f[0] for f in frames(journal)[2:]] == [wire.EVENT_BOOT]
        assert records.load(folder + "/state.rec")[0] == 2
        journal.close()


# What the sensor shows, step by step; it is reset twice.
SENSOR = (10, 20, 35, 5, 15, 30, 2, 9)
ENERGY = 35 + 30 + 9


def live(folder, step):
    """Run from `step` until the flash fails or the script ends; return the next step."""
    journal = None
    try:
        recorder, journal = opened(folder)
        recorder.start(1, 0x000100, 77)
        while step < len(SENSOR):
            events = recorder.register.update(SENSOR[step])
            if events:
                recorder.record_all(events)
            if step % 3 == 0:
                recorder.record(wire.EVENT_TAMPER, step)
            read(recorder, 0, NOON + 900 * step)
            step += 1
    except OSError:
        pass
    try:
        if journal:
            journal.close()
    except OSError:
        pass
    return step


def assert_in_step(folder):
    recorder, journal = opened(folder)
    held = frames(journal)
    assert [f.sequence for f in held] == list(range(1, len(held) + 1))
    energies = [f.energy_wh for f in held]
    assert energies == sorted(energies), energies
    events = [f for f in held if isinstance(f, wire.Event)]
    resets = [(f.b, f.c) for f in events if f.code == wire.EVENT_REGISTER_RESET]
    assert resets == [(35, 5), (30, 2)], resets
    boots = [f.c for f in events if f.code == wire.EVENT_BOOT]
    assert boots == list(range(1, len(boots) + 1)), boots
    times = [f.time_s for f in held if isinstance(f, wire.Reading)]
    assert sorted(set(times)) == [NOON + 900 * i for i in range(len(SENSOR))], times
    assert recorder.register.energy_wh == ENERGY
    journal.close()
    return times


def test_every_cut_keeps_state_and_journal_in_step():
    if not MICROPYTHON:
        return  # needs littlefs
    cut_at = 1
    while True:
        device = None
        gc.collect()
        device = flash.Memory(12)
        with flash.mounted(device, make=True):
            device.cut_at(cut_at, cut_at % 17)
            step = live(flash.MOUNT, 0)
        cut = device.writes >= cut_at
        device = flash.Memory(12, device.data)
        with flash.mounted(device):
            live(flash.MOUNT, step)
            times = assert_in_step(flash.MOUNT)
        if not cut:
            assert len(times) == len(SENSOR)
            break
        cut_at += 1
    print("cuts:", cut_at - 1)
    assert cut_at > 60


def test_record_is_found_whole():
    with in_folder() as folder:
        recorder, journal = opened(folder)
        recorder.start(1, 2, 3)
        assert len(records.load(folder + "/state.rec")) == 32 + 40 + 12
        journal.close()


def test_a_flash_that_others_filled_costs_the_oldest_frames_and_an_event_tells_so():
    if not MICROPYTHON:
        return  # needs littlefs
    with in_folder() as folder, flash.mounted(flash.File(24, folder + "/flash"), make=True):
        recorder, journal = opened(flash.MOUNT, 1000, 40)
        recorder.asked(30)
        for step in range(200):
            recorder.register.update(step)
            recorder.record(wire.EVENT_TAMPER, step)
        journal.close()
        fill(flash.MOUNT + "/foreign")
        recorder, journal = opened(flash.MOUNT, 1000, 40)
        register = recorder.register
        register.save = lambda: Register.save(register) + bytes(100)  # as of three sensors
        recorder.start(1, 0x000100, 77)
        lost = [f for f in frames(journal) if f[0] == wire.EVENT_JOURNAL_OVERWRITE]
        assert [(f.a, f.b, f.c) for f in lost] == [(30, 40, 11), (41, 80, 51)], lost
        journal.close()


def test_a_reading_that_finds_no_room_leaves_the_state_as_it_was():
    if not MICROPYTHON:
        return  # needs littlefs
    with in_folder() as folder, flash.mounted(flash.File(24, folder + "/flash"), make=True):
        recorder, journal = opened(flash.MOUNT)
        for step in range(3):  # what is longer than 128 bytes takes a block
            read(recorder, 0, NOON + step)
        fill(flash.MOUNT + "/foreign")
        recorder.register.update(500)
        with raises(OSError, "28"):
            read(recorder, 0, NOON + 86400)
        assert (recorder.reading_s, recorder.closing_day) == (NOON + 2, NOON // 86400 + 1)
        remove(flash.MOUNT + "/foreign")
        read(recorder, 0, NOON + 86400)
        assert [(f.sequence, f.energy_wh) for f in frames(journal)[2:]] == [(3, 0), (4, 500)]
        journal.close()


def fill(folder):
    """Write files of a block until none is free."""
    os.mkdir(folder)
    with raises(OSError, "28"):
        while True:
            with open(folder + "/" + str(len(os.listdir(folder))), "wb") as file:
                file.write(bytes(2000))
