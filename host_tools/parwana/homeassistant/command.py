"""`parwana homeassistant`: the command line; service.py is what it runs."""

import threading
import time
from typing import Annotated

import typer

from parwana.world import logs
from parwana.world.clock import WorldClock
from parwana.world.ending import set_on_signals
from parwana.world.options import DeploymentFile, LogForm, LogLevel, Rpc, StoreUrl

STALE_S = 2100  # two quarters of an hour and five minutes
_WAIT_S = 30
_GONE_S = 2  # in which Home Assistant removes an entity


def command(
    deployment: DeploymentFile,
    broker: Annotated[
        str, typer.Option(help="Home Assistant's broker, as mqtt://user:password@host:1883.")
    ],
    number: Annotated[
        list[int] | None, typer.Option(help="Only this point; may be repeated. Default: all.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Home Assistant's discovery prefix.")
    ] = "homeassistant",
    topic: Annotated[str, typer.Option(help="Begins the topics of the states.")] = "parwana/home",
    stale_after: Annotated[
        int, typer.Option(min=60, help="Seconds after which a reading says nothing of now.")
    ] = STALE_S,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between looks at the store.")
    ] = 5.0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove all that was shown, and stop.")
    ] = False,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    log_level: LogLevel = logs.Level.INFO,
    log_form: LogForm = logs.Form.TEXT,
) -> None:
    """Show meters in Home Assistant, by MQTT discovery; it only reads. End it with Ctrl-C.

    One for a utility and a broker: it removes what is out of service, or no longer named here.

    Example: parwana homeassistant --deployment town.json --number 17 --broker mqtt://127.0.0.1
    """
    # Imported now: --help and what is wrong on the command line need no chain.
    from parwana.chain.deployment import Deployment
    from parwana.chain.node import Chain
    from parwana.homeassistant.bridge import Bridge
    from parwana.homeassistant.service import Dues, run
    from parwana.store.reader import Store

    logs.start(log_level, log_form)
    made = Deployment.load(deployment)
    bridge = Bridge(broker, made.utility_id, prefix.strip("/"), topic.strip("/"))
    if remove:
        bridge.start()
        try:
            bridge.wait(_WAIT_S)
            for name in bridge.shown():
                bridge.forget(name)
            time.sleep(_GONE_S)
            bridge.clear()
        finally:
            bridge.stop()
        return
    stop = threading.Event()
    set_on_signals(stop)
    store = Store(store_url or made.store, patient=True)
    try:
        run(
            bridge,
            store,
            Dues(made, lambda: Chain.of(made, rpc=rpc)),
            number or [],
            now=WorldClock.from_environment().now,
            stale_s=stale_after,
            every_s=every,
            stop=stop,
        )
    finally:
        store.close()
