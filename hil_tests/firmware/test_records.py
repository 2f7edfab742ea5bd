"""A record is the old one or the new one, and damage is told from absence."""

import os

import records

from hil_tests.firmware.check import in_folder, raises


def test_absent():
    with in_folder() as folder:
        assert records.load(folder + "/clock.rec") is None


def test_saved_and_replaced():
    with in_folder() as folder:
        path = folder + "/clock.rec"
        for payload in (b"one", b"\0", bytes(range(256)) * 4, b"two"):
            records.save(path, payload)
            assert records.load(path) == payload
        assert os.listdir(folder) == ["clock.rec"]


def test_layout():
    with in_folder() as folder:
        records.save(folder + "/a.rec", b"123456789")
        with open(folder + "/a.rec", "rb") as file:
            # The check value of CRC-32/ISO-HDLC.
            assert file.read() == b"123456789\xcb\xf4\x39\x26"


def test_every_flipped_bit_and_every_cut_is_damage():
    with in_folder() as folder:
        path = folder + "/a.rec"
        records.save(path, b"payload")
        with open(path, "rb") as file:
            whole = file.read()
        damaged = [whole[:size] for size in range(len(whole))] + [whole + b"\0"]
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            damaged.append(flipped)
        for data in damaged:
            with open(path, "wb") as file:
                file.write(data)
            with raises(records.RecordError, "a.rec is damaged"):
                records.load(path)


def test_what_was_written_aside_is_not_believed():
    with in_folder() as folder:
        path = folder + "/a.rec"
        with open(path + ".new", "wb") as file:
            file.write(b"torn")
        assert records.load(path) is None
        records.save(path, b"good")
        assert records.load(path) == b"good"
        assert os.listdir(folder) == ["a.rec"]


def test_blank_flash_is_no_record_though_its_crc_is_right():
    with in_folder() as folder:
        path = folder + "/a.rec"
        for byte in (b"\0", b"\xff", b"\x5a"):
            for size in (0, 1, 3, 4, 5, 8, 32, 36, 128):
                with open(path, "wb") as file:
                    file.write(byte * size)
                with raises(records.RecordError, "a.rec is damaged"):
                    records.load(path)


def test_a_folder_in_the_place_of_a_record_goes_aside():
    with in_folder() as folder:
        path = folder + "/a.rec"
        for name in ("a.rec", "a.rec.new"):
            for inside in ((), ("kept",), ("kept",)):
                os.mkdir(folder + "/" + name)
                for file in inside:
                    os.mkdir(folder + "/" + name + "/" + file)
                if name == "a.rec":
                    with raises(records.RecordError, "cannot be read"):
                        records.load(path)
                records.save(path, b"good")
                assert records.load(path) == b"good"
                os.remove(path)
        held = sorted(os.listdir(folder))
        assert held == ["a.rec.aside1", "a.rec.aside2", "a.rec.new.aside1", "a.rec.new.aside2"]
        assert all(os.listdir(folder + "/" + name) == ["kept"] for name in held)


def test_a_file_in_the_place_of_a_folder_goes_aside():
    with in_folder() as folder:
        path = folder + "/state"
        with open(path, "w") as file:
            file.write("something")
        for _ in range(2):
            records.folder(path)
            assert os.listdir(path) == []
        with open(path + ".aside1") as file:
            assert file.read() == "something"
        with raises(OSError):
            records.folder(folder + "/absent/state")


class Broken:
    """The module os or the function open, failing with one error."""

    def __init__(self, number):
        self.number = number

    def __call__(self, *_):
        raise OSError(self.number, "broken")


def test_what_cannot_be_read_is_damage_and_too_little_memory_is_not():
    with in_folder() as folder:
        path = folder + "/a.rec"
        records.save(path, b"good")
        try:
            for number, error in (
                (84, records.RecordError),
                (5, records.RecordError),
                (12, OSError),
            ):
                records.open = Broken(number)
                with raises(error):
                    records.load(path)
        finally:
            del records.open
        assert records.load(path) == b"good"


def test_room_is_asked_for_until_there_is_none():
    with in_folder() as folder:
        asked = []

        def made_room(error):
            asked.append(error.errno)
            if len(asked) == 3:
                del records.open
            return len(asked) <= 3

        records.open = Broken(28)
        records.save(folder + "/a.rec", b"good", made_room)
        assert asked == [28, 28, 28]
        assert records.load(folder + "/a.rec") == b"good"
        records.open = Broken(28)
        try:
            for room in (None, made_room):
                with raises(OSError, "28"):
                    records.save(folder + "/b.rec", b"good", room)
        finally:
            del records.open
