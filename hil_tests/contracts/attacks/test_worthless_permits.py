"""m signers who sell permits that the contract takes and the meter does not.

The meter here is the firmware's own `permits`. Of the same family: `test_claim.py`
(test_weak_permits, test_a_late_payment_buys_no_stale_permit, test_a_serial_counts_once).
"""

from importlib import import_module
from typing import Any

import pytest
from eth_utils import to_canonical_address

import wire
from hil_tests.contracts.evm import CHAIN_ID, Reverted
from hil_tests.contracts.world import DAY_S, PAYER, UTC_OFFSET_S, UTILITY, Meter, World

permits = import_module("permits")  # of the firmware


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house whose payment is locked."""
    meter = world.enrol("house", 9)
    world.bill(meter, 0)
    world.pay(meter)
    return meter


def device(world: World, meter: Meter) -> Any:
    """Return what the meter knows: who signs, and a permit that was given by hand."""
    holder = permits.Permits(
        2,
        [signer.public for signer in world.signers],
        CHAIN_ID,
        to_canonical_address(world.payment.address),
        to_canonical_address(meter.address),
        UTC_OFFSET_S,
        bytes,  # keeps nothing
    )
    now = world.evm.time_s - DAY_S
    given = wire.pack_permit(0, now, now, now + 2 * DAY_S, 0)
    holder.accept(given + world.sign(given, meter.address), now, 0)
    return holder


def runs_until(world: World, holder: Any, meter: Meter, frame: bytes) -> int:
    """Show a permit to the meter; return until when it is supplied, 0 if no longer."""
    bundle = frame + world.sign(frame, meter.address)
    holder.accept(bundle, world.evm.time_s, 0)
    grant = holder.grant(max(world.evm.time_s, holder.signed_s), 0)
    return int(grant.end_s) if grant.running else 0


def test_the_least_is_taken(world: World, house: Meter) -> None:
    frame = world.permit(house)
    least = world.payment.least_grant(house.address)
    assert runs_until(world, device(world, house), house, frame) == least.valid_until_s
    world.payment.claim(house.address, frame, world.sign(frame, house.address))


@pytest.mark.parametrize("ahead_s", [1, 90 * DAY_S])
def test_issued_in_the_future(world: World, house: Meter, ahead_s: int) -> None:
    """A meter lives on from a permit's time of issue: of one after its end it takes nothing; one
    just before it ends at once, with all that the meter had, and with all that come later."""
    frame = world.permit(house, issued_at_s=world.evm.time_s + ahead_s)
    holder = device(world, house)
    if ahead_s > 1:
        with pytest.raises(permits.Refused):
            runs_until(world, holder, house, frame)
        last = world.permit(house, valid_until_s=2**32 - 1, issued_at_s=2**32 - 2)
        assert runs_until(world, holder, house, last) - holder.signed_s == 1
    with pytest.raises(Reverted, match="^permit: issued ahead$"):
        world.payment.claim(house.address, frame, world.sign(frame, house.address))
    assert world.payment.credits(UTILITY) == 0
    assert world.payment.locked(house.address).payer == PAYER


def test_a_serial_that_the_meter_has_seen(world: World, house: Meter) -> None:
    """Above the last on the chain, but below what was given by hand, or by an earlier ledger."""
    now = world.evm.time_s
    least = world.payment.least_grant(house.address)
    for serial in (1, now - DAY_S, now - 1):
        frame = world.permit(house, serial=serial)
        if serial <= now - DAY_S:
            with pytest.raises(permits.Refused):
                runs_until(world, device(world, house), house, frame)
        with pytest.raises(Reverted, match="^permit: serial$"):
            world.payment.claim(house.address, frame, world.sign(frame, house.address))
    assert least.serial == now
