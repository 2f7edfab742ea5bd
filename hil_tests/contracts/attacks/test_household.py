"""A household that pays for another, twice, too little, too much, or at the window's edge.

Of the same family: `test_pay.py` (test_refusals: amounts and values; test_no_second_lock,
test_no_money_comes_in_but_by_pay, test_a_refund_adds_to_what_is_due_by_then), `test_publish.py`
(test_a_payer_cannot_take_the_permit_and_the_money), `test_claim.py` (test_too_late,
test_never_both_claimed_and_refunded, test_a_late_payment_buys_no_stale_permit).
"""

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import (
    DEADLINE_S,
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


@pytest.mark.parametrize("beyond_s", [-1, 0, 1, 2])
def test_at_the_edge_there_is_one_way_and_never_two(
    world: World, house: Meter, beyond_s: int
) -> None:
    """Up to the deadline a claim and no refund or grace, from a second later a refund and no
    claim: no instant has both, or none."""
    world.pay(house)
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    world.evm.at(world.payment.locked(house.address).deadline_s + beyond_s)
    claim = lambda: world.payment.claim(house.address, frame, signatures)  # noqa: E731
    refund = lambda: world.payment.refund(9)  # noqa: E731
    refused, reason, taken, to = (
        (claim, "too late, refund", refund, PAYER)
        if beyond_s > 0
        else (refund, "too early to refund", claim, UTILITY)
    )
    with pytest.raises(Reverted, match=f"^{reason}$"):
        refused()
    if beyond_s <= 0:
        with pytest.raises(Reverted, match="^paid, claim instead$"):
            world.payment.publish(house.address, frame, signatures)
    taken()
    for again in (claim, refund):
        with pytest.raises(Reverted, match="^nothing locked$"):
            again()
    credits = {account: world.payment.credits(account) for account in (UTILITY, PAYER, OTHER)}
    assert credits == {UTILITY: 0, PAYER: 0, OTHER: 0, to: FIXED}


def test_refunded_and_locked_again_by_another_in_one_second(world: World, house: Meter) -> None:
    """The permit of the first lock is none for the second: one sum, one permit, one owner."""
    world.pay(house)
    frame = world.permit(house, valid_until_s=2**32 - 1)
    signatures = world.sign(frame, house.address)
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    world.payment.refund(9)
    world.pay(house, OTHER)
    assert world.payment.locked(house.address).deadline_s == world.evm.time_s + ESCROW_WINDOW_S
    with pytest.raises(Reverted, match="^permit: serial$"):
        world.payment.claim(house.address, frame, signatures)
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    event = world.payment.claim(house.address, frame, signatures).event("Paid")
    assert (event.payer, event.amount, event.index) == (OTHER, FIXED, 0)
    assert world.payment.withdraw(sender=PAYER).value == FIXED
    assert world.payment.withdraw(sender=UTILITY).value == FIXED
    assert world.evm.balance(world.payment.address) == 0
    assert world.payment.account(house.address).due == 0


def test_who_pays_for_another_has_a_refund_and_no_right(world: World, house: Meter) -> None:
    """A neighbour locks first, to have the permit at its own meter or the household's money."""
    neighbour = world.enrol("neighbour", 10)
    world.pay(house, OTHER)
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    with pytest.raises(Reverted, match="^nothing locked$"):
        world.payment.claim(neighbour.address, frame, signatures)
    with pytest.raises(Reverted, match="^signature wrong$"):
        world.payment.publish(neighbour.address, frame, signatures)
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    assert world.payment.refund(9, sender=PAYER).event("Refunded").payer == OTHER
    with pytest.raises(Reverted, match="^no credit$"):
        world.payment.withdraw(sender=PAYER)
    assert world.payment.withdraw(sender=OTHER).value == FIXED


def test_a_dust_payer_cannot_hold_the_place(world: World, house: Meter) -> None:
    """To hold a house's one lock somebody must put down the whole bill, and it then counts."""
    world.evm.fund(OTHER, FIXED)
    for amount, value in ((1, 1), (FIXED, 1), (1, FIXED), (0, 0)):
        with pytest.raises(Reverted, match="^(amount not what is due|value not the amount)$"):
            world.payment.pay(house.address, amount, sender=OTHER, value=value)
    world.pay(house)
    assert world.payment.locked(house.address).payer == PAYER
    with pytest.raises(Reverted, match="^nothing due$"):
        world.payment.pay(house.address, FIXED, sender=OTHER, value=FIXED)
    assert world.evm.balance(OTHER) == FIXED


def test_a_bill_that_grows_under_way_costs_nothing(world: World, house: Meter) -> None:
    """Signed for the old bill, landed after a settlement: refused, and no coin moves."""
    world.evm.fund(PAYER, FIXED)
    world.bill(house, 1000)
    with pytest.raises(Reverted, match="^amount not what is due$"):
        world.payment.pay(house.address, FIXED, sender=PAYER, value=FIXED)
    assert world.evm.balance(PAYER) == FIXED
    assert world.payment.account(house.address).due == 2 * FIXED + 4150


def test_silence_saves_nothing(world: World) -> None:
    """A house that closes only every third period owes what one that closes each does, and a
    retired one's rest: no charge is lost, no slab is won."""
    exact, silent = world.enrol("exact", 10), world.enrol("silent", 11)
    for month in range(1, 4):
        world.bill(exact, 150_000 * month)
    assert world.close((silent, 450_000)) == 1
    world.payment.settle(silent.address)
    assert (
        world.payment.account(silent.address).due
        == world.payment.account(exact.address).due
        == 3 * (100 * 4150 + 50 * 5850 + FIXED)
    )
    world.evm.at(world.evm.time_s + DEADLINE_S)
    world.registry.retire(silent.address, sender=UTILITY)
    world.energy.finish(silent.reading(world.evm.time_s, 451_000))
    # the last rest, of after the period's end
    assert world.payment.settle(silent.address).value == 4150 + FIXED


def test_uneven_silence_wins_slabs(world: World) -> None:
    """What is left: a register does not tell when it was used. A house that uses all in its third
    period pays less if it closes only then; it is unpaid, and so without a permit, until then."""
    exact, silent = world.enrol("exact", 10), world.enrol("silent", 11)
    for month in range(1, 4):
        world.bill(exact, 450_000 * (month == 3))
    assert world.close((silent, 450_000)) == 1
    world.payment.settle(silent.address)
    dues = [world.payment.account(house.address).due for house in (exact, silent)]
    assert dues[0] == 100 * (4150 + 5850) + 250 * 7100 + 3 * FIXED
    assert dues[1] == 300 * 4150 + 150 * 5850 + 3 * FIXED
