"""A store of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.postgresql import Server
from parwana.store.reader import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Server = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Lend it."""
    opened = Store(url)
    yield opened
    opened.close()
