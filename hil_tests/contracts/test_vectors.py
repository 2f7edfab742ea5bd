"""The contracts against the golden vectors, made by code that knows neither them nor `wire`."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_canonical_address, to_checksum_address

import wire
from hil_tests.contracts.evm import CHAIN_ID, ZERO, Evm, Reverted
from hil_tests.contracts.world import DEADLINE_S, HOUSE, LOAD_DW, START_S, UTILITY, World
from parwana.chain import contracts

# its first contract has the address that the vectors name
DEPLOYER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
VECTORS = Path(__file__).parents[1] / "vectors"


def read(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


SIGNED = read("signed.json")
BY_NAME = {item["name"]: item for item in SIGNED["signed"]}


def test_domains(world: World) -> None:
    energy = world.deploy(
        "EnergyLedger", world.registry.address, SIGNED["utility_id"], 0, 0, DEADLINE_S, 500
    )
    assert energy.domain().hex() == SIGNED["domains"]["reading"]
    ledger = to_canonical_address(world.payment.address)
    for meter in (SIGNED["meter"]["address"], "00" * 20, "ff" * 20):
        address = to_checksum_address(bytes.fromhex(meter))
        assert world.payment.permit_domain(address) == wire.permit_domain(
            CHAIN_ID, ledger, bytes.fromhex(meter)
        )


def test_golden_bundles(world: World) -> None:
    """At the very address that the vectors are bound to, the golden permits are published."""
    meter = to_checksum_address(bytes.fromhex(SIGNED["meter"]["address"]))
    signers = [to_checksum_address(bytes.fromhex(s["address"])) for s in SIGNED["signers"]]
    ledger = world.evm.deploy(
        contracts.load("PaymentLedger"),
        *world.payment_arguments(signers=signers, threshold=2),
        sender=DEPLOYER,
    )
    assert ledger.address == to_checksum_address(bytes.fromhex(SIGNED["ledger"]))
    assert ledger.permit_domain(meter).hex() == SIGNED["domains"]["permit"]
    assert ledger.permit_domain(ZERO).hex() == SIGNED["domains"]["permit_of_ledger"]
    world.registry.enrol((meter, 9, HOUSE, 0, 0, LOAD_DW), sender=UTILITY)
    outcomes = {}
    for item in read("bundles.json")["bundles"]:
        bundle = bytes.fromhex(item["bundle"])
        frame, signatures = bundle[:40], bundle[40:]
        if frame[1] == wire.KIND_PERMIT:
            world.evm.at(int.from_bytes(frame[8:12], "big"))
            saved = world.evm.save()
            try:
                event = ledger.publish(meter, frame, signatures).event("PermitPublished")
                outcomes[item["name"]] = event.frame + event.signatures == bundle
            except Reverted as reverted:
                outcomes[item["name"]] = str(reverted)
            world.evm.restore(saved)
    assert outcomes == {
        "one signer": "too few signatures",
        "two of three": True,
        "all of eight": True,
        "one signer twice": "signers not rising",
        "falling": "signers not rising",
    }


def test_readings_and_events_are_recovered_to_the_meter(world: World) -> None:
    energy = world.deploy(
        "EnergyLedger", world.registry.address, SIGNED["utility_id"], 0, 0, DEADLINE_S, 500
    )
    meter = to_checksum_address(bytes.fromhex(SIGNED["meter"]["address"]))
    world.registry.enrol((meter, 9, HOUSE, 0, 0, LOAD_DW), sender=UTILITY)
    world.registry.retire(meter, sender=UTILITY)
    # retired before the frame's time: only one whose signature is the meter's comes that far
    for item in SIGNED["signed"]:
        frame, signature = bytes.fromhex(item["frame"]), bytes.fromhex(item["signature"])
        if item["domain"] != "reading" or frame[1] != 1 or frame[39] == 0:
            continue
        with pytest.raises(Reverted, match="read after retirement"):
            energy.finish(frame + signature)


@pytest.mark.parametrize("period_s", [86_400, 3600])
def test_the_golden_closing_is_taken(period_s: int) -> None:
    frame = bytes.fromhex(BY_NAME["closing"]["frame"])
    reading = wire.parse(frame)
    assert isinstance(reading, wire.Reading)
    assert reading.flags & wire.FLAG_CLOSING
    world = World(Evm(START_S))
    # periods whose midnight is the second of the reading
    energy = None
    for offset in range(-50_400, 50_401, 900):
        if (reading.time_s + offset) % 86_400 < 900:
            energy = world.deploy(
                "EnergyLedger",
                world.registry.address,
                SIGNED["utility_id"],
                period_s,
                offset,
                DEADLINE_S,
                500,
            )
    assert energy is not None
    meter = to_checksum_address(bytes.fromhex(SIGNED["meter"]["address"]))
    world.registry.enrol((meter, 9, HOUSE, 0, 0, LOAD_DW), sender=UTILITY)
    world.evm.at(reading.time_s)
    assert energy.close(frame + bytes.fromhex(BY_NAME["closing"]["signature"])).value == 1
    assert energy.closing(meter).energy_wh == reading.energy_wh


@pytest.mark.parametrize("item", read("frames.json")["refused"], ids=lambda item: item["why"])
def test_frames_that_the_meter_refuses_cannot_be_published(world: World, item: Any) -> None:
    """A permit that a meter refuses as malformed would be money for nothing."""
    house = world.enrol("house", 9)
    frame = bytes.fromhex(item["frame"])
    with pytest.raises(Reverted):
        world.payment.publish(house.address, frame, world.sign(frame.ljust(40, b"\0")[:40]))


def test_malformed_permits_are_refused_as_such(world: World) -> None:
    """The same, properly signed: it is the frame that is refused, not the signature."""
    house = world.enrol("house", 9)
    permits = [
        frame
        for item in read("frames.json")["refused"]
        if len(frame := bytes.fromhex(item["frame"])) == 40 and frame[:2] == b"\x01\x03"
    ]
    assert len(permits) > 10
    for frame in permits:
        with pytest.raises(Reverted, match="permit: "):
            world.payment.publish(house.address, frame, world.sign(frame, house.address))
