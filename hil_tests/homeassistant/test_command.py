"""`parwana homeassistant` as a program, at a real broker, with a store and a chain."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.homeassistant.conftest import Home, settled
from hil_tests.services import Broker, wait_until
from hil_tests.town import FEEDER, Town
from parwana.store.reader import Store
from parwana.world.clock import VARIABLE, WorldClock
from parwana.world.programs import Program, parwana


@pytest.fixture
def town(world: Utility, store: Store) -> Town:
    """Lend a feeder whose first house owes for a period."""
    made = Town(world, store)
    made.settle_in()
    made.go_to(made.periods.start(made.first + 1) + 60)
    for house in made.houses:
        made.close(house, made.first, 5000)
    made.close(made.feeder, made.first, 20_000)
    made.landing(gather_s=0).step()
    return made


@pytest.fixture
def bridge(world: Utility, town: Town, own_broker: Broker, tmp_path: Path) -> Iterator[Program]:
    clock = WorldClock(world.clock.now(), time.time(), 1.0)
    del town
    line = (
        *("homeassistant", "--deployment", tmp_path / "deployment.json"),
        *("--broker", own_broker.url, "--every", "0.2"),
    )
    env = {VARIABLE: str(clock)}
    with Program("homeassistant", parwana(*line), tmp_path / "bridge.log", env) as running:
        yield running


def test_it_shows_what_store_and_chain_say_and_ends_clean(
    bridge: Program, world: Utility, town: Town, own_broker: Broker
) -> None:
    root = f"parwana/home/{world.deployment.utility_id}"
    home = Home(own_broker.port)
    try:
        house = town.houses[0]
        topic = f"{root}/{house.address.hex()}/state"
        account = world.ledgers.payment.functions.account(house.key.address)
        due = world.chain.call(account).due
        assert due > 0
        wait_until(lambda: home.held.get(topic), "the state", 60, bridge.last_words)
        said = json.loads(home.held[topic])
        assert (said["energy"], said["power"], said["supply"]) == (5.0, 400.0, "connected")
        assert round(float(said["due"]) * 10**18) == due
        feeder = f"{root}/{town.feeder.address.hex()}/state"
        wait_until(lambda: home.held.get(feeder), "the feeder")
        assert "due" not in json.loads(home.held[feeder])

        town.event(house, wire.EVENT_DISCONNECTED, world.clock.time_s, 2)
        wait_until(lambda: json.loads(home.held[topic])["supply"] == "disconnected", "the cut")
        assert json.loads(home.held[topic])["power"] is None
        measuring = f"{root}/{house.address.hex()}/measuring"
        wait_until(lambda: home.held[measuring] == b"offline", "no measurement")

        with town.store.transaction() as tx:
            tx.retire(town.houses[1].address)
        gone = f"homeassistant/device/parwana_{town.houses[1].address.hex()}/config"
        wait_until(lambda: home.held[gone] == b"", "the removal")

        assert bridge.stop() == 0
        wait_until(lambda: home.held[f"{root}/bridge"] == b"offline", "its leave")
    finally:
        home.close()
    assert "Traceback" not in bridge.log.read_text()


def test_remove_leaves_nothing(
    bridge: Program, world: Utility, own_broker: Broker, tmp_path: Path
) -> None:
    home = Home(own_broker.port)
    try:
        root = f"parwana/home/{world.deployment.utility_id}"
        wait_until(lambda: len(home.held) >= 5 * 3 + 1, "all meters", 60, bridge.last_words)
        assert bridge.stop() == 0
        line = ("homeassistant", "--deployment", tmp_path / "deployment.json", "--remove")
        command = parwana(*line, "--broker", own_broker.url)
        with Program("remove", command, tmp_path / "remove.log") as remove:
            wait_until(lambda: not remove.running, "the end", 60)
            assert remove.stop() == 0
        settled(home)
        assert {topic for topic, payload in home.held.items() if payload} == {f"{root}/bridge"}
    finally:
        home.close()


def test_only_the_points_that_are_named_are_shown(
    world: Utility, town: Town, own_broker: Broker, tmp_path: Path
) -> None:
    clock = WorldClock(world.clock.now(), time.time(), 1.0)
    line = (
        *("homeassistant", "--deployment", tmp_path / "deployment.json", "--number", str(FEEDER)),
        *("--broker", own_broker.url, "--every", "0.2"),
    )
    home = Home(own_broker.port)
    env = {VARIABLE: str(clock)}
    with Program("homeassistant", parwana(*line), tmp_path / "bridge.log", env) as running:
        wait_until(lambda: len(home.held) >= 4, "the feeder", 60, running.last_words)
        settled(home)
    home.close()
    configs = [topic for topic in home.held if topic.endswith("/config")]
    assert configs == [f"homeassistant/device/parwana_{town.feeder.address.hex()}/config"]
