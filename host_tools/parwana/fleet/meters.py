"""`parwana meters`: list the meters of a utility."""

import csv
import json
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from parwana.chain.deployment import Deployment
from parwana.chain.periods import DAY_S
from parwana.fleet.rows import Row, read
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.options import SILENT_S, DeploymentFile, Json, SilentAfter, StoreUrl
from parwana.world.tables import print_table, table


class Kind(StrEnum):
    """What --kind takes."""

    HOUSE = "house"
    TRANSFORMER = "transformer"
    PLANT = "plant"


class Contactor(StrEnum):
    """What --contactor takes."""

    CLOSED = "closed"
    OPEN = "open"


def command(
    deployment: DeploymentFile,
    number: Annotated[
        list[int] | None, typer.Option(help="Only this point; may be repeated.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    feeder: Annotated[int | None, typer.Option(help="Only those on this feeder, 0: none.")] = None,
    contactor: Annotated[
        Contactor | None, typer.Option(help="Only closed, or open, ones.")
    ] = None,
    alarms: Annotated[bool, typer.Option("--alarms", help="Only those with an alarm.")] = False,
    ends_within: Annotated[
        int | None, typer.Option(min=0, help="Only those whose permit ends within so many days.")
    ] = None,
    silent_after: SilentAfter = SILENT_S,
    retired: Annotated[bool, typer.Option("--retired", help="Also those out of service.")] = False,
    store_url: StoreUrl = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, with a header.")] = False,
    as_json: Json = False,
) -> None:
    """List the meters: last heard, last reading, permit, firmware, contactor, alarms.

    All of it comes from the store; neither chain nor broker is asked. Times are UTC.

    Example: parwana meters --deployment town.json --feeder 100 --alarms
    """
    made, now_s = Deployment.load(deployment), int(WorldClock.from_environment().now())
    store = Store(store_url or made.store, create=False)
    try:
        rows = read(store, now_s, silent_after)
    finally:
        store.close()
    until_s = None if ends_within is None else now_s + ends_within * DAY_S
    shown = [
        row
        for row in rows
        if (row.in_service or retired)
        and (not number or row.number in number)
        and kind in (None, row.kind)
        and feeder in (None, row.feeder)
        and contactor in (None, row.contactor)
        and (row.alarms or not alarms)
        and (until_s is None or 0 < row.permit_end_s <= until_s)
    ]
    if as_csv:
        writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows({**asdict(row), "alarms": "; ".join(row.alarms)} for row in shown)
    elif as_json:
        print(json.dumps([asdict(row) for row in shown]))
    else:
        _print(shown, len(rows) if retired else sum(row.in_service for row in rows))


def _print(rows: list[Row], count: int) -> None:
    columns = ("number", "kind", "feeder", "meter", "heard", "reading", "register", "power")
    more = ("permit", "ends", "firmware", "contactor", "alarms")
    shown = table("Meters", *columns, *more)
    for row in rows:
        shown.add_row(
            str(row.number),
            row.kind if row.in_service else f"{row.kind}, retired",
            str(row.feeder or "-"),
            row.meter,
            _utc(row.heard_s),
            _utc(row.reading_s),
            f"{row.energy_wh / 1000:.3f} kWh" if row.reading_s else "-",
            f"{row.power_dw / 10:.1f} W" if row.reading_s else "-",
            str(row.permit_serial or "-"),
            _utc(row.permit_end_s),
            row.version or "-",
            f"{row.contactor}, {row.control}" if row.contactor else "-",
            ", ".join(row.alarms) or "-",
        )
    print_table(shown)
    print(f"{len(rows)} of {count} meters, {sum(bool(row.alarms) for row in rows)} with an alarm")


def _utc(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M}" if time_s else "-"
