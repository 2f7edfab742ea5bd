"""A relay whose database is full, locked, gone, killed or failed over answers and loses nothing.

The carrier is real, and so are broker, SQLite and PostgreSQL; a disk is full because it is one of
16 or 128 MB that a file of the test's fills.
"""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from hil_tests.postgresql import Server, Standby
from hil_tests.relay.test_carrier import FakeMeter
from hil_tests.services import UTILITY, Broker, wait_until
from parwana.relay.carrier import Carrier
from parwana.store import advice
from parwana.store.reader import Store


class Relay:
    """A carrier with a store, and a meter whose first frame it holds."""

    def __init__(self, broker: Broker, url: str, seed: int) -> None:
        self._next = 1
        self.store = Store(url, patient=True)
        self.meter = FakeMeter(seed, broker)
        with self.store.transaction() as tx:
            tx.enrol(self.meter.address, seed, 1, 3)
        self.carrier = Carrier(UTILITY, broker.url, self.store, time.time)
        self.carrier.start()
        wait_until(lambda: self.carrier.connected, "the relay's connection")
        self.goes_on()

    def close(self) -> None:
        self.carrier.stop()
        self.meter.close()
        self.store.close()

    def stands(self, *says: str) -> None:
        """Check that what is sent is not answered, and that the store's failure is told."""
        before = self.carrier.counters.store_failures
        self.meter.send(self._next)
        failures = self.carrier.counters

        def told() -> bool:
            text = self.carrier.failures.get("store", "")
            return failures.store_failures > before + 1 and any(word in text for word in says)

        wait_until(told, "the store's failure", 60, lambda: str(self.carrier.failures))
        assert self.meter.received.empty(), "an answer to what is not held"

    def goes_on(self) -> None:
        """Send until all is answered; all is held, once."""
        self.meter.insist(*range(1, self._next + 1))
        while self.meter.next()[1] <= self._next:
            pass  # an answer of before
        while not self.meter.received.empty():
            self.meter.received.get()
        held = [(f.sequence, f.frame) for f in self.store.frames(self.meter.address)]
        assert held == [(n, self.meter.reading(n)[0]) for n in range(1, self._next + 1)]
        assert self.store.runs(self.meter.address) == [(1, self._next)]
        assert self.carrier.bug is None
        self._next += 1


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "WAIT_S", 1)
    monkeypatch.setattr("parwana.relay.carrier._RETRY_S", 0.1)


@pytest.fixture
def relay(broker: Broker) -> Iterator[Callable[[str, int], Relay]]:
    with ExitStack() as stack:

        def start(url: str, seed: int) -> Relay:
            made = Relay(broker, url, seed)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Give a small disk of some MB."""
    if os.geteuid():
        pytest.skip("only root can mount a disk that is small enough to be filled")
    with ExitStack() as stack:

        def mount(size_mb: int) -> Path:
            folder = tmp_path / "disk"
            folder.mkdir()
            size = f"size={size_mb}m,mode=755"
            command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no small disk: {done.stderr.strip()}")
            stack.callback(lambda: subprocess.run(["umount", "--lazy", folder], check=True))
            return folder

        yield mount


def fill(folder: Path) -> Path:
    """Fill the disk to its last byte; return the file that does."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    if not file.write(bytes(size)):
                        break
                except OSError:
                    break
    return path


def test_a_full_disk_under_a_file(
    relay: Callable[[str, int], Relay], disk: Callable[[int], Path]
) -> None:
    folder = disk(16)
    one = relay(f"sqlite:///{folder}/store.db", 31)
    ballast = fill(folder)
    one.stands("the disk is full; make room")
    ballast.unlink()
    one.goes_on()


def test_a_file_that_another_process_locks(
    relay: Callable[[str, int], Relay], tmp_path: Path
) -> None:
    one = relay(f"sqlite:///{tmp_path}/store.db", 32)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    one.stands("locked by another process")
    other.execute("ROLLBACK")
    other.close()
    one.goes_on()


def test_a_file_that_is_removed_and_restored(
    relay: Callable[[str, int], Relay], tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    one = relay(f"sqlite:///{path}", 33)
    with sqlite3.connect(path) as source, sqlite3.connect(tmp_path / "copy") as copy:
        source.backup(copy)
    one.goes_on()
    source.close()
    copy.close()
    for each in tmp_path.glob("store.db*"):
        each.unlink()
    one.stands("is gone; put it back")
    (tmp_path / "copy").rename(path)  # it lacks the second frame, which is sent again
    one.goes_on()


def test_tables_that_another_session_locks(
    relay: Callable[[str, int], Relay], postgresql: Server
) -> None:
    url = postgresql.database()
    one = relay(url, 34)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE frames IN ACCESS EXCLUSIVE MODE")
        one.stands("locked by another session")
    one.goes_on()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Lend a server of the test's own."""
    with ExitStack() as stack:
        made = Server(tmp_path / "server")
        stack.callback(made.stop)
        yield made


def test_a_server_that_is_killed(relay: Callable[[str, int], Relay], server: Server) -> None:
    one = relay(server.database(), 35)
    server.stop(signal.SIGKILL)
    one.stands("cannot be reached", "has closed our session")
    server.start()
    one.goes_on()


@pytest.mark.long
def test_a_full_disk_under_a_server(
    relay: Callable[[str, int], Relay], disk: Callable[[int], Path]
) -> None:
    folder = disk(128)
    server = Server(folder)
    try:
        one = relay(server.database(), 36)
        ballast = fill(folder)
        with suppress(psycopg.Error):  # what it has reserved is used up, then it cannot go on
            for _ in range(20):
                server.execute("SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()")
        one.stands("has a full disk", "cannot be reached", "has closed our session")
        ballast.unlink()
        if not server.running:
            server.start()
        one.goes_on()
    finally:
        server.stop()


def test_a_fail_over_to_a_standby(
    relay: Callable[[str, int], Relay], server: Server, tmp_path: Path
) -> None:
    url = server.database()
    standby = Standby(server, tmp_path / "standby")
    try:
        hosts = f"host=127.0.0.1:{server.port}&host=127.0.0.1:{standby.port}"
        database = f"postgresql://parwana@/{url.rsplit('/', 1)[1]}"
        one = relay(f"{database}?{hosts}&target_session_attrs=read-write", 37)
        wait_until(lambda: standby.caught_up, "the standby")
        reader = Store(url.replace(f":{server.port}/", f":{standby.port}/"), create=False)
        assert len(list(reader.frames(one.meter.address))) == 1, "pages and audits may read there"
        reader.close()
        standby.stop()
        one.goes_on()  # the standby lacks this frame, which was answered
        server.stop(signal.SIGKILL)
        standby.start()
        one.stands("cannot be reached", "has closed our session")
        standby.promote()
        one.goes_on()
    finally:
        standby.stop()
