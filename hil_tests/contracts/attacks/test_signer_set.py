"""Sets of signers: a threshold of 1, of all, and what rotation makes of them.

Of the same family: `test_claim.py` (test_signers, test_eight_of_eight), `test_rotate.py`
(test_refusals: signer twice, thresholds; test_an_announcement_can_be_replaced,
test_a_lock_can_be_refunded_before_new_signers_could_claim_it), `test_tariff.py`
(test_constructor_refuses).
"""

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

import wire
from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import (
    FIXED,
    OTHER,
    PAYER,
    ROTATION_DELAY_S,
    UTILITY,
    Key,
    Meter,
    World,
)


@pytest.fixture(autouse=True)
def _put_back(world: World) -> Iterator[None]:
    before = world.payment, list(world.signers)
    yield
    world.payment, world.signers = before


def deployed(world: World, count: int, threshold: int) -> None:
    """Give the world a payment ledger of these signers."""
    world.signers = [Key(f"of {count}, {i}") for i in range(count)]
    addresses = [signer.address for signer in world.signers]
    world.payment = world.deploy(
        "PaymentLedger", *world.payment_arguments(signers=addresses, threshold=threshold)
    )


def announce(world: World, index: int, serial: int, key: Key, by: tuple[int, ...]) -> None:
    frame = wire.pack_signer(index, serial, world.evm.time_s, wire.key_prefix(key.public))
    world.payment.rotate(frame, key.public, world.sign(frame, by=by))


def locked(world: World) -> Meter:
    """Enrol a house whose payment is locked."""
    house = world.enrol("house", 9)
    world.bill(house, 0)
    world.pay(house)
    return house


def test_a_threshold_of_one_needs_one_true_signature(world: World) -> None:
    """Nothing, nobody's, and an index without a signer are not one."""
    deployed(world, 3, 1)
    house = locked(world)
    frame = world.permit(house)
    good = world.sign(frame, house.address, (1,))
    for signatures, reason in (
        (b"", "too few signatures"),
        (b"\x00" + bytes(64), "signature wrong"),
        (b"\x03" + bytes(64), "no such signer"),
        (b"\x07" + b"\xff" * 64, "no such signer"),
        (b"\x00" + good[1:], "signature wrong"),
        (good + b"\x02" + bytes(64), "signature wrong"),
    ):
        with pytest.raises(Reverted, match=f"^{reason}$"):
            world.payment.claim(house.address, frame, signatures)
    assert world.payment.credits(UTILITY) == 0
    world.payment.claim(house.address, frame, good)
    assert world.payment.credits(UTILITY) == FIXED


def test_rotation_never_makes_fewer_than_there_were(world: World) -> None:
    """Two of two, both to be replaced by one key, in every order: two keys must remain."""
    deployed(world, 2, 2)
    new = Key("new")
    announce(world, 0, 1, new, (0, 1))
    with pytest.raises(Reverted, match="^signer twice$"):
        announce(world, 1, 2, new, (0, 1))
    world.evm.at(world.evm.time_s + ROTATION_DELAY_S)
    world.payment.apply_rotation(0)
    old = world.signers[0]
    world.signers[0] = new
    for key in (new, world.signers[1]):
        with pytest.raises(Reverted, match="^signer twice$"):
            announce(world, 1, 2, key, (0, 1))
    with pytest.raises(Reverted, match="^signature wrong$"):
        _old_signs(world, old)
    assert (world.payment.threshold(), world.payment.signer_count()) == (2, 2)
    house = locked(world)
    frame = world.permit(house)
    with pytest.raises(Reverted, match="^too few signatures$"):
        world.payment.claim(house.address, frame, world.sign(frame, house.address, (0,)))
    world.payment.claim(house.address, frame, world.sign(frame, house.address, (0, 1)))


def _old_signs(world: World, old: Key) -> None:
    """Let a signer that was replaced sign a rotation in its old place."""
    other = Key("other")
    frame = wire.pack_signer(1, 2, world.evm.time_s, wire.key_prefix(other.public))
    digest = world.digest(frame)
    signatures = b"\x00" + old.sign(digest) + b"\x01" + world.signers[1].sign(digest)
    world.payment.rotate(frame, other.public, signatures)


def test_what_a_replaced_signer_signed_before_is_void(world: World) -> None:
    """Landed too late, the permit is refused, and the payer has the money back."""
    announce(world, 0, 1, Key("new"), (0, 2))
    world.evm.at(world.evm.time_s + ROTATION_DELAY_S)
    house = locked(world)
    frame = world.permit(house)
    signatures = world.sign(frame, house.address, (0, 2))
    saved = world.evm.save()
    # due, but put in place by nobody yet: the old one still signs
    world.payment.claim(house.address, frame, signatures)
    assert world.payment.credits(UTILITY) == FIXED
    world.evm.restore(saved)
    world.payment.apply_rotation(0, sender=OTHER)
    with pytest.raises(Reverted, match="^signature wrong$"):
        world.payment.claim(house.address, frame, signatures)
    world.payment.claim(house.address, frame, world.sign(frame, house.address, (1, 2)))
    world.evm.restore(saved)
    world.payment.apply_rotation(0, sender=OTHER)
    world.evm.at(world.payment.locked(house.address).deadline_s + 1)
    world.payment.refund(9)
    assert world.payment.credits(PAYER) == FIXED


def test_one_bad_signer_of_a_threshold_of_one_can_be_outbid(world: World) -> None:
    """It may announce itself into every place; the others announce over it before the delay ends,
    and it over them: with a threshold of 1 each single key must be trusted."""
    deployed(world, 2, 1)
    thief, saviour = Key("thief"), Key("saviour")
    announce(world, 1, 1, thief, (0,))
    effective_at_s = world.payment.next_signer(1)[1]
    world.evm.at(effective_at_s - 1)
    announce(world, 1, 2, saviour, (1,))
    world.evm.at(effective_at_s)
    with pytest.raises(Reverted, match="^signer announced for later$"):
        world.payment.apply_rotation(1)
    assert world.payment.signers(1) == world.signers[1].address
    assert world.payment.next_signer(1)[0] == saviour.address


def test_no_walk_of_rotations_puts_one_key_in_two_places(world: World) -> None:
    """Five keys for three places, announced and applied at random."""
    rng = random.Random(5)
    keys = {key.address: key for key in [*world.signers, Key("d"), Key("e")]}
    done = 0
    for serial in range(1, 41):
        index, key = rng.randrange(3), rng.choice([*keys.values()])
        world.signers = [keys[world.payment.signers(i)] for i in range(3)]
        with suppress(Reverted):
            announce(world, index, serial, key, (0, 1))
        world.evm.at(world.evm.time_s + ROTATION_DELAY_S // 2)
        with suppress(Reverted):
            world.payment.apply_rotation(rng.randrange(3))
            done += 1
        assert len({world.payment.signers(i) for i in range(3)}) == 3
    assert done > 3
