"""What a relay and a signer tell Prometheus: every counter has its words, every part its gauge."""

from dataclasses import asdict, fields
from typing import Any

from hil_tests.world.test_metrics import read
from parwana.permits import metrics as of_signers
from parwana.permits.service import Chore
from parwana.permits.signer import Progress
from parwana.relay.intake import Counters
from parwana.relay.metrics import COUNTERS, PREFIX, watch
from parwana.store.reader import StoreAway
from parwana.world.metrics import Metrics


def test_all_that_a_relay_counts_is_told() -> None:
    assert list(COUNTERS) == [field.name for field in fields(Counters)]


def test_a_relay_is_ready_when_it_carries_readings() -> None:
    state: dict[str, Any] = {"broker": True, **asdict(Counters(frames_new=3, bills=1))}
    state |= {"waiting": [{}], "failures": {"chain": "away"}}
    metrics = Metrics(PREFIX)
    watch(metrics, lambda: state)
    seen = read(metrics.answer("/metrics").body.decode())
    assert seen["parwana_relay_frames_new_total"] == 3
    assert seen["parwana_relay_bills_total"] == 1
    assert seen["parwana_relay_broker_connected"] == 1
    assert seen["parwana_relay_feeders_waiting"] == 1
    assert seen["parwana_relay_failing{part=chain}"] == 1
    assert seen["parwana_relay_failing{part=store}"] == 0
    assert metrics.answer("/readyz").status == 200
    state["failures"] = {"store": "is away", "chain": "away"}
    assert metrics.answer("/readyz").body == b"store: is away\n"
    state |= {"broker": False, "failures": {}}
    assert metrics.answer("/readyz").body == b"broker: is not connected\n"


def test_a_signer_tells_what_it_did_in_all_and_what_fails() -> None:
    away = False

    def step() -> Progress:
        if away:
            raise StoreAway("is away")
        return Progress(signed=1, claimed=2, waiting=4)

    chores = [Chore("permits", step), Chore("time", lambda: Progress(times=1))]
    metrics = Metrics(of_signers.PREFIX)
    of_signers.watch(metrics, chores)
    for _ in range(3):
        for chore in chores:
            chore.run(fatal=False)
    away = True
    chores[0].run(fatal=False)
    seen = read(metrics.answer("/metrics").body.decode())
    names = ("signed_total", "claimed_total", "times_total", "payments_waiting")
    assert [seen[f"parwana_signer_{name}"] for name in names] == [3, 6, 3, 4]
    assert seen["parwana_signer_failing{part=permits}"] == 1
    assert seen["parwana_signer_failing{part=time}"] == 0
    assert metrics.answer("/readyz").body == b"permits: is away\n"
