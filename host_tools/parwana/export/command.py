"""`parwana export`: readings of the store as a file."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from parwana.chain.deployment import Deployment
from parwana.export.job import Format, Question, write
from parwana.export.selection import ExportError, chosen, instant
from parwana.store.reader import Store
from parwana.world import progress
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, StoreUrl


def command(
    deployment: DeploymentFile,
    out: Annotated[Path, typer.Option(help="File to write.")],
    kind: Annotated[Format, typer.Option("--format", help="What kind of file.")] = Format.CSV,
    meter: Annotated[
        list[str] | None, typer.Option(help="Only this meter, 40 hex digits; may be repeated.")
    ] = None,
    number: Annotated[
        list[int] | None, typer.Option(help="Only this point; may be repeated.")
    ] = None,
    feeder: Annotated[
        int | None, typer.Option(help="Only this feeder: its own meter and those on it.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="A date, month or time, the utility's; or Unix seconds.")
    ] = "0",
    end: Annotated[
        str | None, typer.Option("--to", help="As --from, excluded: a day is from it to the next.")
    ] = None,
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Write the readings of a meter, a feeder or all, of a time, as CSV, Green Button or Parquet.

    All of it comes from the store. One that was broken off goes on where it was: the same line
    again.

    Example: parwana export --deployment town.json --feeder 100 --from 2027-01 --to 2027-02
    --format greenbutton --out january.xml
    """
    made = Deployment.load(deployment)
    now_s = int(WorldClock.from_environment().now())
    after_s, until_s = (
        instant(text, made.utc_offset_s) if text is not None else None for text in (start, end)
    )
    if until_s is not None and after_s is not None and until_s <= after_s:
        raise ExportError("--to is not after --from")
    store = Store(store_url or made.store, create=False)
    try:
        points = chosen(store, [_address(text) for text in meter or ()], number or (), feeder)
        addresses = [point.address for point in points]
        question = Question(
            made.utility_id, made.utc_offset_s, kind, addresses, after_s or 0, until_s
        )
        with progress.shown() as told:
            count, span = write(question, store, points, out, now_s, told)
    finally:
        store.close()
    if as_json:
        said = {"file": str(out), "meters": len(points), "readings": count}
        print(json.dumps(said | {"from_s": span.after_s, "to_s": span.until_s}))
        return
    until = datetime.fromtimestamp(span.until_s, UTC)
    print(f"{out}: {count} readings of {len(points)} meters, until {until:%Y-%m-%d %H:%M} UTC")


def _address(text: str) -> bytes:
    try:
        address = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        address = b""
    if len(address) != 20:
        raise ExportError(f"--meter {text}: write 40 hex digits, as on the meter's label")
    return address
