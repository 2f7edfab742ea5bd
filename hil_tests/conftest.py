"""What several files of tests ask for; and the bench, for every test below this folder.

Imports stay in the fixtures: most runs of a bench need none of them.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from boards.virtual.board import VirtualBoard
    from hil_tests.chainkit import Utility
    from hil_tests.postgresql import Server
    from hil_tests.services import Broker
    from parwana.store.reader import Store

pytest_plugins = ["hil_tests.bench.plugin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --long."""
    parser.addoption("--long", action="store_true", help="run also the tests marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long, unless it is asked for."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Say whether a test that samples shall try all."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True, scope="session")
def state() -> Iterator[None]:
    """Keep what is signed out of the home of who runs the tests; in memory, where there is room.

    Each call that is sent waits some ten times for a disk.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("PARWANA_STATE", folder)
        yield


@pytest.fixture
def board(tmp_path: Path) -> "Iterator[VirtualBoard]":
    """Lend a virtual board that has started."""
    from hil_tests.boardkit import powered_board

    with powered_board(tmp_path / "board") as board:
        yield board


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Broker]":
    """Lend a broker."""
    from hil_tests.services import Broker

    running = Broker(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """Lend the PostgreSQL of this test process."""
    from hil_tests.postgresql import Server

    running = Server(tmp_path_factory.mktemp("postgresql"))
    yield running
    running.stop()


@pytest.fixture
def stopped_postgresql(postgresql: "Server") -> "Iterator[Server]":
    """Lend the PostgreSQL, stopped; whatever is done to it, it runs again afterwards."""
    postgresql.stop()
    yield postgresql
    postgresql.stop()
    postgresql.start()


@pytest.fixture(scope="session")
def machine_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder to import ecdsa from, in MicroPython's machine code as it is flashed."""
    from hil_tests import ecdsakit
    from parwana.world import runtime

    arch = ecdsakit.architecture(runtime.micropython())
    return ecdsakit.place(tmp_path_factory.mktemp("machine_code"), arch)


@pytest.fixture
def store(tmp_path: Path) -> "Iterator[Store]":
    """Lend an empty store, `store.db`: the one of `world`."""
    from parwana.store.reader import Store

    opened = Store(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


@pytest.fixture
def world(tmp_path: Path) -> "Iterator[Utility]":
    """Lend a utility on a chain of its own; `deployment.json` tells of it."""
    from hil_tests.chainkit import utility

    with utility(f"sqlite:///{tmp_path}/store.db") as made:
        made.deployment.save(tmp_path / "deployment.json")
        yield made
