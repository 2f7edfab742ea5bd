"""PaymentLedger.claim: money only for a permit that the meter takes and that is worth it."""

import pytest
from eth_utils import to_canonical_address

import wire
from hil_tests.contracts.evm import CHAIN_ID, Reverted
from hil_tests.contracts.world import (
    DAY_S,
    ESCROW_WINDOW_S,
    FIXED,
    LOAD_DW,
    OTHER,
    PAYER,
    PAYMENT_WINDOW_S,
    UTILITY,
    Key,
    Meter,
    World,
)
from parwana.chain.record import EMPTY, extended


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house whose payment is locked."""
    meter = world.enrol("house", 9)
    world.bill(meter, 0)
    world.pay(meter)
    return meter


def permit_in(frame: bytes) -> wire.Permit:
    permit = wire.parse(frame)
    assert isinstance(permit, wire.Permit)
    return permit


def refuse(world: World, meter: Meter, frame: bytes, signatures: bytes, reason: str) -> None:
    """Expect a claim to fail for a reason, and to leave everything as it was."""
    with pytest.raises(Reverted, match=reason):
        world.payment.claim(meter.address, frame, signatures)
    assert world.payment.credits(UTILITY) == 0


def test_a_permit_for_the_money(world: World, house: Meter) -> None:
    over = world.period - 1
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    result = world.payment.claim(house.address, frame, signatures, sender=OTHER)
    published, paid = result.event("PermitPublished"), result.event("Paid")
    serial = permit_in(frame).serial
    assert (published.meter, published.serial, published.period) == (
        house.address,
        serial,
        over + 1,
    )
    bundle = wire.parse_bundle(published.frame + published.signatures)
    assert bundle.frame == frame
    assert [index for index, _ in bundle.signatures] == [0, 2]
    assert (paid.meter, paid.number, paid.payer) == (house.address, 9, PAYER)
    assert (paid.amount, paid.period, paid.serial, paid.index) == (FIXED, over, serial, 0)
    assert world.payment.credits(UTILITY) == FIXED
    assert world.payment.locked(house.address).amount == 0
    account = world.payment.account(house.address)
    assert (account.payments, account.serial, account.due) == (1, serial, 0)
    record = world.payment.record(house.address)
    assert (record.payments, record.digest) == (1, extended(EMPTY, vars(paid)))
    with pytest.raises(Reverted, match="nothing locked"):
        world.payment.refund(9)
    refuse_again = (house.address, frame, signatures)
    with pytest.raises(Reverted, match="nothing locked"):
        world.payment.claim(*refuse_again)


def test_the_record_only_grows(world: World) -> None:
    """Its digest is that of all payments, in their order, and of no other."""
    house = world.enrol("house", 9)
    digest, seen = EMPTY, {EMPTY}
    for month in range(4):
        world.bill(house, 1000 * month)
        amount = world.pay(house)
        frame = world.permit(house)
        signatures = world.sign(frame, house.address)
        paid = world.payment.claim(house.address, frame, signatures).event("Paid")
        assert (paid.index, paid.amount, paid.period) == (month, amount, world.period - 1)
        digest = extended(digest, vars(paid))
        record = world.payment.record(house.address)
        assert (record.payments, record.digest) == (month + 1, digest)
        assert world.payment.account(house.address).payments == month + 1
        seen.add(digest)
    assert len(seen) == 5
    # a grace permit is no payment
    now, serial = world.evm.time_s, world.payment.account(house.address).serial + 1
    frame = wire.pack_permit(0, serial, now, now + DAY_S, world.period)
    world.payment.publish(house.address, frame, world.sign(frame, house.address))
    assert vars(world.payment.record(house.address)) == vars(record)


def test_no_bit_can_be_changed(world: World, house: Meter) -> None:
    frame = world.permit(house, power_limit_dw=0)
    signatures = world.sign(frame, house.address)
    whole = frame + signatures
    # all of the frame and the indices, every third bit of the signatures
    for bit in [*range(41 * 8), *range(41 * 8, len(whole) * 8, 3), *range(105 * 8, 106 * 8)]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Reverted):
            world.payment.claim(house.address, bytes(changed[:40]), bytes(changed[40:]))
    world.payment.claim(house.address, frame, signatures)


def test_signers(world: World, house: Meter) -> None:
    frame = world.permit(house)
    meter = house.address
    good = world.sign(frame, meter)
    other_ledger = wire.permit_domain(
        CHAIN_ID, to_canonical_address(OTHER), to_canonical_address(meter)
    )
    other_chain = wire.permit_domain(
        1, to_canonical_address(world.payment.address), to_canonical_address(meter)
    )
    strange = Key("stranger").sign(world.digest(frame, meter))
    for signatures, reason in (
        (b"", "too few signatures"),
        (world.sign(frame, meter, (0,)), "too few signatures"),
        (good[:-1], r"signatures not n \* 65 bytes"),
        (good + b"\0", r"signatures not n \* 65 bytes"),
        (world.sign(frame, meter, (0, 0)), "signers not rising"),
        (world.sign(frame, meter, (2, 0)), "signers not rising"),
        (good[:65] + b"\x03" + good[66:], "no such signer"),
        (good[:65] + b"\xff" + good[66:], "no such signer"),
        (good[:65] + b"\x01" + good[66:], "signature wrong"),
        (good[:66] + strange, "signature wrong"),
        (good + b"\x02" + strange, "signers not rising"),
        (world.sign(frame, meter, (0, 1)) + b"\x02" + strange, "signature wrong"),
        (good[:66] + bytes(64), "signature wrong"),
        (world.sign(frame, OTHER), "signature wrong"),
        (world.sign(frame), "signature wrong"),
        *(
            (
                b"".join(
                    bytes([i]) + world.signers[i].sign(wire.digest(domain, frame)) for i in (0, 2)
                ),
                "signature wrong",
            )
            for domain in (other_ledger, other_chain, wire.reading_domain("demo-utility"))
        ),
    ):
        refuse(world, house, frame, signatures, reason)
    world.payment.claim(meter, frame, world.sign(frame, meter, (0, 1, 2)))


def test_eight_of_eight(world: World, house: Meter) -> None:
    before, world.signers = world.payment, [Key(f"one of eight {i}") for i in range(8)]
    world.payment = world.deploy(
        "PaymentLedger",
        *world.payment_arguments(
            signers=[signer.address for signer in world.signers], threshold=8
        ),
    )
    world.payment.settle(house.address)
    world.pay(house)
    frame = world.permit(house)
    refuse(world, house, frame, world.sign(frame, house.address, tuple(range(7))), "too few")
    signatures = world.sign(frame, house.address, tuple(range(8)))
    with pytest.raises(Reverted):
        world.payment.claim(house.address, frame, signatures + signatures[-65:])
    world.payment.claim(house.address, frame, signatures)
    world.payment, world.signers = before, [Key(f"signer {i}") for i in range(3)]


def test_weak_permits(world: World, house: Meter) -> None:
    least = world.payment.least_grant(house.address)
    assert least.power_limit_dw == LOAD_DW
    assert least.valid_until_s == world.start(world.period + 1) + PAYMENT_WINDOW_S
    assert (least.period, least.serial) == (world.period, world.evm.time_s)
    frame = world.permit(house)
    kind_time = b"\x01\x04" + frame[2:]
    for weak, reason in (
        (world.permit(house, valid_until_s=least.valid_until_s - 1), "permit: ends too early"),
        (world.permit(house, valid_until_s=0, grace_days=255), "permit: ends too early"),
        (world.permit(house, power_limit_dw=1), "permit: power limit"),
        (world.permit(house, power_limit_dw=LOAD_DW - 1), "permit: power limit"),
        (world.permit(house, energy_limit_wh=2**64 - 1), "permit: energy limit"),
        (world.permit(house, energy_limit_wh=1), "permit: energy limit"),
        (world.permit(house, flags=wire.PERMIT_BUTTON), "permit: flags"),
        (world.permit(house, flags=wire.PERMIT_COMMISSIONING), "permit: flags"),
        (world.permit(house, period=least.period + 1), "permit: other period"),
        (world.permit(house, period=least.period - 1), "permit: other period"),
        (world.permit(house, serial=0), "serial not above the last"),
        (world.permit(house, serial=least.serial - 1), "permit: serial"),
        (world.permit(house, issued_at_s=world.evm.time_s + 1), "permit: issued ahead"),
        (world.permit(house, serial=world.evm.time_s + DAY_S + 1), "serial too far ahead"),
        (world.permit(house, serial=2**32 - 1), "serial too far ahead"),
        (frame[:39], "frame not 40 bytes"),
        (b"", "frame not 40 bytes"),
        (kind_time, "frame no permit"),
        (b"\x02" + frame[1:], "frame no permit"),
        # what the meter would refuse as malformed
        (frame[:2] + b"\x80\x00" + frame[4:], "permit: flags"),
        (frame[:32] + b"\x18\x00" + frame[34:], "permit: no-cut hours"),
        (frame[:32] + b"\x00\x18" + frame[34:], "permit: no-cut hours"),
        (frame[:34] + b"\x80\x00" + frame[36:], "permit: weekdays"),
        (frame[:36] + b"\x01\x00\x00\x00", "permit: bytes not zero"),
        (frame[:36] + b"\x00\x00\x00\x01", "permit: bytes not zero"),
    ):
        refuse(world, house, weak, world.sign(weak, house.address), reason)


@pytest.mark.parametrize(
    "generous",
    [
        {},
        {"flags": wire.PERMIT_PROTECTED},
        {"power_limit_dw": 0},
        {"power_limit_dw": LOAD_DW},
        {"power_limit_dw": 2**32 - 1},
        {"valid_until_s": 2**32 - 1},
        {"no_cut_from_h": 23, "no_cut_to_h": 23, "no_cut_weekdays": 127, "grace_days": 255},
        {"serial": "now"},
    ],
)
def test_permits_that_are_good_enough(
    world: World, house: Meter, generous: dict[str, int]
) -> None:
    changed = {k: world.evm.time_s + DAY_S if v == "now" else v for k, v in generous.items()}
    frame = world.permit(house, **changed)
    world.payment.claim(house.address, frame, world.sign(frame, house.address))
    assert world.payment.credits(UTILITY) == FIXED


def test_a_serial_counts_once(world: World, house: Meter) -> None:
    frame = world.permit(house, serial=world.evm.time_s)
    world.payment.claim(house.address, frame, world.sign(frame, house.address))
    world.bill(house, 0)
    # also above that of a permit that costs nothing
    ahead_s = world.evm.time_s + DAY_S
    grace = wire.pack_permit(0, ahead_s, world.evm.time_s, ahead_s, 0)
    world.payment.publish(house.address, grace, world.sign(grace, house.address))
    world.pay(house)
    assert world.payment.least_grant(house.address).serial == ahead_s + 1
    replayed = world.permit(house, serial=ahead_s)
    with pytest.raises(Reverted, match="serial not above the last"):
        world.payment.claim(house.address, replayed, world.sign(replayed, house.address))
    with pytest.raises(Reverted, match="serial not above the last"):
        world.payment.claim(house.address, frame, world.sign(frame, house.address))


def test_too_late(world: World, house: Meter) -> None:
    frame = world.permit(house)
    signatures = world.sign(frame, house.address)
    deadline_s = world.payment.locked(house.address).deadline_s
    world.evm.at(deadline_s + 1)
    refuse(world, house, frame, signatures, "too late, refund")
    world.evm.at(deadline_s)
    world.payment.claim(house.address, frame, signatures)


def test_never_both_claimed_and_refunded(world: World, house: Meter) -> None:
    frame = world.permit(house)
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    world.payment.refund(9)
    refuse(world, house, frame, world.sign(frame, house.address), "nothing locked")
    assert world.payment.credits(PAYER) == FIXED


def test_another_meters_permit(world: World) -> None:
    a, b = world.enrol("a", 10), world.enrol("b", 11)
    world.next_period()
    assert world.close((a, 0), (b, 0)) == 2
    world.payment.settle_many([a.address, b.address])
    world.pay(a)
    world.pay(b)
    frame = world.permit(a)
    assert frame == world.permit(b)
    refuse(world, b, frame, world.sign(frame, a.address), "signature wrong")
    world.payment.claim(a.address, frame, world.sign(frame, a.address))


def test_a_late_payment_buys_no_stale_permit(world: World) -> None:
    house = world.enrol("house", 9)
    world.bill(house, 0)
    for _ in range(3):
        world.next_period()
    paid_at_s = world.evm.time_s
    world.pay(house)
    least = world.payment.least_grant(house.address)
    assert least.valid_until_s == paid_at_s + PAYMENT_WINDOW_S
    world.evm.at(paid_at_s + ESCROW_WINDOW_S)
    assert world.payment.least_grant(house.address).valid_until_s == least.valid_until_s
    frame = world.permit(house)
    assert permit_in(frame).valid_until_s > world.evm.time_s
    world.payment.claim(house.address, frame, world.sign(frame, house.address))


def test_a_new_bill_does_not_change_what_was_paid_for(world: World, house: Meter) -> None:
    before = world.payment.least_grant(house.address)
    world.next_period()
    assert world.close((house, 9000)) == 1
    world.payment.settle(house.address)
    assert world.payment.account(house.address).due == 9 * 4150 + FIXED
    assert world.payment.least_grant(house.address) == before


def test_a_raised_load_raises_the_least(world: World, house: Meter) -> None:
    world.registry.raise_load(house.address, LOAD_DW + 1, sender=UTILITY)
    frame = world.permit(house, power_limit_dw=LOAD_DW)
    refuse(world, house, frame, world.sign(frame, house.address), "permit: power limit")


def test_a_meter_replaced_while_the_payment_is_locked(world: World, house: Meter) -> None:
    old_frame = world.permit(house)
    old_signatures = world.sign(old_frame, house.address)
    new = Meter("new")
    world.registry.replace(house.address, new.address, 0, sender=UTILITY)
    refuse(world, house, old_frame, old_signatures, "meter replaced")
    refuse(world, new, old_frame, old_signatures, "signature wrong")
    with pytest.raises(Reverted, match="meter replaced"):
        world.payment.pay(house.address, FIXED)
    frame = world.permit(new)
    event = world.payment.claim(new.address, frame, world.sign(frame, new.address)).event("Paid")
    assert (event.meter, event.number, event.amount) == (new.address, 9, FIXED)
    records = [world.payment.record(meter.address) for meter in (house, new)]
    assert [vars(record) for record in records] == [
        {"payments": 1, "digest": extended(EMPTY, vars(event))}
    ] * 2


def test_the_last_bill_of_a_retired_house_can_be_claimed(world: World, house: Meter) -> None:
    world.registry.retire(house.address, sender=UTILITY)
    frame = world.permit(house)
    world.payment.claim(house.address, frame, world.sign(frame, house.address))


def test_nobody_is_enrolled(world: World) -> None:
    with pytest.raises(Reverted, match="meter not enrolled"):
        world.payment.claim(OTHER, bytes(40), bytes(130))
    house = world.enrol("house", 9)
    with pytest.raises(Reverted, match="nothing locked"):
        world.payment.claim(house.address, bytes(40), bytes(130))
    with pytest.raises(Reverted, match="nothing locked"):
        world.payment.least_grant(house.address)
