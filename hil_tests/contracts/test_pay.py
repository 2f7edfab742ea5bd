"""PaymentLedger: pay, refund, withdraw, in native coin and in tokens, against hostile parties."""

from collections.abc import Iterator

import pytest

from hil_tests.contracts.evm import ZERO, Contract, Reverted
from hil_tests.contracts.world import (
    ESCROW_WINDOW_S,
    FIXED,
    OTHER,
    PAYER,
    UTILITY,
    Meter,
    World,
)


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house that owes its fixed charge."""
    meter = world.enrol("house", 9)
    assert world.bill(meter, 0) == FIXED
    return meter


def claim(world: World, house: Meter) -> None:
    frame = world.permit(house)
    world.payment.claim(house.address, frame, world.sign(frame, house.address))


def test_a_lock(world: World, house: Meter) -> None:
    world.evm.fund(PAYER, FIXED)
    result = world.payment.pay(house.address, FIXED, sender=PAYER, value=FIXED)
    event = result.event("Locked")
    deadline_s = world.evm.time_s + ESCROW_WINDOW_S
    assert (event.meter, event.number, event.payer) == (house.address, 9, PAYER)
    assert (event.amount, event.deadline_s, event.period) == (FIXED, deadline_s, world.period - 1)
    assert world.evm.balance(world.payment.address) == FIXED
    assert world.payment.account(house.address).due == 0
    locked = world.payment.locked(house.address)
    assert vars(locked) == {
        "payer": PAYER,
        "amount": FIXED,
        "period": world.period - 1,
        "deadline_s": deadline_s,
    }
    assert world.payment.account(house.address).payments == 0
    assert vars(world.payment.record(house.address)) == {"payments": 0, "digest": bytes(24)}


def test_refusals(world: World, house: Meter) -> None:
    world.evm.fund(PAYER, 10 * FIXED)
    idle = world.enrol("idle", 10)
    for meter, amount, value, reason in (
        (idle.address, 0, 0, "nothing due"),
        (idle.address, 5, 5, "nothing due"),
        (house.address, FIXED - 1, FIXED - 1, "amount not what is due"),
        (house.address, FIXED + 1, FIXED + 1, "amount not what is due"),
        (house.address, FIXED, FIXED - 1, "value not the amount"),
        (house.address, FIXED, FIXED + 1, "value not the amount"),
        (house.address, FIXED, 0, "value not the amount"),
        (OTHER, FIXED, FIXED, "meter not enrolled"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.payment.pay(meter, amount, sender=PAYER, value=value)
    assert world.evm.balance(PAYER) == 10 * FIXED
    assert world.payment.locked(house.address).amount == 0


def test_no_money_comes_in_but_by_pay(world: World, house: Meter) -> None:
    world.evm.fund(PAYER, FIXED)
    for name, arguments in (("settle", (house.address,)), ("withdraw", ()), ("refund", (9,))):
        with pytest.raises(Reverted):
            getattr(world.payment, name)(*arguments, sender=PAYER, value=1)
    with pytest.raises(Reverted):
        world.evm.transact(PAYER, bytes.fromhex(world.payment.address[2:]), 1, b"")


def test_no_second_lock(world: World, house: Meter) -> None:
    world.pay(house)
    with pytest.raises(Reverted, match="nothing due"):
        world.payment.pay(house.address, FIXED, sender=PAYER, value=0)
    # a new bill while the old one is locked: it waits, and what was locked does not change
    world.bill(house, 1000)
    assert world.payment.account(house.address).due == FIXED + 4150
    world.evm.fund(PAYER, FIXED + 4150)
    with pytest.raises(Reverted, match="paid, not claimed yet"):
        world.payment.pay(house.address, FIXED + 4150, sender=PAYER, value=FIXED + 4150)
    assert world.payment.locked(house.address).amount == FIXED


def test_refund(world: World, house: Meter) -> None:
    with pytest.raises(Reverted, match="nothing locked"):
        world.payment.refund(9)
    world.pay(house)
    deadline_s = world.payment.locked(house.address).deadline_s
    world.evm.at(deadline_s)
    with pytest.raises(Reverted, match="too early to refund"):
        world.payment.refund(9, sender=PAYER)
    world.evm.at(deadline_s + 1)
    over = world.payment.locked(house.address).period
    event = world.payment.refund(9, sender=OTHER).event("Refunded")
    assert (event.number, event.payer, event.amount, event.period) == (9, PAYER, FIXED, over)
    assert world.payment.credits(PAYER) == FIXED
    assert world.payment.account(house.address).due == FIXED
    assert world.payment.locked(house.address).amount == 0
    with pytest.raises(Reverted, match="nothing locked"):
        world.payment.refund(9)
    event = world.payment.withdraw(sender=PAYER).event("Withdrawn")
    assert (event.account, event.amount) == (PAYER, FIXED)
    assert world.evm.balance(PAYER) == FIXED
    for account in (PAYER, OTHER, UTILITY):
        with pytest.raises(Reverted, match="no credit"):
            world.payment.withdraw(sender=account)
    assert world.pay(house) == FIXED


def test_a_refund_adds_to_what_is_due_by_then(world: World, house: Meter) -> None:
    world.pay(house)
    world.bill(house, 1000)
    world.payment.refund(9)
    assert world.payment.account(house.address).due == 2 * FIXED + 4150
    assert world.pay(house) == 2 * FIXED + 4150


def test_refunds_and_claims_add_up(world: World) -> None:
    a, b = world.enrol("a", 10), world.enrol("b", 11)
    for meter in (a, b):
        world.bill(meter, 0)
        world.pay(meter)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    for number in (10, 11):
        world.payment.refund(number)
    assert world.payment.credits(PAYER) == 3 * FIXED
    for meter in (a, b):
        world.pay(meter)
        claim(world, meter)
    assert world.payment.credits(UTILITY) == 3 * FIXED
    assert world.payment.credits(PAYER) == 3 * FIXED


def test_the_utility_withdraws_only_what_was_claimed(world: World, house: Meter) -> None:
    other = world.enrol("other", 10)
    world.bill(other, 0)
    world.pay(house)
    world.pay(other)
    claim(world, house)
    assert world.payment.credits(UTILITY) == FIXED
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    assert world.evm.balance(UTILITY) == FIXED
    assert world.evm.balance(world.payment.address) == FIXED


def test_credits_stay_with_the_old_utility(world: World, house: Meter) -> None:
    world.pay(house)
    claim(world, house)
    world.payment.offer_utility(OTHER, sender=UTILITY)
    world.payment.accept_utility(sender=OTHER)
    world.bill(house, 0)
    world.pay(house)
    claim(world, house)
    assert world.payment.credits(UTILITY) == world.payment.credits(OTHER) == FIXED


def test_a_payer_that_refuses_money_blocks_nobody(world: World, house: Meter) -> None:
    payer = world.deploy_here("Payer", world.payment.address)
    payer.behave(True, b"")
    world.evm.fund(OTHER, FIXED)
    payer.run(world.payment.data("pay", house.address, FIXED), sender=OTHER, value=FIXED)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    world.payment.refund(9)
    with pytest.raises(Reverted, match="refusing"):
        payer.run(world.payment.data("withdraw"))
    assert world.pay(house) == FIXED
    claim(world, house)
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    payer.behave(False, b"")
    payer.run(world.payment.data("withdraw"))
    assert world.evm.balance(payer.address) == FIXED


def test_reentrancy_in_native_coin(world: World, house: Meter) -> None:
    """A payer calls back while it is paid out: into withdraw, refund, and pay."""
    victim = world.enrol("victim", 10)
    payer = world.deploy_here("Payer", world.payment.address)
    world.evm.fund(OTHER, FIXED)
    payer.run(world.payment.data("pay", house.address, FIXED), sender=OTHER, value=FIXED)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    world.bill(victim, 0)
    world.pay(victim)
    world.payment.refund(9)
    for name, arguments in (("withdraw", ()), ("refund", (9,)), ("settle", (house.address,))):
        saved = world.evm.save()
        payer.behave(False, world.payment.data(name, *arguments))
        payer.run(world.payment.data("withdraw"))
        assert (payer.calls(), payer.call_succeeded()) == (1, False)
        assert world.evm.balance(payer.address) == FIXED
        assert world.evm.balance(world.payment.address) == FIXED
        world.evm.restore(saved)


@pytest.fixture
def token_world(world: World) -> Iterator[tuple[World, Contract]]:
    """Give the world a PaymentLedger of a token."""
    token = world.deploy_here("Token")
    before = world.payment
    world.payment = world.deploy("PaymentLedger", *world.payment_arguments(token=token.address))
    yield world, token
    world.payment = before


def test_in_a_token(token_world: tuple[World, Contract]) -> None:
    world, token = token_world
    house = world.enrol("house", 9)
    world.bill(house, 0)
    token.mint(PAYER, 10 * FIXED)
    with pytest.raises(Reverted):
        world.payment.pay(house.address, FIXED, sender=PAYER)
    token.approve(world.payment.address, FIXED, sender=PAYER)
    world.evm.fund(PAYER, 1)
    with pytest.raises(Reverted, match="pay in the token"):
        world.payment.pay(house.address, FIXED, sender=PAYER, value=1)
    world.payment.pay(house.address, FIXED, sender=PAYER)
    assert token.balanceOf(world.payment.address) == FIXED
    claim(world, house)
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    assert (token.balanceOf(UTILITY), token.balanceOf(world.payment.address)) == (FIXED, 0)
    assert world.evm.balance(UTILITY) == 0


def test_a_token_refund(token_world: tuple[World, Contract]) -> None:
    world, token = token_world
    house = world.enrol("house", 9)
    world.bill(house, 0)
    token.mint(PAYER, FIXED)
    token.approve(world.payment.address, FIXED, sender=PAYER)
    world.payment.pay(house.address, FIXED, sender=PAYER)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    world.payment.refund(9)
    # the token fails: the credit stays
    token.behave(0, True, ZERO, b"")
    with pytest.raises(Reverted, match="token refused"):
        world.payment.withdraw(sender=PAYER)
    assert world.payment.credits(PAYER) == FIXED
    token.behave(0, False, ZERO, b"")
    world.payment.withdraw(sender=PAYER)
    assert token.balanceOf(PAYER) == FIXED


def test_bad_tokens(token_world: tuple[World, Contract]) -> None:
    world, token = token_world
    house = world.enrol("house", 9)
    world.bill(house, 0)
    token.mint(PAYER, 10 * FIXED)
    token.approve(world.payment.address, 10 * FIXED, sender=PAYER)
    token.behave(1, False, ZERO, b"")
    with pytest.raises(Reverted, match="token takes a fee"):
        world.payment.pay(house.address, FIXED, sender=PAYER)
    token.behave(0, True, ZERO, b"")
    with pytest.raises(Reverted, match="token refused"):
        world.payment.pay(house.address, FIXED, sender=PAYER)
    assert world.payment.account(house.address).due == FIXED
    for name, arguments in (
        ("pay", (house.address, FIXED)),
        ("refund", (9,)),
        ("withdraw", ()),
        ("settle", (house.address,)),
    ):
        saved = world.evm.save()
        data = world.payment.data(name, *arguments)
        token.behave(0, False, world.payment.address, data)
        world.payment.pay(house.address, FIXED, sender=PAYER)
        assert not token.hook_succeeded()
        assert token.balanceOf(world.payment.address) == FIXED
        world.evm.restore(saved)


def test_a_token_that_returns_nothing(world: World) -> None:
    token = world.deploy_here("SilentToken")
    house = world.enrol("house", 9)
    world.bill(house, 0)
    ledger = world.deploy("PaymentLedger", *world.payment_arguments(token=token.address))
    ledger.settle(house.address)
    token.mint(PAYER, FIXED)
    ledger.pay(house.address, FIXED, sender=PAYER)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    ledger.refund(9)
    ledger.withdraw(sender=PAYER)
    assert token.balanceOf(PAYER) == FIXED
