"""A town whose days have roots."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.audit.conftest import rooted as rooted  # noqa: PLC0414
from hil_tests.town import Town
from parwana.store.reader import Store


@pytest.fixture
def copy(rooted: Town, tmp_path: Path) -> Iterator[Store]:
    """Lend a copy of its store; what its relay landed is final."""
    rooted.world.node.mine()
    rooted.world.node.mine()
    store = Store(f"sqlite:///{rooted.copy_store(tmp_path / 'copy.db')}")
    yield store
    store.close()
