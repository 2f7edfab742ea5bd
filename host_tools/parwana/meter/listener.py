"""Try the broker as a meter will use it; listen to what the meter sends, and relays answer."""

import threading
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import MQTTMessage

import wire
from parwana.store.letters import examine
from parwana.world.broker import BrokerError, Session

_CONNECT_S = 15
_ANSWER_S = 10


def try_broker(url: str, utility_id: str, meter: bytes, ca: bytes = b"") -> None:
    """Log in from here as the meter will, and use every right that it, or a Listener, needs.

    To relays the empty message says nothing; the status is true while the meter is in service
    mode. `ca` is what the meter will trust, b"" for the operating system's. Raises BrokerError.
    """
    up, down, permit, status = (
        wire.topic(utility_id, meter, leaf) for leaf in ("up", "down", "permit", "status")
    )
    heard = threading.Event()

    def take(message: MQTTMessage) -> None:
        if message.topic == up:
            heard.set()

    topics = (up, down, permit, wire.time_topic(utility_id))
    client_id = f"parwana-{meter.hex()}"
    with Session(url, topics, take=take, client_id=client_id, ca=ca) as session:
        session.wait(_CONNECT_S)
        session.put(status, wire.STATUS_OFFLINE, _ANSWER_S, retain=True)
        session.put(up, b"", _ANSWER_S)
        if not heard.wait(_ANSWER_S):
            raise BrokerError(
                f"the broker {session.place} does not hand over what is published to {up}; give "
                f"{session.user} the right to read it, too: pairing listens there"
            )


class Listener:
    """Collect one meter's verified frames and the answers of relays. Raises BrokerError."""

    def __init__(self, url: str, utility_id: str, meter: bytes, ca: bytes = b"") -> None:
        self._utility_id = utility_id
        self._domain = wire.reading_domain(utility_id)
        self._changed = threading.Condition()
        self._hello = False
        self._frames: dict[int, Any] = {}
        self._want = 0
        topics = [wire.topic(utility_id, meter, leaf) for leaf in ("up", "down")]
        self._session = Session(url, topics, take=self._take, ca=ca)

    def __enter__(self) -> "Listener":
        self._session.start()
        try:
            self._session.wait(_CONNECT_S)
        except BrokerError:
            self._session.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._session.stop()

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

    def _take(self, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        with self._changed:
            if message.topic.endswith("/up"):
                letter = examine(message.topic, payload, self._utility_id, self._domain)
                self._hello = self._hello or letter.hello is not None
                self._frames.update({f.sequence: wire.parse(f.frame) for f in letter.frames})
            elif payload[:1] == bytes([wire.MESSAGE_WANT]) and len(payload) == 5:
                self._want = max(self._want, int.from_bytes(payload[1:], "big"))
            self._changed.notify_all()
