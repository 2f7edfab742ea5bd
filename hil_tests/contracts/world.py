"""Meters, signers and a deployment of all three contracts, for the tests beside it."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_utils import keccak, to_canonical_address, to_checksum_address

import wire
from hil_tests.contracts.evm import CHAIN_ID, ZERO, Contract, Evm
from parwana.chain import contracts

UTILITY_ID = "demo-utility"
UTC_OFFSET_S = 19_800
DAY_S = 86_400
HOUR_S = 3600
HOUSE, TRANSFORMER, PLANT = 1, 2, 3
LOAD_DW = 50_000
OPEN = 2**64 - 1
SLABS = [(100_000, 4_150), (200_000, 5_850), (OPEN, 7_100)]
FIXED = 110_000
PAYMENT_WINDOW_S = 15 * DAY_S
ESCROW_WINDOW_S = 7 * DAY_S
ROTATION_DELAY_S = 10 * DAY_S
DEADLINE_S = 5 * DAY_S
THRESHOLD = 2
# 2026-01-15 06:30 UTC, noon at the meters
START_S = 1_768_458_600


def address(name: str) -> str:
    """Return an address that nobody has the key of."""
    return to_checksum_address(sha256(name.encode()).digest()[:20])


UTILITY, OTHER, PAYER = address("utility"), address("other"), address("payer")


class Key:
    """A test key; signatures are r ‖ (yParity << 255 | s) by coincurve."""

    def __init__(self, name: str) -> None:
        self.key = PrivateKey(sha256(b"parwana contract test " + name.encode()).digest())
        self.public = self.key.public_key.format(compressed=False)[1:]
        self.address = to_checksum_address(keccak(self.public)[12:])

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest."""
        signed = bytearray(self.key.sign_recoverable(digest, hasher=None))
        signed[32] |= signed[64] << 7
        return bytes(signed[:64])


@dataclass
class Meter(Key):
    """A meter's key and sequence."""

    name: str
    number: int = 0
    sequence: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        Key.__init__(self, self.name)

    def reading(
        self, time_s: int, energy_wh: int, flags: int = 0, trust: int = 1, sequence: int = 0
    ) -> bytes:
        """Sign a reading (104 bytes)."""
        self.sequence += 1
        return self.signed(
            wire.pack_reading(
                flags, sequence or self.sequence, time_s, energy_wh, 0, 0, 0, 0, 0, 0, 0, trust
            )
        )

    def closing(self, time_s: int, energy_wh: int, flags: int = 0, trust: int = 1) -> bytes:
        """Sign a closing (104 bytes)."""
        return self.reading(time_s, energy_wh, flags | wire.FLAG_CLOSING, trust)

    def signed(self, frame: bytes) -> bytes:
        """Append the signature of a frame."""
        return frame + self.sign(wire.digest(wire.reading_domain(UTILITY_ID), frame))


class World:
    """A deployment with utility, signers and a clock; `enrol` makes meters."""

    def __init__(self, evm: Evm, period_s: int = 0) -> None:
        self.evm = evm
        self.signers = [Key(f"signer {i}") for i in range(3)]
        self.registry = self.deploy("MeterRegistry", UTILITY)
        self.energy = self.deploy(
            "EnergyLedger",
            self.registry.address,
            UTILITY_ID,
            period_s,
            UTC_OFFSET_S,
            DEADLINE_S,
            500,
        )
        self.payment = self.deploy("PaymentLedger", *self.payment_arguments())

    def payment_arguments(self, **changed: Any) -> list[Any]:
        """Return the PaymentLedger's constructor arguments, some of them changed."""
        arguments: dict[str, Any] = {
            "registry": self.registry.address,
            "energy_ledger": self.energy.address,
            "token": ZERO,
            "utility": UTILITY,
            "payment_window_s": PAYMENT_WINDOW_S,
            "escrow_window_s": ESCROW_WINDOW_S,
            "rotation_delay_s": ROTATION_DELAY_S,
            "notice_periods": 1,
            "signers": [signer.address for signer in self.signers],
            "threshold": THRESHOLD,
            "slabs": SLABS,
            "fixed_charge": FIXED,
        }
        assert not changed.keys() - arguments.keys()
        return [*{**arguments, **changed}.values()]

    def deploy(self, name: str, *args: Any) -> Contract:
        """Deploy one of the product's contracts."""
        return self.evm.deploy(contracts.load(name), *args, sender=UTILITY)

    def deploy_here(self, name: str, *args: Any) -> Contract:
        """Deploy one of the contracts beside this file."""
        artifact = contracts.load(name, Path(__file__).parent)
        return self.evm.deploy(artifact, *args, sender=UTILITY)

    def enrol(
        self, name: str, number: int, kind: int = HOUSE, feeder: int = 0, initial_wh: int = 0
    ) -> Meter:
        """Enrol a new meter now."""
        meter = Meter(name, number)
        self.registry.enrol(
            (meter.address, number, kind, feeder, initial_wh, LOAD_DW), sender=UTILITY
        )
        return meter

    @property
    def period(self) -> int:
        """Return the period of now."""
        return int(self.energy.period_of(self.evm.time_s))

    def start(self, period: int) -> int:
        """Return the first instant of a period."""
        return int(self.energy.start_of(period))

    def next_period(self) -> int:
        """Go to one minute into the next period; return the period that is over."""
        over = self.period
        self.evm.at(self.start(over + 1) + 60)
        return over

    def close(self, *closings: tuple[Meter, int]) -> int:
        """Close the period before this one for meters with these registers; return how many."""
        start = self.start(self.period)
        data = b"".join(meter.closing(start, energy_wh) for meter, energy_wh in closings)
        return int(self.energy.close(data, sender=OTHER).value)

    def bill(self, meter: Meter, energy_wh: int) -> int:
        """Let a period end at this register, close and settle; return the amount billed."""
        self.next_period()
        assert self.close((meter, energy_wh)) == 1
        return int(self.payment.settle(meter.address, sender=OTHER).value)

    def pay(self, meter: Meter, payer: str = PAYER) -> int:
        """Lock what is due in native coin; return the amount."""
        due = int(self.payment.account(meter.address).due)
        self.evm.fund(payer, self.evm.balance(payer) + due)
        self.payment.pay(meter.address, due, sender=payer, value=due)
        return due

    def permit(self, meter: Meter, **changed: int) -> bytes:
        """Pack the least permit for the lock of a meter, some of it changed."""
        least = self.payment.least_grant(meter.address)
        fields = {
            "flags": 0,
            "serial": least.serial,
            "issued_at_s": self.evm.time_s,
            "valid_until_s": least.valid_until_s,
            "period": least.period,
            "power_limit_dw": least.power_limit_dw,
        }
        return wire.pack_permit(**{**fields, **changed})

    def digest(self, frame: bytes, meter: str = ZERO) -> bytes:
        """Return what permit signers sign for a meter; for none, a rotation."""
        ledger = to_canonical_address(self.payment.address)
        domain = wire.permit_domain(CHAIN_ID, ledger, to_canonical_address(meter))
        # not wire.digest: tests sign frames of a wrong length, too
        return sha256(domain + frame).digest()

    def sign(self, frame: bytes, meter: str = ZERO, by: tuple[int, ...] = (0, 2)) -> bytes:
        """Return signatures of the signers `by`, each with its index."""
        digest = self.digest(frame, meter)
        return b"".join(bytes([i]) + self.signers[i].sign(digest) for i in by)
