"""Listen beside the relays to what one meter sends, and to what they answer it."""

import threading
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage

import wire
from parwana.store.letters import examine
from parwana.world import broker
from parwana.world.broker import BrokerError

_CONNECT_S = 15


class Listener:
    """Collect one meter's verified frames and the answers of relays. Raises BrokerError."""

    def __init__(self, url: str, utility_id: str, meter: bytes) -> None:
        self._utility_id = utility_id
        self._meter = meter
        self._domain = wire.reading_domain(utility_id)
        self._changed = threading.Condition()
        self._subscribed = False
        self._hello = False
        self._frames: dict[int, Any] = {}
        self._want = 0
        self._url = url
        self._client = broker.client(url)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> "Listener":
        _, host, port, _, _ = broker.parse_url(self._url)
        self._client.connect_async(host, port)
        self._client.loop_start()
        try:
            self._wait(
                lambda: self._subscribed, _CONNECT_S, f"the broker at {host} does not answer"
            )
        except BrokerError:
            self._client.loop_stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_relay(self, timeout_s: float) -> None:
        """Wait until a relay wants what follows a frame that the meter signed."""

        def stored() -> bool:
            return any(sequence < self._want for sequence in self._frames)

        def advice() -> str:
            if not self._hello:
                return "the meter did not reach the broker; look at its console for the reason"
            if not self._want:
                return "no relay answers the meter; is `parwana relay` running, and its chain?"
            if not self._frames:
                return "a relay answers, but the meter sends nothing; look at its console"
            return "no relay took what the meter sent; look at the relay's log"

        self._wait(stored, timeout_s, advice)

    def wait_for_reading(self, known: int, timeout_s: float) -> None:
        """Wait until a relay wants what follows a reading that came, or that of sequence `known`.

        `known` 0: none.
        """

        def stored() -> bool:
            readings = [s for s, f in self._frames.items() if isinstance(f, wire.Reading)]
            return any(s < self._want for s in [*readings, *filter(None, [known])])

        self._wait(stored, timeout_s, "no relay holds a reading; look at the meter's console")

    def wait_for_permit(self, serial: int, timeout_s: float) -> None:
        """Wait until the meter signed that it accepted a permit of `serial` or above."""

        def accepted() -> bool:
            return any(
                event.code == wire.EVENT_PERMIT_ACCEPTED and event.a >= serial
                for event in self._events()
            )

        def advice() -> str:
            refused = [e for e in self._events() if e.code == wire.EVENT_PERMIT_REFUSED]
            if refused:
                return f"the meter refused its permit, reason {refused[-1].a} (protocol.md, 1.4)"
            return "the meter did not take its permit; look at its console"

        self._wait(accepted, timeout_s, advice)

    def _events(self) -> list[wire.Event]:
        return [fields for fields in self._frames.values() if isinstance(fields, wire.Event)]

    def _wait(
        self, holds: Callable[[], bool], timeout_s: float, advice: str | Callable[[], str]
    ) -> None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not holds():
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    text = advice if isinstance(advice, str) else advice()
                    raise BrokerError(f"{text} (waited {timeout_s:g} s)")

    def _on_connect(self, client: Client, *_: Any) -> None:
        topics = [wire.topic(self._utility_id, self._meter, leaf) for leaf in ("up", "down")]
        client.subscribe([(topic, 1) for topic in topics])

    def _on_subscribe(self, *_: Any) -> None:
        with self._changed:
            self._subscribed = True
            self._changed.notify_all()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        with self._changed:
            if message.topic.endswith("/up"):
                letter = examine(message.topic, payload, self._utility_id, self._domain)
                self._hello = self._hello or letter.hello is not None
                self._frames.update({f.sequence: wire.parse(f.frame) for f in letter.frames})
            elif payload[:1] == bytes([wire.MESSAGE_WANT]) and len(payload) == 5:
                self._want = max(self._want, int.from_bytes(payload[1:], "big"))
            self._changed.notify_all()
