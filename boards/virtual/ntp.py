"""The NTP server of a virtual board's network: the world's clock, or a liar, or silence."""

import socket
from collections.abc import Callable

_UNIX_FROM_1900_S = 2208988800


class NtpServer:
    """Answers SNTP on a loopback port. `offset_s` is added to the truth; `silent` answers nobody.

    `kod` sends kisses of death: whoever gets one asks too often, and no time is in it. `torn`
    sends half an answer. Source: RFC 4330; the kiss as ntpd sends it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.offset_s = 0.0
        self.silent = False
        self.kod = False
        self.torn = False
        self._now = now
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    def answer(self) -> None:
        """Answer one query, if one is there."""
        try:
            query, peer = self.socket.recvfrom(512)
        except OSError:
            return
        if self.silent or len(query) < 48:
            return
        time = self._now() + self.offset_s + _UNIX_FROM_1900_S
        stamp = int(time % 2**32 * 2**32).to_bytes(8, "big")
        reply = bytearray(48)
        reply[0] = query[0] & 0x38 | 4  # the query's version; mode: server
        reply[1] = 1
        reply[12:16] = b"LOCL"
        reply[16:24] = stamp
        reply[24:32] = query[40:48]
        reply[32:40] = reply[40:48] = stamp
        if self.kod:
            reply[0] |= 0xC0  # not synchronised
            reply[1:] = bytes(11) + b"RATE" + bytes(8) + query[40:48] * 3
        self.socket.sendto(reply[:24] if self.torn else reply, peer)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
