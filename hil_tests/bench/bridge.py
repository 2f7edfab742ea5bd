"""A serial port on a TCP port of the loopback, plain (socket://) or with lines (rfc2217://)."""

import contextlib
import os
import select
import socket
import threading
from typing import Any, Protocol

from serial import rfc2217

_IDLE_S = 0.05


class Lines(Protocol):
    """The modem lines at the far end of a bridge, as pyserial names them."""

    rts: bool
    dtr: bool

    @property
    def cts(self) -> bool: ...
    @property
    def dsr(self) -> bool: ...
    @property
    def cd(self) -> bool: ...
    @property
    def ri(self) -> bool: ...


class Bridge:
    """Serve the device `path` (a pty) to one client at a time; it is open while one is there.

    With `lines` it speaks RFC 2217, else it hands on bytes and nothing else.
    """

    def __init__(self, path: str, lines: Lines | None = None, tcp_port: int = 0) -> None:
        self._path = path
        self._lines = lines
        self._listener = socket.create_server(("127.0.0.1", tcp_port))
        self._listener.settimeout(_IDLE_S)
        scheme = "rfc2217" if lines else "socket"
        self.tcp_port: int = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.tcp_port}"
        self.clients = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"bridge {path}", daemon=True)

    def __enter__(self) -> "Bridge":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.clients += 1
            port = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            with client, contextlib.suppress(ConnectionError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry(client, port)
            os.close(port)

    def _carry(self, client: socket.socket, port: int) -> None:
        far = _Far(client, self._lines) if self._lines else None
        while not self._closing.is_set():
            ready, _, _ = select.select([client.fileno(), port], [], [], _IDLE_S / 2)
            if client.fileno() in ready:
                data = client.recv(4096)
                if not data:
                    return
                _write(port, far.unescape(data) if far else data)
            if port in ready:
                data = os.read(port, 4096)
                client.sendall(far.escape(data) if far else data)
            if far:
                far.tell()


def _write(port: int, data: bytes) -> None:
    while data:
        select.select([], [port], [], 5)
        data = data[os.write(port, data) :]


class _Far:
    """The RFC 2217 side of a connection, by pyserial's own PortManager."""

    def __init__(self, client: socket.socket, lines: Lines) -> None:
        self._client = client
        self._manager = rfc2217.PortManager(_Port(lines), self)

    def write(self, data: bytes) -> None:
        self._client.sendall(data)

    def escape(self, data: bytes) -> bytes:
        return b"".join(self._manager.escape(data))

    def unescape(self, data: bytes) -> bytes:
        return b"".join(self._manager.filter(data))

    def tell(self) -> None:
        self._manager.check_modem_lines()


class _Port:
    """What a PortManager wants to know of its serial port: the lines are real, the rest is not."""

    def __init__(self, lines: Lines) -> None:
        self.__dict__.update(
            lines=lines, baudrate=9600, bytesize=8, parity="N", stopbits=1, xonxoff=False,
            rtscts=False, break_condition=False,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lines, name)

    def __setattr__(self, name: str, value: Any) -> None:
        target = self.lines if name in ("rts", "dtr") else None
        if target:
            setattr(target, name, value)
        else:
            self.__dict__[name] = value

    def reset_input_buffer(self) -> None:
        """Nothing is kept here."""

    def reset_output_buffer(self) -> None:
        """Nothing is kept here."""
