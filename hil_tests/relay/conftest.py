"""A town whose closings and roots are to be landed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.chainkit import utility
from hil_tests.town import Town
from parwana.store.reader import Store


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Give a town with meters and no readings."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store(url)
    with utility(url) as world:
        yield Town(world, store)
    store.close()
