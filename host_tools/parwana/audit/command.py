"""`parwana audit`: recompute everything from chain and store; name what is wrong.

It believes the chain's own state transitions and nothing else: neither the store, nor a relay, nor
the contracts' arithmetic.
"""

import json
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from parwana.audit.checkpoint import Checkpoint
from parwana.audit.findings import Report
from parwana.audit.meters import cores
from parwana.audit.run import AuditError, Save, audit
from parwana.chain.currency import Currency, currency_of
from parwana.chain.deployment import Deployment, Period
from parwana.chain.keys import DEV_CHAIN_IDS, resolve
from parwana.chain.node import Chain
from parwana.chain.points import read_address
from parwana.store.reader import Store
from parwana.world.options import DeploymentFile, EnergyRpc, Json, Rpc, StoreUrl
from parwana.world.progress import shown

__all__ = ["FOUND", "AuditError", "audit", "command", "in_words"]

FOUND = 3  # exit code


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
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Go on from this file, and leave in it what need not be looked at again; "
            "signed with --key, and refused unless it is."
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The auditor's key file (or dev:N), for --checkpoint.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Processes that look at frames; 0: one a core.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Recompute readings, closings, roots, bills, payments and permits; name what is wrong.

    Exit code 0: nothing is wrong; 3: findings; 1: the audit could not be made.

    Example: parwana audit --deployment build/town/deployment.json --store sqlite:///town.db
    """
    found = Deployment.load(deployment)
    committers = [read_address(text, "--committer") for text in committer or ()]
    if (checkpoint is None) != (key is None):
        raise AuditError("--checkpoint needs --key, and --key is for --checkpoint")
    auditor = resolve(key) if key else None
    if auditor and auditor.development and found.chain_id not in DEV_CHAIN_IDS:
        raise AuditError("development keys are public: anyone could sign a checkpoint with them")
    before: Checkpoint | None = None
    save: Save | None = None
    if checkpoint and auditor:
        before = Checkpoint.load(checkpoint, found, auditor.address)
        save = partial(Checkpoint.save, path=checkpoint, deployment=found, key=auditor)
    store = Store(store_url or found.store, create=False)
    chain = Chain.of(found, rpc=rpc)
    there = Chain.of(found.on_energy_chain, rpc=energy_rpc) if found.energy else None
    try:
        with shown() as told:
            report = audit(
                found,
                chain,
                store,
                committers,
                told,
                there,
                before=before,
                save=save,
                jobs=jobs or cores(),
            )
    finally:
        store.close()
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        currency = currency_of(chain, chain.ledgers(found), found)
        for finding in report.before + report.findings:
            print(in_words(str(finding), found.periods, currency))
        looked = ", ".join(f"{number} {name}" for name, number in sorted(report.counts.items()))
        print(f"audit: {looked}; {len(report.findings) or 'no'} findings")
        if report.trusted:
            print(_on_trust(report))
    if report.findings or report.before:
        raise typer.Exit(FOUND)


def _on_trust(report: Report) -> str:
    of = report.trusted
    logs = ""
    if of["block"] is not None:
        until = datetime.fromtimestamp(of["time_s"], UTC)
        logs = f" and all logs up to block {of['block']} ({until:%Y-%m-%d %H:%M} UTC)"
    again = f"; from the start again: {len(report.again)} meters" if report.again else ""
    return (
        f"on trust from the checkpoint: {of['frames']} frames of {of['meters']} meters{logs}, "
        f"with {of['findings'] or 'no'} findings that stand{again}"
    )
