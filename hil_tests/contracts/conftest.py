"""Fixtures: deployed once, rolled back after each test."""

from collections.abc import Iterator

import pytest

from hil_tests.contracts.evm import Evm
from hil_tests.contracts.world import START_S, World


@pytest.fixture(scope="session")
def deployed() -> World:
    """Deploy the three contracts once."""
    return World(Evm(START_S))


@pytest.fixture
def world(deployed: World) -> Iterator[World]:
    """Give a fresh deployment of monthly periods and native coin."""
    saved = deployed.evm.save()
    yield deployed
    deployed.evm.restore(saved)


@pytest.fixture
def evm(world: World) -> Evm:
    """Give the world's chain."""
    return world.evm
