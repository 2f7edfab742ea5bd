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
        for payload in (b"one", b"", bytes(range(256)) * 4, b"two"):
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


def test_an_error_that_is_not_absence_is_passed_on():
    with in_folder() as folder, raises(OSError):
        records.load(folder)
