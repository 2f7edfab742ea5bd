"""Tokens that lie, blacklist, tax what goes out, or let balances shrink.

Of the same family: `test_pay.py` (test_bad_tokens: fees on the way in, refusals, re-entrance into
pay, refund, withdraw and settle; test_a_token_that_returns_nothing, test_a_token_refund,
test_reentrancy_in_native_coin, test_a_payer_that_refuses_money_blocks_nobody) and
`test_authorised.py` (payments that others send).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.contracts.evm import ZERO, Contract, Reverted
from hil_tests.contracts.world import ESCROW_WINDOW_S, FIXED, OTHER, PAYER, UTILITY, Meter, World
from parwana.chain import contracts


@pytest.fixture
def token(world: World) -> Iterator[Contract]:
    """Give the world a PaymentLedger of a hostile token; PAYER and OTHER hold enough of it."""
    artifact = contracts.load("HostileToken", Path(__file__).parent)
    made = world.evm.deploy(artifact, sender=UTILITY)
    before = world.payment
    world.payment = world.deploy("PaymentLedger", *world.payment_arguments(token=made.address))
    for account in (PAYER, OTHER):
        made.mint(account, FIXED)
    yield made
    world.payment = before


@pytest.fixture
def houses(world: World, token: Contract) -> list[Meter]:
    """Enrol two houses that owe their fixed charge in the token."""
    assert token.balanceOf(PAYER) == FIXED
    meters = [world.enrol(f"house {i}", 9 + i) for i in range(2)]
    world.next_period()
    assert world.close(*((meter, 0) for meter in meters)) == 2
    world.payment.settle_many([meter.address for meter in meters])
    return meters


def claim(world: World, house: Meter) -> None:
    frame = world.permit(house)
    world.payment.claim(house.address, frame, world.sign(frame, house.address))


@pytest.mark.parametrize(
    ("answer", "idle", "reason"),
    [
        (1, True, "token takes a fee"),  # says yes and moves nothing
        (0, False, "token refused"),  # says no and moves
        (0, True, "token refused"),
        (2, False, ""),  # no boolean at all
        (2**256 - 1, True, ""),
    ],
)
def test_a_lie_locks_nothing(
    world: World, token: Contract, houses: list[Meter], answer: int, idle: bool, reason: str
) -> None:
    token.behave(answer, idle, 0)
    with pytest.raises(Reverted, match=f"^{reason}$"):
        world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    account = world.payment.account(houses[0].address)
    assert (account.due, world.payment.locked(houses[0].address).amount) == (FIXED, 0)
    assert (token.balanceOf(PAYER), token.balanceOf(world.payment.address)) == (FIXED, 0)


def test_a_blacklisted_payer_costs_nobody_else(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    """Its refund stays its credit until the token lets it go; house and utility go on."""
    world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    token.blacklist(PAYER, True)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    assert world.payment.refund(9).event("Refunded").payer == PAYER
    for call in (
        lambda: world.payment.withdraw(sender=PAYER),
        lambda: world.payment.withdraw_for(PAYER, sender=OTHER),
    ):
        with pytest.raises(Reverted, match="^blacklisted$"):
            call()
    assert world.payment.credits(PAYER) == FIXED
    # another pays the same house, the utility has it
    world.payment.pay(houses[0].address, FIXED, sender=OTHER)
    claim(world, houses[0])
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    assert token.balanceOf(world.payment.address) == world.payment.credits(PAYER) == FIXED
    token.blacklist(PAYER, False)
    world.payment.withdraw_for(PAYER, sender=OTHER)
    assert (token.balanceOf(PAYER), token.balanceOf(OTHER)) == (FIXED, 0)


def test_a_blacklisted_utility_keeps_nobody_dark(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    """Permits go out against its credit, which it cannot take out."""
    token.blacklist(UTILITY, True)
    world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    claim(world, houses[0])
    assert world.payment.account(houses[0].address).payments == 1
    with pytest.raises(Reverted, match="^blacklisted$"):
        world.payment.withdraw(sender=UTILITY)
    assert world.payment.credits(UTILITY) == FIXED


def test_a_blacklisted_ledger_takes_and_gives_nothing(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    """What is left: the token's issuer holds all that is in it. The books stay true."""
    world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    token.blacklist(world.payment.address, True)
    with pytest.raises(Reverted, match="^blacklisted$"):
        world.payment.pay(houses[1].address, FIXED, sender=OTHER)
    claim(world, houses[0])
    with pytest.raises(Reverted, match="^blacklisted$"):
        world.payment.withdraw(sender=UTILITY)
    assert world.payment.credits(UTILITY) == FIXED == token.balanceOf(world.payment.address)


def test_a_tax_on_the_way_out_is_the_receivers(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    world.payment.pay(houses[1].address, FIXED, sender=OTHER)
    token.behave(1, False, 7)
    claim(world, houses[0])
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    assert token.balanceOf(UTILITY) == FIXED - 7
    assert token.balanceOf(world.payment.address) == FIXED
    token.behave(1, False, 0)
    world.evm.at(world.payment.locked(houses[1].address).deadline_s + 1)
    world.payment.refund(10)
    world.payment.withdraw(sender=OTHER)
    assert (token.balanceOf(OTHER), token.balanceOf(world.payment.address)) == (FIXED, 0)


def test_a_lie_on_the_way_out_takes_no_credit(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    """A transfer that says no, or is no boolean, leaves the credit."""
    world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    claim(world, houses[0])
    for answer, reason in ((0, "token refused"), (2, "")):
        token.behave(answer, True, 0)
        with pytest.raises(Reverted, match=f"^{reason}$"):
            world.payment.withdraw(sender=UTILITY)
        assert world.payment.credits(UTILITY) == FIXED


def test_a_shrinking_balance_pays_until_it_is_gone(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    """What is left, and documented as not supported: the last to withdraw goes short, with its
    credit kept; nobody is paid twice."""
    world.payment.pay(houses[0].address, FIXED, sender=PAYER)
    world.payment.pay(houses[1].address, FIXED, sender=OTHER)
    token.burn(world.payment.address, 1)
    claim(world, houses[0])
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    world.evm.at(world.payment.locked(houses[1].address).deadline_s + 1)
    world.payment.refund(10)
    with pytest.raises(Reverted):
        world.payment.withdraw(sender=OTHER)
    assert (world.payment.credits(OTHER), token.balanceOf(world.payment.address)) == (
        FIXED,
        FIXED - 1,
    )
    token.mint(world.payment.address, 1)
    assert world.payment.withdraw(sender=OTHER).value == FIXED


def test_coin_sent_to_a_ledger_of_tokens_is_refused(
    world: World, token: Contract, houses: list[Meter]
) -> None:
    world.evm.fund(PAYER, FIXED)
    with pytest.raises(Reverted, match="^pay in the token$"):
        world.payment.pay(houses[0].address, FIXED, sender=PAYER, value=FIXED)
    assert world.evm.balance(PAYER) == FIXED
    assert token.balanceOf(PAYER) == FIXED
    assert world.payment.token() == token.address != ZERO
