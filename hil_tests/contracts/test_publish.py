"""PaymentLedger.publish: permits without money."""

import pytest

import wire
from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import DAY_S, ESCROW_WINDOW_S, FIXED, UTILITY, Meter, World


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house."""
    return world.enrol("house", 9)


def permit(world: World, serial: int = 1, flags: int = 0) -> bytes:
    now = world.evm.time_s
    return wire.pack_permit(flags, serial, now, now + DAY_S, world.period)


@pytest.mark.parametrize("flags", range(8))
def test_any_permit_that_the_meter_takes(world: World, house: Meter, flags: int) -> None:
    frame = permit(world, 5, flags)
    signatures = world.sign(frame, house.address)
    result = world.payment.publish(house.address, frame, signatures)
    event = result.event("PermitPublished")
    assert (event.meter, event.serial, event.period) == (house.address, 5, world.period)
    assert (event.frame, event.signatures) == (frame, signatures)
    assert len(result.events) == 1
    assert world.payment.account(house.address).serial == 5


def test_a_bill_of_zero(world: World) -> None:
    """Without a fixed charge, a house that used nothing owes nothing and still gets a permit."""
    before = world.payment
    world.payment = world.deploy("PaymentLedger", *world.payment_arguments(fixed_charge=0))
    house = world.enrol("house", 9)
    assert world.bill(house, 0) == 0
    assert world.payment.account(house.address).period == world.period - 1
    with pytest.raises(Reverted, match="nothing due"):
        world.payment.pay(house.address, 0)
    frame = permit(world)
    world.payment.publish(house.address, frame, world.sign(frame, house.address))
    world.payment = before


def test_refusals(world: World, house: Meter) -> None:
    good = permit(world, 5)
    world.payment.publish(house.address, good, world.sign(good, house.address))
    for frame, reason in (
        (good, "serial not above the last"),
        (permit(world, 4), "serial not above the last"),
        (permit(world, world.evm.time_s + DAY_S + 1), "serial too far ahead"),
        (good[:39], "frame not 40 bytes"),
        (b"\x01\x05" + good[2:], "frame no permit"),
        (good[:2] + b"\x00\x08" + good[4:], "permit: flags"),
        (good[:36] + b"\x00\x01\x00\x00", "permit: bytes not zero"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.payment.publish(house.address, frame, world.sign(frame, house.address))
    frame = permit(world, 6)
    with pytest.raises(Reverted, match="too few signatures"):
        world.payment.publish(house.address, frame, world.sign(frame, house.address, (1,)))
    with pytest.raises(Reverted, match="signature wrong"):
        world.payment.publish(house.address, frame, world.sign(frame))
    with pytest.raises(Reverted, match="meter not enrolled"):
        world.payment.publish(Meter("stranger").address, frame, world.sign(frame))


def test_a_serial_far_ahead_only_by_one(world: World, house: Meter) -> None:
    far = world.evm.time_s + DAY_S
    for serial in (far, far + 1, far + 2):
        frame = permit(world, serial)
        world.payment.publish(house.address, frame, world.sign(frame, house.address))
    frame = permit(world, far + 4)
    with pytest.raises(Reverted, match="serial too far ahead"):
        world.payment.publish(house.address, frame, world.sign(frame, house.address))


def test_a_payer_cannot_take_the_permit_and_the_money(world: World, house: Meter) -> None:
    """Whoever sees a claim on its way could publish its permit first, and be refunded later."""
    world.bill(house, 0)
    world.pay(house)
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    with pytest.raises(Reverted, match="paid, claim instead"):
        world.payment.publish(house.address, frame, signatures)
    world.evm.at(world.payment.locked(house.address).deadline_s)
    with pytest.raises(Reverted, match="paid, claim instead"):
        world.payment.publish(house.address, frame, signatures)
    world.payment.claim(house.address, frame, signatures)
    assert world.payment.credits(UTILITY) == FIXED


def test_a_lock_that_is_over_does_not_hold_permits_up(world: World, house: Meter) -> None:
    world.bill(house, 0)
    world.pay(house)
    world.evm.at(world.evm.time_s + ESCROW_WINDOW_S + 1)
    frame = permit(world, world.evm.time_s)
    world.payment.publish(house.address, frame, world.sign(frame, house.address))


def test_a_replaced_meter_gets_no_permit(world: World, house: Meter) -> None:
    new = Meter("new")
    world.registry.replace(house.address, new.address, 0, sender=UTILITY)
    frame = permit(world)
    with pytest.raises(Reverted, match="meter replaced"):
        world.payment.publish(house.address, frame, world.sign(frame, house.address))
    world.payment.publish(new.address, frame, world.sign(frame, new.address))
