"""Ask a server for the time: one question, one answer.

MicroPython's ntptime stops the whole program until the answer is there, or for its time-out.
Source: RFC 4330, sections 3 and 5.
"""

PORT = 123

_SIZE = 48
_CLIENT = 0x23  # version 4, mode 3
_MODES = 0x07
_SERVER = 4
_UNKNOWN = 0xC0  # the leap indicator of a server that knows no time
_STRATUM_MOST = 15
_ORIGIN = 24
_TRANSMIT = 40
_UNIX_FROM_1900_S = 2208988800
_ERA = 1 << 32
_HALF_ERA = 1 << 31


def pack_query(nonce):
    """Return the question; `nonce` (8 random bytes) stands where a client's own time would be."""
    return bytes((_CLIENT,)) + bytes(_TRANSMIT - 1) + nonce


def parse_answer(data, query):
    """Return the Unix seconds that `data` answers to `query`, None for what is no such answer.

    A server's refusal (kiss of death) is none, nor is what a stranger sends who saw no nonce. Of
    the two eras, a time is of the one that lies between 1968 and 2104.
    """
    if (
        len(data) < _SIZE
        or data[0] & _MODES != _SERVER
        or data[0] & _UNKNOWN == _UNKNOWN
        or not 1 <= data[1] <= _STRATUM_MOST
        or data[_ORIGIN : _ORIGIN + 8] != query[_TRANSMIT:]
    ):
        return None
    stamp_s = int.from_bytes(data[_TRANSMIT : _TRANSMIT + 4], "big")
    if not stamp_s:
        return None
    return stamp_s + (0 if stamp_s >= _HALF_ERA else _ERA) - _UNIX_FROM_1900_S
