"""A utility that wants more money than it delivered energy for.

Of the same family: `test_settle.py` (test_a_new_tariff_is_never_retroactive), `test_tariff.py`
(test_announce_refuses), `test_pay.py` (test_the_utility_withdraws_only_what_was_claimed),
`test_claim.py` (test_weak_permits, test_a_late_payment_buys_no_stale_permit), `test_feeders.py`.
"""

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.test_close import BACKWARD, reasons
from hil_tests.contracts.world import (
    DAY_S,
    ESCROW_WINDOW_S,
    FIXED,
    LOAD_DW,
    OPEN,
    OTHER,
    PAYER,
    UTILITY,
    Meter,
    World,
)

DEAR = [(OPEN, 2**96 - 1)]


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house that owes its fixed charge."""
    meter = world.enrol("house", 9)
    assert world.bill(meter, 0) == FIXED
    return meter


def test_withheld_permits_earn_nothing(world: World, house: Meter) -> None:
    """Month after month: the money is in escrow, comes back, and can be locked again."""
    for month in range(1, 4):
        locked = world.pay(house)
        assert world.evm.balance(world.payment.address) == locked
        world.evm.at(world.payment.locked(house.address).deadline_s)
        for account in (UTILITY, PAYER):
            with pytest.raises(Reverted, match="^no credit$"):
                world.payment.withdraw(sender=account)
        with pytest.raises(Reverted, match="^too early to refund$"):
            world.payment.refund(9)
        world.evm.at(world.evm.time_s + 1)
        late = world.permit(house)
        with pytest.raises(Reverted, match="^too late, refund$"):
            world.payment.claim(house.address, late, world.sign(late, house.address))
        world.payment.refund(9, sender=OTHER)
        assert world.payment.withdraw(sender=PAYER).value == locked
        assert world.evm.balance(world.payment.address) == 0
        assert world.payment.account(house.address).due == locked
        world.bill(house, 1000 * month)
    account = world.payment.account(house.address)
    assert (account.due, account.payments) == (4 * FIXED + 3 * 4150, 0)
    assert world.payment.credits(UTILITY) == 0


def test_no_office_reaches_a_locked_payment(world: World, house: Meter) -> None:
    """Whatever the utility may call, while the money is locked: amount, payer, deadline stay."""
    world.pay(house)
    before = vars(world.payment.locked(house.address))
    world.payment.announce_tariff(world.period + 1, DEAR, 2**96 - 1, sender=UTILITY)
    world.registry.raise_load(house.address, 2**32 - 1, sender=UTILITY)
    world.energy.set_tolerance(9, 2000, sender=UTILITY)
    for contract in (world.registry, world.payment):
        contract.offer_utility(OTHER, sender=UTILITY)
        contract.accept_utility(sender=OTHER)
    world.registry.retire(house.address, sender=OTHER)
    assert vars(world.payment.locked(house.address)) == before
    world.evm.at(before["deadline_s"] + 1)
    assert world.payment.refund(9).event("Refunded").amount == FIXED
    assert [world.payment.credits(a) for a in (PAYER, UTILITY, OTHER)] == [FIXED, 0, 0]


def test_a_raised_load_spoils_only_the_permit_that_named_the_old_one(
    world: World, house: Meter
) -> None:
    """Signed for the sanctioned load, and the utility raises it before the claim is landed."""
    world.pay(house)
    named = world.permit(house, power_limit_dw=LOAD_DW)
    free = world.permit(house, power_limit_dw=0)
    world.registry.raise_load(house.address, LOAD_DW + 1, sender=UTILITY)
    with pytest.raises(Reverted, match="^permit: power limit$"):
        world.payment.claim(house.address, named, world.sign(named, house.address))
    assert world.payment.locked(house.address).amount == FIXED
    world.payment.claim(house.address, free, world.sign(free, house.address))
    assert world.payment.credits(UTILITY) == FIXED


def test_a_tariff_reaches_nothing_that_was_used(world: World, house: Meter) -> None:
    """Announced at the earliest, twice in a row and out of order: the running period is safe."""
    now = world.period
    for period in (0, now - 1, now):
        with pytest.raises(Reverted, match="^notice too short$"):
            world.payment.announce_tariff(period, DEAR, 1, sender=UTILITY)
    world.payment.announce_tariff(now + 1, [(OPEN, 10_000)], 5, sender=UTILITY)
    for period in (now + 1, now):
        with pytest.raises(Reverted, match="^(not after the last tariff|notice too short)$"):
            world.payment.announce_tariff(period, DEAR, 1, sender=UTILITY)
    assert world.bill(house, 100_000) == 415_000 + FIXED
    # landed and settled late, the running period of then still has its own price
    assert world.bill(house, 200_000) == 1_000_005


def test_tariffs_for_later_periods_stop_no_bill(world: World, house: Meter) -> None:
    """Each bill looks back over them: 1,024 would have stopped all bills of all houses."""
    now = world.period
    gas = []
    for waiting in range(13):
        saved = world.evm.save()
        world.next_period()
        assert world.close((house, 1000)) == 1
        result = world.payment.settle(house.address)
        assert result.value == FIXED + 4150
        gas.append(result.gas)
        world.evm.restore(saved)
        if waiting < 12:
            world.payment.announce_tariff(now + 2 + waiting, DEAR, 1, sender=UTILITY)
    assert gas[12] - gas[0] < 30_000
    for period in (now + 14, now + 1000):
        with pytest.raises(Reverted, match="^12 tariffs wait, announce later$"):
            world.payment.announce_tariff(period, DEAR, 1, sender=UTILITY)
    world.next_period()
    with pytest.raises(Reverted, match="^12 tariffs wait, announce later$"):
        world.payment.announce_tariff(now + 14, DEAR, 1, sender=UTILITY)
    world.next_period()
    world.payment.announce_tariff(now + 14, DEAR, 1, sender=UTILITY)


def test_a_closing_kept_back_over_a_rise(world: World) -> None:
    """The utility's own relay lands nothing for a month: half of the cheap energy is dear.

    It needs everybody else to be silent for the whole next period; see test_relays.py.
    """
    house = world.enrol("house", 9)
    world.payment.announce_tariff(world.period + 1, [(OPEN, 40_000)], 0, sender=UTILITY)
    world.next_period()
    world.next_period()
    assert world.close((house, 100_000)) == 1
    assert world.payment.settle(house.address).value == 50 * 4150 + FIXED + 50 * 40_000


def test_enrolled_under_too_low_a_register(world: World) -> None:
    """Nothing stops it here: the past is billed. The figure stands in a public event, to compare
    with what the meter shows at pairing; the bills never exceed what the meter signed."""
    used = Meter("used", 9)
    event = world.registry.enrol((used.address, 9, 1, 0, 0, LOAD_DW), sender=UTILITY).event(
        "Enrolled"
    )
    assert (event.meter, event.initial_wh) == (used.address, 0)
    assert world.bill(used, 90_000) == 90 * 4150 + FIXED
    assert world.bill(used, 90_000) == FIXED
    # nor can the utility set it back later: a meter is enrolled once, a number too
    for number, reason in ((10, "meter enrolled before"), (9, "meter enrolled before")):
        with pytest.raises(Reverted, match=f"^{reason}$"):
            world.registry.enrol((used.address, number, 1, 0, 0, LOAD_DW), sender=UTILITY)
    with pytest.raises(Reverted, match="^meter enrolled before$"):
        world.registry.replace(used.address, used.address, 0, sender=UTILITY)
    assert world.bill(used, 90_000) == FIXED


def test_replaced_under_too_low_a_register(world: World, house: Meter) -> None:
    new = Meter("new")
    event = world.registry.replace(house.address, new.address, 0, sender=UTILITY).event("Replaced")
    assert (event.new, event.initial_wh) == (new.address, 0)
    assert world.bill(new, 90_000) == 90 * 4150 + FIXED


def test_enrolled_under_too_high_a_register(world: World) -> None:
    """No closing is taken until the register is there: no bill, and missing in the balance."""
    house = world.enrol("house", 9, initial_wh=50_000)
    start = world.start(world.next_period() + 1)
    assert reasons(world, house.closing(start, 10_000)) == [BACKWARD]
    assert world.payment.settle(house.address).events == []
    assert world.payment.account(house.address).due == 0
    assert world.bill(house, 51_000) == 4150 + 2 * FIXED


def test_a_monstrous_bill_does_not_keep_a_refund(world: World, house: Meter) -> None:
    """The utility withholds the permit, and the next bill is the greatest there is: what is owed
    and what comes back do not fit into the account's 96 bits together."""
    charge = 2**96 - 1 - FIXED
    world.payment.announce_tariff(world.period + 1, [(OPEN, 0)], charge, sender=UTILITY)
    world.bill(house, 0)
    world.evm.at(world.start(world.period + 1) - DAY_S)
    locked = world.pay(house)
    world.next_period()
    assert world.close((house, 0)) == 1
    world.payment.settle(house.address)
    assert world.payment.account(house.address).due == charge
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    world.payment.refund(9)
    assert world.payment.credits(PAYER) == locked == 2 * FIXED


def test_the_windows_cannot_be_changed(world: World) -> None:
    """No function of the ABI sets a window, a threshold, a signer or a credit directly."""
    callable_by_utility = {
        entry["name"]
        for entry in world.payment.artifact.abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    money_or_permit = {"settle", "settle_many", "pay", "claim", "claim_many", "refund", "publish"}
    authorised = {"pay_with_authorization", "pay_with_permit", "withdraw", "withdraw_for"}
    office = {"announce_tariff", "offer_utility", "accept_utility", "rotate", "apply_rotation"}
    assert callable_by_utility == money_or_permit | authorised | office
    assert world.payment.escrow_window_s() == ESCROW_WINDOW_S
