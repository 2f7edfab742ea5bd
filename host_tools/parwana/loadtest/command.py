"""`parwana fleet`: the command line; fleet.py is what it runs."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from parwana.chain.deployment import Deployment
from parwana.chain.periods import DAY_S
from parwana.loadtest.crowd import Faults, Plan
from parwana.loadtest.figures import Figures
from parwana.loadtest.fleet import METERS_MOST, FleetError, enrol, place_of, report, run
from parwana.store.reader import Store
from parwana.world import wholefiles
from parwana.world.broker import parse_url
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, StoreUrl

DRAIN_S = 900  # and three quarters of an interval: for what came last


def command(
    deployment: DeploymentFile,
    meters: Annotated[int, typer.Option(min=1, max=METERS_MOST, help="How many.")] = 100,
    for_s: Annotated[
        int, typer.Option("--for", min=60, max=DAY_S, help="Seconds that they live.")
    ] = 3600,
    interval_s: Annotated[
        int, typer.Option("--interval", min=60, max=3600, help="Seconds; divides a day.")
    ] = 900,
    silent: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent that never have a network.")
    ] = 0,
    offline: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent without one for a while.")
    ] = 0,
    repeating: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent that send all frames twice.")
    ] = 0,
    killed: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent whose connection is reset at times.")
    ] = 0,
    broker_url: Annotated[
        str | None, typer.Option("--broker", help="mqtt://host:port; default: the deployment's.")
    ] = None,
    store_url: StoreUrl = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="To share the meters.")] = 1,
    mine: Annotated[
        bool, typer.Option("--i-own-this-broker", help="It may be one of another machine.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--report", help="File for the report.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate meters against a real broker and the relays behind it, and say how they fared.

    They run the firmware's uplink, sign with keys of their own, and are put into the store, which
    must hold no others; a relay of the same store answers them. PARWANA_CLOCK has all live faster.
    Exit code 3: what some of them measured did not arrive.

    Example: parwana fleet --deployment build/town/deployment.json --store sqlite:///fleet.db
    --meters 1000 --offline 5 --report fleet.json
    """
    found = Deployment.load(deployment)
    scheme, host, port, user, password = parse_url(broker_url or found.broker)
    if scheme != "mqtt":
        raise FleetError("simulated meters speak no TLS: give a listener without, by --broker")
    if DAY_S % interval_s:
        raise FleetError(f"--interval {interval_s} does not divide a day: give 60, 300, 900 …")
    address = place_of(host, mine)
    clock = WorldClock.from_environment()
    plan = Plan(
        utility_id=found.utility_id,
        host=address,
        port=port,
        user=user or "",
        password=password or "",
        seed=os.urandom(32),
        meters=meters,
        for_s=for_s,
        drain_s=DRAIN_S + interval_s,
        interval_s=interval_s,
        clock=clock,
        faults=Faults(silent / 100, offline / 100, repeating / 100, killed / 100),
    )
    store = Store(store_url or found.store)
    try:
        told = live(plan, store, processes, quiet=as_json)
    finally:
        store.close()
    text = json.dumps(told)
    if out:
        wholefiles.put(out, text.encode() + b"\n")
    if as_json:
        print(text)
    if not told["ok"]:
        raise typer.Exit(3)


def live(
    plan: Plan,
    store: Store,
    processes: int,
    *,
    quiet: bool,
    began: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Enrol a fleet, let it live, and return its report. Raises FleetError, StoreError.

    `began` is called when they all begin.
    """
    addresses = enrol(plan, store)
    console = Console(stderr=True)
    shows = Live(console=console) if console.is_terminal and not quiet else nullcontext()
    began_s = time.monotonic()
    with shows as screen:

        def tell(start_s: int, now: Figures) -> None:
            if screen is not None:
                screen.update(_table(plan, start_s, now))

        start_s, figures = run(plan, processes, tell, began)
    real_s = time.monotonic() - began_s
    stored = sum(last + 1 - first for a in addresses for first, last in store.runs(a))
    told = {**report(plan, start_s, figures, stored), "real_s": round(real_s, 1)}
    if not quiet:
        Console().print(_table(plan, start_s, figures))
        for name in ("messages_a_second", "hellos_a_second"):
            one = told[name]
            print(f"{name.replace('_', ' ')}: {one['most']} at most, {one['mean']} on average")
        if not told["ok"]:
            print(
                f"parwana: {told['waiting']} frames were not acknowledged, "
                f"{figures.acknowledged - stored} were and are not stored: is a relay running, "
                "with the same --store and --broker?",
                file=sys.stderr,
            )
    return told


def _table(plan: Plan, start_s: int, now: Figures) -> Table:
    """Return what is shown while meters live; times are of their life."""
    lived_s = min(plan.for_s, max(1, int(plan.clock.now()) - start_s))
    table = Table(show_header=False, title=f"{plan.meters} meters", title_justify="left")
    ack = now.ack_ms.told()
    for name, text in (
        ("lived", f"{lived_s} of {plan.for_s} s, {plan.clock.factor:g} times faster than life"),
        ("connected", f"{now.connected}, {now.sessions} sessions, {now.lost_sessions} lost"),
        ("sent", f"{now.sent} messages, {now.sent / lived_s:.1f}/s, {now.again} of them again"),
        ("hellos", f"{now.hellos}"),
        ("acknowledged after", "p50 {p50} ms, p90 {p90}, p99 {p99}, most {most}".format(**ack)),
        ("backlog", f"{now.waiting} frames, and {now.unheard} of silent meters"),
        ("signed", f"{now.signed} frames, {now.readings} of them readings"),
    ):
        table.add_row(name, text)
    return table
