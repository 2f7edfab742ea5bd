"""`parwana balance`: compare what each feeder was supplied with what was sold under it."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.world.options import DeploymentFile, Json, Rpc

ALARMS = ("none", "theft", "over-billing", "no supply reading")


class BalanceError(ValueError):
    """There is no such feeder; the text names those that are there."""


def feeders(chain: Chain, ledgers: Ledgers, first_block: int) -> dict[int, str]:
    """Return the number and kind of every feeder that was enrolled. Raises ChainError."""
    kinds = {2: "transformer", 3: "plant"}
    return {
        log["args"]["number"]: kinds[log["args"]["kind"]]
        for log in chain.logs(ledgers.registry.events.Enrolled, first_block)
        if log["args"]["kind"] in kinds
    }


def balances(
    chain: Chain, ledgers: Ledgers, deployment: Deployment, feeder: int
) -> list[dict[str, Any]]:
    """Return a feeder's reconciled periods, and the last one that is not. Raises ChainError."""
    names = ("period", "supplied_wh", "sold_wh", "missing", "spanning", "alarm")
    logs = chain.logs(ledgers.energy.events.Reconciled, deployment.from_block, feeder=feeder)
    rows = {
        log["args"]["period"]: {**{name: log["args"][name] for name in names}, "reconciled": True}
        for log in logs
    }
    last = deployment.periods.of(chain.block_time_s()) - 1
    if last not in rows:
        sums = chain.call(ledgers.energy.functions.sums(feeder, last))
        rows[last] = {
            "period": last,
            "supplied_wh": sums.supplied_wh,
            "sold_wh": sums.sold_wh,
            "missing": sums.expected - sums.closed + (not sums.own_closed),
            "spanning": sums.spanning,
            "alarm": 0,
            "reconciled": False,
        }
    return [{"feeder": feeder, **rows[period]} for period in sorted(rows)]


def command(
    deployment: DeploymentFile,
    feeder: Annotated[int | None, typer.Option(help="Number of one feeder; default: all.")] = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show what each feeder was supplied and what was sold under it, and the ledger's alarms.

    Example: parwana balance --deployment build/demo/deployment.json
    """
    made = Deployment.load(deployment)
    chain = Chain.of(made, rpc=rpc)
    ledgers = chain.ledgers(made)
    known = feeders(chain, ledgers, made.from_block)
    if feeder is not None and feeder not in known:
        there = ", ".join(str(number) for number in known) or "none yet"
        raise BalanceError(f"no feeder {feeder}; there are: {there}")
    wanted = [feeder] if feeder is not None else sorted(known)
    rows = [row for number in wanted for row in balances(chain, ledgers, made, number)]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(title="Feeder balances")
    for name in ("feeder", "period", "supplied", "sold", "loss", "missing", "alarm"):
        table.add_column(name, justify="right")
    for row in rows:
        supplied, sold = row["supplied_wh"], row["sold_wh"]
        alarm = ALARMS[row["alarm"]] if row["reconciled"] else "not reconciled yet"
        table.add_row(
            f"{known[row['feeder']]} {row['feeder']}",
            str(row["period"]),
            f"{supplied / 1000:.3f} kWh",
            f"{sold / 1000:.3f} kWh",
            f"{100 * (supplied - sold) / supplied:.2f} %" if supplied else "-",
            str(row["missing"]),
            f"[red]{alarm}[/red]" if row["alarm"] else alarm,
        )
    Console().print(table)
