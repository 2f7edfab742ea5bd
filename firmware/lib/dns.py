"""Ask for the address of a name: one question, one answer.

The ESP32's own resolver stops the whole program for up to fourteen seconds when the network is
there and its name server is not. Source: RFC 1035, section 4.
"""

import struct

_A = 1
_IN = 1
_HEADER = ">HHHHHH"
_HEADER_SIZE = 12
_RECORD = ">HHIH"
_RECORD_SIZE = 10


class NameServerError(OSError):
    """The name server does not know the name, or sent nonsense; check the name."""


def is_address(host):
    """Return whether `host` is four numbers rather than a name."""
    parts = host.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)


def pack_query(name, query_id):
    """Return the question for the IPv4 address of `name`; `query_id` is 0 to 65535."""
    question = b""
    for label in name.rstrip(".").split("."):
        if not 1 <= len(label) <= 63:
            raise NameServerError("%s is not a name" % name)
        question += bytes([len(label)]) + label.encode()
    return struct.pack(_HEADER, query_id, 0x0100, 1, 0, 0, 0) + question + b"\0\0\1\0\1"


def parse_answer(data, query):
    """Return the address (dotted quad) that `data` answers to `query`, None for another's answer.

    Of several one by the query's id, which is random: behind another, somebody may be there.
    Raises NameServerError.
    """
    if len(data) < len(query) or data[:2] != query[:2] or not data[2] & 0x80:
        return None
    if data[_HEADER_SIZE : len(query)] != query[_HEADER_SIZE:]:
        return None
    if data[3] & 0x0F:
        raise NameServerError("the name server says error %d" % (data[3] & 0x0F))
    at = len(query)
    found = []
    for _ in range(struct.unpack_from(">H", data, 6)[0]):
        at = _skip_name(data, at)
        if at + _RECORD_SIZE > len(data):
            break
        kind, sort, _, size = struct.unpack_from(_RECORD, data, at)
        at += _RECORD_SIZE
        if kind == _A and sort == _IN and size == 4 and at + 4 <= len(data):
            found.append(data[at : at + 4])
        at += size
    if not found:
        raise NameServerError("the name server's answer holds no address")
    return "%d.%d.%d.%d" % tuple(found[query[1] % len(found)])


def _skip_name(data, at):
    """Return where the name at `at` ends, beyond the data if it does not."""
    while at < len(data) and data[at]:
        if data[at] & 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1
