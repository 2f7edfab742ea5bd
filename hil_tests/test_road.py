"""The road and the name server that spoil a network do what they are asked, and no less."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hil_tests.nameserver import LIES, NameServer
from hil_tests.road import DOWN, KINDS, UP, Fault, Road

PACKETS = [bytes([0x30, 3, i, i, i]) for i in range(1, 5)]
WHOLE = b"".join(PACKETS)


@contextmanager
def travel(fault: Fault | None, sealed: bool = False) -> Iterator[tuple[socket.socket, ...]]:
    """Lend both ends of a connection over a road: (traveller's, host's)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with Road(server.getsockname()[1], sealed=sealed) as road:
            road.fault = fault
            near = socket.create_connection((road.host, road.port), 5)
            far, _ = server.accept()
            far.settimeout(5)
            with near, far:
                yield near, far


def heard(end: socket.socket, size: int, seconds: float = 5) -> bytes:
    """Return what comes, up to `size` bytes, until the end or until nothing comes."""
    end.settimeout(seconds)
    data = b""
    try:
        while len(data) < size and (more := end.recv(size - len(data))):
            data += more
    except TimeoutError:
        pass
    return data


@pytest.mark.parametrize("sealed", [False, True])
def test_a_good_road_carries_both_ways_and_tells_of_the_end(sealed: bool) -> None:
    with travel(None, sealed) as (near, far):
        near.sendall(WHOLE)
        assert heard(far, len(WHOLE)) == WHOLE
        far.sendall(WHOLE)
        far.shutdown(socket.SHUT_WR)
        assert heard(near, len(WHOLE) + 1) == WHOLE


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [
        (Fault("drop", every=2), PACKETS[0] + PACKETS[2]),
        (Fault("drop", after=1), PACKETS[0]),
        (Fault("drop", DOWN), WHOLE),
        (Fault("duplicate", UP, every=4), WHOLE + PACKETS[3]),
        (Fault("reorder"), b"".join(PACKETS[i] for i in (1, 0, 3, 2))),
        (Fault("hole", after=3), b"".join(PACKETS[:3])),
        (Fault("trickle", seconds=0.01), WHOLE),
        (Fault("delay", seconds=0.1), WHOLE),
    ],
    ids=str,
)
def test_what_passes_is_what_the_fault_leaves(fault: Fault, arrives: bytes) -> None:
    with travel(fault) as (near, far):
        began_s = time.monotonic()
        near.sendall(WHOLE[:7])
        near.sendall(WHOLE[7:])
        assert heard(far, len(arrives)) == arrives
        assert time.monotonic() - began_s >= fault.seconds * 4
        assert heard(far, 1, 0.2) == b""


def test_garbled_packets_have_their_size_and_other_bits() -> None:
    with travel(Fault("garble", UP)) as (near, far):
        near.sendall(WHOLE)
        got = heard(far, len(WHOLE))
        assert len(got) == len(WHOLE)
        assert got != WHOLE


@pytest.mark.parametrize("kind", ["truncate", "half-close", "reset"])
def test_an_end_is_told_to_whom_it_may_concern(kind: str) -> None:
    with travel(Fault(kind, UP, after=1)) as (near, far):
        near.sendall(PACKETS[0])
        assert heard(far, 5) == PACKETS[0]
        near.sendall(PACKETS[1])
        if kind == "reset":
            with pytest.raises(ConnectionResetError):
                heard(far, 1)
            with pytest.raises(ConnectionResetError):
                heard(near, 1)
            return
        assert heard(far, 9) == (PACKETS[1][:2] if kind == "truncate" else b"")
        far_is_open = kind == "half-close"
        if far_is_open:
            far.sendall(PACKETS[2])
            assert heard(near, 5) == PACKETS[2]
        else:
            assert heard(near, 1) == b""


def test_a_hole_stays_one_and_hides_the_end() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Road(server.getsockname()[1]) as road,
    ):
        road.fault = Fault("hole")
        with socket.create_connection((road.host, road.port)) as near:
            far, _ = server.accept()
            near.sendall(WHOLE)
            time.sleep(0.2)
            road.fault = None
            near.sendall(WHOLE)
            near.shutdown(socket.SHUT_WR)
            far.settimeout(0.3)
            with far, pytest.raises(TimeoutError):
                far.recv(1)


def test_a_road_that_refuses_and_one_that_leads_nowhere_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = server.getsockname()[1]
        with Road(target) as road:
            road.fault = Fault("refuse")
            with (
                socket.create_connection((road.host, road.port)) as near,
                pytest.raises(ConnectionResetError),
            ):
                heard(near, 1)
            road.fault = None
            server.close()
            with (
                socket.create_connection((road.host, road.port)) as near,
                pytest.raises(ConnectionResetError),
            ):
                heard(near, 1)
            assert road.connections == 2


def test_every_kind_of_fault_is_tried_here() -> None:
    tried = {"delay", "trickle", "drop", "duplicate", "reorder", "garble", "hole"}
    assert tried | {"truncate", "half-close", "reset", "refuse"} == set(KINDS)


def ask(port: int, query: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        sock.sendto(query, ("127.0.0.1", port))
        try:
            return sock.recv(9000)
        except TimeoutError:
            return b""


def test_the_name_server_tells_the_truth_and_every_lie() -> None:
    query = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\6broker\7example\0\0\1\0\1"
    with NameServer("127.0.0.3") as names:
        truth = ask(names.port, query)
        assert truth[:12] == b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
        assert truth[12 : len(query)] == query[12:]
        assert truth[-6:] == struct.pack(">H", 4) + bytes([127, 0, 0, 3])
        told = set()
        for names.lie in LIES:
            told.add(ask(names.port, query))
        assert names.asked == 1 + len(LIES)
        assert len(told) == len(LIES)
        assert truth not in told
