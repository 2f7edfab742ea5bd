"""`parwana balance`: compare what each feeder was supplied with what was sold under it."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from parwana.audit.energy import OVERBILLING, THEFT
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import feeders
from parwana.world.options import DeploymentFile, Json, Rpc
from parwana.world.tables import print_table, table

NO_SUPPLY = "no supply reading: the feeder's own closing is missing"
ALARMS = ("none", "theft", "over-billing", "no comparison")


class BalanceError(ValueError):
    """There is no such feeder; the text names those that are there."""


def balances(
    chain: Chain,
    ledgers: Ledgers,
    deployment: Deployment,
    feeder: int,
    told: Iterable[Mapping[str, Any]] | None = None,
    settled: Mapping[int, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return a feeder's reconciled periods, and the last one that is not. Raises ChainError.

    `reason` says why supplied and sold do not compare, or are not final; "" when they compare.
    `tolerance_bp`: by how much they may differ, in 1/10000 of what was supplied. `told`: what the
    feeder's Reconciled logs say, None: the chain is asked. `settled`: by period, rows that were
    returned before and are to be asked again only where the log says something else.
    """
    names = ("period", "supplied_wh", "sold_wh", "missing", "spanning", "alarm")
    if told is None:
        event = ledgers.energy.events.Reconciled
        told = [log["args"] for log in chain.logs(event, deployment.from_block, feeder=feeder)]
    rows = {one["period"]: {**{name: one[name] for name in names}, "reconciled": True}
            for one in told}  # fmt: skip
    known = {p: row for p, row in (settled or {}).items()
             if p in rows and rows[p].items() <= row.items()}  # fmt: skip
    now_s = chain.block_time_s()
    last = deployment.periods.of(now_s) - 1
    functions = ledgers.energy.functions
    asked = {*rows, last} - known.keys()
    sums = {period: chain.call(functions.sums(feeder, period)) for period in asked}
    if last not in rows:
        missing = sums[last].expected - sums[last].closed + (not sums[last].own_closed)
        rows[last] = {
            "period": last,
            "supplied_wh": sums[last].supplied_wh,
            "sold_wh": sums[last].sold_wh,
            "missing": missing,
            "spanning": sums[last].spanning,
            "alarm": 0,
            "reconciled": False,
        }
    registry = ledgers.registry.functions
    since_s = chain.call(registry.served_since(feeder))
    deadline_s = chain.call(functions.closing_deadline_s())
    for period in asked:
        row = rows[period]
        row["tolerance_bp"] = chain.call(functions.tolerance_bp(feeder, period))
        start_s, end_s = (deployment.periods.start(number) for number in (period, period + 1))
        came = sums[period].expected - chain.call(registry.children_at(feeder, start_s))
        if not row["reconciled"]:
            row["reason"] = _waits(row["missing"], end_s + deadline_s, now_s)
        elif since_s >= start_s:
            row["reason"] = "the feeder was enrolled within the period"
        else:
            row["reason"] = _reason(row, came, own_closed=sums[period].own_closed)
    return [{"feeder": feeder, **rows[p], **known.get(p, {})} for p in sorted(rows)]


def _reason(row: dict[str, Any], came: int, *, own_closed: bool) -> str:
    """Return why the sums do not compare; `came`: how many meters more than at the start."""
    if came:
        what = f"enrolled: {came}" if came > 0 else f"retired: {-came}"
        return f"meters came or went within the period ({what})"
    if not own_closed:
        return NO_SUPPLY
    if row["missing"]:
        return f"closings are missing: {row['missing']}"
    if row["spanning"]:
        return f"closings that hold earlier periods, too: {row['spanning']}"
    return ""


def _waits(missing: int, until_s: int, now_s: int) -> str:
    if missing and now_s < until_s:
        until = datetime.fromtimestamp(until_s, UTC)
        return f"not reconciled yet: waits until {until:%Y-%m-%d %H:%M} UTC for closings"
    return "not reconciled yet"


def command(
    deployment: DeploymentFile,
    feeder: Annotated[int | None, typer.Option(help="Number of one feeder; default: all.")] = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show what each feeder was supplied and what was sold under it, and the ledger's alarms.

    Example: parwana balance --deployment build/demo/deployment.json
    """
    made = Deployment.load(deployment).on_energy_chain
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
    columns = ("feeder", "period", "supplied", "sold", "loss", "missing", "alarm")
    shown = table("Feeder balances", *columns)
    for row in rows:
        supplied, sold, reason = row["supplied_wh"], row["sold_wh"], row["reason"]
        alarm = ALARMS[row["alarm"]]
        if row["alarm"] in (THEFT, OVERBILLING):
            alarm = f"[red]{alarm}[/red]" + (f", but {reason}" if reason else "")
        elif reason:
            alarm = reason
        shown.add_row(
            f"{known[row['feeder']]} {row['feeder']}",
            made.periods.text(row["period"]),
            f"{supplied / 1000:.3f} kWh",
            f"{sold / 1000:.3f} kWh",
            f"{100 * (supplied - sold) / supplied:.2f} %" if supplied and not reason else "-",
            str(row["missing"]),
            alarm,
        )
    print_table(shown)
