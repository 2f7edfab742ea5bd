"""Recompute everything from chain and store, from a checkpoint on if there is one."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from web3.contract import Contract

from parwana.audit.checkpoint import Checkpoint, CheckpointError, Mark
from parwana.audit.energy import EnergyAudit, Terms
from parwana.audit.findings import OF_FRAMES, STANDING, Report
from parwana.audit.keeping import kept, plain, restore
from parwana.audit.meters import look_at_all
from parwana.audit.payment import PaymentAudit
from parwana.audit.roots import RootAudit
from parwana.audit.store import Evidence, audit_signatures, signed_reading
from parwana.chain.dated import READERS, dated
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.store.reader import Store
from parwana.world.progress import Told, untold

SAVE_S = 30.0
Save = Callable[[Checkpoint], None]


class AuditError(Exception):
    """The audit cannot be made; the message says what does not fit together."""


def audit(
    deployment: Deployment,
    chain: Chain,
    store: Store,
    committers: Iterable[str] = (),
    told: Told = untold,
    there: Chain | None = None,
    *,
    before: Checkpoint | None = None,
    save: Save | None = None,
    jobs: int = 1,
) -> Report:
    """Audit a deployment as of the chain's head; `there`: the energy chain, where it is another.

    `committers` of daily roots (addresses with checksum) are known besides those who landed
    closings. `before` is what need not be looked at again, `save` gets what need not the next
    time, now and then and at the end. Raises AuditError, CheckpointError, ChainError, StoreError.
    """
    return _Audit(deployment, store, before or Checkpoint(), save, told).run(
        chain, there, committers, jobs
    )


class _Audit:
    """One audit, from a checkpoint to the next."""

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        before: Checkpoint,
        save: Save | None,
        told: Told,
    ) -> None:
        self._deployment = deployment
        self._store = store
        self._before = before
        self._save = save
        self._told = told
        self._report = Report()
        self._next = Checkpoint(
            dict(before.marks),
            dict(before.meters),
            dict(before.evidence),
            dict(before.signatures),
            list(before.findings),
            len(store.pruned()),
        )
        self._closed: dict[bytes, int] = {}  # the last period at the marks, by meter

    def run(
        self, chain: Chain, there: Chain | None, committers: Iterable[str], jobs: int
    ) -> Report:
        """Look at the store, then at the chains."""
        deployment, store, report = self._deployment, self._store, self._report
        ledgers = chain.ledgers(deployment)
        terms = _terms(deployment, chain, ledgers)
        evidence = self._next.evidence
        signed = partial(signed_reading, store, deployment)
        energy = EnergyAudit(terms, evidence, report, signed)
        payment = PaymentAudit(energy, deployment, report)
        roots = RootAudit(store, deployment, report)
        parts: dict[str, Any] = {"energy": energy, "payment": payment}
        if there is None:  # roots are the energy chain's
            parts["roots"] = roots
        head, first = chain.head(), self._resume("payment", chain, deployment, parts)
        roots.known |= set(committers)
        signers = payment.signers
        for log in chain.logs(ledgers.payment.events.SignerChanged, first, head):
            found = signers.setdefault(log["args"]["index"], set())
            found.add(bytes.fromhex(log["args"]["signer"][2:]))
        self._frames(jobs)
        counted = self._next.signatures
        audit_signatures(store, deployment, signers, sorted(evidence), report, counted)
        of = (ledgers.registry, ledgers.energy, ledgers.payment)
        now_s = self._replay("payment", chain, of, (first, head), parts)
        _recorded(payment, chain, ledgers, head, report)
        _stored_permits(store, payment, first, head, report)
        report.count("meters", len(energy.places))
        if there is not None:
            now_s = self._beside(there, terms, signed, roots)
        roots.finish(now_s, self._told)
        self._end(roots)
        return report

    def _resume(self, name: str, chain: Chain, of: Deployment, parts: Mapping[str, Any]) -> int:
        """Put back what was known of a chain; return the first block to look at."""
        mark = self._before.marks.get(name)
        if mark is None:
            return of.from_block
        if chain.block_hash(mark.block) != mark.block_hash:
            raise CheckpointError(
                f"the chain has another block {mark.block} than the checkpoint was made at: it is "
                "another chain, or was reorganised; remove the checkpoint to audit all"
            )
        try:
            for part, state in mark.state.items():
                restore(parts[part], state)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CheckpointError(
                "the checkpoint is damaged; remove it to audit all from the start"
            ) from None
        return mark.block + 1

    def _frames(self, jobs: int) -> None:
        """Look at all frames that were not looked at."""
        saved_s, number = time.monotonic(), 0
        for number, (looked, total) in enumerate(
            look_at_all(
                self._store,
                self._deployment,
                self._before.meters,
                jobs,
                pruned=self._next.pruned > self._before.pruned,
            ),
            1,
        ):
            self._report.merge(looked.report)
            meter, old = looked.meter, self._next.evidence.get(looked.meter, Evidence())
            self._next.meters[meter] = looked.seen
            self._next.evidence[meter] = (
                looked.evidence if looked.again else old.joined(looked.evidence)
            )
            if looked.again:
                self._report.again.append("0x" + meter.hex())
            self._told("meters in the store", number, total)
            if self._save and time.monotonic() - saved_s > SAVE_S:
                self._carry()
                self._save(self._next)
                saved_s = time.monotonic()
        self._report.findings.sort(key=lambda finding: finding.meter)

    def _replay(
        self,
        name: str,
        chain: Chain,
        of: Iterable[Contract],
        blocks: tuple[int, int],
        parts: Mapping[str, Any],
    ) -> int:
        """Take a chain's logs; keep what is known at its final block. Return the head's time."""
        first, head = blocks
        final = max(first - 1, min(head, chain.finalized_block())) if self._save else head
        self._take(chain, of, (first, final), parts)
        if self._save and final >= first:
            self._mark(name, chain, final, parts)
        self._take(chain, of, (final + 1, head), parts)
        now_s = chain.block_time_s(head)
        for part in ("energy", "payment"):
            if part in parts:
                parts[part].finish(now_s)
        return now_s

    def _take(
        self,
        chain: Chain,
        of: Iterable[Contract],
        blocks: tuple[int, int],
        parts: Mapping[str, Any],
    ) -> None:
        if blocks[0] > blocks[1]:
            return
        for entry, time_s in _logs(chain, of, *blocks, self._told):
            event, values = entry["event"], entry["args"]
            parts["energy"].take(event, values, time_s)
            if payment := parts.get("payment"):
                payment.take(event, values, time_s, bytes(entry["transactionHash"]))
            if roots := parts.get("roots"):
                roots.take(event, values)

    def _mark(self, name: str, chain: Chain, final: int, parts: Mapping[str, Any]) -> None:
        state = {
            part: of.kept() if isinstance(of, PaymentAudit) else kept(of)
            for part, of in parts.items()
        }
        at = chain.block_hash(final), chain.block_time_s(final)
        self._next.marks[name] = Mark(final, *at, state)
        for meter, place in parts["energy"].places.items():
            key = bytes.fromhex(meter[2:])
            self._closed[key] = min(place.period, self._closed.get(key, place.period))

    def _beside(self, there: Chain, terms: Terms, signed: Any, roots: RootAudit) -> int:
        """Look at the energy chain, where it is another; return its head's time."""
        self._report.chain = "energy chain"
        of = self._deployment.on_energy_chain
        known = there.ledgers(of)
        _agree(_energy_terms(of, there, known))
        functions = known.energy.functions
        terms = replace(
            terms,
            deadline_s=there.call(functions.closing_deadline_s()),
            tolerance_bp=there.call(functions.default_tolerance_bp()),
        )
        beside = EnergyAudit(terms, self._next.evidence, self._report, signed)
        parts = {"energy": beside, "roots": roots}
        committers = set(roots.known)
        first = self._resume("energy", there, of, parts)
        roots.known |= committers
        both = (known.registry, known.energy)
        return self._replay("energy", there, both, (first, there.head()), parts)

    def _carry(self) -> None:
        """Let findings of before stand that this audit does not look at again."""
        report = self._report
        new = set(report.findings)
        report.before = [
            finding
            for finding in self._before.findings
            if finding not in new
            and finding.kind not in STANDING
            and not (finding.kind in OF_FRAMES and finding.meter in report.again)
        ]
        self._next.findings = report.before + report.findings

    def _end(self, roots: RootAudit) -> None:
        before, report = self._before, self._report
        self._carry()
        if before.meters:
            mark = before.marks.get("payment")
            report.trusted = {
                "frames": before.frames,
                "meters": len(before.meters),
                "block": mark.block if mark else None,
                "time_s": mark.time_s if mark else None,
                "findings": len(report.before),
            }
        if self._save is None:
            return
        for mark in self._next.marks.values():
            if "roots" in mark.state:
                mark.state["roots"]["compared"] = plain(roots.compared)
        for meter, found in self._next.evidence.items():
            self._next.evidence[meter] = found.after(self._closed.get(meter, -1))
        self._save(self._next)


def _recorded(
    payment: PaymentAudit, chain: Chain, ledgers: Ledgers, head: int, report: Report
) -> None:
    """Compare the payments in the logs with what the contract kept of them."""
    told, record = payment.records(), ledgers.payment.functions.record
    with ThreadPoolExecutor(READERS) as pool:
        kept = pool.map(lambda meter: chain.call(record(meter), head), told)
        for (meter, (count, digest)), found in zip(told.items(), kept, strict=True):
            true = f"{count} payments, {digest.hex()}"
            seen = f"{found.payments} payments, {bytes(found.digest).hex()}"
            report.check("payment", meter, "record of all payments", true, seen)


def _terms(deployment: Deployment, chain: Chain, ledgers: Ledgers) -> Terms:
    """Read what the contracts were deployed with; it must be what the file says."""
    energy, payment = ledgers.energy.functions, ledgers.payment.functions
    _agree(
        [
            *_energy_terms(deployment, chain, ledgers),
            ("energy_ledger", chain.call(payment.energy_ledger()), deployment.energy_ledger),
            (
                "payment_window_s",
                chain.call(payment.payment_window_s()),
                deployment.payment_window_s,
            ),
            ("permit_threshold", chain.call(payment.threshold()), deployment.permit_threshold),
        ]
    )
    return Terms(
        periods=deployment.periods,
        deadline_s=chain.call(energy.closing_deadline_s()),
        tolerance_bp=chain.call(energy.default_tolerance_bp()),
        escrow_window_s=chain.call(payment.escrow_window_s()),
        payment_window_s=deployment.payment_window_s,
        threshold=deployment.permit_threshold,
    )


def _energy_terms(
    deployment: Deployment, chain: Chain, ledgers: Ledgers
) -> list[tuple[str, Any, Any]]:
    """Return (name, on the chain, in the file) of what an EnergyLedger was deployed with."""
    energy, periods = ledgers.energy.functions, deployment.periods
    return [
        ("registry", chain.call(energy.registry()), deployment.registry),
        ("utility_id", bytes(chain.call(energy.domain())), deployment.reading_domain),
        ("period", chain.call(energy.period_s()), periods.length_s),
        ("utc_offset_s", chain.call(energy.utc_offset_s()), periods.utc_offset_s),
    ]


def _agree(pairs: Iterable[tuple[str, Any, Any]]) -> None:
    for name, on_chain, in_file in pairs:
        if str(on_chain).lower() != str(in_file).lower():
            raise AuditError(f"{name}: the contracts say {on_chain}, the deployment file does not")


def _logs(
    chain: Chain, of: Iterable[Contract], first: int, head: int, told: Told
) -> Iterator[tuple[Any, int]]:
    """Give all logs of contracts in blocks first … head, in their order, with their time_s."""
    for after, entries in dated(chain, of, first, head):
        yield from entries
        told("blocks of the chain", after - first, head + 1 - first)


def _stored_permits(
    store: Store, payment: PaymentAudit, first: int, head: int, report: Report
) -> None:
    """Check the copies of permits that relays deliver from, of blocks first … head."""
    published = {
        (bytes.fromhex(meter[2:]), serial): permit.bundle
        for (meter, serial), permit in payment.permits.items()
    }
    for row in store.permits():
        if not first <= row.block <= head:
            continue
        found = published.get((row.meter, row.serial))
        where = f"serial {row.serial}"
        report.check(
            "stored_permit", row.meter, where, found.hex() if found else "none", row.bundle.hex()
        )
