"""Books kept of what the contracts log, and of nothing else; each entry is held to the rules.

It listens to every transaction of a chain with one PaymentLedger. What it knows of tariffs, loads
and signers is from logs, too, so that it and the model (model.py) can only agree by the contracts.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from eth_utils import to_canonical_address

import wire
from hil_tests.contracts.evm import CHAIN_ID
from hil_tests.contracts.model import Tariff, bill
from hil_tests.contracts.world import (
    ESCROW_WINDOW_S,
    FIXED,
    PAYMENT_WINDOW_S,
    SLABS,
    THRESHOLD,
    World,
)
from parwana.chain.record import EMPTY, extended
from parwana.permits.bundle import check_bundle

MOST_DUE = 2**96 - 1


@dataclass
class House:
    """A point, as logged."""

    load_dw: int
    period: int
    due: int = 0
    billed_wh: int = 0
    carried_wh: int = 0
    serial: int = 0
    payments: int = 0
    digest: bytes = EMPTY
    lock: SimpleNamespace | None = None
    locked_at_s: int = 0


@dataclass
class Books:
    """All of a deployment; `period_of` and `start` are a calendar that is not the contract's."""

    world: World
    period_of: Callable[[int], int]
    start: Callable[[int], int]
    tariffs: list[Tariff] = field(default_factory=lambda: [Tariff(0, SLABS, FIXED)])
    houses: dict[int, House] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    bundles: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    locks: int = 0
    claims: int = 0
    refunds: int = 0
    locked: int = 0
    claimed: int = 0
    refunded: int = 0
    withdrawn: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    earned: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def hear(self, events: list[tuple[str, SimpleNamespace]]) -> None:
        """Enter the events of one transaction, in their order."""
        published: dict[tuple[str, int], wire.Permit] = {}
        for name, of in events:
            if name == "PermitPublished":
                published[of.meter, of.serial] = self._permit(of)
            elif name == "Paid":
                self._paid(of, published.pop((of.meter, of.serial)))
            else:
                enter: Any = getattr(self, f"_{name.lower()}", None)
                if enter:
                    enter(of)

    @property
    def escrow(self) -> int:
        """Return what the logs leave in escrow."""
        return self.locked - self.claimed - self.refunded

    def check(self) -> None:
        """Hold the sums to one another, and to the coin that the ledger has."""
        open_ = [house.lock for house in self.houses.values() if house.lock]
        assert sum(lock.amount for lock in open_) == self.escrow
        assert self.locks == self.claims + self.refunds + len(open_)
        owed = sum(self.earned.values()) - sum(self.withdrawn.values())
        assert owed == self.claimed + self.refunded - sum(self.withdrawn.values())
        assert self.world.evm.balance(self.world.payment.address) == self.escrow + owed

    def check_house(self, number: int, meter: str) -> None:
        """Compare with what the ledger answers about a point."""
        house, ledger = self.houses[number], self.world.payment
        account, record, lock = ledger.account(meter), ledger.record(meter), ledger.locked(meter)
        assert (account.number, account.meter) == (number, meter)
        assert (account.due, account.carried_wh) == (house.due, house.carried_wh)
        assert (account.payments, account.serial) == (house.payments, house.serial)
        assert (record.payments, record.digest) == (house.payments, house.digest)
        if house.lock:
            names = ("payer", "amount", "period", "deadline_s")
            assert all(getattr(lock, name) == getattr(house.lock, name) for name in names)
        else:
            assert lock.amount == 0

    def _enrolled(self, of: SimpleNamespace) -> None:
        assert of.number not in self.houses
        period = self.period_of(self.world.evm.time_s) - 1
        self.houses[of.number] = House(of.sanctioned_load_dw, period)
        self.numbers[of.meter] = of.number

    def _replaced(self, of: SimpleNamespace) -> None:
        assert self.numbers[of.old] == of.number
        self.numbers[of.new] = of.number

    def _loadraised(self, of: SimpleNamespace) -> None:
        house = self.houses[self.numbers[of.meter]]
        assert of.sanctioned_load_dw > house.load_dw
        house.load_dw = of.sanctioned_load_dw

    def _tariffannounced(self, of: SimpleNamespace) -> None:
        assert of.from_period > self.period_of(self.world.evm.time_s)
        slabs = [(slab.upto_wh, slab.price_per_kwh) for slab in of.slabs]
        self.tariffs.append(Tariff(of.from_period, slabs, of.fixed_charge))

    def _carried(self, of: SimpleNamespace) -> None:
        house = self.houses[of.number]
        assert of.energy_wh > house.carried_wh
        house.carried_wh = of.energy_wh

    def _billed(self, of: SimpleNamespace) -> None:
        house = self.houses[of.number]
        assert of.period == house.period + of.periods
        assert of.energy_wh >= house.carried_wh
        assert of.amount == bill(self.tariffs, of.energy_wh, house.period, of.periods)
        house.due = min(house.due + of.amount, MOST_DUE)
        assert of.due == house.due
        house.period = of.period
        house.billed_wh += of.energy_wh
        house.carried_wh = 0

    def _locked(self, of: SimpleNamespace) -> None:
        house = self.houses[of.number]
        assert house.lock is None
        assert (of.amount, of.period) == (house.due, house.period)
        assert of.deadline_s == self.world.evm.time_s + ESCROW_WINDOW_S
        house.lock, house.due, house.locked_at_s = of, 0, self.world.evm.time_s
        self.locks += 1
        self.locked += of.amount

    def _permit(self, of: SimpleNamespace) -> wire.Permit:
        """Check a permit as its meter would."""
        domain = wire.permit_domain(
            CHAIN_ID,
            to_canonical_address(self.world.payment.address),
            to_canonical_address(of.meter),
        )
        keys = [signer.public for signer in self.world.signers]
        permit: wire.Permit = check_bundle(domain, of.frame + of.signatures, keys, THRESHOLD)
        house = self.houses[self.numbers[of.meter]]
        assert (permit.serial, permit.period) == (of.serial, of.period)
        assert permit.serial > house.serial
        house.serial = permit.serial
        self.bundles.append((of.meter, of.frame, of.signatures))
        return permit

    def _paid(self, of: SimpleNamespace, permit: wire.Permit) -> None:
        """End a lock by a permit that grants the least, of protocol.md, section 7."""
        house, now_s = self.houses[of.number], self.world.evm.time_s
        lock = house.lock
        assert lock
        assert (lock.payer, lock.amount, lock.period) == (of.payer, of.amount, of.period)
        assert now_s <= lock.deadline_s
        least_s = max(self.start(of.period + 2), house.locked_at_s) + PAYMENT_WINDOW_S
        assert permit.valid_until_s >= least_s
        assert permit.power_limit_dw == 0 or permit.power_limit_dw >= house.load_dw
        assert (permit.energy_limit_wh, permit.flags & ~wire.PERMIT_PROTECTED) == (0, 0)
        assert permit.period == of.period + 1
        assert permit.issued_at_s <= now_s
        assert permit.serial >= house.locked_at_s
        assert of.index == house.payments
        house.lock = None
        house.payments += 1
        house.digest = extended(house.digest, vars(of))
        self.claims += 1
        self.claimed += of.amount
        self.earned[self.world.payment.utility()] += of.amount

    def _refunded(self, of: SimpleNamespace) -> None:
        house = self.houses[of.number]
        lock = house.lock
        assert lock
        assert (lock.payer, lock.amount, lock.period) == (of.payer, of.amount, of.period)
        assert self.world.evm.time_s > lock.deadline_s
        house.lock, house.due = None, min(house.due + of.amount, MOST_DUE)
        self.refunds += 1
        self.refunded += of.amount
        self.earned[of.payer] += of.amount

    def _withdrawn(self, of: SimpleNamespace) -> None:
        self.withdrawn[of.account] += of.amount
        assert self.withdrawn[of.account] == self.earned[of.account]
