"""A road between a meter and its broker that does to it what networks and middleboxes do."""

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_CHUNK = 4096
_LOOK_S = 0.1
_LINGER_0 = struct.pack("ii", 1, 0)  # close() sends a reset
UP, DOWN, BOTH = "up", "down", "both"


@dataclass(frozen=True)
class Fault:
    """What a road does on its way `up` to the broker, `down` to the meter, or on both.

    kind        "delay": hold each packet for `seconds`; "trickle": a byte every `seconds`;
                "drop", "duplicate", "reorder" (behind the next), "garble" (bits flip) packets;
                "truncate": half a packet, then hang up; "half-close": end this way, leave the
                other open; "reset"; "hole": take everything and let nothing through, for ever;
                "refuse": reset each new connection
    after, every  packets that pass first, and then which of them it befalls
    """

    kind: str
    way: str = BOTH
    every: int = 1
    after: int = 0
    seconds: float = 0.0


KINDS = ("delay", "trickle", "drop", "duplicate", "reorder", "garble", "truncate", "half-close",
         "reset", "hole", "refuse")  # fmt: skip


class Road:
    """Leads from a port of the loopback to `target`, another. Use it as a context.

    `fault` may be set at any time, None is a good road; what a connection has suffered by then
    stays with it: a hole is a hole. Packets are MQTT's; on a road that is `sealed` (TLS) they are
    what one read brings. `connections` counts those that came.
    """

    def __init__(
        self, target: int, host: str = "127.0.0.1", port: int = 0, sealed: bool = False
    ) -> None:
        self.target, self.host = target, host
        self.fault: Fault | None = None
        self.connections = 0
        self._sealed = sealed
        self._open: list[_Connection] = []
        self._server = socket.create_server((host, port))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, name=f"road {self.port}", daemon=True).start()

    def __enter__(self) -> "Road":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the road away, and all that is on it."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.reset()

    def reset(self) -> None:
        """Reset every connection there is."""
        for connection in self._open:
            connection.reset()
        self._open.clear()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self.fault and self.fault.kind == "refuse":
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self.target), 5)
                self._open = [c for c in self._open if not c.over]
                self._open.append(_Connection(self, near, far))
            except OSError:  # near may be gone already
                _reset(near)

    def packets(self, source: socket.socket) -> Iterator[bytes]:
        """Yield what comes from `source`, packet by packet, until it ends or is closed here."""
        held = b""
        while data := _receive(source):
            if self._sealed:
                yield data
                continue
            held += data
            while size := _packet_size(held):
                yield held[:size]
                held = held[size:]


class _Connection:
    """One connection over the road: a thread each way."""

    def __init__(self, road: Road, near: socket.socket, far: socket.socket) -> None:
        self._road = road
        self._ends = near, far
        self._ways = threading.Semaphore(1)  # that may end before the last
        for way, source, sink in ((UP, near, far), (DOWN, far, near)):
            for end in (source, sink):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(way, source, sink), daemon=True).start()

    @property
    def over(self) -> bool:
        return all(end.fileno() < 0 for end in self._ends)

    def reset(self) -> None:
        for end in self._ends:
            _reset(end)

    def _carry(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        state = _Way(sink)
        try:
            for packet in self._road.packets(source):
                state.packets += 1
                if not self._pass(self._road.fault, way, state, packet):
                    return
            if not state.hole:
                sink.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):  # of a socket that was closed meanwhile
            if not state.hole:
                self.reset()
        finally:
            if not self._ways.acquire(blocking=False):
                for end in self._ends:
                    end.close()

    def _pass(self, fault: Fault | None, way: str, state: "_Way", packet: bytes) -> bool:
        """Let a packet pass, or what the fault leaves of it; return whether the way goes on."""
        if state.hole:
            return True
        if state.fault is not fault:
            state.fault, state.since = fault, state.packets - 1
        count = state.packets - state.since - (fault.after if fault else 0)
        befalls = fault and fault.way in (way, BOTH) and count > 0 and count % fault.every == 0
        if not fault or not befalls:
            state.send(packet)
            return True
        if fault.kind == "truncate":
            state.sink.sendall(packet[: len(packet) // 2])
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        elif fault.kind == "half-close":
            state.sink.shutdown(socket.SHUT_WR)
        elif fault.kind == "reset":
            self.reset()
        else:
            state.suffer(fault, packet)
            return True
        return False


class _Way:
    """One way of a connection, and what it has suffered."""

    def __init__(self, sink: socket.socket) -> None:
        self.sink = sink
        self.packets = self.since = 0
        self.fault: Fault | None = None
        self.hole = False
        self._behind = b""  # the packet that waits for the next one

    def send(self, packet: bytes) -> None:
        behind, self._behind = self._behind, b""
        self.sink.sendall(packet + behind)

    def suffer(self, fault: Fault, packet: bytes) -> None:
        if fault.kind == "hole":
            self.hole = True
        elif fault.kind == "delay":
            time.sleep(fault.seconds)
            self.send(packet)
        elif fault.kind == "trickle":
            for byte in packet:
                time.sleep(fault.seconds)
                self.sink.sendall(bytes([byte]))
        elif fault.kind == "duplicate":
            self.send(packet + packet)
        elif fault.kind == "reorder":
            if self._behind:
                self.send(packet)
            else:
                self._behind = packet
        elif fault.kind == "garble":
            spoilt = bytearray(packet)
            for _ in range(1 + len(packet) // 16):
                spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
            self.send(bytes(spoilt))
        elif fault.kind != "drop":
            raise ValueError(f"no fault {fault.kind!r}; one of {', '.join(KINDS)}")


def _packet_size(data: bytes) -> int:
    """Return the size of the MQTT packet that `data` begins with, 0 while it is not whole."""
    length = 0
    for i, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            size = 2 + i + length
            return size if len(data) >= size else 0
    return 0


def _receive(source: socket.socket) -> bytes:
    """Return what came. No recv may be under way where `_reset` closes: it would keep it open."""
    while not select.select([source], [], [], _LOOK_S)[0]:
        pass
    return source.recv(_CHUNK)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    end.close()
