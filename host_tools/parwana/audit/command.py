"""`parwana audit`: recompute everything from chain and store; name what is wrong.

It believes the chain's own state transitions and nothing else: neither the store, nor a relay, nor
the contracts' arithmetic.
"""

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer
from web3.contract import Contract

from parwana.audit.energy import EnergyAudit, Terms
from parwana.audit.findings import Report
from parwana.audit.payment import PaymentAudit
from parwana.audit.roots import RootAudit
from parwana.audit.store import audit_store, signed_reading
from parwana.chain.currency import Currency, currency_of
from parwana.chain.dated import READERS, dated
from parwana.chain.deployment import Deployment, Period
from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import read_address
from parwana.store.reader import Store
from parwana.world.options import DeploymentFile, EnergyRpc, Json, Rpc, StoreUrl
from parwana.world.progress import Told, shown, untold

FOUND = 3  # exit code


class AuditError(Exception):
    """The audit cannot be made; the message says what does not fit together."""


def audit(
    deployment: Deployment,
    chain: Chain,
    store: Store,
    committers: Iterable[str] = (),
    told: Told = untold,
    there: Chain | None = None,
) -> Report:
    """Audit a deployment as of the chain's head; `there`: the energy chain, where it is another.

    `committers` of daily roots (addresses with checksum) are known besides those who landed
    closings. Raises AuditError, ChainError, StoreError.
    """
    report = Report()
    ledgers = chain.ledgers(deployment)
    terms = _terms(deployment, chain, ledgers)
    head = chain.head()
    now_s = chain.block_time_s(head)
    signers: dict[int, set[bytes]] = {}
    for log in chain.logs(ledgers.payment.events.SignerChanged, deployment.from_block, head):
        found = signers.setdefault(log["args"]["index"], set())
        found.add(bytes.fromhex(log["args"]["signer"][2:]))
    evidence = audit_store(store, deployment, signers, report, told)
    signed = partial(signed_reading, store, deployment)
    energy = EnergyAudit(terms, evidence, report, signed)
    payment = PaymentAudit(energy, deployment, report)
    roots = RootAudit(store, deployment, report, set(committers))
    of = (ledgers.registry, ledgers.energy, ledgers.payment)
    for entry, time_s in _logs(chain, of, deployment.from_block, head, told):
        name, values = entry["event"], entry["args"]
        energy.take(name, values, time_s)
        payment.take(name, values, time_s, bytes(entry["transactionHash"]))
        if there is None:  # roots are the energy chain's
            roots.take(name, values)
    energy.finish(now_s)
    payment.finish(now_s)
    _recorded(payment, chain, ledgers, head, report)
    _stored_permits(store, payment, head, report)
    report.count("meters", len(energy.places))
    if there is None:
        roots.finish(now_s, told)
        return report
    report.chain = "energy chain"
    known = there.ledgers(deployment.on_energy_chain)
    _agree(_energy_terms(deployment.on_energy_chain, there, known))
    head = there.head()
    now_s = there.block_time_s(head)
    functions = known.energy.functions
    terms = replace(
        terms,
        deadline_s=there.call(functions.closing_deadline_s()),
        tolerance_bp=there.call(functions.default_tolerance_bp()),
    )
    beside = EnergyAudit(terms, evidence, report, signed)
    both = (known.registry, known.energy)
    for entry, time_s in _logs(there, both, deployment.on_energy_chain.from_block, head, told):
        beside.take(entry["event"], entry["args"], time_s)
        roots.take(entry["event"], entry["args"])
    beside.finish(now_s)
    roots.finish(now_s, told)
    return report


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


def _stored_permits(store: Store, payment: PaymentAudit, head: int, report: Report) -> None:
    """Check the copies of permits that relays deliver from."""
    published = {
        (bytes.fromhex(meter[2:]), serial): permit.bundle
        for (meter, serial), permit in payment.permits.items()
    }
    for row in store.permits():
        if row.block > head:
            continue
        found = published.get((row.meter, row.serial))
        where = f"serial {row.serial}"
        report.check(
            "stored_permit", row.meter, where, found.hex() if found else "none", row.bundle.hex()
        )


def in_words(text: str, periods: Period, currency: Currency) -> str:
    """Return a finding with the dates of its periods, its amounts in the currency's unit."""
    text = re.sub(
        r"(\bperiod |'period': )(\d+)", lambda found: found[1] + periods.text(int(found[2])), text
    )
    return re.sub(
        r"('(?:amount|due)': )(\d+)", lambda found: found[1] + currency.text(int(found[2])), text
    )


def command(
    deployment: DeploymentFile,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    committer: Annotated[
        list[str] | None,
        typer.Option(help="Address whose daily roots count, besides those of relays that close."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute readings, closings, roots, bills, payments and permits; name what is wrong.

    Exit code 0: nothing is wrong; 3: findings; 1: the audit could not be made.

    Example: parwana audit --deployment build/town/deployment.json --store sqlite:///town.db
    """
    found = Deployment.load(deployment)
    committers = [read_address(text, "--committer") for text in committer or ()]
    store = Store(store_url or found.store, create=False)
    chain = Chain.of(found, rpc=rpc)
    there = Chain.of(found.on_energy_chain, rpc=energy_rpc) if found.energy else None
    try:
        with shown() as told:
            report = audit(found, chain, store, committers, told, there)
    finally:
        store.close()
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        currency = currency_of(chain, chain.ledgers(found), found)
        for finding in report.findings:
            print(in_words(str(finding), found.periods, currency))
        looked = ", ".join(f"{number} {name}" for name, number in sorted(report.counts.items()))
        print(f"audit: {looked}; {len(report.findings) or 'no'} findings")
    if report.findings:
        raise typer.Exit(FOUND)
