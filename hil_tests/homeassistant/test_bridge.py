"""The bridge at a real broker: discovery, birth, removal, restarts; no value that is not so."""

import json
import re
from pathlib import Path

import pytest

from hil_tests.brokers import GuardedBroker
from hil_tests.homeassistant.conftest import (
    FEEDER,
    HOUSE,
    UTILITY,
    Home,
    Told,
    settled,
    state,
)
from hil_tests.services import Broker, wait_until
from parwana.homeassistant import bridge as module
from parwana.homeassistant.bridge import Bridge
from parwana.store.frames import CONTROLS
from parwana.world.broker import BrokerError


def test_a_meter_is_one_retained_device_with_ids_that_never_change(told: Told, home: Home) -> None:
    told.tell(state(12_345), state(99_000))
    wait_until(lambda: home.config(HOUSE) and home.config(FEEDER), "discovery")
    found = home.config(HOUSE)
    assert found is not None
    address = HOUSE.address.hex()
    assert found["device"] == {
        "identifiers": [f"parwana_{address}"],
        "name": "House 17",
        "manufacturer": "Parwana",
        "model": "house meter",
        "serial_number": f"0x{address}",
        "sw_version": "0.2.3",
    }
    assert found["origin"]["name"] == "parwana"
    assert found["state_topic"] == f"parwana/home/{UTILITY}/{address}/state"
    parts = found["components"]
    assert {name: part["unique_id"] for name, part in parts.items()} == {
        name: f"parwana_{address}_{name}" for name in parts
    }
    energy = parts["energy"]
    assert (energy["state_class"], energy["unit_of_measurement"]) == ("total_increasing", "kWh")
    assert energy["availability"] == [{"topic": f"parwana/home/{UTILITY}/bridge"}]
    assert len(parts["power"]["availability"]) == 2
    assert parts["due"]["unit_of_measurement"] == "ETH"
    assert parts["supply"]["options"] == list(CONTROLS)
    assert not re.search("expire_after|command_topic|off_delay", json.dumps(found))
    houses = {"supply", "permit_end", "due"}
    other = home.config(FEEDER)
    assert other is not None
    assert set(parts) - set(other["components"]) == houses


def test_the_state_is_json_and_availability_is_text(told: Told, home: Home) -> None:
    told.tell(state(12_345), state(99_000, live=False))
    wait_until(lambda: home.leaf(FEEDER, "measuring"), "availability")
    assert json.loads(home.leaf(HOUSE, "state") or b"") == {
        "energy": 12.345,
        "power": 400.0,
        "supply": "connected",
        "due": "0.0042",
    }
    assert (home.leaf(HOUSE, "measuring"), home.leaf(FEEDER, "measuring")) == (
        b"online",
        b"offline",
    )
    assert home.bridge == b"online"


def test_only_what_is_new_is_told(told: Told, home: Home) -> None:
    told.tell(state(1000), state(5000))
    wait_until(lambda: home.leaf(FEEDER, "measuring"), "availability")
    before = settled(home)
    told.tell(state(1000), state(5000))
    told.tell(state(1001), state(5000))
    wait_until(lambda: home.energy(HOUSE) == 1.001, "the new state")
    assert settled(home) == before + 1


def test_home_assistant_that_starts_is_told_all_again(told: Told, home: Home) -> None:
    told.tell(state(1000), state(5000))
    wait_until(lambda: home.leaf(FEEDER, "measuring"), "availability")
    before = settled(home)
    home.say("homeassistant/status", b"offline")
    told.tell(state(1000), state(5000))
    assert settled(home) == before + 1
    home.say("homeassistant/status", b"online")
    wait_until(told.bridge._again.is_set, "the birth message")
    told.tell(state(1000), state(5000))
    assert settled(home) == before + 2 + 6
    topics = [topic for topic, _ in home.heard[-6:]]
    assert topics[0].endswith("config"), "discovery first"


def test_a_broker_that_forgot_is_told_all_again(told: Told, own_broker: Broker) -> None:
    told.tell(state(1000))
    own_broker.stop()
    wait_until(lambda: not told.bridge.ready, "the loss")
    told.tell(state(1000))  # nothing arrives, nothing is counted as told
    own_broker.start()
    wait_until(lambda: told.bridge.ready, "the broker", 30)
    told.tell(state(1000))
    late = Home(own_broker.port)
    try:
        wait_until(lambda: late.energy(HOUSE) == 1.0 and late.config(HOUSE), "all of it")
        assert late.bridge == b"online"
    finally:
        late.close()


def test_a_bridge_that_vanishes_is_not_there(told: Told, home: Home, own_broker: Broker) -> None:
    told.tell(state(1000))
    wait_until(lambda: home.bridge == b"online", "the bridge")
    told.vanish()
    wait_until(lambda: home.bridge == b"offline", "its will")
    again = Told(own_broker.url)
    try:
        wait_until(lambda: home.bridge == b"online", "the next one")
        assert home.energy(HOUSE) == 1.0
    finally:
        again.bridge.stop()
    wait_until(lambda: home.bridge == b"offline", "its leave")


def test_the_register_never_steps_down(
    told: Told, home: Home, own_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that was restored from a backup has an older reading than what is shown."""
    told.tell(state(12_345))
    wait_until(lambda: home.energy(HOUSE) == 12.345, "the state")
    told.tell(state(12_245))
    told.bridge.stop()
    again = Told(own_broker.url)
    try:
        again.tell(state(12_344))
        assert settled(home)
        assert home.energy(HOUSE) == 12.345
        assert "is older than what Home Assistant has, 12.345 kWh" in caplog.text
        again.tell(state(12_346))
        wait_until(lambda: home.energy(HOUSE) == 12.346, "a newer one")
    finally:
        again.bridge.stop()
    energies = [json.loads(p)["energy"] for t, p in home.heard if t.endswith("/state") and p]
    assert energies == sorted(energies)


def test_a_meter_that_catches_up_keeps_what_was_shown(told: Told, home: Home) -> None:
    told.tell(state(1000))
    wait_until(lambda: home.leaf(HOUSE, "measuring") == b"online", "the state")
    told.tell(None)
    wait_until(lambda: home.leaf(HOUSE, "measuring") == b"offline", "no measurement")
    assert home.energy(HOUSE) == 1.0


def test_what_is_gone_is_removed_by_empty_payloads(
    told: Told, home: Home, own_broker: Broker
) -> None:
    told.tell(state(1000), state(5000))
    wait_until(lambda: home.leaf(FEEDER, "measuring"), "both")
    told.bridge.stop()
    again = Told(own_broker.url)
    try:
        again.tell(state(1000), gone=(FEEDER,))
        wait_until(lambda: home.config(FEEDER) is None, "the removal")
        assert home.leaf(FEEDER, "state"), "an entity that still listens gets nothing empty"
        again.tell(state(1000), gone=(FEEDER,))
        wait_until(lambda: home.leaf(FEEDER, "state") == b"", "what it showed")
        assert home.config(HOUSE)
        count = settled(home)
        again.tell(state(1000), gone=(FEEDER,))
        assert settled(home) == count, "once"
    finally:
        again.bridge.stop()
    late = Home(own_broker.port)
    try:
        wait_until(lambda: late.config(HOUSE), "what is retained")
        settled(late)
        assert not [topic for topic in late.held if FEEDER.address.hex() in topic]
    finally:
        late.close()


def test_what_the_store_does_not_know_is_left_alone(
    told: Told, home: Home, own_broker: Broker
) -> None:
    """An empty store, or another one, takes nothing away."""
    told.tell(state(1000))
    wait_until(lambda: home.leaf(HOUSE, "measuring"), "the house")
    told.bridge.stop()
    again = Told(own_broker.url)
    try:
        again.tell()
        assert settled(home)
        assert home.config(HOUSE)
    finally:
        again.bridge.stop()


def test_a_foreign_state_spoils_nothing(told: Told, home: Home) -> None:
    for payload in (b"{", b"[1]", b'{"energy": "x"}', b"\xff"):
        home.say(f"parwana/home/{UTILITY}/{HOUSE.address.hex()}/state", payload)
    settled(home)
    told.tell(state(7))
    wait_until(lambda: b'"energy": 0.007' in (home.leaf(HOUSE, "state") or b""), "ours")


def test_a_broker_that_lets_us_read_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SYNC_S", 0.5)
    broker = GuardedBroker(tmp_path, {"home": "topic write parwana/#\n"})
    bridge = Bridge(broker.of("home"), UTILITY, "homeassistant", "parwana/home")
    try:
        bridge.start()
        wait_until(lambda: not bridge.ready and "hands back nothing" in caplog.text, "the log")
        assert "let user 'home' read and write there" in caplog.text
        with pytest.raises(BrokerError, match="hands back nothing"):
            bridge.wait(0.1)
    finally:
        bridge.stop()
        broker.stop()
