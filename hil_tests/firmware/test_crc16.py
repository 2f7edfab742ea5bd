"""The CRC agrees with published examples and with the definition, bit by bit."""

from crc16 import crc16


def bitwise(data):
    """Follow MODBUS over Serial Line V1.02, section 6.2.2, to the letter."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc, out = crc >> 1, crc & 1
            if out:
                crc ^= 0xA001
    return crc


def test_published():
    # The check value of CRC-16/MODBUS in the catalogue of parametrised CRC algorithms.
    assert crc16(b"123456789") == 0x4B37
    # The example of the serial line specification, appendix B: 02 07, then 41 12 on the wire.
    assert crc16(b"\x02\x07") == 0x1241
    assert crc16(b"") == 0xFFFF


def test_every_byte_against_the_definition():
    for byte in range(256):
        data = bytes([byte, 255 - byte, 7])
        assert crc16(data) == bitwise(data), byte


def test_length():
    assert crc16(bytearray(b"123456789junk"), 9) == 0x4B37
    assert crc16(b"junk", 0) == 0xFFFF
