"""`parwana tariff`: what energy costs, will cost, and what a household notices of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from parwana.chain.currency import Currency
from parwana.chain.periods import Period
from parwana.chain.tariff import OPEN_END_WH, Tariff, bill, read_tariff
from parwana.rights.office import Office, RightError, Yes, confirm
from parwana.world.options import DeploymentFile, Json, Key, Rpc
from parwana.world.tables import print_table, table

app = typer.Typer(
    help="Show the prices, check and announce new ones.",
    epilog="Example: parwana tariff check tariff.json --deployment town.json --kwh 90",
    no_args_is_help=True,
)
USUAL_KWH = (30.0, 100.0, 300.0)

File = Annotated[Path, typer.Argument(help="Slabs and charge, JSON as for `parwana deploy`.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="First period: 2027-01, 2027-01-15; default: the earliest."),
]
Kwh = Annotated[
    list[float] | None,
    typer.Option(min=0, max=1e9, help="Energy of a household in a period; may be repeated."),
]


def tariffs(office: Office) -> list[Tariff]:
    """Return all tariffs of a deployment, the first ones first. Raises ChainError."""
    functions, call = office.ledgers.payment.functions, office.chain.call
    found = [call(functions.tariff(i)) for i in range(call(functions.tariff_count()))]
    return [
        Tariff(
            one.from_period, [(s.upto_wh, s.price_per_kwh) for s in one.slabs], one.fixed_charge
        )
        for one in found
    ]


def in_force(known: list[Tariff], period: int) -> Tariff:
    """Return the tariff of a period."""
    return [one for one in known if one.from_period <= period][-1]


def earliest(office: Office, known: list[Tariff]) -> int:
    """Return the first period that a tariff announced now can be for. Raises ChainError."""
    notice = int(office.chain.call(office.ledgers.payment.functions.notice_periods()))
    now = office.deployment.periods.of(office.chain.block_time_s())
    return max(now + notice, known[-1].from_period + 1)


def planned(office: Office, file: Path, first: str | None) -> tuple[Tariff, Tariff]:
    """Return the tariff before, and the one that a file describes.

    Raises TariffError, PeriodError, ChainError, and RightError for too short a notice.
    """
    read_tariff(file)  # what is wrong with it is told first
    known = tariffs(office)
    periods, least = office.deployment.periods, earliest(office, known)
    period = periods.named(first) if first else least
    if period < least:
        last = known[-1].from_period
        why = "after the last one announced" if last + 1 == least else "the notice is kept"
        raise RightError(
            f"--from {first}: the earliest period is {periods.text(least)}, so that {why}"
        )
    return in_force(known, period), read_tariff(file, period)


def pays(tariff: Tariff, kwh: float) -> int:
    """Return what a household pays for `kwh` of one period, in the smallest unit."""
    return bill([tariff], round(kwh * 1000), tariff.from_period, 1)


@app.command()
def show(
    deployment: DeploymentFile, kwh: Kwh = None, rpc: Rpc = None, as_json: Json = False
) -> None:
    """Show the prices in force, and those announced.

    Example: parwana tariff show --deployment town.json --kwh 90
    """
    office = Office(deployment, rpc=rpc)
    known, periods, currency = tariffs(office), office.deployment.periods, office.currency()
    now = periods.of(office.chain.block_time_s())
    current = known.index(in_force(known, now))
    if as_json:
        first = periods.text(earliest(office, known)).split(" ")[0]
        rows = [_row(one, kwh or (), in_force=i == current) for i, one in enumerate(known)]
        print(json.dumps({"tariffs": rows, "earliest": int(first), "unit": currency.name}))
        return
    for one in known[current:]:
        _print(one, periods, currency, announced=one is not known[current])
        for amount in kwh or ():
            print(f"{amount:g} kWh in a period: {currency.text(pays(one, amount))}")
    least = earliest(office, known)
    print(f"a tariff announced now can be in force from {periods.text(least)} on")


@app.command()
def check(
    file: File,
    deployment: DeploymentFile,
    first: From = None,
    kwh: Kwh = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Say what a household will pay before and after a change; send nothing.

    Example: parwana tariff check tariff.json --deployment town.json --kwh 90 --kwh 250
    """
    office = Office(deployment, rpc=rpc)
    before, after = planned(office, file, first)
    _compare(office, before, after, kwh, as_json=as_json)


@app.command()
def announce(
    file: File,
    deployment: DeploymentFile,
    key: Key,
    first: From = None,
    kwh: Kwh = None,
    yes: Yes = False,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Announce a tariff for later periods. What was used before keeps its price.

    It cannot be taken back, only followed by another, for later periods still.

    Example: parwana tariff announce tariff.json --deployment town.json --key utility.json
    """
    office = Office(deployment, key, rpc)
    office.check_utility(office.ledgers.payment)
    before, after = planned(office, file, first)
    text = office.deployment.periods.text(after.from_period)
    if not as_json:
        _compare(office, before, after, kwh, as_json=False)
    confirm(f"Announce it from period {text} on?", yes=yes or as_json)
    functions = office.ledgers.payment.functions
    office.send(functions.announce_tariff(after.from_period, after.slabs, after.fixed_charge))
    if as_json:
        _compare(office, before, after, kwh, as_json=True)
    else:
        print(f"announced, in force from period {text} on")


def _compare(
    office: Office, before: Tariff, after: Tariff, kwh: list[float] | None, *, as_json: bool
) -> None:
    amounts = [(one, pays(before, one), pays(after, one)) for one in kwh or USUAL_KWH]
    if as_json:
        rows = [{"kwh": one, "before": old, "after": new} for one, old, new in amounts]
        print(json.dumps({"from_period": after.from_period, "households": rows}))
        return
    currency, periods = office.currency(), office.deployment.periods
    _print(after, periods, currency, announced=True)
    shown = table("What a household pays for a period", "energy", "before", "after", "change")
    for one, old, new in amounts:
        change = f"{100 * (new - old) / old:+.1f} %" if old else "-"
        shown.add_row(f"{one:g} kWh", currency.text(old), currency.text(new), change)
    print_table(shown)


def _row(one: Tariff, kwh: Any, *, in_force: bool) -> dict[str, Any]:
    return {
        "from_period": one.from_period,
        "in_force": in_force,
        "slabs": [
            {"upto_wh": None if upto == OPEN_END_WH else upto, "price_per_kwh": price}
            for upto, price in one.slabs
        ],
        "fixed_charge": one.fixed_charge,
        "households": [{"kwh": amount, "pays": pays(one, amount)} for amount in kwh],
    }


def _print(one: Tariff, periods: Period, currency: Currency, *, announced: bool) -> None:
    if not announced:
        title = "In force" if one.from_period else "In force since the contracts are there"
    else:
        day = datetime.fromtimestamp(periods.start(one.from_period) + periods.utc_offset_s, UTC)
        title = f"From period {periods.text(one.from_period)}, {day:%Y-%m-%d %H:%M} local time"
    shown = table(title, "above", "up to", "a kWh")
    below = 0
    for upto, price in one.slabs:
        end = "-" if upto == OPEN_END_WH else f"{upto / 1000:g} kWh"
        shown.add_row(f"{below / 1000:g} kWh", end, currency.text(price))
        below = upto
    print_table(shown)
    print(f"fixed charge for a period: {currency.text(one.fixed_charge)}")
