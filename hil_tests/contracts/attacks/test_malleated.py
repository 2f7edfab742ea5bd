"""Other encodings of a true signature, and signatures that recover to nobody.

Of the same family: `test_close.py` (test_strangers_and_bad_signatures: closings),
`test_authorised.py` (test_a_pay_signature_has_one_encoding), `test_claim.py`
(test_no_bit_can_be_changed).
"""

import pytest
from coincurve import PublicKey
from eth_utils import keccak, to_checksum_address

import wire
from hil_tests.contracts.evm import ZERO, Reverted
from hil_tests.contracts.test_close import UNKNOWN, reasons
from hil_tests.contracts.world import (
    DAY_S,
    FIXED,
    HOUSE,
    START_S,
    UTILITY,
    UTILITY_ID,
    Key,
    Meter,
    World,
)

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LATE_S = 10 * DAY_S


def parts(signature: bytes) -> tuple[int, int, int]:
    """Return r, s and the parity of 64 bytes."""
    vs = int.from_bytes(signature[32:])
    return int.from_bytes(signature[:32]), vs % 2**255, vs >> 255


def packed(r: int, s: int, parity: int) -> bytes:
    """Return 64 bytes; an s of 2^255 or more reaches into the parity, as an attacker's would."""
    return r.to_bytes(32) + ((parity << 255 | s) % 2**256).to_bytes(32)


def others(signature: bytes) -> list[bytes]:
    """Return what ecrecover or a careless contract might take for the same, or for nobody's."""
    r, s, parity = parts(signature)
    return [
        packed(r, N - s, 1 - parity),
        packed(r, N - s, parity),
        packed(r, s, 1 - parity),
        packed(N - r, s, parity),
        *([packed(r + N, s, parity)] if r + N < 2**256 else []),
        packed(0, s, parity),
        packed(r, 0, parity),
        packed(N, s, parity),
        packed(r, N // 2 + 1, parity),
        bytes(64),
        b"\xff" * 64,
    ]


def forged(digest: bytes, s: int) -> tuple[str, bytes]:
    """Return somebody whose signature of a digest has this s: any r is good for a key."""
    r = parts(Key("any r").sign(digest))[0]
    key = PublicKey.from_signature_and_message(
        r.to_bytes(32) + s.to_bytes(32) + b"\0", digest, hasher=None
    )
    owner = to_checksum_address(keccak(key.format(compressed=False)[1:])[12:])
    return owner, packed(r, s, 0)


def test_the_middle_of_s_is_the_bound(world: World) -> None:
    """Above the middle an s fits beside the parity only up to 2^255; a key is made for such."""
    over = world.period
    start = world.start(over + 1)
    frame = Meter("any").closing(start, 500)[:40]
    digest = wire.digest(wire.reading_domain(UTILITY_ID), frame)
    for number, s in ((10, N // 2), (11, N // 2 + 1), (12, 2**255 - 1)):
        owner, _ = forged(digest, s)
        world.registry.enrol((owner, number, HOUSE, 0, 0, 1), sender=UTILITY)
    world.next_period()
    items = [frame + forged(digest, s)[1] for s in (N // 2, N // 2 + 1, 2**255 - 1)]
    assert reasons(world, *items) == [0, UNKNOWN, UNKNOWN]
    world.registry.retire(forged(digest, N // 2 + 1)[0], sender=UTILITY)
    with pytest.raises(Reverted, match="^signer not enrolled$"):
        world.energy.finish(items[1])
    # the one encoding that counts of the same signature
    owner, high = forged(digest, N // 2 + 1)
    r, s, parity = parts(high)
    assert reasons(world, frame + packed(r, N - s, 1 - parity)) == [0]
    assert world.energy.closing(owner).energy_wh == 500


def test_a_last_reading(world: World) -> None:
    house = world.enrol("house", 9)
    world.evm.at(START_S + LATE_S)
    world.registry.retire(house.address, sender=UTILITY)
    good = house.reading(START_S + LATE_S, 700)
    for other in others(good[40:]):
        with pytest.raises(Reverted, match="^signer not enrolled$"):
            world.energy.finish(good[:40] + other)
    assert world.energy.closing(house.address).energy_wh == 0
    world.energy.finish(good)
    assert world.energy.closing(house.address).energy_wh == 700


def test_a_second_encoding_is_no_contradiction(world: World) -> None:
    """An honest meter cannot be marked with its own frame in another guise."""
    house = world.enrol("house", 9)
    good = house.reading(START_S, 10, sequence=7)
    for other in others(good[40:]):
        with pytest.raises(Reverted, match="^same frame$"):
            world.energy.report_equivocation(good[:40], good[40:], good[:40], other)
    changed = house.reading(START_S, 11, sequence=7)[:40]
    for other in others(good[40:]):
        with pytest.raises(Reverted, match="^signers differ$"):
            world.energy.report_equivocation(good[:40], good[40:], changed, other)
    assert not world.energy.equivocated(house.address)


def test_a_permit_and_a_rotation(world: World) -> None:
    house = world.enrol("house", 9)
    world.bill(house, 0)
    world.pay(house)
    frame, new = world.permit(house), Key("new signer")
    good = world.sign(frame, house.address)
    rotation = wire.pack_signer(1, 1, world.evm.time_s, wire.key_prefix(new.public))
    for other in others(good[66:]):
        with pytest.raises(Reverted, match="^signature wrong$"):
            world.payment.claim(house.address, frame, good[:66] + other)
    signed = world.sign(rotation)
    for other in others(signed[1:65]):
        with pytest.raises(Reverted, match="^signature wrong$"):
            world.payment.rotate(rotation, new.public, signed[:1] + other + signed[65:])
    assert (world.payment.credits(UTILITY), world.payment.next_signer(1)) == (0, (ZERO, 0))
    # no second signature of one signer under another index or encoding makes two of it
    r, s, parity = parts(good[1:65])
    twin = packed(r, N - s, 1 - parity)
    for both, reason in (
        (b"\x00" + good[1:65] + b"\x00" + twin, "signers not rising"),
        (b"\x00" + good[1:65] + b"\x01" + twin, "signature wrong"),
        (b"\x00" + good[1:65] + b"\x01" + good[1:65], "signature wrong"),
        # where no signer stands, the contract's table holds zero, as a bad recovery does
        (b"\x00" + good[1:65] + b"\x03" + bytes(64), "no such signer"),
        (b"\x00" + good[1:65] + b"\x07" + b"\xff" * 64, "no such signer"),
    ):
        with pytest.raises(Reverted, match=f"^{reason}$"):
            world.payment.claim(house.address, frame, both)
    world.payment.claim(house.address, frame, good)
    assert world.payment.credits(UTILITY) == FIXED


def test_nobody_is_no_meter(world: World) -> None:
    """What recovers to nobody is address zero, and that can never be enrolled."""
    house = world.enrol("house", 9)
    with pytest.raises(Reverted, match="^meter is zero$"):
        world.registry.enrol((ZERO, 10, 1, 0, 0, 1), sender=UTILITY)
    with pytest.raises(Reverted, match="^meter is zero$"):
        world.registry.replace(house.address, ZERO, 0, sender=UTILITY)
    start = world.start(world.next_period() + 1)
    frame = Meter("stranger").closing(start, 500)[:40]
    assert reasons(world, frame + bytes(64), frame + b"\xff" * 64) == [UNKNOWN, UNKNOWN]
