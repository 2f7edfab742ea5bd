"""Batches in which somebody is hostile: it must not cost the others.

Of the same family: `test_close.py` (test_a_griefer_cannot_block_honest_closings,
test_a_neighbour_is_not_hurt_by_a_retirement, test_128_fit_and_129_do_not).
"""

import pytest

import wire
from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.test_close import (
    AHEAD,
    BACKWARD,
    CLOSED,
    NO_CLOSING,
    RETIRED,
    UNKNOWN,
    close,
    reasons,
)
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    ESCROW_WINDOW_S,
    FIXED,
    HOUR_S,
    HOUSE,
    TRANSFORMER,
    UTILITY,
    UTILITY_ID,
    Meter,
    World,
)
from parwana.chain.contracts import Closing


def test_one_of_128(world: World) -> None:
    """The greatest register, by a meter that its owner opened, amid 127 honest ones."""
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    hostile = world.enrol("hostile", 2, HOUSE, 1)
    honest = [Meter(f"house {i}", 10 + i) for i in range(126)]
    for at in range(0, 126, 63):
        world.registry.enrol_many(
            [(m.address, m.number, HOUSE, 1, 0, 1) for m in honest[at : at + 63]], sender=UTILITY
        )
    over = world.next_period()
    start = world.start(over + 1)
    items = [meter.closing(start, 100 + i) for i, meter in enumerate(honest)]
    bad = hostile.closing(start, 2**64 - 1)
    batch = [*items[:63], bad, *items[63:], transformer.closing(start, 2**64 - 1)]
    taken, closings, skipped = close(world, *batch)
    assert (taken, skipped) == (128, [])
    assert [c.energy_wh for c in closings if c.energy_wh < 2**64 - 1] == list(range(100, 226))
    sums = world.energy.sums(1, over)
    assert sums.sold_wh == sum(range(100, 226)) + 2**64 - 1
    assert (sums.supplied_wh, sums.closed, sums.expected, sums.spanning) == (
        2**64 - 1,
        127,
        127,
        0,
    )
    # it pays for that itself; its neighbours' bills are what they used
    world.payment.settle_many([hostile.address, honest[0].address])
    assert world.payment.account(honest[0].address).due == FIXED + 100 * 4150 // 1000
    # and has closed its own way: no lower register will ever be taken
    start = world.start(world.next_period() + 1)
    assert reasons(world, hostile.closing(start, 5), items[0]) == [BACKWARD, CLOSED]


REASONS = {
    "zeros": NO_CLOSING,
    "ones": NO_CLOSING,
    "unsigned": UNKNOWN,
    "stranger": UNKNOWN,
    "backward": BACKWARD,
    "ahead": AHEAD,
    "ahead within the day": AHEAD,
    "of the period before": CLOSED,
    "out of its window": NO_CLOSING,
    "retired": RETIRED,
}


def hostile_items(world: World, meter: Meter, start_s: int) -> dict[str, bytes]:
    """Return an item of each kind, about the boundary at `start_s`."""
    return {
        "zeros": bytes(104),
        "ones": b"\xff" * 104,
        "unsigned": meter.closing(start_s, 9)[:40] + bytes(64),
        "stranger": Meter("stranger").closing(start_s, 9),
        "backward": meter.closing(start_s, 6),
        "ahead": meter.closing(2**32 - 1, 9),
        "ahead within the day": meter.closing(start_s + 2 * 3600, 9),
        "of the period before": meter.closing(world.start(world.period - 1), 9),
        "out of its window": meter.closing(start_s - 1, 9),
        "retired": Meter("retired").closing(start_s, 9),
    }


@pytest.mark.parametrize("kind", REASONS)
def test_at_any_place(world: World, kind: str) -> None:
    """First, in the middle or last, of every kind: the others count, and count in their feeder."""
    supplies = [world.enrol(f"transformer {i}", 1 + i, TRANSFORMER) for i in range(2)]
    honest = [world.enrol(f"house {i}", 10 + i, HOUSE, 1 + i // 2) for i in range(4)]
    hostile = world.enrol("hostile", 20, HOUSE, 1, initial_wh=7)
    world.registry.retire(world.enrol("retired", 21, HOUSE, 2).address, sender=UTILITY)
    over = world.next_period()
    start = world.start(over + 1)
    items = [m.closing(start, 100 + i) for i, m in enumerate((*honest, *supplies))]
    bad = hostile_items(world, hostile, start)[kind]
    saved = world.evm.save()
    for place in (0, 3, 6):
        batch = [*items[:place], bad, *items[place:]]
        world.evm.restore(saved)
        assert reasons(world, *batch) == [REASONS[kind] if i == place else 0 for i in range(7)]
        for feeder, sold_wh, supplied_wh in ((1, 201, 104), (2, 205, 105)):
            sums = world.energy.sums(feeder, over)
            assert (sums.sold_wh, sums.supplied_wh, sums.closed) == (sold_wh, supplied_wh, 2)
            assert (sums.spanning, sums.own_closed) == (0, True)
        assert world.energy.closing(hostile.address).time_s == 0


@pytest.mark.parametrize("utc_offset_s", [-50_400, 0, 19_800, 50_400])
@pytest.mark.parametrize("time_s", [0, 1, 19_800, 86_400, 30 * 86_400])
def test_a_reading_of_1970_is_skipped_as_any_other(
    world: World, utc_offset_s: int, time_s: int
) -> None:
    """Of a time that no calendar of the ledger's begins with, and that nobody has to sign, even;
    what follows it counts where it belongs."""
    energy = world.deploy(
        "EnergyLedger", world.registry.address, UTILITY_ID, 0, utc_offset_s, DEADLINE_S, 500
    )
    world.enrol("transformer", 1, TRANSFORMER)
    houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 1) for i in range(3)]
    bad = houses[0].closing(time_s, 9, wire.FLAG_BOOT)
    for register in (10, 20):  # the second time, the ledger knows all three
        over = energy.period_of(world.evm.time_s)
        start = energy.start_of(over + 1)
        world.evm.at(start + HOUR_S)
        batch = [house.closing(start, register) for house in houses]
        batch[1:1] = [bad, bad[:40] + bytes(64)]
        assert energy.close(b"".join(batch)).value == 3
        sums = energy.sums(1, over)
        assert (sums.sold_wh, sums.closed) == (3 * 10, 3)


def test_a_house_that_cannot_be_billed_stops_no_other(world: World) -> None:
    """In a coin of 18 decimals the greatest register costs more than an account holds; what is
    owed ends at what it does hold, which nobody has."""
    slabs = [(2**64 - 1, 10**14)]
    ledger = world.deploy("PaymentLedger", *world.payment_arguments(slabs=slabs))
    hostile, honest = world.enrol("hostile", 10), world.enrol("honest", 11)
    world.next_period()
    assert world.close((hostile, 2**64 - 1), (honest, 1000)) == 2
    assert ledger.settle(honest.address).value == 10**14 + FIXED
    world.next_period()
    assert world.close((honest, 2000)) == 1
    ledger.settle_many([hostile.address, honest.address])
    assert ledger.account(honest.address).due == 2 * (10**14 + FIXED)
    assert ledger.account(hostile.address).due == 2**96 - 1


def test_many_claims_of_which_some_are_gone(world: World) -> None:
    """A refund between signing and landing costs the other claims nothing."""
    houses = [world.enrol(f"house {i}", 10 + i) for i in range(3)]
    world.next_period()
    assert world.close(*((house, 0) for house in houses)) == 3
    world.payment.settle_many([house.address for house in houses])
    world.pay(houses[1])
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S - DAY_S)
    world.pay(houses[0])
    world.pay(houses[2])
    frames = [world.permit(house) for house in houses]
    claims = [
        (house.address, frame, world.sign(frame, house.address))
        for house, frame in zip(houses, frames, strict=True)
    ]
    world.evm.at(world.evm.time_s + DAY_S + 1)
    saved = world.evm.save()
    for refunded in (False, True):
        world.evm.restore(saved)
        if refunded:
            world.payment.refund(11)
        result = world.payment.claim_many([*claims, claims[0]])
        paid = [fields.number for name, fields in result.events if name == "Paid"]
        assert (result.value, paid) == (2, [10, 12])
        assert world.payment.credits(UTILITY) == 2 * FIXED
    # a permit that does not do fails them all, before anything of it is seen: simulate first
    world.evm.restore(saved)
    weak = world.permit(houses[2], power_limit_dw=1)
    bad = (houses[2].address, weak, world.sign(weak, houses[2].address))
    with pytest.raises(Reverted, match="^permit: power limit$"):
        world.payment.claim_many([claims[0], bad])
    assert world.payment.credits(UTILITY) == 0
    assert world.payment.locked(houses[0].address).amount == FIXED


def test_a_feeder_that_cannot_be_balanced_stops_no_other(world: World) -> None:
    feeders = [world.enrol(f"transformer {i}", 1 + i, TRANSFORMER) for i in range(3)]
    world.enrol("silent", 10, HOUSE, 2)
    over = world.next_period()
    assert world.close(*((feeder, 0) for feeder in feeders)) == 3
    result = world.energy.reconcile_many([1, 2, 99, 10, 3], over)
    done = [fields.feeder for _, fields in result.events]
    assert (result.value, done) == (2, [1, 3])


def test_the_results_name_each_item(world: World) -> None:
    """Nobody can make an item look like another's: meter and reason stand at its own place."""
    a, b = world.enrol("a", 10), world.enrol("b", 11)
    start = world.start(world.next_period() + 1)
    _, closings, skipped = close(world, b.closing(start, 6), bytes(104), a.closing(start, 5))
    assert skipped == [(1, NO_CLOSING)]
    assert closings == [
        Closing(bytes.fromhex(m.address[2:]), world.period - 1, wh) for m, wh in ((b, 6), (a, 5))
    ]
