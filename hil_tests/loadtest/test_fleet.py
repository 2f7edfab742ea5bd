"""A small fleet against a real broker, a real relay and a real store; and what it is refused."""

import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from hil_tests.chain.test_deployment import make
from hil_tests.services import UTILITY, Broker, SignedMeter
from parwana import cli
from parwana.chain.deployment import Deployment
from parwana.loadtest import fleet
from parwana.loadtest.command import live
from parwana.loadtest.crowd import Faults, Plan
from parwana.loadtest.figures import Spread, peak
from parwana.loadtest.fleet import FIRST_NUMBER, FleetError
from parwana.relay.carrier import Carrier
from parwana.store.reader import Store
from parwana.world.clock import WorldClock

START_S = 1_800_000_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path / "broker")
    yield running
    running.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


def plan(port: int, meters: int, for_s: int, factor: float, **faults: float) -> Plan:
    return Plan(
        utility_id=UTILITY,
        host="127.0.0.1",
        port=port,
        user="",
        password="",
        seed=b"seed",
        meters=meters,
        for_s=for_s,
        drain_s=600,
        interval_s=60,
        clock=WorldClock.starting(START_S, factor),
        faults=Faults(**faults),
    )


def test_a_fleet_lives_through_faults_and_a_broker_that_restarts(
    broker: Broker, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(broker.port, 50, 190, 20, silent=0.1, offline=0.2, repeating=0.2, killed=0.2)
    carrier = Carrier(UTILITY, broker.url, store, made.clock.now)

    def restart() -> None:
        while carrier.counters.hellos < 30:
            time.sleep(0.1)
        time.sleep(3)
        broker.stop()
        broker.start()

    other = Thread(target=restart, daemon=True)
    other.start()
    carrier.start()
    try:
        told = live(made, store, 2, quiet=False)
    finally:
        carrier.stop()
    other.join(20)
    assert told["ok"], told
    assert "acknowledged after" in capsys.readouterr().out
    assert told["stored"] == told["acknowledged"] == told["signed"] - told["of_silent_meters"]
    assert told["of_silent_meters"] > 0
    assert told["readings"] >= 2 * 50
    assert told["lost_sessions"] >= 30  # the restart, and what befell some
    assert carrier.counters.frames_repeated > 0
    assert carrier.counters.quarantined == 0
    assert told["ack_ms"]["count"] > 50
    # Within three quarters of an interval each at its own time, not all in a second or two.
    assert told["messages_a_second"]["most"] < 25
    assert 5 < told["age_s"]["p50"] < 60
    assert all(row.number >= FIRST_NUMBER for row in store.meters())


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    path = tmp_path / "deployment.json"
    Deployment(**make(utility_id=UTILITY, store=f"sqlite:///{tmp_path}/store.db")).save(path)
    return ["fleet", "--deployment", str(path)]


def test_what_nobody_answers_is_told(
    broker: Broker,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARWANA_CLOCK", str(WorldClock.starting(START_S, 400)))
    out = tmp_path / "report.json"
    words += ["--broker", broker.url, "--meters", "3", "--for", "60", "--interval", "60"]
    assert cli.main([*words, "--report", str(out)]) == 3
    assert "is a relay running" in capsys.readouterr().err
    told = json.loads(out.read_text())
    assert told["waiting"] == told["signed"] > 0
    assert told["stored"] == 0


def test_a_store_of_real_meters_is_refused(store: Store) -> None:
    meter = SignedMeter(1)
    with store.transaction() as writer:
        writer.enrol(meter.address, 101, 1, 0)
    with pytest.raises(FleetError, match="a store of their own"):
        fleet.enrol(plan(1, 3, 60, 1), store)


def test_a_second_fleet_may_have_the_store(store: Store) -> None:
    fleet.enrol(plan(1, 3, 60, 1), store)
    fleet.enrol(replace(plan(1, 2, 60, 1), seed=b"other"), store)
    assert [row.number for row in store.meters()] == [FIRST_NUMBER + n for n in range(5)]


def test_more_files_than_the_system_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    fleet.allow_files(500)
    assert asked == []
    fleet.allow_files(2000)
    assert asked == [(2064, 4096)]
    with pytest.raises(FleetError, match="5064 open files, and the system allows 4096: raise"):
        fleet.allow_files(5000)


def test_a_process_that_ends_is_told() -> None:
    spoilt = replace(plan(1, 2, 60, 60), host=None)  # type: ignore[arg-type]
    with pytest.raises(FleetError, match="a process of the fleet ended"):
        fleet.run(spoilt, 1, lambda *_: None)


def test_a_broker_elsewhere_and_what_else_cannot_be_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for more, told in (
        (["--broker", "mqtt://192.0.2.1"], "--i-own-this-broker"),
        (["--broker", "mqtts://127.0.0.1"], "no TLS"),
        (["--broker", "mqtt://nowhere.invalid"], "is not found"),
        (["--broker", "mqtt://127.0.0.1", "--interval", "70"], "does not divide a day"),
    ):
        assert cli.main([*words, *more]) == 1
        assert told in capsys.readouterr().err
    for more in (["--meters", "25001"], ["--for", "90000"]):
        assert cli.main([*words, *more]) == 2
        capsys.readouterr()
    assert fleet.place_of("192.0.2.1", mine=True) == "192.0.2.1"
    assert fleet.place_of("localhost", mine=False) == "127.0.0.1"


def test_figures_are_right_to_two_per_cent() -> None:
    spread, more = Spread(), Spread()
    assert spread.told() == {"p50": 0.0, "p90": 0.0, "p99": 0.0, "most": 0.0, "count": 0}
    for value in range(1, 501):
        spread.add(value)
        more.add(500 + value)
    spread.update(more)
    told = spread.told()
    for name, value in (("p50", 500), ("p90", 900), ("p99", 990), ("most", 1000)):
        assert value <= told[name] <= 1.02 * value, name
    assert told["count"] == 1000
    assert peak(Counter({3: 4, 5: 2, 9: 9}), 3, 6) == {"most": 4, "mean": 2.0, "ratio": 2.0}
    assert peak(Counter(), 3, 3) == {"most": 0, "mean": 0.0, "ratio": None}
