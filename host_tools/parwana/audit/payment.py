"""Replay the PaymentLedger from its logs: bills, locks, payments and their permits."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import wire
from parwana.audit.energy import HOUSE, EnergyAudit
from parwana.audit.findings import Report
from parwana.audit.keeping import kept, plain
from parwana.chain import record
from parwana.chain.deployment import Deployment
from parwana.chain.periods import DAY_S
from parwana.chain.tariff import Tariff, bill
from parwana.store.signatures import SignatureError, signer

DUE_MOST = 2**96 - 1  # an account holds no more
DELIVERY_S = 3600  # how long a published permit may be on its way to the meter


@dataclass
class Lock:
    """A payment that waits for its permit."""

    payer: str
    amount: int
    period: int
    deadline_s: int
    locked_s: int


@dataclass
class Account:
    """What a metering point owes."""

    period: int
    due: int = 0
    carried_wh: int = 0
    payments: int = 0
    record: bytes = record.EMPTY
    lock: Lock | None = None


@dataclass(frozen=True)
class Published:
    """A permit on the chain. Of what an earlier audit saw, `bundle` is its frame alone."""

    bundle: bytes
    time_s: int
    transaction: bytes

    @cached_property
    def permit(self) -> Any:
        """Return the wire.Permit, None if it is none."""
        try:
            found = wire.parse(self.bundle[:40])
        except wire.FrameError:
            return None
        return found if isinstance(found, wire.Permit) else None


@dataclass
class PaymentAudit:
    """Take the logs in their order, after `energy` took them."""

    KEPT: ClassVar = (
        "permits", "signers", "_tariffs", "_signers", "_accounts", "_billed_wh", "_last_serial"
    )  # fmt: skip

    energy: EnergyAudit
    deployment: Deployment
    report: Report
    permits: dict[tuple[str, int], Published] = field(default_factory=dict)
    signers: dict[int, set[bytes]] = field(default_factory=dict)  # by index, all who ever were one
    paid: set[int] = field(default_factory=set)  # accounts, of the logs that were taken
    _tariffs: list[Tariff] = field(default_factory=list)
    _signers: dict[int, str] = field(default_factory=dict)
    _accounts: dict[int, Account] = field(default_factory=dict)
    _billed_wh: dict[str, int] = field(default_factory=dict)
    _last_serial: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, values: Any, time_s: int, transaction: bytes) -> None:
        """Take one log; others than the PaymentLedger's are ignored."""
        if name == "PermitPublished":
            self._publish(values, time_s, transaction)
        elif name == "Paid":
            self._paid(values, transaction)
        elif handler := getattr(self, f"_on_{name.lower()}", None):
            handler(values, time_s)

    def _on_tariffannounced(self, values: Any, _time_s: int) -> None:
        slabs = [(slab.upto_wh, slab.price_per_kwh) for slab in values.slabs]
        self._tariffs.append(Tariff(values.from_period, slabs, values.fixed_charge))

    def _on_signerchanged(self, values: Any, _time_s: int) -> None:
        self._signers[values.index] = values.signer

    def _account(self, number: int) -> Account:
        if number not in self._accounts:
            before = self.energy.terms.periods.of(self.energy.since_s[number]) - 1
            self._accounts[number] = Account(before)
        return self._accounts[number]

    def _used_wh(self, meter: str) -> int:
        """Return what a meter closed beyond what was taken before, and take it."""
        place = self.energy.places[meter]
        before = self._billed_wh.get(meter, place.initial_wh)
        self._billed_wh[meter] = place.energy_wh
        return place.energy_wh - before

    def _settled_wh(self, meter: str) -> int:
        place = self.energy.places[meter]
        energy_wh = self._account(place.number).carried_wh + self._used_wh(meter)
        return energy_wh + (self._used_wh(place.previous) if place.previous else 0)

    def _on_carried(self, values: Any, _time_s: int) -> None:
        energy_wh = self._settled_wh(values.meter)
        self._account(values.number).carried_wh = energy_wh
        self.report.check(
            "bill",
            values.meter,
            "energy carried over",
            f"{energy_wh} Wh",
            f"{values.energy_wh} Wh",
        )

    def _on_billed(self, values: Any, _time_s: int) -> None:
        self.report.count("bills")
        place = self.energy.places[values.meter]
        account = self._account(place.number)
        energy_wh = self._settled_wh(values.meter)
        replaced = self.energy.serving[place.number] != values.meter
        periods = place.period - account.period if place.closed and not replaced else 0
        amount = bill(self._tariffs, energy_wh, account.period, periods)
        account.period += periods
        account.carried_wh = 0
        account.due = min(account.due + amount, DUE_MOST)
        names = ("number", "period", "periods", "energy_wh", "amount", "due")
        true = (place.number, account.period, periods, energy_wh, amount, account.due)
        told = [values[name] for name in names]
        where = f"period {values.period}"
        self.report.check("bill", values.meter, where, _named(names, *true), _named(names, *told))

    def _on_locked(self, values: Any, time_s: int) -> None:
        account = self._account(values.number)
        deadline_s = time_s + self.energy.terms.escrow_window_s
        names = ("amount", "period", "deadline_s", "locked before")
        true = _named(names, account.due, account.period, deadline_s, None)
        told = _named(names, values.amount, values.period, values.deadline_s, account.lock)
        self.report.check("payment", values.meter, f"lock of period {values.period}", true, told)
        lock = Lock(values.payer, values.amount, values.period, values.deadline_s, time_s)
        account.due, account.lock = 0, lock

    def _on_refunded(self, values: Any, time_s: int) -> None:
        account = self._account(values.number)
        lock, account.lock = account.lock, None
        meter, where = self.energy.serving[values.number], f"refund of period {values.period}"
        names = ("payer", "amount", "period")
        told = _named(names, values.payer, values.amount, values.period)
        true = _named(names, lock.payer, lock.amount, lock.period) if lock else None
        self.report.check("payment", meter, where, true, told)
        if lock and time_s <= lock.deadline_s:
            self.report.add("payment", meter, where, f"after {lock.deadline_s}", time_s)
        account.due = min(account.due + values.amount, DUE_MOST)

    def _paid(self, values: Any, transaction: bytes) -> None:
        self.report.count("payments")
        account = self._account(values.number)
        lock, account.lock = account.lock, None
        where = f"payment of period {values.period}"
        names, count = ("payer", "amount", "period", "index"), account.payments
        told = _named(names, values.payer, values.amount, values.period, values.index)
        true = _named(names, lock.payer, lock.amount, lock.period, count) if lock else None
        self.report.check("payment", values.meter, where, true, told)
        self.paid.add(values.number)
        account.payments += 1
        account.record = record.extended(account.record, values)
        given = self.permits.get((values.meter, values.serial))
        if given is None or given.transaction != transaction or given.permit is None:
            at = f"permit {values.serial} in the same transaction"
            self.report.add("payment", values.meter, where, at, "none")
        elif lock:
            self._least(values.meter, given.permit, lock)

    def _least(self, meter: str, permit: wire.Permit, lock: Lock) -> None:
        """Check that a permit grants what a payment buys. Source: protocol.md, section 7."""
        terms = self.energy.terms
        load_dw = self.energy.places[meter].load_dw
        from_s = max(terms.periods.start(lock.period + 2), lock.locked_s)
        checks = [
            (permit.valid_until_s >= from_s + terms.payment_window_s, "valid long enough"),
            (permit.period == lock.period + 1, f"period {lock.period + 1}"),
            (not permit.power_limit_dw or permit.power_limit_dw >= load_dw, f"{load_dw} dW"),
            (not permit.energy_limit_wh, "no energy limit"),
            (not permit.flags & ~wire.PERMIT_PROTECTED, "no other flag"),
        ]
        for good, expected in checks:
            if not good:
                self.report.add("permit", meter, f"serial {permit.serial}", expected, permit)

    def _publish(self, values: Any, time_s: int, transaction: bytes) -> None:
        self.report.count("permits")
        meter, where = values.meter, f"serial {values.serial}"
        bundle = bytes(values.frame) + bytes(values.signatures)
        try:
            parsed = wire.parse_bundle(bundle)
            permit = wire.parse(parsed.frame)
            if not isinstance(permit, wire.Permit):
                raise wire.FrameError(f"kind {parsed.frame[1]} is no permit")
            self._signatures(meter, where, parsed)
            self.report.check("permit", meter, where, permit.serial, values.serial)
        except wire.FrameError as error:
            self.report.add("permit", meter, where, "a permit", error)
        if values.serial <= self._last_serial.get(meter, 0):
            self.report.add("permit", meter, where, "a rising serial", self._last_serial[meter])
        self._last_serial[meter] = max(values.serial, self._last_serial.get(meter, 0))
        self.permits[meter, values.serial] = Published(bundle, time_s, transaction)

    def _signatures(self, meter: str, where: str, bundle: wire.Bundle) -> None:
        digest = wire.digest(self.deployment.permit_domain(meter), bundle.frame)
        good = set()
        for index, signature in bundle.signatures:
            try:
                made_by = "0x" + signer(digest, signature).hex()
            except SignatureError:
                made_by = "nobody"
            expected = self._signers.get(index, "").lower()
            if self.report.check("permit", meter, f"{where}, signer {index}", expected, made_by):
                good.add(index)
        threshold = self.energy.terms.threshold
        if len(good) < threshold:
            self.report.add("permit", meter, where, f"{threshold} signers", len(good))

    def kept(self) -> dict[str, Any]:
        """Return what `keeping.restore` takes; of permits, what is needed of an old one."""
        permits = [
            [list(at), plain(Published(one.bundle[: wire.FRAME_SIZE], one.time_s, b""))]
            for at, one in self.permits.items()
        ]
        return {**kept(self), "permits": permits}

    def records(self) -> dict[str, tuple[int, bytes]]:
        """Return (payments, digest) of each house that paid in these logs, by the meter that
        serves it.
        """
        paid = ((number, self._accounts[number]) for number in sorted(self.paid))
        return {self.energy.serving[number]: (a.payments, a.record) for number, a in paid}

    def finish(self, now_s: int) -> None:
        """Name what is overdue, and what the meters accepted or suffered against the chain."""
        terms = self.energy.terms
        for number, account in self._accounts.items():
            if account.lock and account.lock.deadline_s < now_s:
                where = f"period {account.lock.period}"
                by = f"claimed or refunded by {account.lock.deadline_s}"
                self.report.add("payment_stuck", self.energy.serving[number], where, by, "locked")
        for meter, place in self.energy.places.items():
            for sequence, energy_wh in (
                self.energy.of(meter).bridged if place.kind == HOUSE else ()
            ):
                where = f"sequence {sequence}"
                self.report.add("bridged", meter, where, "0 Wh", f"{energy_wh} Wh")
            if place.kind != HOUSE or self.energy.serving[place.number] != meter:
                continue
            due_s = terms.periods.start(place.period + 1) + terms.deadline_s
            if (
                place.closed
                and self._account(place.number).period < place.period
                and now_s > due_s
            ):
                where = f"period {place.period}"
                self.report.add("not_billed", meter, where, "billed", "closed only")
            self._accepted(meter)

    def _accepted(self, meter: str) -> None:
        evidence = self.energy.of(meter)
        for event in map(_event, evidence.accepted):
            self.report.count("permits_accepted")
            known = self.permits.get((meter, event.a))
            permit = known.permit if known else None
            true = (permit.valid_until_s, permit.power_limit_dw) if permit else "published"
            told = (event.b, event.c) if permit else "not published"
            self.report.check("permit_unpublished", meter, f"serial {event.a}", true, told)
        mine = [p for (m, _), p in self.permits.items() if m == meter] if evidence.cuts else []
        for event in map(_event, evidence.cuts):
            if event.a != wire.REASON_EXPIRED or event.clock_trust == wire.TRUST_NONE:
                continue
            for published in mine:
                if published.permit is None:
                    continue
                end_s = published.permit.valid_until_s + published.permit.grace_days * DAY_S
                if published.time_s + DELIVERY_S < event.time_s <= end_s:
                    where = f"sequence {event.sequence}, serial {published.permit.serial}"
                    self.report.add("permit_withheld", meter, where, f"on until {end_s}", "cut")


def _event(frame: bytes) -> wire.Event:
    found = wire.parse(frame)
    assert isinstance(found, wire.Event)
    return found


def _named(names: tuple[str, ...], *values: Any) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))
