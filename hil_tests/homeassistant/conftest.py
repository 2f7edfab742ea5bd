"""A bridge of one utility, and what stands where Home Assistant would: a real broker, one ear."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hil_tests.services import Broker, SignedMeter
from parwana.homeassistant.bridge import Bridge
from parwana.homeassistant.state import Meter, State

UTILITY = "kalpa"
HOUSE = Meter(SignedMeter(17).address, 17, "house", "0.2.3")
FEEDER = Meter(SignedMeter(100).address, 100, "transformer", "")
VALUES: dict[str, float | str | None] = {"power": 400.0, "supply": "connected"}


def state(energy_wh: int, *, live: bool = True) -> State:
    """Make a state."""
    return State(live, energy_wh, VALUES)


class Home:
    """Hears all of a broker, from an empty beginning, as Home Assistant does after a start."""

    def __init__(self, port: int) -> None:
        self.held: dict[str, bytes] = {}
        self.heard: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.heard.append((message.topic, bytes(message.payload)))
            self.held[message.topic] = bytes(message.payload)

    def say(self, topic: str, payload: bytes) -> None:
        """Publish what is not retained, as Home Assistant's birth message."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(5)

    def leaf(self, meter: Meter, leaf: str) -> bytes | None:
        """Return what is held of a meter's topic."""
        return self.held.get(f"parwana/home/{UTILITY}/{meter.address.hex()}/{leaf}")

    def config(self, meter: Meter) -> dict[str, Any] | None:
        """Return a meter's discovery, None if there is none."""
        found = self.held.get(f"homeassistant/device/parwana_{meter.address.hex()}/config")
        return json.loads(found) if found else None

    def energy(self, meter: Meter) -> float | None:
        """Return the energy that is shown."""
        found = self.leaf(meter, "state")
        return json.loads(found)["energy"] if found else None

    @property
    def bridge(self) -> bytes | None:
        """Return the bridge's own availability."""
        return self.held.get(f"parwana/home/{UTILITY}/bridge")

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


class Told:
    """A bridge that a test tells by hand."""

    def __init__(self, url: str, wait_s: float = 15) -> None:
        self.bridge = Bridge(url, UTILITY, "homeassistant", "parwana/home")
        self.bridge.start()
        if wait_s:
            self.bridge.wait(wait_s)

    def tell(self, *states: State | None, gone: tuple[Meter, ...] = ()) -> None:
        """Tell of the house, then the feeder; None: it has no state now."""
        pairs = list(zip((HOUSE, FEEDER), states, strict=False))
        self.bridge.tell(
            [meter for meter, _ in pairs],
            {meter.address: one for meter, one in pairs if one is not None},
            {HOUSE.address: "0.0042"},
            "ETH",
            [meter.address for meter in gone],
        )

    def vanish(self) -> None:
        """End as a process does that is killed: the connection breaks."""
        client: Any = self.bridge._session._client
        client.reconnect_delay_set(60, 60)
        client.socket().shutdown(2)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """Lend a broker that holds nothing yet."""
    made = Broker(tmp_path / "broker")
    yield made
    made.stop()


@pytest.fixture
def home(own_broker: Broker) -> Iterator[Home]:
    made = Home(own_broker.port)
    yield made
    made.close()


@pytest.fixture
def told(own_broker: Broker) -> Iterator[Told]:
    made = Told(own_broker.url)
    yield made
    made.bridge.stop()


def settled(home: Home, quiet_s: float = 0.5) -> int:
    """Wait until nothing more is heard; return how much was."""
    count = -1
    while count != len(home.heard):
        count = len(home.heard)
        time.sleep(quiet_s)
    return count
