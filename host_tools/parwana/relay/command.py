"""`parwana relay`: the command line; service.py is what it runs."""

import gc
import json
import logging
import threading
from dataclasses import asdict
from typing import Annotated, Any

import typer

from parwana.relay.waits import GATHER_S, ROOT_WAIT_MOST_S, ROOT_WAIT_S
from parwana.world import logs
from parwana.world.clock import WorldClock
from parwana.world.ending import set_on_signals
from parwana.world.options import (
    DeploymentFile,
    EnergyRpc,
    FeeCap,
    LogForm,
    LogLevel,
    MetricsPlace,
    Rpc,
    SpendCap,
    StoreUrl,
)

log = logging.getLogger("parwana.relay")


def command(
    deployment: DeploymentFile,
    broker_url: Annotated[
        str | None, typer.Option("--broker", help="mqtt://host:port; default: the deployment's.")
    ] = None,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    key: Annotated[
        str | None, typer.Option(help="Key file (or dev:N) that pays for landing closings.")
    ] = None,
    spend_cap: SpendCap = None,
    fee_cap: FeeCap = None,
    once: Annotated[
        bool, typer.Option("--once", help="Only land what the store holds, then stop.")
    ] = False,
    gather: Annotated[
        int,
        typer.Option(min=0, help="Seconds that a feeder's closings wait for its other meters'."),
    ] = GATHER_S,
    root_wait: Annotated[
        int,
        typer.Option(
            min=0,
            max=ROOT_WAIT_MOST_S,
            help="Seconds after a day's end at which its Merkle root is landed.",
        ),
    ] = ROOT_WAIT_S,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between reports.")] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Report on stdout, each time, as a line of JSON.")
    ] = False,
    log_level: LogLevel = logs.Level.INFO,
    log_form: LogForm = logs.Form.TEXT,
    metrics: MetricsPlace = None,
) -> None:
    """Carry readings from the broker to the store and the chain, and permits back to the meters.

    Without --key it lands nothing, and somebody else's relay must. Several relays may share one
    broker and one PostgreSQL; end it with Ctrl-C or SIGTERM.

    Example: parwana relay --deployment build/town/deployment.json --key relay.json
    """
    # Imported now: --help and what is wrong on the command line need no chain.
    from parwana.chain.deployment import Deployment
    from parwana.chain.keys import resolve
    from parwana.chain.limits import Limits
    from parwana.chain.node import Chain
    from parwana.relay.follower import Follower
    from parwana.relay.metrics import PREFIX, watch
    from parwana.relay.service import landings_of, run
    from parwana.store.reader import Store
    from parwana.world.metrics import Metrics, served
    from parwana.world.progress import shown

    logs.start(log_level, log_form)
    found = Deployment.load(deployment)
    payer = resolve(key) if key else None
    there = found.on_energy_chain
    bounds, bounds_there = (Limits.parse(spend_cap, fee_cap, f.coin) for f in (found, there))
    clock = WorldClock.from_environment()

    def connect() -> Chain:
        return Chain.of(found, payer, rpc, bounds)

    def connect_there() -> Chain:
        return Chain.of(there, payer, energy_rpc, bounds_there)

    connect_energy = connect_there if found.energy else None

    said = ""

    def report(state: dict[str, Any]) -> None:
        nonlocal said
        if as_json or once:
            print(json.dumps(state) if as_json else f"relay: {_line(state)}", flush=True)
        elif (line := _line(state)) != said:
            log.info("%s", line)
            said = line

    store = Store(store_url or found.store, patient=not once)
    stop = threading.Event()
    try:
        if once:
            Follower(found, store, connect, lambda _meter, _bundle: None).step()
            with shown() as told:
                at_once = connect, connect_energy, clock.now, 0, 0, told
                landings = landings_of(found, store, *at_once)
                done = [asdict(landing.step()) for landing in landings.values()]
            report({name: sum(one[name] for one in done) for name in done[0]})
            return
        set_on_signals(stop)
        figures = Metrics(PREFIX)
        gc.collect()
        gc.freeze()  # what was imported is no garbage, and takes 60 ms to look through
        with served(metrics, figures):
            run(
                found,
                broker_url=broker_url or found.broker,
                store=store,
                connect=connect,
                land=payer is not None,
                stop=stop,
                clock=clock,
                report=report,
                report_s=every,
                gather_s=gather,
                root_wait_s=root_wait,
                connect_energy=connect_energy,
                watch=lambda state: watch(figures, state),
            )
    finally:
        store.close()


def _line(state: dict[str, Any]) -> str:
    """Return the counters that are not zero as one line; what fails has lines of its own."""
    parts = [f"{name} {value}" for name, value in state.items() if type(value) is int and value]
    from parwana.relay.gathering import Wait

    for of in state.get("progress", {}).values():
        parts += [f"landing {what}: {done} of {total}" for what, (done, total) in of.items()]
    parts += [str(Wait(**wait)) for wait in state.get("waiting", ())]
    parts += [f"{name} failing" for name in state.get("failures", {})]
    return ", ".join(parts or ["nothing yet"])
