"""Build Modbus RTU requests and check the replies.

Source: MODBUS Application Protocol V1.1b3, sections 6.4 and 7; Serial Line V1.02, section 2.5.1.
"""

from crc16 import crc16

READ_INPUT_REGISTERS = 0x04
EXCEPTION_SIZE = 5
_EXCEPTION = 0x80
_REASONS = "unknown reason/illegal function/illegal data address/illegal data value/slave failure"


class ModbusError(Exception):
    """A reply that must not be believed; the message says why."""


def pack_read(unit_id, function, first, count):
    """Return the request (8 bytes) for `count` registers from register `first` on."""
    request = bytearray(8)
    request[0] = unit_id
    request[1] = function
    request[2] = first >> 8
    request[3] = first & 0xFF
    request[4] = count >> 8
    request[5] = count & 0xFF
    crc = crc16(request, 6)
    request[6] = crc & 0xFF
    request[7] = crc >> 8
    return bytes(request)


def reply_size(count):
    """Return the size of a whole reply of `count` registers."""
    return 5 + 2 * count


def is_exception(reply, size):
    """Tell whether the first `size` bytes of `reply` begin an exception (5 bytes)."""
    return size >= 2 and reply[1] & _EXCEPTION != 0


def check_read(reply, size, unit_id, function, count):
    """Check a reply of `size` bytes at the start of `reply` against what was asked.

    Raises ModbusError for a wrong length, CRC, unit id or function and for an exception.
    """
    exception = is_exception(reply, size)
    if size != (EXCEPTION_SIZE if exception else reply_size(count)):
        raise ModbusError("reply of %d bytes, must have %d" % (size, reply_size(count)))
    # The CRC goes first: in a damaged reply no other byte means anything.
    if crc16(reply, size - 2) != reply[size - 2] | reply[size - 1] << 8:
        raise ModbusError("CRC wrong: look for noise, or two units with one unit id")
    if reply[0] != unit_id:
        raise ModbusError("unit %d answered instead of unit %d" % (reply[0], unit_id))
    if reply[1] & 0x7F != function:
        raise ModbusError("reply to function %d, asked %d" % (reply[1] & 0x7F, function))
    if exception:
        reason = reply[2]
        text = _REASONS.split("/")[reason if reason < 5 else 0]
        raise ModbusError("exception %d: %s" % (reason, text))
    if reply[2] != 2 * count:
        raise ModbusError("byte count %d, must be %d" % (reply[2], 2 * count))
