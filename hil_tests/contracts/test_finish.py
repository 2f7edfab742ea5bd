"""EnergyLedger.finish: what a retired or replaced meter metered after its last closing."""

import pytest

import wire
from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    HOUSE,
    OTHER,
    PLANT,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house that closed the last period at 1000 Wh, and retire it ten days on."""
    world.enrol("transformer", 1, TRANSFORMER)
    meter = world.enrol("house", 9, HOUSE, 1)
    world.next_period()
    assert world.close((meter, 1000)) == 1
    world.evm.at(world.start(world.period) + 10 * DAY_S)
    world.registry.retire(meter.address, sender=UTILITY)
    world.evm.at(world.evm.time_s + DAY_S)
    return meter


def test_the_last_reading(world: World, house: Meter) -> None:
    now = world.start(world.period) + 10 * DAY_S
    event = world.energy.finish(house.reading(now - 900, 1300), sender=OTHER).event("Finished")
    assert (event.meter, event.period, event.energy_wh) == (house.address, world.period, 1300)
    sums = world.energy.sums(1, world.period)
    assert (sums.sold_wh, sums.closed, sums.spanning) == (300, 0, 0)
    closing = world.energy.closing(house.address)
    assert (closing.period, closing.energy_wh) == (world.period, 1300)
    # an earlier one was landed first: the later adds the rest
    world.energy.finish(house.reading(now, 1310), sender=OTHER)
    assert world.energy.sums(1, world.period).sold_wh == 310
    for energy_wh in (1310, 1200):
        with pytest.raises(Reverted, match="nothing new"):
            world.energy.finish(house.reading(now, energy_wh))


def test_refusals(world: World, house: Meter) -> None:
    now = world.start(world.period) + 10 * DAY_S
    good = house.reading(now, 1300)
    event = house.signed(wire.pack_event(1, 1, now, 1300, clock_trust=1))
    stranger = Meter("stranger").reading(now, 1300)
    serving = world.enrol("serving", 10)
    for data, reason in (
        (good[:-1], "length not 104"),
        (b"", "length not 104"),
        (event, "no reading with a time"),
        (house.reading(now, 1300, trust=0), "no reading with a time"),
        (stranger, "signer not enrolled"),
        (good[:40] + bytes(64), "signer not enrolled"),
        (serving.reading(now, 1300), "meter in service"),
        (house.reading(now + 1, 1300), "read after retirement"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.energy.finish(data)
    world.energy.finish(good)


def test_it_waits_for_the_closings_before(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    house = world.enrol("house", 9, HOUSE, 1)
    over = world.next_period()
    start = world.start(over + 1)
    world.registry.retire(house.address, sender=UTILITY)
    world.registry.retire(transformer.address, sender=UTILITY)
    with pytest.raises(Reverted, match="closings missing, wait"):
        world.energy.finish(house.reading(start - DAY_S, 500))
    assert world.energy.close(house.closing(start, 600)).value == 1
    world.energy.finish(house.reading(start + 1, 610))
    assert world.energy.sums(1, over).sold_wh == 600
    assert world.energy.sums(1, over + 1).sold_wh == 10
    # the transformer's closing never comes: after the deadline its last reading may
    with pytest.raises(Reverted, match="closings missing, wait"):
        world.energy.finish(transformer.reading(start - DAY_S, 700))
    world.evm.at(start + DEADLINE_S)
    world.energy.finish(transformer.reading(start - DAY_S, 700))
    sums = world.energy.sums(1, over + 1)
    assert (sums.supplied_wh, sums.spanning, sums.own_closed) == (700, 1, False)


def test_both_meters_of_a_point_count_once(world: World) -> None:
    plant = world.enrol("plant", 1, PLANT)
    old, new = world.enrol("old", 10, TRANSFORMER, 1), Meter("new")
    over = world.next_period()
    assert world.close((old, 1000), (plant, 1000)) == 2
    world.evm.at(world.start(over + 1) + 10 * DAY_S)
    world.registry.replace(old.address, new.address, 50, sender=UTILITY)
    world.energy.finish(old.reading(world.evm.time_s, 1400))
    over = world.next_period()
    assert world.close((new, 650), (plant, 2000)) == 2
    sums = world.energy.sums(10, over)
    assert (sums.supplied_wh, sums.own_closed) == (1000, True)
    sums = world.energy.sums(1, over)
    assert (sums.supplied_wh, sums.sold_wh, sums.closed, sums.expected) == (1000, 1000, 1, 1)
    assert world.energy.reconcile(1, over, sender=OTHER).value == 0


def test_a_last_reading_after_all_closings(world: World) -> None:
    """It adds to what stands in the feeder's period, on both sides."""
    plant = world.enrol("plant", 1, PLANT)
    old, new = world.enrol("old", 10, TRANSFORMER, 1), Meter("new")
    house = world.enrol("house", 20, HOUSE, 10)
    world.next_period()
    assert world.close((old, 1000), (plant, 1000), (house, 1000)) == 3
    replaced_at_s = world.start(world.period) + 10 * DAY_S
    world.evm.at(replaced_at_s)
    world.registry.replace(old.address, new.address, 0, sender=UTILITY)
    over = world.next_period()
    assert world.close((new, 600), (plant, 2000), (house, 2000)) == 3
    world.energy.finish(old.reading(replaced_at_s, 1400))
    sums = world.energy.sums(10, over)
    assert (sums.supplied_wh, sums.sold_wh, sums.own_closed, sums.closed) == (1000, 1000, True, 1)
    sums = world.energy.sums(1, over)
    assert (sums.supplied_wh, sums.sold_wh, sums.closed) == (1000, 1000, 1)
