"""Keep Home Assistant's broker told: what there is, whether it is there, how it stands.

All is retained, so that Home Assistant, its broker and this may start in any order. Topics, below
`root`: `bridge` (ours, with a will), ADDRESS/measuring (online, offline), ADDRESS/state (JSON).
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from paho.mqtt.client import MQTTMessage

from parwana.homeassistant.discovery import device
from parwana.homeassistant.state import Meter, State
from parwana.world.broker import BrokerError, Session
from parwana.world.logs import Trouble

ONLINE, OFFLINE = b"online", b"offline"
_SYNC_S = 10
log = logging.getLogger("parwana.homeassistant")


class Bridge:
    """One utility's meters on one broker of Home Assistant's. `prefix` is its discovery prefix."""

    def __init__(self, url: str, utility_id: str, prefix: str, root: str) -> None:
        self._prefix, self._root = prefix, f"{root}/{utility_id}"
        self._here = f"{self._root}/bridge"
        self._lock = threading.Lock()
        self._told: dict[str, bytes] = {}  # what the broker holds of ours, by topic
        self._shown: set[str] = set()  # addresses that it has topics of
        self._leaving: set[str] = set()
        self._kwh: dict[str, float] = {}  # that it holds, by address
        self._connection = 0
        self._since_s = 0.0
        self._synced = threading.Event()
        self._again = threading.Event()
        self._trouble = Trouble(log, "Home Assistant's broker")
        self._session = Session(
            url,
            [f"{prefix}/status", f"{self._root}/#"],
            take=self._take,
            changed=self._changed,
            will=(self._here, OFFLINE),
        )

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._session.start()

    def stop(self) -> None:
        """Say that we go, then leave."""
        if self._session.ready:
            self._session.publish(self._here, OFFLINE, retain=True)
        self._session.stop()

    def wait(self, timeout_s: float) -> None:
        """Wait until the broker is there and what it holds is known. Raises BrokerError."""
        self._session.wait(timeout_s)
        if not self._synced.wait(timeout_s):
            raise BrokerError(self._unheard)

    @property
    def _unheard(self) -> str:
        topics = f"{self._root}/#; let {self._session.user} read and write there"
        return f"the broker {self._session.place} hands back nothing of {topics}"

    @property
    def ready(self) -> bool:
        """Whether what is told now arrives, and what the broker held before is known."""
        if not self._session.ready:
            return False
        if not self._synced.is_set() and time.monotonic() > self._since_s + _SYNC_S:
            self._trouble.failed(self._unheard)
        return self._synced.is_set()

    def tell(
        self,
        meters: Iterable[Meter],
        states: Mapping[bytes, State],
        dues: Mapping[bytes, str | None],
        currency: str,
        gone: Iterable[bytes] = (),
    ) -> None:
        """Tell of these meters what is new; remove those that are `gone`, if they were shown.

        What a meter that has no state was told before stays, but is no measurement now.
        """
        if not self.ready:
            return
        self.clear()
        if self._again.is_set():
            self._again.clear()
            with self._lock:
                self._told = {self._here: ONLINE}
        for meter in meters:
            name, state = meter.address.hex(), states.get(meter.address)
            place = f"{self._root}/{name}"
            topics = f"{place}/state", self._here, f"{place}/measuring"
            message = json.dumps(device(meter, *topics, currency))
            self._put(self._config(name), message.encode())
            live = state is not None and state.live
            if state is not None:
                self._state(meter, state, dues.get(meter.address))
            self._put(f"{place}/measuring", ONLINE if live else OFFLINE)
        for name in {address.hex() for address in gone} & self.shown():
            self.forget(name)

    def shown(self) -> set[str]:
        """Return the addresses that the broker has something of."""
        with self._lock:
            return set(self._shown)

    def forget(self, name: str) -> None:
        """Remove a meter's entities; what they showed goes by `clear`, once they are gone."""
        self._session.publish(self._config(name), b"", retain=True)
        with self._lock:
            self._kwh.pop(name, None)
            self._shown.discard(name)
            self._leaving.add(name)
            self._told = {topic: v for topic, v in self._told.items() if name not in topic}
        log.info("meter 0x%s is no longer shown", name)

    def clear(self) -> None:
        """Have the broker hold no more what removed entities showed."""
        with self._lock:
            leaving, self._leaving = self._leaving, set()
        for name in leaving:
            for leaf in ("state", "measuring"):
                self._session.publish(f"{self._root}/{name}/{leaf}", b"", retain=True)

    def _state(self, meter: Meter, state: State, due: str | None) -> None:
        """Tell a state, unless the register would step back: what was told before was newer."""
        with self._lock:
            last_wh = round(1000 * self._kwh.get(meter.address.hex(), 0))
        if state.energy_wh < last_wh:
            log.warning(
                "point %d: the store's newest reading, %.3f kWh, is older than what Home "
                "Assistant has, %.3f kWh; that stays until a newer one comes. If it is wrong: "
                "parwana homeassistant --remove, then start again",
                *(meter.number, state.energy_wh / 1000, last_wh / 1000),
            )
            return
        told = {"energy": state.energy_wh / 1000, **state.values}
        if meter.kind == "house":
            told["due"] = due
        self._put(f"{self._root}/{meter.address.hex()}/state", json.dumps(told).encode())

    def _config(self, name: str) -> str:
        return f"{self._prefix}/device/parwana_{name}/config"

    def _put(self, topic: str, payload: bytes) -> None:
        with self._lock:
            if self._told.get(topic) == payload:
                return
            self._told[topic] = payload

        def done(error: BrokerError | None) -> None:
            if error is None:
                return
            self._trouble.failed(str(error))
            with self._lock:
                if self._told.get(topic) == payload:
                    del self._told[topic]

        self._session.publish(topic, payload, retain=True, done=done)

    def _changed(self) -> None:
        if not self._session.ready:
            self._synced.clear()
            self._trouble.failed(self._session.trouble)
            return
        if self._session.connection != self._connection:
            self._connection = self._session.connection
            self._synced.clear()
            self._since_s = time.monotonic()
            self._again.set()  # a broker that restarted may have forgotten
            # It comes back to us after all that the broker retained.
            self._session.publish(self._here, ONLINE, retain=True)

    def _take(self, message: MQTTMessage) -> None:
        if message.topic == f"{self._prefix}/status":
            if message.payload == ONLINE:
                self._again.set()
            return
        name, _, leaf = message.topic.removeprefix(f"{self._root}/").partition("/")
        if name == "bridge" and message.payload == ONLINE and not message.retain:
            self._synced.set()
            self._trouble.over()
        if leaf not in ("state", "measuring") or not message.payload:
            return
        with self._lock:
            self._shown.add(name)
        if leaf == "state":
            with suppress(ValueError):
                held = json.loads(message.payload)
                kwh = held.get("energy") if isinstance(held, dict) else None
                with self._lock:
                    self._kwh[name] = kwh if isinstance(kwh, int | float) else 0
