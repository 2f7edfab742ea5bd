"""The relay as a whole: registry and permits from a real chain, outages, the process itself."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.fakenode import FakeNode, behind
from hil_tests.relay.test_carrier import FakeMeter
from hil_tests.services import Broker, SignedMeter, wait_until
from hil_tests.town import FEEDER, Town
from hil_tests.world.test_metrics import get, read
from parwana.chain.errors import NotYet
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.permits.bundle import indexed, make_permit, sign_frame
from parwana.relay import command
from parwana.relay import service as relay
from parwana.relay.follower import CURSOR, Follower
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.programs import Program, parwana


def publish(world: Utility, meter: SignedMeter, serial: int = 0) -> bytes:
    """Publish a permit that costs nothing; return its bundle."""
    now_s = int(world.clock.now())
    frame = make_permit(
        issued_at_s=now_s, valid_until_s=now_s + DAY_S, period=1, last_serial=serial
    )
    deployment = world.deployment
    keys = indexed([dev_key(1), dev_key(2)], deployment.signers)
    bundle = sign_frame(deployment.permit_domain(meter.address.hex()), frame, keys)
    functions = world.ledgers.payment.functions
    world.chain.send(functions.publish(meter.key.address, frame, bundle[40:]))
    return bundle


# --- the follower -----------------------------------------------------------------------------


class Delivered:
    """What a follower delivered."""

    def __init__(self, world: Utility, store: Store) -> None:
        self.bundles: list[tuple[bytes, bytes]] = []
        self.follower = Follower(
            world.deployment,
            store,
            lambda: world.chain,
            lambda meter, bundle: self.bundles.append((meter, bundle)),
        )


def test_the_follower_knows_enrolled_replaced_and_retired_meters(
    world: Utility, store: Store
) -> None:
    town = Town(world, store)
    new = SignedMeter(500, town.feeder.domain)
    functions = world.ledgers.registry.functions
    world.chain.send(functions.replace(town.houses[0].key.address, new.key.address, 7))
    world.chain.send(functions.retire(town.houses[1].key.address))
    town.follow()
    rows = {row.meter: row for row in store.meters()}
    assert (rows[new.address].number, rows[new.address].feeder) == (101, FEEDER)
    assert [rows[h.address].in_service for h in town.houses] == [False, False, True, True]
    assert rows[new.address].in_service
    assert rows[town.feeder.address].kind == 2


def test_a_permit_is_delivered_once_and_found_again_after_a_restart(
    world: Utility, store: Store
) -> None:
    town = Town(world, store)
    house = town.houses[0]
    first = publish(world, house)
    seen = Delivered(world, store)
    seen.follower.step()
    seen.follower.step()
    assert seen.bundles == [(house.address, first)]
    world.node.mine(5)
    seen.follower.step()
    second = publish(world, house, serial=wire.parse(first[:40]).serial)  # type: ignore[union-attr]
    restarted = Delivered(world, store)
    restarted.follower.step()
    assert restarted.bundles == [(house.address, second)]
    newest = store.newest_permit(house.address)
    assert newest is not None
    assert newest.bundle == second


def test_a_permit_that_a_reorganisation_took_away_is_forgotten(
    world: Utility, store: Store
) -> None:
    town = Town(world, store)
    house = town.houses[0]
    world.node.mine(3)
    seen = Delivered(world, store)
    seen.follower.step()
    before = world.chain.head()
    publish(world, house)
    seen.follower.step()
    assert store.newest_permit(house.address) is not None
    world.node.rewind(before)
    world.node.mine(2)
    seen.follower.step()
    assert store.newest_permit(house.address) is None
    assert (store.cursor(CURSOR) or 0) <= world.chain.finalized_block() + 1


def test_a_node_behind_hides_no_meter(
    world: Utility, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs come from a node that lacks the newest blocks; every other answer from one that has."""
    monkeypatch.setattr(NotYet, "patience_s", 0.2)
    made = replace(world.deployment, finality={"blocks": 2})
    with FakeNode(world.node.url) as fake:
        follower = Follower(made, store, lambda: Chain.of(made, None, fake.url), lambda *_: None)
        follower.step()
        world.enrol(77)
        world.node.mine(5)
        before = store.cursor(CURSOR)
        fake.edit("eth_getLogs", behind(8, "eth_getLogs"))
        with pytest.raises(NotYet, match="lies behind"):
            follower.step()
        assert store.cursor(CURSOR) == before
        fake.plain()
        follower.step()
    assert [row.number for row in store.meters()] == [77]


def test_the_cursor_never_passes_what_is_final(world: Utility, store: Store) -> None:
    seen = Delivered(world, store)
    for _ in range(3):
        world.node.mine()
        seen.follower.step()
        assert store.cursor(CURSOR) == world.chain.finalized_block() + 1


# --- the whole --------------------------------------------------------------------------------


@contextmanager
def running(
    world: Utility, broker: Broker, store: Store, rpc: Callable[[], Any]
) -> Iterator[list[dict[str, Any]]]:
    """Run a relay in this process; `rpc` gives the URL of its node. Yields its reports."""
    stop, states = threading.Event(), []  # type: ignore[var-annotated]
    key = dev_key(9)
    thread = threading.Thread(
        target=relay.run,
        args=(world.deployment,),
        kwargs={
            "broker_url": broker.url,
            "store": store,
            "connect": lambda: Chain.of(world.deployment, key, rpc()),
            "land": True,
            "stop": stop,
            "clock": world.clock,
            "report": states.append,
            "pause_s": 0.1,
            "report_s": 0.1,
        },
    )
    thread.start()
    try:
        wait_until(lambda: states and states[-1]["broker"], "the relay's connection")
        yield states
    finally:
        stop.set()
        thread.join(40)
        assert not thread.is_alive()


def fake(broker: Broker, world: Utility, seed: int) -> FakeMeter:
    """Make a meter of the world's utility on the broker."""
    return FakeMeter(seed, broker, world.deployment.utility_id)


def test_from_enrolment_to_closing_and_permit(
    world: Utility, broker: Broker, store: Store
) -> None:
    meter = fake(broker, world, 41)
    periods = world.deployment.periods
    try:
        with running(world, broker, store, lambda: world.deployment.rpc) as states:
            meter.send(1)
            time.sleep(0.5)
            assert meter.received.empty()
            world.enrol(41)
            meter.insist(1)
            assert meter.next() == ("down", 2)
            period = periods.of(world.clock.time_s)
            world.clock.time_s = periods.start(period + 1) + 60
            world.node.mine()
            closing = meter.reading(
                2, time_s=world.clock.time_s - 60, energy_wh=900, flags=wire.FLAG_CLOSING
            )
            meter.publish(wire.pack_frames([closing]))
            assert meter.next() == ("down", 3)
            energy = world.ledgers.energy.functions
            wait_until(
                lambda: world.chain.call(energy.closing(meter.key.address))[0] == period,
                "the closing on the chain",
            )
            bundle = publish(world, meter)
            assert meter.next() == ("permit", bundle)
            wait_until(lambda: states[-1]["bills"] == 1, "the bill")
        assert states[-1]["closings"] == 1
        assert states[-1]["permits_delivered"] == 1
    finally:
        meter.close()


def test_metering_goes_on_while_the_chain_is_away(
    world: Utility, broker: Broker, store: Store
) -> None:
    meter = fake(broker, world, 42)
    node: list[Any] = ["http://127.0.0.1:1"]
    with store.transaction() as tx:
        tx.enrol(meter.address, 42, 1, 0)
    try:
        with running(world, broker, store, lambda: node[0]) as states:
            wait_until(lambda: "chain" in states[-1]["failures"], "the chain's failure")
            meter.insist(1)
            assert meter.next() == ("down", 2)
            assert "does not answer" in states[-1]["failures"]["chain"]
            node[0] = world.deployment.rpc
            wait_until(lambda: not states[-1]["failures"], "the chain to be back", 30)
            world.enrol(42)
            bundle = publish(world, meter)
            assert meter.next() == ("permit", bundle)
    finally:
        meter.close()


def test_whom_closings_wait_for_is_in_the_report(
    world: Utility, broker: Broker, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    town = Town(world, store)
    end_s = town.periods.start(town.first + 1)
    town.go_to(end_s + 60)
    for meter in (*town.houses[1:], town.feeder):
        town.close(meter, town.first, 5000)
    wait = {
        "feeder": FEEDER,
        "period": town.first,
        "until_s": end_s + relay.GATHER_S,
        "meters": ["0x" + town.houses[0].address.hex()],
    }
    with running(world, broker, store, lambda: world.deployment.rpc) as states:
        wait_until(lambda: states[-1]["waiting"] == [wait], "the wait")
        print(command._line(states[-1]))
        town.close(town.houses[0], town.first, 5000)
        wait_until(lambda: states[-1]["closings"] == 5, "the closings")
        wait_until(lambda: states[-1]["waiting"] == [], "the end of the wait")
    assert f"feeder {FEEDER} waits until 20" in capsys.readouterr().out


@pytest.fixture
def process(world: Utility, broker: Broker, tmp_path: Path) -> Iterator[Program]:
    path = tmp_path / "deployment.json"
    command = parwana(
        *("relay", "--deployment", path, "--broker", broker.url, "--key", "dev:9"),
        *("--json", "--every", "0.2", "--metrics", "0"),
    )
    program = Program(
        "relay",
        command,
        tmp_path / "relay.log",
        {"PARWANA_CLOCK": str(WorldClock(world.clock.now(), time.time(), 1.0))},
    )
    with program:
        yield program


def test_the_process_relays_and_ends_clean_on_sigterm(
    process: Program, world: Utility, broker: Broker, tmp_path: Path
) -> None:
    process.wait_for('"broker": true', 60)
    meter = fake(broker, world, 43)
    try:
        world.enrol(43)
        meter.insist(1, 2)
        assert meter.next() == ("down", 3)
    finally:
        meter.close()
    url = process.wait_for(r"INFO parwana.metrics: .* (http://127.0.0.1:\d+/metrics)", 1)[1]
    assert read(get(url)[2])["parwana_relay_frames_new_total"] == 2
    assert get(url.replace("/metrics", "/readyz"))[::2] == (200, "ready\n")
    process._process.send_signal(signal.SIGTERM)
    assert process._process.wait(20) == 0
    lines = [x for x in process.log.read_text().splitlines() if x.startswith("{")]
    assert json.loads(lines[-1])["frames_new"] == 2
    store = Store(f"sqlite:///{tmp_path}/store.db", create=False)
    assert store.runs(meter.address) == [(1, 2)]
    store.close()


def test_once_lands_what_the_store_holds_and_stops(
    world: Utility, store: Store, tmp_path: Path
) -> None:
    town = Town(world, store)
    for house in town.houses:
        town.close(house, town.first, 500)
    town.go_to(town.periods.start(town.first + 1) + 60)
    path = tmp_path / "deployment.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "parwana.cli", "relay", "--deployment", str(path)),
            *("--key", "dev:9", "--once", "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            **os.environ,
            "PARWANA_CLOCK": str(WorldClock(world.clock.now(), time.time(), 1.0)),
        },
    )
    assert done.returncode == 0, done
    landed = {"closings": 4, "bills": 4, "balances": 0, "roots": 1}
    assert json.loads(done.stdout.splitlines()[-1]) == landed


@pytest.mark.usefixtures("world")
def test_what_is_wrong_at_the_start_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"

    def said(*more: str) -> str:
        command = [sys.executable, "-m", "parwana.cli", "relay", "--deployment", str(path), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]

    assert "write the broker as" in said("--broker", "nonsense")
    assert "cannot be opened" in said("--store", "sqlite:////no/such/folder/s.db")
    assert "no development key" in said("--key", "dev:99")
