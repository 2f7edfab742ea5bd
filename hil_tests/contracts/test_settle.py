"""PaymentLedger: settle, settle_many, and what a bill is."""

import random

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.model import Tariff, bill
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    FIXED,
    HOUSE,
    OPEN,
    OTHER,
    SLABS,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)

FIRST = [Tariff(0, SLABS, FIXED)]


def test_a_bill(world: World) -> None:
    house = world.enrol("house", 9, initial_wh=7000)
    over = world.next_period()
    assert world.close((house, 7000 + 250_000)) == 1
    result = world.payment.settle(house.address, sender=OTHER)
    # 100 kWh at 4150, 100 at 5850, 50 at 7100, and the fixed charge
    amount = 415_000 + 585_000 + 355_000 + FIXED
    assert result.value == amount
    event = result.event("Billed")
    assert (event.meter, event.number, event.period) == (house.address, 9, over)
    assert (event.periods, event.energy_wh) == (1, 250_000)
    assert (event.amount, event.due) == (amount, amount)
    account = world.payment.account(house.address)
    assert (account.number, account.meter, account.period) == (9, house.address, over)
    assert (account.due, account.carried_wh, account.payments) == (amount, 0, 0)
    again = world.payment.settle(house.address, sender=OTHER)
    assert (again.value, again.events) == (0, [])
    assert world.payment.account(house.address).due == amount


@pytest.mark.parametrize(
    ("energy_wh", "amount"),
    [(0, 0), (1, 4), (999, 4145), (1000, 4150), (100_000, 415_000), (100_001, 415_005)],
)
def test_rounding_is_down(world: World, energy_wh: int, amount: int) -> None:
    house = world.enrol("house", 9)
    assert world.bill(house, energy_wh) == amount + FIXED


def test_bills_add_up(world: World) -> None:
    house = world.enrol("house", 9)
    total = world.bill(house, 50_000) + world.bill(house, 120_000)
    assert total == (50_000 + 70_000) * 4150 // 1000 + 2 * FIXED
    assert world.payment.account(house.address).due == total


def test_several_periods_at_once(world: World) -> None:
    early, late = world.enrol("early", 9), world.enrol("late", 10)
    for month in range(1, 4):
        world.next_period()
        assert world.close((early, 90_000 * month), (late, 90_000 * month)) == 2
        if month != 2:
            world.payment.settle(early.address)
    event = world.payment.settle(late.address).event("Billed")
    assert (event.periods, event.energy_wh) == (3, 270_000)
    # slabs grow with the periods: nobody pays more for being billed late
    assert event.due == world.payment.account(early.address).due
    assert event.due == 270_000 * 4150 // 1000 + 3 * FIXED


def test_nothing_closed_nothing_billed(world: World) -> None:
    house = world.enrol("house", 9)
    world.next_period()
    assert world.payment.settle(house.address).value == 0
    world.next_period()
    assert world.payment.settle(house.address).value == 0
    assert world.close((house, 1000)) == 1
    assert world.payment.settle(house.address).event("Billed").periods == 2


def test_only_houses(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    for meter in (transformer.address, OTHER):
        with pytest.raises(Reverted, match="not a house"):
            world.payment.settle(meter)
    with pytest.raises(Reverted, match="meter not enrolled"):
        world.payment.account(OTHER)


def test_settle_many(world: World) -> None:
    houses = [world.enrol(f"house {i}", 10 + i) for i in range(5)]
    world.next_period()
    assert world.close(*((house, 1000 * i) for i, house in enumerate(houses[:4]))) == 4
    result = world.payment.settle_many([house.address for house in houses], sender=OTHER)
    assert [name for name, _ in result.events] == ["Billed"] * 4
    dues = [world.payment.account(house.address).due for house in houses]
    assert dues == [FIXED, FIXED + 4150, FIXED + 8300, FIXED + 12_450, 0]


def test_a_new_tariff_is_never_retroactive(world: World) -> None:
    dear = [(OPEN, 10_000)]
    exact, late = world.enrol("exact", 9), world.enrol("late", 10)
    world.payment.announce_tariff(world.period + 2, dear, 5, sender=UTILITY)
    amounts = []
    for month in range(1, 4):
        world.next_period()
        assert world.close((exact, 100_000 * month)) == 1
        amounts.append(world.payment.settle(exact.address).value)
    assert amounts == [415_000 + FIXED, 415_000 + FIXED, 1_000_005]
    # billed at once, the register tells nothing about when: a third falls to the new tariff
    assert world.close((late, 300_000)) == 1
    assert world.payment.settle(late.address).value == sum(amounts)


def test_bills_agree_with_the_model(world: World) -> None:
    rng = random.Random(11)
    tariffs = list(FIRST)
    house = world.enrol("house", 9)
    register = last_billed = 0
    base = world.period - 1
    for _ in range(25):
        if rng.random() < 0.5:
            bounds = sorted(rng.sample(range(1, 400_000), rng.randrange(0, 6)))
            slabs = [(bound, rng.randrange(10_000)) for bound in (*bounds, OPEN)]
            start = max(world.period, tariffs[-1].from_period) + rng.randrange(1, 3)
            tariffs.append(Tariff(start, slabs, rng.randrange(10**6)))
            world.payment.announce_tariff(start, slabs, tariffs[-1].fixed_charge, sender=UTILITY)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            world.next_period()
        used = rng.choice([0, 1, rng.randrange(10**6)])
        register += used
        assert world.close((house, register)) == 1
        periods = world.period - 1 - base
        assert world.payment.settle(house.address).value == bill(tariffs, used, base, periods)
        base += periods
        last_billed = register
    assert last_billed == register


def test_seventy_tariffs_back(world: World) -> None:
    house = world.enrol("house", 9)
    tariffs, base = list(FIRST), world.period - 1
    for month in range(70):
        tariffs.append(Tariff(world.period + 1, [(OPEN, 1000 * (month + 1))], month))
        slabs, charge = tariffs[-1].slabs, tariffs[-1].fixed_charge
        world.payment.announce_tariff(world.period + 1, slabs, charge, sender=UTILITY)
        world.next_period()
    assert world.close((house, 70_000)) == 1
    assert world.payment.settle(house.address).value == bill(tariffs, 70_000, base, 70)


def test_the_greatest_numbers(world: World) -> None:
    house, other = world.enrol("house", 9), world.enrol("other", 10)
    assert world.bill(house, 2**64 - 1) == bill(FIRST, 2**64 - 1, world.period - 2, 1)
    dear = [(OPEN, 2**96 - 1)]
    world.payment.announce_tariff(world.period + 1, dear, 2**96 - 1, sender=UTILITY)
    world.next_period()
    world.next_period()
    assert world.close((house, 2**64 - 1), (other, 1000)) == 2
    for meter in (house, other):
        bill_of = world.payment.settle(meter.address).event("Billed")
        assert bill_of.amount > bill_of.due == 2**96 - 1
        assert world.payment.account(meter.address).due == 2**96 - 1


def test_a_replaced_meter_loses_and_repeats_nothing(world: World) -> None:
    old, new = world.enrol("old", 9, initial_wh=100), Meter("new")
    assert world.bill(old, 50_100) == 50_000 * 4150 // 1000 + FIXED
    world.evm.at(world.evm.time_s + DAY_S)
    world.registry.replace(old.address, new.address, 900_000, sender=UTILITY)
    world.evm.at(world.evm.time_s + DAY_S)
    assert world.payment.settle(new.address).value == 0
    world.energy.finish(old.reading(world.evm.time_s - DAY_S, 57_100))
    event = world.payment.settle(old.address).event("Carried")
    assert (event.meter, event.number, event.energy_wh) == (old.address, 9, 7000)
    assert world.payment.account(new.address).carried_wh == 7000
    assert world.payment.settle(old.address).events == []
    over = world.next_period()
    assert world.close((new, 930_000)) == 1
    event = world.payment.settle(new.address).event("Billed")
    assert (event.period, event.periods, event.energy_wh) == (over, 1, 37_000)
    assert world.payment.account(old.address).due == world.payment.account(new.address).due
    assert world.payment.account(new.address).carried_wh == 0


def test_a_replaced_meters_rest_that_comes_late(world: World) -> None:
    old, new = world.enrol("old", 9), Meter("new")
    world.bill(old, 50_000)
    replaced_at_s = world.evm.time_s
    world.registry.replace(old.address, new.address, 0, sender=UTILITY)
    assert world.bill(new, 10_000) == 41_500 + FIXED
    world.energy.finish(old.reading(replaced_at_s, 57_000))
    assert world.payment.settle(new.address).event("Carried").energy_wh == 7000
    assert world.bill(new, 10_000) == 7 * 4150 + FIXED


def test_replaced_after_months_of_silence(world: World) -> None:
    """Nothing is billed before the new meter closes a period; then all that is missing, once."""
    old, new = world.enrol("old", 9), Meter("new")
    world.bill(old, 1000)
    for _ in range(3):
        world.next_period()
    world.registry.replace(old.address, new.address, 0, sender=UTILITY)
    assert world.payment.settle(new.address).events == []
    over = world.next_period()
    assert world.close((new, 500)) == 1
    event = world.payment.settle(new.address).event("Billed")
    assert (event.period, event.periods, event.energy_wh) == (over, 4, 500)


def test_replaced_before_the_first_bill(world: World) -> None:
    old, middle, new = world.enrol("old", 9), Meter("middle"), Meter("new")
    first = world.period
    world.next_period()
    assert world.close((old, 1000)) == 1
    world.registry.replace(old.address, middle.address, 0, sender=UTILITY)
    world.next_period()
    assert world.close((middle, 2000)) == 1
    world.registry.replace(middle.address, new.address, 0, sender=UTILITY)
    world.next_period()
    assert world.close((new, 4000)) == 1
    assert world.payment.settle(old.address).event("Carried").energy_wh == 1000
    event = world.payment.settle(new.address).event("Billed")
    assert (event.period, event.periods, event.energy_wh) == (first + 2, 3, 7000)


def test_the_last_bill_of_a_retired_house(world: World) -> None:
    world.enrol("transformer", 1, TRANSFORMER)
    house = world.enrol("house", 9, HOUSE, 1)
    world.bill(house, 10_000)
    world.evm.at(world.evm.time_s + 10 * DAY_S)
    world.registry.retire(house.address, sender=UTILITY)
    now = world.evm.time_s
    world.energy.finish(house.reading(now - 900, 12_000))
    assert world.payment.settle(house.address).value == 2 * 4150 + FIXED
    # a later reading turns up: energy without a second fixed charge
    world.energy.finish(house.reading(now, 13_000))
    event = world.payment.settle(house.address).event("Billed")
    assert (event.periods, event.energy_wh, event.amount) == (0, 1000, 4150)
    assert world.payment.settle(house.address).events == []


def test_retired_without_a_last_reading(world: World) -> None:
    house = world.enrol("house", 9)
    over = world.next_period()
    world.registry.retire(house.address, sender=UTILITY)
    assert world.energy.close(house.closing(world.start(over + 1), 5000)).value == 1
    assert world.payment.settle(house.address).value == 5 * 4150 + FIXED
    world.evm.at(world.evm.time_s + DEADLINE_S + 90 * DAY_S)
    assert world.payment.settle(house.address).events == []


def test_a_second_ledger_of_days(world: World) -> None:
    """Deployed twice, the same signed readings serve monthly and daily periods."""
    daily = World(world.evm, period_s=DAY_S)
    daily.registry = world.registry
    house = daily.enrol("house", 9)
    daily.energy = daily.deploy(
        "EnergyLedger", world.registry.address, "demo-utility", DAY_S, 19_800, DEADLINE_S, 500
    )
    world.next_period()
    item = house.closing(world.start(world.period), 1000)
    assert world.energy.close(item).value == 1
    assert daily.energy.close(item).value == 1
    day = daily.energy.period_of(world.start(world.period)) - 1
    assert daily.energy.closing(house.address).period == day
    assert world.energy.closing(house.address).period == world.period - 1
