"""A hostile utility: what it enrols, replaces and sets changes no period that has begun.

Of the same family: `test_feeders.py`, `test_utility.py`.
"""

import pytest

from hil_tests.contracts.world import HOUSE, TRANSFORMER, UTILITY, Meter, World

THEFT = 1


@pytest.fixture
def feeder(world: World) -> list[Meter]:
    """Enrol a transformer and two houses; one whole period is closed and over."""
    meters = [world.enrol("transformer", 1, TRANSFORMER)]
    meters += [world.enrol(f"house {i}", 10 + i, HOUSE, 1) for i in range(2)]
    for _ in range(2):
        world.next_period()
        assert world.close(*((meter, 0) for meter in meters)) == 3
    return meters


def test_a_tolerance_does_not_reach_back(world: World, feeder: list[Meter]) -> None:
    """Two changes in two periods, before anything of the first one is closed."""
    over = world.period
    world.energy.set_tolerance(1, 2000, sender=UTILITY)
    world.next_period()
    world.energy.set_tolerance(1, 1999, sender=UTILITY)
    assert [world.energy.tolerance_bp(1, over + i) for i in range(3)] == [500, 2000, 1999]
    # a tenth is stolen, of which the tolerance of that period allows half
    assert world.close((feeder[0], 10_000), (feeder[1], 4500), (feeder[2], 4500)) == 3
    assert world.energy.reconcile(1, over).value == THEFT


@pytest.mark.parametrize("changes", [1, 2, 5])
def test_nor_does_any_number_of_changes(world: World, feeder: list[Meter], changes: int) -> None:
    """The feeder's own closing comes late: what it is compared by is still of its period."""
    over = world.period
    for i in range(changes):
        world.energy.set_tolerance(1, 1000 + i, sender=UTILITY)
        world.next_period()
    start = world.start(over + 1)
    data = b"".join(
        meter.closing(start, energy_wh)
        for meter, energy_wh in zip(feeder, (10_000, 4500, 4500), strict=True)
    )
    assert world.energy.close(data).value == 3
    assert world.energy.reconcile(1, over).value == THEFT


def test_a_meter_closes_no_period_that_it_leaves(world: World, feeder: list[Meter]) -> None:
    """Its clock is an hour ahead, and it is replaced in that hour: the point counts once."""
    transformer, house, other = feeder
    over = world.period
    end_s = world.start(over + 1)
    world.evm.at(end_s - 1800)
    early = house.closing(end_s, 1000), transformer.closing(end_s, 2000)
    assert world.energy.close(b"".join(early)).value == 0
    new, new_transformer = Meter("new house", 10), Meter("new transformer", 1)
    world.registry.replace(house.address, new.address, 0, sender=UTILITY)
    world.registry.replace(transformer.address, new_transformer.address, 0, sender=UTILITY)
    world.evm.at(end_s + 60)
    assert world.energy.close(b"".join(early)).value == 0
    closings = (new_transformer, 0), (new, 0), (other, 0)
    assert world.close(*closings) == 3
    sums = world.energy.sums(1, over)
    assert (sums.closed, sums.expected, sums.own_closed) == (2, 2, True)
    assert world.energy.reconcile(1, over).event("Reconciled").missing == 0
