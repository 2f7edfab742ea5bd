"""`parwana tolerance`: by how much a feeder's sums may differ before there is an alarm."""

import json
from decimal import Decimal
from typing import Annotated

import typer

from parwana.chain.points import feeders
from parwana.rights.office import Office, RightError
from parwana.world.options import DeploymentFile, Json, Key, Rpc
from parwana.world.tables import print_table, table

app = typer.Typer(
    help="Show or set by how much a feeder's sums may differ.",
    epilog="Example: parwana tolerance show --deployment town.json",
    no_args_is_help=True,
)
MOST_BP = 2000


@app.command()
def show(deployment: DeploymentFile, rpc: Rpc = None, as_json: Json = False) -> None:
    """Show each feeder's tolerance, of this period and the next.

    Example: parwana tolerance show --deployment town.json
    """
    office = Office(deployment, rpc=rpc, energy=True)
    energy, periods = office.ledgers.energy.functions, office.deployment.periods
    now = periods.of(office.chain.block_time_s())
    known = feeders(office.chain, office.ledgers, office.deployment.from_block)
    rows = {
        feeder: [office.chain.call(energy.tolerance_bp(feeder, now + i)) for i in (0, 1)]
        for feeder in sorted(known)
    }
    default = office.chain.call(energy.default_tolerance_bp())
    if as_json:
        found = [{"feeder": f, "tolerance_bp": a, "next_bp": b} for f, (a, b) in rows.items()]
        print(json.dumps({"default_bp": default, "feeders": found}))
        return
    shown = table("Tolerance of feeders", "feeder", periods.text(now), periods.text(now + 1))
    for feeder, (this, following) in rows.items():
        shown.add_row(f"{known[feeder]} {feeder}", _text(this), _text(following))
    print_table(shown)
    print(f"of a feeder for which none was set: {_text(default)}")


@app.command("set")
def set_(
    deployment: DeploymentFile,
    key: Key,
    feeder: Annotated[int, typer.Option(help="Number of the feeder.")],
    percent: Annotated[str, typer.Option(help="Of what is supplied, 0 to 20, as 3.5.")],
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Set a feeder's tolerance from the next period on; the running one keeps its own.

    Example: parwana tolerance set --deployment town.json --key utility.json --feeder 100
    --percent 4
    """
    office = Office(deployment, key, rpc, energy=True)
    tolerance_bp = read_percent(percent)
    office.check_utility(office.ledgers.registry)
    known = feeders(office.chain, office.ledgers, office.deployment.from_block)
    if feeder not in known:
        there = ", ".join(str(number) for number in sorted(known)) or "none yet"
        raise RightError(f"no feeder {feeder}; there are: {there}")
    receipt = office.send(office.ledgers.energy.functions.set_tolerance(feeder, tolerance_bp))
    [log] = office.ledgers.energy.events.ToleranceSet().process_receipt(receipt)
    period = log["args"]["from_period"]
    if as_json:
        found = {"feeder": feeder, "tolerance_bp": tolerance_bp, "from_period": period}
        print(json.dumps(found))
    else:
        text = office.deployment.periods.text(period)
        print(f"feeder {feeder}: {_text(tolerance_bp)} from period {text} on")


def read_percent(text: str) -> int:
    """Return a percentage in 1/10000, 0 to 2000. Raises RightError."""
    try:
        value = Decimal(text) * 100
        if 0 <= value <= MOST_BP and value == int(value):
            return int(value)
    except ArithmeticError:  # no number, or one that no computer holds
        pass
    raise RightError(f"--percent {text}: write 0 to 20, with two decimals at most")


def _text(tolerance_bp: int) -> str:
    return f"{tolerance_bp / 100:g} %"
