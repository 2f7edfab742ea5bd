"""`parwana losses`: what a feeder loses, why, and where to look first."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from typer.core import TyperGroup

from parwana.chain.deployment import Deployment
from parwana.losses import alone, inspections, plot, words
from parwana.losses.readings import ReadingsError, read
from parwana.losses.series import DAY_S, Series
from parwana.losses.verdict import Verdict, judge
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.options import LARGEST_NUMBER, DeploymentFile, Json, StoreUrl

WINDOW_DAYS = 30
LEARN_DAYS = 60


class LossesError(ValueError):
    """What was asked for cannot be answered; the text says what to write."""


class _Losses(TyperGroup):
    """`parwana losses 100` is `parwana losses feeder 100`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take a number for the feeder's."""
        if args and args[0].isdigit():
            args = ["feeder", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Losses,
    no_args_is_help=True,
    help="Say what a feeder loses, why, and where to look first; or keep what was found there.",
    epilog="Example: parwana losses 100 --deployment town.json",
)


@app.command("feeder")
def feeder_command(
    feeder: Annotated[int, typer.Argument(help="Number of the feeder.")],
    deployment: DeploymentFile,
    from_: Annotated[
        str, typer.Option("--from", help="Local date, or date and time; default: 30 days ago.")
    ] = "",
    to: Annotated[str, typer.Option("--to", help="The same; default: the last reading.")] = "",
    learn_from: Annotated[
        str,
        typer.Option(help="Where the quiet time begins that it learns from; default: 60 days."),
    ] = "",
    by_itself: Annotated[
        bool,
        typer.Option("--alone", help="No quiet time is known: tell what the window says itself."),
    ] = False,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Also draw the evidence, as an SVG file.")
    ] = None,
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Say what a feeder loses and why, and where to look first.

    It learns the feeder's losses and voltages from a quiet time before --from, and judges what
    came after. All of it comes from the store. It names a house only where the evidence
    reaches 95 %, and no more than one honest feeder in a thousand each month.

    Example: parwana losses 100 --deployment town.json --plot feeder-100.svg
    """
    made = Deployment.load(deployment)
    store = Store(store_url or made.store, create=False)
    try:
        end_s = _time(to, made, "--to") or int(WorldClock.from_environment().now())
        begin_s = _time(from_, made, "--from") or end_s - WINDOW_DAYS * DAY_S
        learn_s = _time(learn_from, made, "--learn-from") or begin_s - LEARN_DAYS * DAY_S
        if not learn_s < begin_s < end_s:
            raise LossesError("--learn-from, --from and --to must follow one another in time")
        series = read(store, feeder, begin_s if by_itself else learn_s, end_s)
        known = store.inspections()
    finally:
        store.close()
    if by_itself:
        found = alone.look(series)
        if as_json:
            named = [meter.number for meter in found.named]
            print(json.dumps({"feeder": feeder, "named": named, **_plain(asdict(found))}))
        else:
            print("\n".join(words.alone(feeder, found)))
        return
    reference, window = series.between(learn_s, begin_s), series.between(begin_s, end_s)
    for name, part, option in (
        ("to learn from", reference, "--learn-from"),
        ("in the window", window, "--from"),
    ):
        if len(part.complete()) < 2:
            raise ReadingsError(
                f"feeder {feeder} has no complete interval {name}; change {option}, or see in "
                "`parwana meters` who is silent"
            )
    verdict = judge(reference, window, prior=inspections.prior(known, begin_s))
    if plot_file is not None:
        plot_file.write_text(plot.svg(feeder, series, begin_s, verdict))
    if as_json:
        print(json.dumps(_told(feeder, series, begin_s, verdict)))
        return
    zone = timezone(timedelta(seconds=made.utc_offset_s))
    print("\n".join(words.report(feeder, reference, window, verdict, zone)))


@app.command("inspected")
def inspected_command(
    number: Annotated[
        int, typer.Argument(min=1, max=LARGEST_NUMBER, help="Number of the point looked at.")
    ],
    deployment: DeploymentFile,
    found: Annotated[str, typer.Option(help=f"One of {', '.join(inspections.FINDINGS)}.")],
    at: Annotated[str, typer.Option(help="Local date, or date and time; default: now.")] = "",
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Keep what an inspection found, so that the next verdict knows of it.

    Example: parwana losses inspected 104 --found bypass --deployment town.json
    """
    if found not in inspections.FINDINGS:
        raise LossesError(f"--found {found}: write one of {', '.join(inspections.FINDINGS)}")
    made = Deployment.load(deployment)
    at_s = _time(at, made, "--at") or int(WorldClock.from_environment().now())
    store = Store(store_url or made.store, create=False)
    try:
        if number not in {row.number for row in store.meters()}:
            raise LossesError(f"no point {number} in the store; `parwana meters` lists them")
        with store.transaction() as tx:
            tx.add_inspection(number, at_s, found)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"number": number, "at_s": at_s, "found": found}))
    else:
        print(f"kept: {found} at {number}, {datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC")


def _time(text: str, made: Deployment, option: str) -> int:
    """Return a local time in Unix seconds, 0 for an empty text. Raises LossesError."""
    if not text:
        return 0
    try:
        local = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise LossesError(
            f"{option} {text}: write a date as 2026-01-31, or 2026-01-31T18:00"
        ) from None
    return int(local.timestamp()) - made.utc_offset_s


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold: no NaN."""
    for meter in values["meters"]:
        meter["mirror"] = None if np.isnan(meter["mirror"]) else meter["mirror"]
    return values


def _told(feeder: int, series: Series, from_s: int, verdict: Verdict) -> dict[str, Any]:
    told = asdict(verdict)
    told["daily_w"] = [round(float(watts), 2) for watts in verdict.daily_w]
    return {"feeder": feeder, "from_s": from_s, "to_s": int(series.end_s[-1]), **told}
