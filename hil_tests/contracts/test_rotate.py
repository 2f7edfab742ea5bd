"""PaymentLedger: rotate, apply_rotation."""

from collections.abc import Iterator

import pytest

import wire
from hil_tests.contracts.evm import ZERO, Reverted
from hil_tests.contracts.world import (
    DAY_S,
    ESCROW_WINDOW_S,
    OTHER,
    ROTATION_DELAY_S,
    Key,
    World,
)

NEW = Key("new signer")


def frame_for(world: World, index: int = 1, serial: int = 1, key: Key = NEW) -> bytes:
    return wire.pack_signer(index, serial, world.evm.time_s, wire.key_prefix(key.public))


@pytest.fixture(autouse=True)
def _signers(world: World) -> Iterator[None]:
    before = list(world.signers)
    yield
    world.signers = before


def test_a_signer_changes_after_the_delay(world: World) -> None:
    frame = frame_for(world, serial=7)
    signatures = world.sign(frame)
    event = world.payment.rotate(frame, NEW.public, signatures, sender=OTHER).event(
        "SignerAnnounced"
    )
    effective_at_s = world.evm.time_s + ROTATION_DELAY_S
    assert (event.index, event.signer, event.serial) == (1, NEW.address, 7)
    assert event.effective_at_s == effective_at_s
    assert (event.frame, event.public_key, event.signatures) == (frame, NEW.public, signatures)
    assert world.payment.next_signer(1) == (NEW.address, effective_at_s)
    assert (world.payment.trust_serial(), world.payment.signers(1)) == (
        7,
        world.signers[1].address,
    )
    world.evm.at(effective_at_s - 1)
    with pytest.raises(Reverted, match="signer announced for later"):
        world.payment.apply_rotation(1)
    world.evm.at(effective_at_s)
    event = world.payment.apply_rotation(1, sender=OTHER).event("SignerChanged")
    assert (event.index, event.signer) == (1, NEW.address)
    assert world.payment.signers(1) == NEW.address
    assert world.payment.next_signer(1) == (ZERO, 0)
    for index in (1, 0):
        with pytest.raises(Reverted, match="no signer announced"):
            world.payment.apply_rotation(index)
    # from here on the new one signs and the old one does not
    house = world.enrol("house", 9)
    permit = wire.pack_permit(0, 1, world.evm.time_s, world.evm.time_s, 1)
    old = world.sign(permit, house.address, (0, 1))
    with pytest.raises(Reverted, match="signature wrong"):
        world.payment.publish(house.address, permit, old)
    world.signers[1] = NEW
    world.payment.publish(house.address, permit, world.sign(permit, house.address, (0, 1)))


def test_refusals(world: World) -> None:
    world.payment.rotate(frame_for(world), NEW.public, world.sign(frame_for(world)))
    other = Key("other")
    first, _, last = world.signers
    far = world.evm.time_s + DAY_S + 1
    good = frame_for(world, 0, 2, other)
    for frame, key, by, reason in (
        (good[:39], other.public, (0, 2), "frame not 40 bytes"),
        (good, other.public[1:], (0, 2), "key not 64 bytes"),
        (b"\x01\x03" + good[2:], other.public, (0, 2), "frame not of kind 5"),
        (b"\x02" + good[1:], other.public, (0, 2), "frame not of kind 5"),
        (frame_for(world, 3, 2, other), other.public, (0, 2), "no such signer"),
        (frame_for(world, 7, 2, other), other.public, (0, 2), "no such signer"),
        (b"\x01\x05\x01\x00" + good[4:], other.public, (0, 2), "no such signer"),
        (good, Key("third").public, (0, 2), "key not the frame's"),
        (frame_for(world, 0, 1, other), other.public, (0, 2), "serial not above the last"),
        (frame_for(world, 0, 0, other), other.public, (0, 2), "serial not above the last"),
        (frame_for(world, 0, far, other), other.public, (0, 2), "serial too far ahead"),
        (good, other.public, (0,), "too few signatures"),
        (good, other.public, (2, 0), "signers not rising"),
        # already a signer, already announced elsewhere
        (
            frame_for(world, 0, 2, world.signers[2]),
            world.signers[2].public,
            (0, 2),
            "signer twice",
        ),
        (
            frame_for(world, 0, 2, world.signers[0]),
            world.signers[0].public,
            (0, 2),
            "signer twice",
        ),
        (frame_for(world, 0, 2, NEW), NEW.public, (0, 2), "signer twice"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.payment.rotate(frame, key, world.sign(frame, by=by))
    house = world.enrol("house", 9)
    with pytest.raises(Reverted, match="signature wrong"):
        world.payment.rotate(good, other.public, world.sign(good, house.address))
    with pytest.raises(Reverted, match="no such signer"):
        world.payment.apply_rotation(3)
    world.payment.rotate(good, other.public, world.sign(good))


def test_an_announcement_can_be_replaced(world: World) -> None:
    """The old signers can take back what was announced in their name, and the delay restarts."""
    world.payment.rotate(frame_for(world), NEW.public, world.sign(frame_for(world)))
    world.evm.at(world.evm.time_s + ROTATION_DELAY_S)
    better = Key("better")
    frame = frame_for(world, 1, 2, better)
    world.payment.rotate(frame, better.public, world.sign(frame))
    with pytest.raises(Reverted, match="signer announced for later"):
        world.payment.apply_rotation(1)
    world.evm.at(world.evm.time_s + ROTATION_DELAY_S)
    world.payment.apply_rotation(1)
    assert world.payment.signers(1) == better.address
    # the one that was taken back may come again
    again = frame_for(world, 2, 3)
    world.payment.rotate(again, NEW.public, world.sign(again))


def test_a_lock_can_be_refunded_before_new_signers_could_claim_it(world: World) -> None:
    house = world.enrol("house", 9)
    world.bill(house, 0)
    world.pay(house)
    deadline_s = world.payment.locked(house.address).deadline_s
    assert deadline_s == world.evm.time_s + ESCROW_WINDOW_S
    frame = frame_for(world)
    world.payment.rotate(frame, NEW.public, world.sign(frame))
    assert world.payment.next_signer(1)[1] > deadline_s
    permit = world.permit(house)
    with pytest.raises(Reverted, match="signature wrong"):
        world.payment.claim(
            house.address,
            permit,
            world.sign(permit, house.address, (0,))
            + b"\x01"
            + NEW.sign(world.digest(permit, house.address)),
        )
