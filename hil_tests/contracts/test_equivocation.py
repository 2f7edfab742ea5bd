"""EnergyLedger.report_equivocation."""

import pytest

import wire
from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import HOUSE, OTHER, START_S, TRANSFORMER, Meter, World


def split(item: bytes) -> tuple[bytes, bytes]:
    return item[:40], item[40:]


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house."""
    world.enrol("transformer", 1, TRANSFORMER)
    return world.enrol("house", 9, HOUSE, 1)


def test_two_frames_of_one_sequence(world: World, house: Meter) -> None:
    a, b = (house.reading(START_S, energy_wh, sequence=7) for energy_wh in (10, 11))
    assert not world.energy.equivocated(house.address)
    event = world.energy.report_equivocation(*split(a), *split(b), sender=OTHER).event(
        "Equivocation"
    )
    assert (event.meter, event.sequence) == (house.address, 7)
    assert event.frame_a + event.signature_a == a
    assert event.frame_b + event.signature_b == b
    assert world.energy.equivocated(house.address)
    with pytest.raises(Reverted, match="reported"):
        world.energy.report_equivocation(*split(b), *split(a))
    # bills go on, or a cheat would only have to report itself; the mark stays
    over = world.next_period()
    assert world.close((house, 500)) == 1
    assert world.energy.sums(1, over).sold_wh == 500
    assert world.energy.equivocated(house.address)


def test_a_reading_and_an_event(world: World, house: Meter) -> None:
    world.next_period()
    assert world.close((house, 500)) == 1
    reading = house.reading(START_S, 10, sequence=7)
    event = house.signed(wire.pack_event(1, 7, START_S, 10))
    world.energy.report_equivocation(*split(reading), *split(event))
    assert world.energy.equivocated(house.address)
    assert world.energy.closing(house.address).energy_wh == 500


def test_refusals(world: World, house: Meter) -> None:
    a, b = (house.reading(START_S, energy_wh, sequence=7) for energy_wh in (10, 11))
    next_one = house.reading(START_S, 11, sequence=8)
    stranger = Meter("stranger")
    strange = [stranger.reading(START_S, energy_wh, sequence=7) for energy_wh in (10, 11)]
    permit = house.signed(wire.pack_permit(0, 7, START_S, START_S, 1))
    other_format = house.signed(b"\x02" + b[1:40])
    for first, second, reason in (
        (a, a, "same frame"),
        (a, next_one, "sequences differ"),
        (a, strange[1], "signers differ"),
        (a, b[:40] + bytes(64), "signers differ"),
        (strange[0], strange[1], "signer not enrolled"),
        (a[:40] + bytes(64), b[:40] + bytes(64), "signer not enrolled"),
        (a, permit, "frame b not of a meter"),
        (permit, b, "frame a not of a meter"),
        (a, other_format, "frame b not of a meter"),
        (other_format, a, "frame a not of a meter"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.energy.report_equivocation(*split(first), *split(second))
    for arguments, reason in (
        ((a[:39], a[40:], b[:40], b[40:]), "frame not 40 bytes"),
        ((a[:40], a[40:], b[:39], b[40:]), "frame not 40 bytes"),
        ((a[:40], a[41:], b[:40], b[40:]), "signature not 64 bytes"),
        ((a[:40], a[40:], b[:40], b""), "signature not 64 bytes"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.energy.report_equivocation(*arguments)
    assert not world.energy.equivocated(house.address)
