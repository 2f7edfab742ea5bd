"""Relays that censor, reorder, or land a later closing to push out an earlier one.

Of the same family: `test_close.py` (test_a_meter_that_was_off, test_a_feeder_that_was_off),
`test_reconcile.py` (test_it_waits_for_the_missing,
test_no_alarm_where_a_closing_covers_several_periods), `test_finish.py`
(test_it_waits_for_the_closings_before), `test_settle.py` (test_several_periods_at_once); what the
audit says of relays is in `audit/test_command.py`.
"""

from itertools import permutations

import wire
from hil_tests.contracts.test_close import CLOSED, close, reasons
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    FIXED,
    HOUSE,
    OPEN,
    TRANSFORMER,
    UTILITY,
    World,
)

THEFT, INCOMPARABLE = 1, 3


def test_any_order_and_any_batches_come_to_the_same(world: World) -> None:
    a_line, b_line = (world.enrol(f"line {i}", 1 + i, TRANSFORMER) for i in range(2))
    houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 1 + i % 2) for i in range(2)]
    meters = [a_line, b_line, *houses]
    over = world.next_period()
    start = world.start(over + 1)
    items = [meter.closing(start, 100 + 7 * i) for i, meter in enumerate(meters)]
    saved = world.evm.save()
    seen = set()
    for n, order in enumerate(list(permutations(items))[::3]):
        world.evm.restore(saved)
        at = n % 4
        for batch in (order[:at], order[at:]):
            assert not batch or reasons(world, *batch) == [0] * len(batch)
        balances = [vars(world.energy.reconcile(i, over).event("Reconciled")) for i in (1, 2)]
        closings = [vars(world.energy.closing(meter.address)) for meter in meters]
        seen.add(str((balances, closings)))
    assert len(seen) == 1


def test_a_censor_delays_and_leaves_a_trace(world: World) -> None:
    """One house is left out of every batch; anybody who has its frame lands it, however late."""
    line = world.enrol("line", 1, TRANSFORMER)
    left_out, other = (world.enrol(name, 10 + i, HOUSE, 1) for i, name in enumerate("ab"))
    world.next_period()
    assert world.close((line, 0), (left_out, 0), (other, 0)) == 3
    over = world.next_period()
    start = world.start(over + 1)
    kept = left_out.closing(start, 1000)
    assert reasons(world, line.closing(start, 2000), other.closing(start, 1000)) == [0, 0]
    world.evm.at(start + DEADLINE_S)
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.missing, event.alarm, event.sold_wh) == (1, THEFT, 1000)
    world.evm.at(start + DEADLINE_S + 20 * DAY_S)
    assert reasons(world, kept) == [0]
    event = world.energy.reconcile(1, over).event("Reconciled")
    assert (event.missing, event.alarm, event.sold_wh) == (0, 0, 2000)
    assert world.payment.settle(left_out.address).value == 2 * FIXED + 4150


def test_a_later_closing_pushes_out_an_earlier_one(world: World) -> None:
    """No energy is lost or billed twice, but it is priced as if used evenly: 50 kWh of the cheap
    period at the dear price. Whoever lands the earlier one within its period prevents that."""
    house = world.enrol("house", 10)
    world.enrol("line", 1, TRANSFORMER)
    cheap_period = world.period
    world.payment.announce_tariff(cheap_period + 1, [(OPEN, 40_000)], 0, sender=UTILITY)
    world.next_period()
    earlier = house.closing(world.start(cheap_period + 1), 100_000)
    saved = world.evm.save()
    world.next_period()
    later = house.closing(world.start(cheap_period + 2), 100_000)

    assert reasons(world, later, earlier) == [0, CLOSED]
    assert reasons(world, earlier) == [CLOSED]
    sums = [world.energy.sums(0, cheap_period + i) for i in range(2)]
    assert [(s.sold_wh, s.closed, s.spanning) for s in sums] == [(0, 0, 0), (100_000, 1, 1)]
    event = world.payment.settle(house.address).event("Billed")
    assert (event.periods, event.energy_wh) == (2, 100_000)
    assert event.amount == 50 * 4150 + FIXED + 50 * 40_000

    # in their order, in one batch or landed by another relay in time, each has its own price
    world.evm.restore(saved)
    assert reasons(world, earlier) == [0]
    world.next_period()
    assert reasons(world, later) == [0]
    event = world.payment.settle(house.address).event("Billed")
    assert (event.periods, event.energy_wh) == (2, 100_000)
    # still billed at once; who settles after each period pays each period's price
    world.evm.restore(saved)
    assert reasons(world, earlier) == [0]
    first = world.payment.settle(house.address).value
    world.next_period()
    assert reasons(world, later) == [0]
    assert (first, world.payment.settle(house.address).value) == (100 * 4150 + FIXED, 0)


def test_of_two_valid_closings_the_first_landed_counts(world: World) -> None:
    """A meter that rebooted signs a second reading that closes the same period, later in the next.

    Twenty days of energy go to the earlier period's balance, none is billed twice.
    """
    world.enrol("line", 1, TRANSFORMER)
    house = world.enrol("house", 10, HOUSE, 1)
    over = world.next_period()
    start = world.start(over + 1)
    world.evm.at(start + 20 * DAY_S)
    true = house.closing(start, 1000)
    rebooted = house.closing(start + 20 * DAY_S, 1700, wire.FLAG_BOOT)
    saved = world.evm.save()
    totals = []
    for order, first_wh in (((true, rebooted), 1000), ((rebooted, true), 1700)):
        world.evm.restore(saved)
        assert reasons(world, *order) == [0, CLOSED]
        assert world.energy.sums(1, over).sold_wh == first_wh
        assert world.energy.closing(house.address).period == over
        bills = [world.payment.settle(house.address).value]
        assert bills == [first_wh * 4150 // 1000 + FIXED]
        world.next_period()
        assert world.close((house, 2000)) == 1
        assert world.energy.sums(1, over + 1).sold_wh == 2000 - first_wh
        bills.append(world.payment.settle(house.address).value)
        totals.append(sum(bills))
    assert totals == [2 * 4150 + 2 * FIXED] * 2


def test_a_race_for_the_same_closings_costs_only_gas(world: World) -> None:
    """The one who comes second lands what the first left, and the log tells who landed what."""
    houses = [world.enrol(f"house {i}", 10 + i) for i in range(4)]
    start = world.start(world.next_period() + 1)
    items = [house.closing(start, 500 + i) for i, house in enumerate(houses)]
    assert [c.energy_wh for c in close(world, items[2], items[0])[1]] == [502, 500]
    taken, closings, skipped = close(world, *items)
    assert (taken, [c.energy_wh for c in closings]) == (2, [501, 503])
    assert skipped == [(0, CLOSED), (2, CLOSED)]
