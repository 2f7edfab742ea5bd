"""Requests are byte for byte right; every damaged or foreign reply is refused."""

import modbus_rtu
from crc16 import crc16
from modbus_rtu import ModbusError

from hil_tests.firmware.check import raises


def with_crc(body):
    crc = crc16(body)
    return bytes(body) + bytes([crc & 0xFF, crc >> 8])


def check(reply):
    modbus_rtu.check_read(reply, len(reply), 1, 4, 10)


GOOD = with_crc(b"\x01\x04\x14" + bytes(range(20)))


def test_request():
    # 01 04 00 00 00 0A with its CRC 70 0D: the frame every PZEM-004T driver sends.
    assert modbus_rtu.pack_read(1, 4, 0, 10) == b"\x01\x04\x00\x00\x00\x0a\x70\x0d"
    # 11 03 006B 0003 76 87: the textbook example of function 3.
    assert modbus_rtu.pack_read(0x11, 3, 0x6B, 3) == b"\x11\x03\x00\x6b\x00\x03\x76\x87"


def test_good_reply():
    assert modbus_rtu.reply_size(10) == len(GOOD)
    check(GOOD)
    check(bytearray(GOOD))


def test_every_flipped_bit_is_refused():
    for bit in range(8 * len(GOOD)):
        reply = bytearray(GOOD)
        reply[bit // 8] ^= 1 << bit % 8
        with raises(ModbusError):
            check(reply)


def test_wrong_sizes_are_refused():
    for size in list(range(len(GOOD))) + [len(GOOD) + 1]:
        with raises(ModbusError):
            check((GOOD + b"\0")[:size])


def test_foreign_replies_are_refused():
    for body, words in (
        (b"\x02" + GOOD[1:-2], "unit 2 answered"),
        (b"\x01\x03" + GOOD[2:-2], "function 3"),
        (b"\x01\x04\x13" + GOOD[3:-2], "byte count 19"),
    ):
        with raises(ModbusError, words):
            check(with_crc(body))


def test_exceptions():
    for reason, words in (
        (1, "illegal function"),
        (2, "illegal data address"),
        (3, "illegal data value"),
        (4, "slave failure"),
        (0xFF, "unknown reason"),
    ):
        reply = with_crc(bytes([1, 0x84, reason]))
        assert modbus_rtu.is_exception(reply, 2)
        assert not modbus_rtu.is_exception(reply, 1)
        with raises(ModbusError, words):
            check(reply)
    with raises(ModbusError, "unit 2"):
        check(with_crc(b"\x02\x84\x01"))
    with raises(ModbusError, "function 3"):
        check(with_crc(b"\x01\x83\x01"))
    with raises(ModbusError, "CRC"):
        check(b"\x01\x84\x01\0\0")
