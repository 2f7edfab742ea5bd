"""Meters replaced or retired in mid-period, and closings that come late.

Of the same family: `test_close.py` (test_a_retired_meter,
test_retired_in_the_second_of_the_reading, test_a_replaced_meter), `test_finish.py`,
`test_settle.py` (test_a_replaced_meter_loses_and_repeats_nothing,
test_a_replaced_meters_rest_that_comes_late, test_replaced_after_months_of_silence,
test_the_last_bill_of_a_retired_house), `test_claim.py`
(test_a_meter_replaced_while_the_payment_is_locked), `test_reconcile.py`
(test_enrolled_and_retired_in_the_middle).
"""

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.test_close import CLOSED, RETIRED, reasons
from hil_tests.contracts.world import (
    DAY_S,
    FIXED,
    HOUSE,
    OTHER,
    PAYER,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)

NONE, THEFT = 0, 1


def test_a_late_closing_after_reconcile_and_after_settle(world: World) -> None:
    """The balance is made again, the next bill has the energy; neither was final."""
    line = world.enrol("line", 1, TRANSFORMER)
    house = world.enrol("house", 10, HOUSE, 1)
    world.next_period()
    assert world.close((line, 0), (house, 0)) == 2
    over = world.next_period()
    late = house.closing(world.start(over + 1), 1000)
    assert world.close((line, 1000)) == 1
    world.payment.settle(house.address)
    due = world.payment.account(house.address).due
    world.evm.at(world.start(over + 1) + 20 * DAY_S)
    assert world.energy.reconcile(1, over).value == THEFT
    assert world.payment.settle(house.address).events == []
    assert reasons(world, late) == [0]
    assert world.energy.reconcile(1, over).value == NONE
    event = world.payment.settle(house.address).event("Billed")
    assert (event.period, event.energy_wh, event.due) == (over, 1000, due + 4150 + FIXED)


def test_old_and_new_in_one_batch_close_one_period_once(world: World) -> None:
    line = world.enrol("line", 1, TRANSFORMER)
    old, neighbour = (world.enrol(n, 10 + i, HOUSE, 1) for i, n in enumerate(("old", "n")))
    new = Meter("new")
    world.next_period()
    assert world.close((line, 0), (old, 0), (neighbour, 0)) == 3
    world.evm.at(world.start(world.period) + 10 * DAY_S)
    world.registry.replace(old.address, new.address, 7000, sender=UTILITY)
    rest = old.reading(world.evm.time_s, 300)
    over = world.next_period()
    start = world.start(over + 1)
    items = [
        old.closing(start, 400),
        new.closing(start, 7200),
        neighbour.closing(start, 100),
        new.closing(start + 1, 7201),
        line.closing(start, 600),
    ]
    assert reasons(world, *items) == [RETIRED, 0, 0, CLOSED, 0]
    sums = world.energy.sums(1, over)
    assert (sums.sold_wh, sums.closed, sums.expected) == (300, 2, 2)
    world.energy.finish(rest)
    sums = world.energy.sums(1, over)
    assert (sums.sold_wh, sums.closed, sums.spanning) == (600, 2, 0)
    assert world.energy.reconcile(1, over).value == NONE
    world.payment.settle(old.address)
    assert world.payment.settle(new.address).event("Billed").energy_wh == 500


def test_a_replaced_meter_speaks_no_more(world: World) -> None:
    """Its key may be in anybody's hands: whatever it signs of later counts nowhere."""
    old, new = world.enrol("old", 10), Meter("new")
    world.bill(old, 1000)
    world.evm.at(world.evm.time_s + DAY_S)
    world.registry.replace(old.address, new.address, 0, sender=UTILITY)
    gone_s = world.evm.time_s
    world.bill(new, 500)
    start = world.start(world.period)
    assert reasons(world, old.closing(start, 2**64 - 1)) == [RETIRED]
    with pytest.raises(Reverted, match="^read after retirement$"):
        world.energy.finish(old.reading(gone_s + 1, 2**64 - 1))
    for name, arguments in (
        ("pay", (FIXED,)),
        ("claim", (bytes(40), bytes(130))),
        ("publish", (bytes(40), bytes(130))),
    ):
        with pytest.raises(Reverted, match="^meter replaced$"):
            getattr(world.payment, name)(old.address, *arguments)
    account = world.payment.account(new.address)
    assert (account.meter, account.due) == (new.address, 2 * FIXED + 4150 + 500 * 4150 // 1000)


def test_a_dead_key_can_still_lie_about_its_last_day(world: World) -> None:
    """What a thief of a retired meter's key can do: sign a rest of before its end, once upward.

    It is billed to the point and shows in the balance; nothing here can tell it from the truth.
    """
    world.enrol("line", 1, TRANSFORMER)
    old, new = world.enrol("old", 10, HOUSE, 1), Meter("new")
    world.bill(old, 1000)
    world.evm.at(world.evm.time_s + DAY_S)
    world.registry.replace(old.address, new.address, 0, sender=UTILITY)
    over = world.period
    world.energy.finish(old.reading(world.evm.time_s, 9000), sender=OTHER)
    assert world.energy.sums(1, over).sold_wh == 8000
    world.next_period()
    assert world.close((new, 0)) == 1
    assert world.payment.settle(new.address).event("Billed").energy_wh == 8000


def test_a_lock_outlives_every_change_of_the_meter(world: World) -> None:
    """Replaced, then retired, while the money is locked: the payer has it back all the same."""
    house, new = world.enrol("house", 9), Meter("new")
    world.bill(house, 0)
    world.pay(house)
    deadline_s = world.payment.locked(house.address).deadline_s
    world.registry.replace(house.address, new.address, 2**64 - 1, sender=UTILITY)
    world.registry.retire(new.address, sender=UTILITY)
    for meter in (house, new):
        lock = world.payment.locked(meter.address)
        assert (lock.payer, lock.amount, lock.deadline_s) == (PAYER, FIXED, deadline_s)
    world.evm.at(deadline_s + 1)
    event = world.payment.refund(9, sender=OTHER).event("Refunded")
    assert (event.payer, event.amount) == (PAYER, FIXED)
    world.payment.withdraw(sender=PAYER)
    assert (world.evm.balance(PAYER), world.evm.balance(world.payment.address)) == (FIXED, 0)
