"""A utility, or a household, that hides or fakes a feeder's alarm.

Of the same family: `test_running_period.py`, `test_reconcile.py`
(test_no_alarm_where_meters_came_within_the_period,
test_tolerance_counts_from_the_next_period, test_a_retired_feeder), `test_registry.py`
(test_enrol_refuses, test_replace, test_retire).
"""

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import (
    DAY_S,
    HOUSE,
    LOAD_DW,
    PLANT,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)

NONE, THEFT, OVERBILLING, INCOMPARABLE = range(4)


class Lines:
    """Two lines under a plant, two houses under the first; all closed once, at zero."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plant = world.enrol("plant", 1, PLANT)
        self.line, self.other = (world.enrol(f"line {i}", i, TRANSFORMER, 1) for i in (2, 3))
        self.houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 2) for i in range(2)]
        world.next_period()
        for meter in (self.plant, self.line, self.other, *self.houses):
            assert world.close((meter, 0)) == 1


@pytest.fixture
def lines(world: World) -> Lines:
    """Give two lines whose first whole period runs."""
    return Lines(world)


def alarm(world: World, feeder: int = 2) -> int:
    return int(world.energy.reconcile(feeder, world.period - 1).value)


def test_a_house_stays_under_its_feeder(world: World, lines: Lines) -> None:
    """No call moves a point: not a second enrolment, not a replacement, not a feeder's own meter
    that comes to serve a house."""
    a, b = lines.houses
    new = Meter("new").address
    twice = "meter enrolled before"
    for name, arguments, reason in (
        ("enrol", ((a.address, 99, HOUSE, 3, 0, 1),), twice),
        ("enrol", ((new, 10, HOUSE, 3, 0, 1),), "number used before"),
        ("replace", (a.address, b.address, 0), twice),
        ("replace", (lines.line.address, lines.other.address, 0), twice),
        ("retire", (lines.line.address,), "feeder has children"),
    ):
        with pytest.raises(Reverted, match=f"^{reason}$"):
            getattr(world.registry, name)(*arguments, sender=UTILITY)
    assert world.registry.meter(a.address).feeder == 2


def test_retired_here_and_enrolled_there_is_seen_on_both_lines(world: World, lines: Lines) -> None:
    """A thief's house is moved to another line by a new meter and number: neither line compares
    in that period, and the line it left compares again in the next."""
    world.evm.at(world.evm.time_s + 10 * DAY_S)
    world.registry.retire(lines.houses[0].address, sender=UTILITY)
    moved = Meter("moved")
    world.registry.enrol((moved.address, 50, HOUSE, 3, 0, LOAD_DW), sender=UTILITY)
    world.next_period()
    assert world.close((lines.line, 2000), (lines.houses[1], 1000), (moved, 0)) == 3
    assert world.close((lines.other, 0)) == 1
    assert [alarm(world, feeder) for feeder in (2, 3)] == [INCOMPARABLE] * 2
    world.next_period()
    assert world.close((lines.line, 4000), (lines.houses[1], 2000), (moved, 0)) == 3
    assert world.close((lines.other, 0)) == 1
    assert [alarm(world, feeder) for feeder in (2, 3)] == [THEFT, NONE]


def test_one_goes_and_one_comes(world: World, lines: Lines) -> None:
    """What is left: as many points as before, so the sums are compared. A phantom whose key the
    utility has says what hides the alarm; its enrolment stands in the registry's events."""
    world.registry.retire(lines.houses[0].address, sender=UTILITY)
    phantom = world.enrol("phantom", 50, HOUSE, 2)
    world.next_period()
    assert world.close((lines.line, 2000), (lines.houses[1], 1000), (phantom, 1000)) == 3
    event = world.energy.reconcile(2, world.period - 1).event("Reconciled")
    assert (event.alarm, event.sold_wh, event.missing, event.spanning) == (NONE, 2000, 0, 0)


def test_a_phantom_is_billed_as_any_house(world: World, lines: Lines) -> None:
    """Hiding a theft of N kWh costs the utility a bill of N kWh to a house that it made up."""
    phantom = world.enrol("phantom", 50, HOUSE, 2)
    world.next_period()
    assert world.close((lines.line, 9000), *((m, 3000) for m in (*lines.houses, phantom))) == 4
    assert alarm(world) == INCOMPARABLE
    event = world.payment.settle(phantom.address).event("Billed")
    assert (event.number, event.energy_wh) == (50, 3000)


def test_a_house_swapped_in_mid_period_fakes_no_theft_for_long(world: World, lines: Lines) -> None:
    """The old meter's rest is kept back, so more was supplied than sold. Whoever has its last
    reading lands it, also after the balance; the last log stands."""
    old, neighbour = lines.houses
    world.evm.at(world.evm.time_s + 10 * DAY_S)
    new = Meter("new")
    world.registry.replace(old.address, new.address, 0, sender=UTILITY)
    rest = old.reading(world.evm.time_s, 800)
    world.next_period()
    assert world.close((lines.line, 2000), (neighbour, 1000), (new, 200)) == 3
    assert alarm(world) == THEFT
    world.energy.finish(rest)
    assert alarm(world) == NONE


def test_a_feeders_own_meter_swapped_in_mid_period(world: World, lines: Lines) -> None:
    """Hides a theft where the old meter's rest is kept back, and whoever lands it shows it."""
    world.evm.at(world.evm.time_s + 10 * DAY_S)
    new = Meter("new line")
    world.registry.replace(lines.line.address, new.address, 0, sender=UTILITY)
    rest = lines.line.reading(world.evm.time_s, 1500)
    world.next_period()
    assert world.close((new, 2000), *((house, 1000) for house in lines.houses)) == 3
    assert alarm(world) == NONE
    world.energy.finish(rest)
    event = world.energy.reconcile(2, world.period - 1).event("Reconciled")
    assert (event.alarm, event.supplied_wh, event.sold_wh) == (THEFT, 3500, 2000)
    # the plant above sees the same energy: 3500 sold to the line
    assert world.energy.sums(1, world.period - 1).sold_wh == 3500


def test_a_lying_line_shows_in_the_plant_above(world: World, lines: Lines) -> None:
    """What nothing on the line itself stops, a feeder's meter whose key the utility has, moves
    the alarm up: its lie is what the plant sold."""
    world.next_period()
    assert world.close((lines.line, 1000), *((house, 500) for house in lines.houses)) == 3
    assert world.close((lines.other, 0), (lines.plant, 9000)) == 2
    assert (alarm(world), alarm(world, 1)) == (NONE, THEFT)


def test_a_household_fakes_an_alarm_at_its_own_cost(world: World, lines: Lines) -> None:
    """A house's key that signs more than was supplied: the alarm of the other kind, once, and the
    bill; its neighbours' bills and their period's count stay."""
    liar, neighbour = lines.houses
    world.next_period()
    assert world.close((lines.line, 2000), (liar, 500_000), (neighbour, 1000)) == 3
    assert alarm(world) == OVERBILLING
    world.payment.settle_many([liar.address, neighbour.address])
    dues = [world.payment.account(meter.address).due for meter in (liar, neighbour)]
    assert dues[1] == 2 * 110_000 + 4150
    assert dues[0] > 100 * dues[1] // 20
    world.next_period()
    assert world.close((lines.line, 4000), (liar, 501_000), (neighbour, 2000)) == 3
    assert alarm(world) == NONE
