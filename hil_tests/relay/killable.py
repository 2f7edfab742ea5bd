"""A relay to be killed: `parwana relay` without its patience."""

import threading
from pathlib import Path

from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay import service, shared
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.ending import set_on_signals


def relay(path: Path, broker: str, store: str, key: int) -> int:
    """Run until SIGTERM; return the exit code."""
    stop, made, opened = threading.Event(), Deployment.load(path), Store(store, patient=True)
    set_on_signals(stop)
    shared.LEASE_S = 20  # less than who waits for another relay has patience
    service.run(
        made,
        broker_url=broker,
        store=opened,
        connect=lambda: Chain.of(made, dev_key(key)),
        land=True,
        stop=stop,
        clock=WorldClock.from_environment(),
        report=lambda _: None,
        pause_s=0.1,
        report_s=0.1,
        gather_s=0,
    )
    opened.close()
    return 0
