"""What a signer tells Prometheus."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from parwana.permits.service import Chore
from parwana.permits.signer import Progress
from parwana.world.metrics import Metrics

PREFIX = "parwana_signer"
COUNTERS = {
    "signed": "Permits signed.",
    "claimed": "Payments claimed with their permits.",
    "times": "Frames of signed time published.",
}


def watch(metrics: Metrics, chores: Sequence[Chore]) -> None:
    """Have the metrics look at the parts of a signer. It is ready while none of them fails."""

    def failures() -> Mapping[str, str]:
        return {chore.name: chore.trouble.text for chore in chores if chore.trouble.text}

    def collect() -> Iterator[Metric]:
        done = Progress()
        for chore in chores:
            done = done.then(chore.done)
        yield from metrics.counters(COUNTERS, vars(done))
        waits = "Payments that are final and wait for their permits."
        yield metrics.gauge("payments_waiting", waits, chores[0].done.waiting)
        yield metrics.failing([chore.name for chore in chores], failures())

    metrics.add(collect)
    metrics.lacking = failures
