"""What a rehearsal left on the chain, in the store and on its boards."""

import time
from typing import Any
from zlib import crc32

from eth_utils import to_checksum_address
from littlefs import LittleFS

import wire
from parwana.chain.node import Chain
from parwana.demo.rehearsal import Meter, Rehearsal
from parwana.store.reader import Store
from parwana.world.programs import ProgramError

RECORD = 43  # a frame without its format byte, and its CRC-32: firmware/journal.py
_DRAIN_TRIES = 8


class Evidence:
    """One look at the chain and the store of a rehearsal."""

    def __init__(self, world: Rehearsal) -> None:
        self.deployment = world.deployment
        self.store = Store(self.deployment.store)
        self.chain = Chain.of(self.deployment)
        self.ledgers = self.chain.ledgers(self.deployment)

    def __enter__(self) -> "Evidence":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def logs(self, ledger: str, event: str) -> list[dict[str, Any]]:
        """Return the arguments of all logs of an event."""
        contract = getattr(self.ledgers, ledger)
        found = self.chain.logs(contract.events[event], self.deployment.from_block)
        return [dict(log["args"]) for log in found]

    def events(self, meter: Meter, *codes: int) -> list[wire.Event]:
        """Return a meter's signed events of some codes."""
        found = (wire.parse(item.frame) for item in self.store.frames(address_of(meter)))
        return [event for event in found if isinstance(event, wire.Event) and event.code in codes]


def address_of(meter: Meter) -> bytes:
    """Return a meter's address (20 bytes)."""
    return bytes.fromhex(meter.address[2:])


def settled(world: Rehearsal, period: int) -> bool:
    """Say whether everything that begins with the closings of `period` has reached the meters."""
    with Evidence(world) as evidence:
        energy, payment = evidence.ledgers.energy, evidence.ledgers.payment
        logs = evidence.logs("energy", "Reconciled")
        balanced = {(values["feeder"], values["period"]) for values in logs}
        for meter in world.meters:
            address = to_checksum_address(meter.address)
            if evidence.chain.call(energy.functions.closing(address)).period < period:
                return False
            if meter.kind == "house":
                account = evidence.chain.call(payment.functions.account(address))
                accepted = evidence.events(meter, wire.EVENT_PERMIT_ACCEPTED)
                if account.due or account.period < period:
                    return False
                if evidence.chain.call(payment.functions.locked(address)).amount:
                    return False
                if all(event.a != account.serial for event in accepted):
                    return False
            elif (meter.number, period) not in balanced:
                return False
    return True


def paid_up(world: Rehearsal, period: int) -> bool:
    """Say whether all that was closed up to `period` is billed, paid, and permitted."""
    with Evidence(world) as evidence:
        energy, payment = evidence.ledgers.energy.functions, evidence.ledgers.payment.functions
        for meter in world.meters:
            address = to_checksum_address(meter.address)
            closing = evidence.chain.call(energy.closing(address))
            if closing.period < period:
                return False
            if meter.kind == "house" and closing.time_s:
                account = evidence.chain.call(payment.account(address))
                if account.due or account.period < closing.period:
                    return False
                if evidence.chain.call(payment.locked(address)).amount:
                    return False
                accepted = evidence.events(meter, wire.EVENT_PERMIT_ACCEPTED)
                if account.serial and all(event.a != account.serial for event in accepted):
                    return False
    return True


def drain(world: Rehearsal, meter: Meter) -> list[bytes]:
    """Cut a board's power once the store holds all it has; return the frames in its flash.

    Raises ProgramError when the board is never found drained.
    """
    store = Store(world.deployment.store)
    try:
        for _ in range(_DRAIN_TRIES):
            before = store.lowest_missing(address_of(meter), 1)
            deadline = time.monotonic() + 30
            while store.lowest_missing(address_of(meter), 1) == before:
                if time.monotonic() > deadline:
                    raise ProgramError(f"{meter.name} sent nothing for 30 s")
                time.sleep(0.05)
            time.sleep(0.6)
            meter.board.power_off()
            frames = journal(meter)
            if store.lowest_missing(address_of(meter), 1) == len(frames) + 1:
                return frames
            meter.board.power_on()
    finally:
        store.close()
    raise ProgramError(f"{meter.name} was never found drained in {_DRAIN_TRIES} tries")


def journal(meter: Meter) -> list[bytes]:
    """Read all frames of a board's journal from its flash image, beside the firmware."""
    image = LittleFS(block_size=4096, block_count=512, mount=False)
    image.context.buffer = bytearray((meter.board.folder / "flash.img").read_bytes())
    image.mount()
    frames = []
    paths = [f"{at}/{name}" for at in ("/journal/full", "/journal") for name in image.listdir(at)]
    numbered = [path for path in paths if path.rpartition("/")[2].isdecimal()]  # not the index
    for path in sorted(numbered, key=lambda path: int(path.rpartition("/")[2])):
        with image.open(path, "rb") as file:
            data = file.read()
        for start in range(0, len(data) - RECORD + 1, RECORD):
            record = data[start : start + RECORD]
            if crc32(record[:-4]) == int.from_bytes(record[-4:], "big"):
                frames.append(b"\x01" + record[:-4])
    return frames
