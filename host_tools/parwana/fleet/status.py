"""`parwana status`: one screen for people, an exit code for monitoring."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError
from parwana.fleet import parts
from parwana.fleet.parts import OK, WAITS, WRONG, Limits, Line
from parwana.fleet.rows import Row, read
from parwana.rights.office import Office
from parwana.store.reader import Store, StoreError
from parwana.world.clock import WorldClock
from parwana.world.logs import redacted
from parwana.world.options import (
    SILENT_S,
    DeploymentFile,
    EnergyRpc,
    Json,
    Rpc,
    SilentAfter,
    StoreUrl,
)
from parwana.world.tables import print_table, table

FOUND = 3  # exit code, as of `parwana audit`
_COLOURS = {OK: "green", WAITS: "yellow", WRONG: "red"}


def command(
    deployment: DeploymentFile,
    late: Annotated[
        int, typer.Option(min=1, help="Seconds after which what should go on is wrong.")
    ] = 3600,
    silent_after: SilentAfter = SILENT_S,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    as_json: Json = False,
) -> None:
    """Say whether chain, broker, store, relays, signers and meters work, and what waits.

    Exit code 0: nothing is wrong, something may wait; 3: something is wrong; 1: it cannot be told.

    Example: parwana status --deployment town.json
    """
    made = Deployment.load(deployment)
    limits = Limits(int(WorldClock.from_environment().now()), late, silent_after)
    offices = {"chain": lambda: Office(deployment, rpc=rpc)}
    if made.energy:
        offices["energy chain"] = lambda: Office(deployment, rpc=energy_rpc, energy=True)
    lines = list(look(made, limits, store_url or made.store, offices))
    wrong = [line for line in lines if line.state == WRONG]
    if as_json:
        print(json.dumps({"ok": not wrong, "lines": [asdict(line) for line in lines]}))
    else:
        _print(lines, made, limits)
    if wrong:
        raise typer.Exit(FOUND)


def look(
    made: Deployment,
    limits: Limits,
    store_url: str,
    connect: dict[str, Callable[[], Office]],
    known: list[Row] | None = None,
) -> Iterator[Line]:
    """Give what each part says; one that is away is a line, and keeps the others from nothing.

    `connect`: the chain, and where balances are on another the energy chain. `known`: the meters,
    if they were just read.
    """
    store = None
    rows: list[Row] = known or []
    reached: dict[str, Office] = {}
    for name, reach in connect.items():
        try:
            there = reach()
            yield from parts.chain(there.chain, limits, name)
            reached[name] = there
        except ChainError as error:
            yield Line(name, WRONG, redacted(str(error)))
    office, energy = reached.get("chain"), reached.get(list(connect)[-1])
    yield from parts.broker(made)
    try:
        store = Store(store_url, create=False)
        if known is None:
            rows = read(store, limits.now_s, limits.silent_s)
        yield Line("store", OK, store.name)
    except StoreError as error:
        yield Line("store", WRONG, redacted(str(error)))
        if store:
            store.close()
        store = None
    try:
        if store:
            yield from _guarded("meters", lambda: parts.meters(rows, limits))
            yield from _guarded("permits", lambda: parts.permits(store, rows, limits))
        if store and energy:
            yield from _guarded("closings", lambda: parts.closings(energy, rows, limits))
        if store and office:
            yield from _guarded("relay", lambda: parts.relays(store, office.chain, limits))
            yield from _guarded("signers", lambda: parts.signers(office, store, limits))
            yield from _guarded("payments", lambda: parts.payments(office, store, limits))
        if office:
            yield from _guarded("utility", lambda: parts.utility(office))
    finally:
        if store:
            store.close()


def _guarded(part: str, check: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """Give a check's lines; what it needed may have gone since."""
    try:
        yield from check()
    except (ChainError, StoreError) as error:
        yield Line(part, WRONG, redacted(str(error)))


def _print(lines: list[Line], made: Deployment, limits: Limits) -> None:
    now = f"{datetime.fromtimestamp(limits.now_s, UTC):%Y-%m-%d %H:%M} UTC"
    shown = table(f"{made.utility_id}, {now}", "part", "state", "since (UTC)", "")
    shown.columns[-1].justify = "left"
    for line in lines:
        since = datetime.fromtimestamp(line.since_s, UTC) if line.since_s else None
        shown.add_row(
            line.part,
            f"[{_COLOURS[line.state]}]{line.state}[/]",
            f"{since:%Y-%m-%d %H:%M}" if since else "-",
            line.text.replace("[", r"\["),
        )
    print_table(shown)
    counts = [sum(line.state == state for line in lines) for state in (WRONG, WAITS)]
    print(f"{counts[0] or 'nothing'} wrong, {counts[1] or 'nothing'} waits")
