"""Compute the CRC-16 of Modbus.

Source: MODBUS over Serial Line V1.02, section 6.2.2 (polynomial 0xA001, start 0xFFFF).
"""

# The CRCs of the 16 nibbles: a table of 256 would cost a kilobyte of heap.
_NIBBLES = (
    0x0000,
    0xCC01,
    0xD801,
    0x1400,
    0xF001,
    0x3C00,
    0x2800,
    0xE401,
    0xA001,
    0x6C00,
    0x7800,
    0xB401,
    0x5000,
    0x9C01,
    0x8801,
    0x4400,
)


def crc16(data, length=None):
    """Return the CRC (0 to 0xFFFF) of the first `length` bytes of `data`, of all by default.

    On the wire its low byte goes first. Allocates nothing.
    """
    crc = 0xFFFF
    for i in range(len(data) if length is None else length):
        crc ^= data[i]
        crc = (crc >> 4) ^ _NIBBLES[crc & 15]
        crc = (crc >> 4) ^ _NIBBLES[crc & 15]
    return crc
