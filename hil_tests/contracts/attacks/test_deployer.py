"""A registry or an energy ledger that a hostile deployer made, before the true ledgers.

Nothing stops a deployer from that: the tests say what it gains, that it is to be seen, and that
money once locked does not depend on it. Of the same family: `test_tariff.py`
(test_constructor_refuses, test_a_chain_without_sha256_is_refused), `test_tokens.py`; that a meter
takes no permit of such a ledger is in `firmware/test_permits.py`, that the audit takes no such
deployment in `audit/test_command.py`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil_tests.contracts.evm import ZERO, Contract, Reverted
from hil_tests.contracts.test_close import reasons
from hil_tests.contracts.world import (
    DEADLINE_S,
    FIXED,
    HOUSE,
    LOAD_DW,
    OTHER,
    PAYER,
    UTC_OFFSET_S,
    UTILITY,
    UTILITY_ID,
    Meter,
    World,
)
from parwana.chain import contracts


@pytest.fixture(autouse=True)
def _put_back(world: World) -> Iterator[None]:
    before = world.registry, world.energy, world.payment
    yield
    world.registry, world.energy, world.payment = before


def made_here(world: World, name: str, *args: Any) -> Contract:
    artifact = contracts.load(name, Path(__file__).parent)
    return world.evm.deploy(artifact, *args, sender=OTHER)


def say(
    world: World, meter: str, number: int, initial_wh: int = 0, load_dw: int = LOAD_DW
) -> None:
    """Let the hostile registry say that a meter serves a house since now."""
    entry = (number, HOUSE, 0, world.evm.time_s, 0, load_dw, initial_wh, ZERO)
    world.registry.say(meter, entry, sender=OTHER)


@pytest.fixture
def hostile(world: World) -> Contract:
    """Deploy true ledgers on a hostile registry."""
    world.registry = made_here(world, "HostileRegistry")
    world.energy = world.deploy(
        "EnergyLedger", world.registry.address, UTILITY_ID, 0, UTC_OFFSET_S, DEADLINE_S, 500
    )
    world.payment = world.deploy("PaymentLedger", *world.payment_arguments())
    return world.registry


@pytest.mark.usefixtures("hostile")
def test_a_registry_that_enrols_nobody(world: World) -> None:
    """Address zero, as a bad signature recovers to: its ledger then takes unsigned closings, of
    that meter and of no other. The true registry refuses it (test_malleated.py)."""
    house = Meter("house")
    say(world, ZERO, 9)
    say(world, house.address, 10)
    start = world.start(world.next_period() + 1)
    forged = house.closing(start, 500)[:40] + bytes(64)
    assert world.energy.close(forged).value == 1
    assert world.energy.closing(ZERO).energy_wh == 500
    assert world.energy.closing(house.address).time_s == 0
    assert reasons(world, house.closing(start, 5)) == [0]


@pytest.mark.usefixtures("hostile")
def test_what_a_ledger_knows_of_a_meter_no_registry_changes(world: World) -> None:
    """The register at its start, its number and its feeder are taken once."""
    house = Meter("house")
    say(world, house.address, 9, initial_wh=1000)
    assert world.bill(house, 3000) == 2 * 4150 + FIXED
    say(world, house.address, 9, initial_wh=0)
    assert world.payment.settle(house.address).events == []
    assert world.bill(house, 4000) == 4150 + FIXED
    assert world.energy.closing(house.address).energy_wh == 4000


def test_a_dead_registry_keeps_no_money(world: World, hostile: Contract) -> None:
    """Nothing can be claimed any more, and everything comes back."""
    houses = [Meter(f"house {i}") for i in range(2)]
    for i, house in enumerate(houses):
        say(world, house.address, 9 + i)
    world.next_period()
    assert world.close(*((house, 0) for house in houses)) == 2
    world.payment.settle_many([house.address for house in houses])
    for house in houses:
        world.pay(house)
    frames = [world.permit(house) for house in houses]
    signed = [
        (house.address, frame, world.sign(frame, house.address))
        for house, frame in zip(houses, frames, strict=True)
    ]
    world.payment.claim(*signed[0])
    deadline_s = world.payment.locked(houses[1].address).deadline_s
    hostile.die(True, sender=OTHER)
    with pytest.raises(Reverted, match="^dead$"):
        world.payment.claim(*signed[1])
    world.evm.at(deadline_s + 1)
    assert world.payment.refund(10).event("Refunded").payer == PAYER
    assert world.payment.withdraw(sender=PAYER).value == FIXED
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    assert world.evm.balance(world.payment.address) == 0


@pytest.mark.usefixtures("hostile")
def test_two_registries_are_refused(world: World) -> None:
    """A payment ledger that asks another registry than its energy ledger could bill the past of
    a meter by a lower register."""
    true = world.deploy("MeterRegistry", UTILITY)
    arguments = world.payment_arguments(registry=true.address)
    with pytest.raises(Reverted, match="energy ledger of another registry"):
        world.deploy("PaymentLedger", *arguments)


def test_an_energy_ledger_that_invents(world: World) -> None:
    """Any bill, without a signature; a household that is billed has signed nothing like it, and
    sees whose ledger it is. One that goes back stops its own bills and no refund."""
    house = world.enrol("house", 9)
    true = world.energy
    over = world.next_period()
    assert world.close((house, 1000)) == 1
    world.energy = made_here(world, "HostileEnergy", true.registry())
    before, world.payment = (
        world.payment,
        world.deploy("PaymentLedger", *world.payment_arguments()),
    )
    world.energy.say(house.address, (over, 90_000, 1), sender=OTHER)
    assert world.payment.settle(house.address).value == 90 * 4150 + FIXED
    assert world.payment.energy_ledger() == world.energy.address
    # the honest ledger beside it is what it was
    assert before.settle(house.address).value == 4150 + FIXED
    assert (before.energy_ledger(), true.closing(house.address).energy_wh) == (true.address, 1000)
    amount = world.pay(house)
    for back in ((over - 1, 90_000, 1), (over, 89_999, 1)):
        world.energy.say(house.address, back, sender=OTHER)
        with pytest.raises(Reverted):
            world.payment.settle(house.address)
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    world.payment.refund(9)
    assert world.payment.withdraw(sender=PAYER).value == amount
