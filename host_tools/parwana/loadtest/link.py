"""A simulated meter's network: sockets as boards/esp32 has them, which never wait."""

import errno
import select
import socket
import struct
from typing import Any, Protocol

_NO_LINGER = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """Whose network it is; parwana.loadtest.meter.Meter."""

    def watch(self, fd: int | None) -> None:
        """Look when something comes on `fd`; None: no more."""

    def began(self) -> None:
        """Hear that a session begins."""

    def published(self, payload: bytes) -> bool:
        """Hear of a message to relays; return whether it is to go out once more."""


class Sock:
    """A connection to the broker."""

    def __init__(self, link: "Link", sock: socket.socket) -> None:
        self.meter = link.meter
        self.writable = False
        self._link, self._sock = link, sock

    def write(self, data: bytes) -> int | None:
        """Send; return how much went, None if nothing can. Without a network all goes nowhere."""
        if not self._link.up:
            return len(data)
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return None

    def readinto(self, buffer: bytearray) -> int | None:
        """Take what arrived; return its size, 0 where the broker hung up, None for nothing."""
        if not self._link.up:
            return None
        try:
            return self._sock.recv_into(buffer)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Hang up."""
        self._link.hung_up(self, self._sock)


class Link:
    """What uplink.Uplink takes for the board's: `up`, and a connection at a time."""

    def __init__(self, poller: select.epoll, meter: Owner) -> None:
        self.meter = meter
        self.up = True
        self.fd = -1
        self._poller = poller
        self._sock: Sock | None = None
        self._left: list[socket.socket] = []  # which the broker has not heard the end of

    def keep(self) -> None:
        """Join the network: it comes back by itself."""

    def dial(self, address: str, port: int) -> Sock:
        """Return a connection on its way. Raises OSError."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            raise OSError(code, "the broker cannot be reached")
        self.fd = sock.fileno()
        self._poller.register(self.fd, select.EPOLLIN | select.EPOLLOUT)
        self.meter.watch(self.fd)
        self._sock = Sock(self, sock)
        return self._sock

    def arrived(self, sock: Sock) -> bool:
        """Return whether it is connected. Raises OSError when it never will be."""
        code = sock._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "connection refused")
        return sock.writable

    def ready(self, events: int) -> None:
        """Take what epoll says of the connection."""
        if self._sock and events & select.EPOLLOUT:
            self._sock.writable = True
            self._poller.modify(self.fd, select.EPOLLIN)

    def hung_up(self, which: Sock, sock: socket.socket) -> None:
        """Close a connection; the broker hears of it only through a network."""
        if which is not self._sock:
            return
        self._poller.unregister(self.fd)
        self.meter.watch(None)
        self._sock, self.fd = None, -1
        if self.up:
            sock.close()
        else:
            self._left.append(sock)

    def lose(self) -> None:
        """Lose the network."""
        self.up = False

    def regain(self) -> None:
        """Have it again: what was connected is reset."""
        self.up = True
        while self._left:
            _reset(self._left.pop())

    def kill(self) -> None:
        """Have the connection reset by whatever is on the way."""
        if self._sock:
            self._sock._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._sock._sock.shutdown(socket.SHUT_RDWR)


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.close()


def watched(base: Any) -> Any:
    """Return mqtt.Session with an ear for what the meter publishes."""

    class Watched(base):
        def __init__(self, umqtt: Any, sock: Sock) -> None:
            super().__init__(umqtt, sock)
            self._meter = sock.meter
            self._meter.began()

        def publish(self, topic: bytes, payload: bytes, retain: bool = False) -> None:
            super().publish(topic, payload, retain)
            if topic.endswith(b"/up") and self._meter.published(payload):
                super().publish(topic, payload, retain)

    return Watched
