"""EnergyLedger: reconcile, set_tolerance."""

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    HOUSE,
    OTHER,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)

NONE, THEFT, OVERBILLING, INCOMPARABLE = range(4)


class Feeder:
    """A transformer with houses under it, all with registers that this remembers."""

    def __init__(self, world: World, houses: int = 3) -> None:
        self.world = world
        self.transformer = world.enrol("transformer", 1, TRANSFORMER)
        self.houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 1) for i in range(houses)]
        self.registers = dict.fromkeys([m.name for m in (self.transformer, *self.houses)], 0)

    def land(self, *used: tuple[Meter, int]) -> None:
        """Close the last period for meters that used so much."""
        for meter, energy_wh in used:
            self.registers[meter.name] += energy_wh
            assert self.world.close((meter, self.registers[meter.name])) == 1

    def land_all(self, supplied_wh: int, each_wh: int) -> None:
        self.land((self.transformer, supplied_wh), *((house, each_wh) for house in self.houses))


@pytest.fixture
def feeder(world: World) -> Feeder:
    """Give a feeder of three houses whose first whole period is over."""
    made = Feeder(world)
    world.next_period()
    made.land_all(0, 0)
    world.next_period()
    return made


@pytest.mark.parametrize(
    ("supplied_wh", "each_wh", "alarm"),
    [
        (3000, 1000, NONE),
        (0, 0, NONE),
        (10_000, 3167, NONE),
        (10_000, 3166, THEFT),
        (10_000, 3500, NONE),
        (10_000, 3501, OVERBILLING),
        (10_000, 0, THEFT),
        (0, 1, OVERBILLING),
        (1, 0, THEFT),
        (2**63, 2**62, NONE),
        (2**63 - 1, (2**63 - 1) // 3 * 2, OVERBILLING),
    ],
)
def test_alarm(world: World, feeder: Feeder, supplied_wh: int, each_wh: int, alarm: int) -> None:
    if supplied_wh == 2**63:
        feeder.land((feeder.transformer, supplied_wh), (feeder.houses[0], supplied_wh))
        feeder.land((feeder.houses[1], 0), (feeder.houses[2], 0))
        each_wh = supplied_wh // 3
    else:
        feeder.land_all(supplied_wh, each_wh)
    over = world.period - 1
    result = world.energy.reconcile(1, over, sender=OTHER)
    event = result.event("Reconciled")
    assert result.value == event.alarm == alarm
    sold_wh = 2**63 if supplied_wh == 2**63 else 3 * each_wh
    assert (event.feeder, event.period, event.missing, event.spanning) == (1, over, 0, 0)
    assert (event.supplied_wh, event.sold_wh) == (supplied_wh, sold_wh)
    sums = world.energy.sums(1, over)
    assert (sums.expected, sums.own_closed, sums.supplied_wh) == (3, True, supplied_wh)
    assert vars(world.energy.reconcile(1, over).event("Reconciled")) == vars(event)


def test_it_waits_for_the_missing(world: World, feeder: Feeder) -> None:
    over = world.period - 1
    feeder.land((feeder.transformer, 3000), (feeder.houses[0], 1000), (feeder.houses[1], 1000))
    with pytest.raises(Reverted, match="closings missing, wait"):
        world.energy.reconcile(1, over)
    world.evm.at(world.start(over + 1) + DEADLINE_S - 1)
    with pytest.raises(Reverted, match="closings missing, wait"):
        world.energy.reconcile(1, over)
    world.evm.at(world.start(over + 1) + DEADLINE_S)
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.missing, event.alarm, event.sold_wh) == (1, THEFT, 2000)
    # the missing one turns up: the alarm is taken back
    feeder.land((feeder.houses[2], 1000))
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.missing, event.alarm, event.sold_wh) == (0, NONE, 3000)


def test_without_the_feeders_own_closing(world: World, feeder: Feeder) -> None:
    over = world.period - 1
    feeder.land(*((house, 1000) for house in feeder.houses))
    with pytest.raises(Reverted, match="closings missing, wait"):
        world.energy.reconcile(1, over)
    world.evm.at(world.start(over + 1) + DEADLINE_S)
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.missing, event.alarm, event.supplied_wh) == (1, INCOMPARABLE, 0)


def test_all_that_is_missing_is_counted(world: World, feeder: Feeder) -> None:
    over = world.period - 1
    feeder.land((feeder.houses[0], 1000))
    world.evm.at(world.start(over + 1) + DEADLINE_S)
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.missing, event.alarm) == (3, INCOMPARABLE)


@pytest.mark.usefixtures("feeder")
def test_only_a_feeder_only_afterwards(world: World) -> None:
    over = world.period - 1
    with pytest.raises(Reverted, match="period not over"):
        world.energy.reconcile(1, over + 1)
    for number, period in ((10, over), (99, over), (0, over), (1, over - 2), (1, 0)):
        with pytest.raises(Reverted, match="no such feeder then|^$"):
            world.energy.reconcile(number, period)


def test_at_the_very_end_of_a_period(world: World, feeder: Feeder) -> None:
    over = world.period - 1
    end_s = world.start(over + 1)
    world.evm.at(end_s - 1)
    assert world.energy.close(feeder.transformer.closing(end_s, 0)).value == 0
    with pytest.raises(Reverted, match="period not over"):
        world.energy.reconcile(1, over)
    world.evm.at(end_s)
    feeder.land_all(3000, 1000)
    assert world.energy.reconcile(1, over).value == NONE


def test_enrolled_and_retired_in_the_middle(world: World, feeder: Feeder) -> None:
    feeder.land_all(3000, 1000)
    world.evm.at(world.start(world.period) + DAY_S)
    late = world.enrol("late", 20, HOUSE, 1)
    world.registry.retire(feeder.houses[0].address, sender=UTILITY)
    over = world.next_period()
    feeder.registers["late"] = 0
    feeder.land((feeder.transformer, 2500), (late, 500), *((h, 1000) for h in feeder.houses[1:]))
    assert world.energy.sums(1, over).expected == 3
    assert world.energy.reconcile(1, over).value == NONE
    assert world.energy.reconcile(1, over - 1).value == NONE
    # the rest of the retired one comes after all: the balance tells, whoever asks for it
    rest = feeder.houses[0].reading(world.start(over) + 3600, 1100)
    world.energy.finish(rest)
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.sold_wh, event.missing) == (2600, 0)


def test_no_alarm_where_meters_came_within_the_period(world: World) -> None:
    feeder = Feeder(world)
    first = world.next_period()
    feeder.land_all(10_000, 100)
    assert world.energy.reconcile(1, first).value == INCOMPARABLE
    late = world.enrol("late", 20, HOUSE, 1)
    feeder.registers["late"] = 0
    second = world.next_period()
    feeder.land_all(10_000, 100)
    feeder.land((late, 1))
    assert world.energy.reconcile(1, second).value == INCOMPARABLE
    third = world.next_period()
    feeder.land_all(10_000, 100)
    feeder.land((late, 1))
    assert world.energy.reconcile(1, third).value == THEFT


def test_no_alarm_where_a_closing_covers_several_periods(world: World, feeder: Feeder) -> None:
    over = world.period - 1
    feeder.land((feeder.transformer, 3000), (feeder.houses[0], 1000), (feeder.houses[1], 1000))
    world.evm.at(world.start(over + 1) + DEADLINE_S)
    assert world.energy.reconcile(1, over).value == THEFT
    over = world.next_period()
    feeder.land((feeder.transformer, 3000), (feeder.houses[0], 1000), (feeder.houses[1], 1000))
    feeder.land((feeder.houses[2], 2000))
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.spanning, event.alarm, event.sold_wh) == (1, INCOMPARABLE, 4000)


def test_a_retired_feeder(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    world.next_period()
    assert world.close((transformer, 0)) == 1
    over = world.next_period()
    assert world.close((transformer, 500)) == 1
    world.registry.retire(transformer.address, sender=UTILITY)
    assert world.energy.reconcile(1, over).value == THEFT
    over = world.next_period()
    with pytest.raises(Reverted, match="no such feeder then"):
        world.energy.reconcile(1, over)


def tolerances(world: World, period: int) -> list[int]:
    return [world.energy.tolerance_bp(1, p) for p in range(period, period + 3)]


def test_tolerance_counts_from_the_next_period(world: World, feeder: Feeder) -> None:
    over = world.period - 1
    feeder.land_all(10_000, 3000)
    event = world.energy.set_tolerance(1, 1000, sender=UTILITY).event("ToleranceSet")
    assert (event.feeder, event.tolerance_bp, event.from_period) == (1, 1000, over + 2)
    assert tolerances(world, over) == [
        500,
        500,
        1000,
    ]
    # again in the same period: what is in force now stays in force
    world.energy.set_tolerance(1, 2000, sender=UTILITY)
    assert tolerances(world, over) == [
        500,
        500,
        2000,
    ]
    assert world.energy.tolerance_bp(2, over + 2) == 500
    assert world.energy.reconcile(1, over).value == THEFT
    world.next_period()
    feeder.land_all(0, 0)
    over = world.next_period()
    world.energy.set_tolerance(1, 0, sender=UTILITY)
    assert tolerances(world, over) == [2000, 2000, 0]
    feeder.land_all(10_000, 3000)
    assert world.energy.reconcile(1, over).value == NONE


def test_tolerance_refuses(world: World) -> None:
    with pytest.raises(Reverted, match="not the utility"):
        world.energy.set_tolerance(1, 100, sender=OTHER)
    with pytest.raises(Reverted, match="tolerance above 2000"):
        world.energy.set_tolerance(1, 2001, sender=UTILITY)
    world.registry.offer_utility(OTHER, sender=UTILITY)
    world.registry.accept_utility(sender=OTHER)
    world.energy.set_tolerance(1, 100, sender=OTHER)
    with pytest.raises(Reverted, match="not the utility"):
        world.energy.set_tolerance(1, 100, sender=UTILITY)
