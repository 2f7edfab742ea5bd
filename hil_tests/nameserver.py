"""A name server of the tests' own: knows one address, or lies, or fails."""

import socket
import struct
import threading
from contextlib import suppress

_HEADER = ">6H"
_REFUSED = {"no such name": 3, "failure": 2, "refused": 5}
LIES = (*_REFUSED, "silence", "another question", "another's answer", "no address", "torn",
        "garbage", "loop", "huge")  # fmt: skip


class NameServer:
    """Answers on a port of the loopback that every name has `address`. Use it as a context.

    `address` may be several, with blanks between them, and may be set at any time, as may
    `lie`, one of LIES or "". `asked` counts questions.
    Source: RFC 1035, section 4.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.lie = ""
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, name="names", daemon=True).start()

    def __enter__(self) -> "NameServer":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                query, peer = self._socket.recvfrom(512)
                if not query:
                    return
                self.asked += 1
                if answer := self.answer(query):
                    self._socket.sendto(answer, peer)

    def answer(self, query: bytes) -> bytes:
        """Return what it says to a query, b"" for nothing."""
        lie, question = self.lie, query[12:]
        identity, code = int.from_bytes(query[:2], "big"), _REFUSED.get(self.lie, 0)
        head = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4)
        addresses = [socket.inet_aton(address) for address in self.address.split()]
        record, count = b"".join(head + address for address in addresses), len(addresses)
        if lie == "silence":
            return b""
        if lie == "garbage":
            return bytes(i * 7 & 0xFF for i in range(200))
        if lie == "another question":
            question = question.replace(b"e", b"f")
        if lie == "another's answer":
            identity ^= 0x5555
        if lie == "no address":
            record = b"\xc0\x0c" + struct.pack(">HHIH", 28, 1, 60, 16) + bytes(16)
        if lie == "loop":  # a name that leads to itself, and an alias of it
            at = 12 + len(question)
            record = struct.pack(">HHHIH", 0xC000 | at, 5, 1, 60, 2) + b"\xc0" + bytes([at])
        if lie == "huge":
            record = (b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, 255) + bytes(255)) * 30
            count = 30
        if code:
            record, count = b"", 0
        header = struct.pack(_HEADER, identity, 0x8180 | code, 1, count, 0, 0)
        answer = header + question + record
        return answer[:-6] if lie == "torn" else answer
