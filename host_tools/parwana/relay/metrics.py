"""What a relay tells Prometheus, from the state that it reports."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric

from parwana.world.metrics import Metrics

PREFIX = "parwana_relay"
PARTS = ("broker", "store", "permits", "answers", "pieces", "chain", "trust", "updates", "landing")
NEEDED = ("broker", "store")  # to carry readings; the rest catches up once it works again
COUNTERS = {
    "messages": "Payloads taken from the broker.",
    "hellos": "Hellos of meters.",
    "frames_new": "Signed readings and events that were new, and are stored.",
    "frames_repeated": "Signed readings and events that were stored already.",
    "contradictions": "Frames that contradict another of their sequence.",
    "quarantined": "Payloads that were not believed.",
    "answers": "Answers that the broker took.",
    "permits_delivered": "Permits that the broker took.",
    "pieces": "Pieces of updates that the broker took.",
    "denied": "Publishes that the broker denied.",
    "closings": "Closings landed on a chain.",
    "bills": "Bills landed on the chain.",
    "balances": "Feeder balances landed on the chain.",
    "roots": "Daily roots landed on the chain.",
    "store_failures": "Failures of the store.",
    "chain_failures": "Failures of a chain, or of its nodes.",
    "dropped": "Payloads of QoS 0 dropped unread: too many waited.",
}


def watch(metrics: Metrics, state: Callable[[], dict[str, Any]]) -> None:
    """Have the metrics look at a relay's state."""

    def collect() -> Iterator[Metric]:
        now = state()
        yield from metrics.counters(COUNTERS, now)
        connected = "1 while the broker sends what meters publish."
        yield metrics.gauge("broker_connected", connected, now["broker"])
        waits = "Feeders whose closings wait for other meters' of theirs."
        yield metrics.gauge("feeders_waiting", waits, len(now["waiting"]))
        yield metrics.failing(PARTS, now["failures"])

    def lacking() -> Mapping[str, str]:
        now = state()
        away = {} if now["broker"] else {"broker": "is not connected"}
        return away | {part: why for part, why in now["failures"].items() if part in NEEDED}

    metrics.add(collect)
    metrics.lacking = lacking
