"""Signed once, used twice: at another meter, period, chain, deployment or contract.

Of the same family: `test_claim.py` (test_signers: domains of another ledger, chain and meter;
test_a_serial_counts_once, test_another_meters_permit), `test_authorised.py` (payments that others
send), `test_equivocation.py`, `test_close.py` (test_in_several_batches_and_periods).
"""

import pytest

import wire
from hil_tests.contracts import evm as evm_module
from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.test_close import CLOSED, NO_CLOSING, UNKNOWN, reasons
from hil_tests.contracts.world import (
    ESCROW_WINDOW_S,
    FIXED,
    OTHER,
    START_S,
    UTILITY,
    UTILITY_ID,
    Key,
    Meter,
    World,
)

NEW = Key("new signer")


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house whose payment is locked."""
    meter = world.enrol("house", 9)
    world.bill(meter, 0)
    world.pay(meter)
    return meter


def test_a_closing_counts_for_no_second_period(world: World) -> None:
    house = world.enrol("house", 9)
    over = world.next_period()
    landed = house.closing(world.start(over + 1), 500)
    assert reasons(world, landed) == [0]
    for _ in range(2):
        world.next_period()
        assert reasons(world, landed) == [CLOSED]
    closing = world.energy.closing(house.address)
    assert (closing.period, closing.energy_wh) == (over, 500)
    assert world.energy.sums(0, over + 1).sold_wh == 0


def test_a_closing_of_another_utility(world: World) -> None:
    """Another utility's meter signs under another name: it says nothing here."""
    house = world.enrol("house", 9)
    start = world.start(world.next_period() + 1)
    frame = house.closing(start, 500)[:40]
    for utility_id, reason in (("demo-utilit", UNKNOWN), ("other", UNKNOWN), (UTILITY_ID, 0)):
        digest = wire.digest(wire.reading_domain(utility_id), frame)
        assert reasons(world, frame + house.sign(digest)) == [reason]


def test_a_reading_is_no_permit_and_a_permit_no_reading(world: World, house: Meter) -> None:
    """A key that is a meter's and a signer's: what it signs as one is nothing as the other."""
    signers = [Key("one"), house, Key("three")]
    before, world.payment = (
        world.payment,
        world.deploy(
            "PaymentLedger",
            *world.payment_arguments(signers=[s.address for s in signers], threshold=1),
        ),
    )
    try:
        world.payment.settle(house.address)
        world.pay(house)
        permit = world.permit(house)
        as_reading = house.signed(permit)
        with pytest.raises(Reverted, match="^signature wrong$"):
            world.payment.claim(house.address, permit, b"\x01" + as_reading[40:])
        reading = house.closing(world.start(world.period), 500)
        with pytest.raises(Reverted, match="^frame no permit$"):
            world.payment.claim(house.address, reading[:40], b"\x01" + reading[40:])
        as_permit = house.sign(world.digest(permit, house.address))
        assert reasons(world, permit + as_permit, reading[:40] + as_permit)[0] == NO_CLOSING
        assert world.payment.credits(UTILITY) == 0
        world.payment.claim(house.address, permit, b"\x01" + as_permit)
        assert world.payment.credits(UTILITY) == FIXED
    finally:
        world.payment = before


def test_a_permit_of_another_deployment(world: World, house: Meter) -> None:
    """The same registry, energy ledger and signers under another payment ledger."""
    here = world.payment
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    world.payment = there = world.deploy("PaymentLedger", *world.payment_arguments())
    try:
        there.settle(house.address)
        world.pay(house)
        assert world.permit(house) == frame
        with pytest.raises(Reverted, match="^signature wrong$"):
            there.claim(house.address, frame, signatures)
        assert (there.credits(UTILITY), there.locked(house.address).amount) == (0, FIXED)
        here.claim(house.address, frame, signatures)
        # what was paid there is paid there only
        assert (here.credits(UTILITY), there.credits(UTILITY)) == (FIXED, 0)
        assert there.locked(house.address).amount == FIXED
    finally:
        world.payment = here


def test_a_permit_and_a_rotation_of_another_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chains with every contract at the same address: only the chain's number differs."""
    signed: list[tuple[str, bytes, bytes, bytes]] = []
    for chain_id in (evm_module.CHAIN_ID, 1):
        monkeypatch.setattr(evm_module, "CHAIN_ID", chain_id)
        world = World(Evm(START_S))
        house = world.enrol("house", 9)
        world.bill(house, 0)
        world.pay(house)
        frame = world.permit(house)
        rotation = wire.pack_signer(1, 1, world.evm.time_s, wire.key_prefix(NEW.public))
        # the kit signs for the first chain
        signatures = world.sign(frame, house.address)
        signed.append((world.payment.address, frame, signatures, world.sign(rotation)))
        if chain_id == 1:
            assert signed[0] == signed[1]
            with pytest.raises(Reverted, match="^signature wrong$"):
                world.payment.rotate(rotation, NEW.public, signed[0][3])
            with pytest.raises(Reverted, match="^signature wrong$"):
                world.payment.claim(house.address, frame, signatures)
            assert (world.payment.credits(UTILITY), world.payment.trust_serial()) == (0, 0)
        else:
            world.payment.rotate(rotation, NEW.public, signed[0][3])
            world.payment.claim(house.address, frame, signatures)
            assert (world.payment.credits(UTILITY), world.payment.trust_serial()) == (FIXED, 1)


def test_a_permit_of_an_earlier_period(world: World, house: Meter) -> None:
    """Signed for a bill, kept back by its refund, and shown for the next bill."""
    kept = world.permit(house, serial=world.evm.time_s, valid_until_s=2**32 - 1)
    signatures = world.sign(kept, house.address)
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    world.payment.refund(9)
    world.bill(house, 1000)
    assert world.pay(house) == 2 * FIXED + 4150
    with pytest.raises(Reverted, match="^permit: other period$"):
        world.payment.claim(house.address, kept, signatures)
    assert world.payment.credits(UTILITY) == 0
    assert world.payment.account(house.address).serial == 0


def test_a_rotation_counts_once(world: World) -> None:
    """Old signers cannot be put back by what was signed before, nor its delay be started anew."""
    old = world.signers[1]
    now = world.evm.time_s
    frames = [
        wire.pack_signer(1, serial, now, wire.key_prefix(key.public))
        for serial, key in ((1, NEW), (2, Key("better")))
    ]
    signatures = [world.sign(frame) for frame in frames]
    world.payment.rotate(frames[0], NEW.public, signatures[0])
    effective_at_s = world.payment.next_signer(1)[1]
    world.evm.at(now + ESCROW_WINDOW_S)
    with pytest.raises(Reverted, match="^serial not above the last$"):
        world.payment.rotate(frames[0], NEW.public, signatures[0])
    assert world.payment.next_signer(1) == (NEW.address, effective_at_s)
    world.payment.rotate(frames[1], Key("better").public, signatures[1])
    with pytest.raises(Reverted, match="^serial not above the last$"):
        world.payment.rotate(frames[0], NEW.public, signatures[0], sender=OTHER)
    assert world.payment.next_signer(1)[0] == Key("better").address
    assert world.payment.signers(1) == old.address
