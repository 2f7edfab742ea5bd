"""Reach the MQTT broker: one way to write its address, one way to talk to it.

What a broker acknowledges it need not have accepted: the reason codes of CONNACK, SUBACK, PUBACK
and DISCONNECT decide here, and for everybody.
"""

import secrets
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from parwana.world import refusals

KEEPALIVE_S = 30
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_AGAIN_S = (5.0, 60.0)  # after a denied subscription
_FLUSH_S = 2.0


class BrokerError(Exception):
    """The broker cannot be used; the message says what to write or to check."""


class Denied(BrokerError):
    """The broker is there and does not do what was asked; it may later, once that is mended."""


Done = Callable[[BrokerError | None], None]


def parse_url(url: str) -> tuple[str, str, int, str | None, str | None]:
    """Return (scheme, host, port, user, password) of mqtt[s]://[user[:password]@]host[:port].

    Raises BrokerError, which never shows the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BrokerError("the broker's port is no number from 1 to 65535") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise BrokerError("write the broker as mqtt://host:1883, or mqtts://host:8883 for TLS")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], user, password


def _nothing(*_: Any) -> None:
    """Stand for a callback that nobody gave."""


class Session:
    """An MQTT 5 connection that comes back by itself and knows what keeps it away.

    `ready`: connected, and every topic of `topics` granted. `trouble`: why it is not, "" before
    anything is known. `changed()` is called, in the network's thread, whenever one of them may
    have changed. `take` gets the messages; with `manual_ack` it acknowledges them by `ack`. `ca`,
    PEM or DER, is trusted instead of the operating system's CAs. Raises BrokerError.
    """

    def __init__(
        self,
        url: str,
        topics: Sequence[str] = (),
        *,
        take: Callable[[MQTTMessage], None] = _nothing,
        changed: Callable[[], None] = _nothing,
        manual_ack: bool = False,
        packet_bytes: int | None = None,
        inflight: int | None = None,
        client_id: str = "",
        will: tuple[str, bytes] | None = None,
        ca: bytes = b"",
    ) -> None:
        scheme, self._host, self._port, user, password = parse_url(url)
        self.place = f"{self._host}:{self._port}"
        self.ready, self.trouble = False, ""
        self.connection = 0
        self.user = f"user {user!r}" if user else "a client without a user"
        self._client_id = client_id or f"parwana-{secrets.token_hex(7)}"
        self._topics = topics
        self._changed = changed
        self._condition = threading.Condition()
        self._refused = False  # and waiting for it is of no use
        self._answered = self._stopping = self._started = False
        self._largest: int | None = None  # packet that the broker takes
        self._again_s = _AGAIN_S[0]
        self._again: threading.Timer | None = None
        self._waiting: dict[int, tuple[str, Done]] = {}
        self._early: dict[int, Any] = {}  # reasons that came before `publish` knew their id
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=MQTTv5, manual_ack=manual_ack
        )
        if user is not None:
            client.username_pw_set(user, password)
        if will:
            client.will_set(*will, qos=1, retain=True)
        self._tls = scheme == "mqtts"
        if self._tls:
            client.tls_set_context(_tls(ca))
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: take(message)
        self._limits = Properties(PacketTypes.CONNECT)
        if packet_bytes:
            self._limits.MaximumPacketSize = packet_bytes
        if inflight:
            self._limits.ReceiveMaximum = inflight

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._started = True
        self._client.connect_async(
            self._host, self._port, KEEPALIVE_S, clean_start=True, properties=self._limits
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Let what was published be acknowledged, two seconds at most, then leave."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting or not self.ready, _FLUSH_S)
            self._stopping, self.ready = True, False
            again = self._again
        if again:
            again.cancel()
        if self._started:
            self._client.disconnect()
            self._client.loop_stop()

    def __enter__(self) -> "Session":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> None:
        """Wait until it is ready. Raises BrokerError, at once where waiting is of no use."""
        with self._condition:
            self._condition.wait_for(lambda: self.ready or self._refused, timeout_s)
            if self.ready:
                return
            told = self.trouble or self._named("does not answer: is it running?")
            if self._refused:
                raise Denied(told)
            raise BrokerError(f"{told} (waited {timeout_s:g} s)")

    def ack(self, message: MQTTMessage) -> None:
        """Acknowledge a message."""
        self._client.ack(message.mid, message.qos)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, done: Done = _nothing
    ) -> None:
        """Publish at QoS 1. `done` gets None once the broker took it, else why it did not.

        `done` is called in this thread or the network's; it gets Denied if the broker refuses.
        """
        size = 5 + len(topic.encode()) + len(payload)
        size += 2 if size < 128 else 3
        if self._largest is not None and size > self._largest:
            text = f"takes packets of {self._largest} bytes at most, one to {topic} has {size}"
            done(Denied(self._named(f"{text}; raise its limit (mosquitto: max_packet_size)")))
            return
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        with self._condition:  # never held while paho is called: it calls back with locks of its
            reason = self._early.pop(mid, None)
            if reason is None:
                self._waiting[mid] = topic, done
        if reason is not None:
            self._settle(topic, done, reason)

    def put(self, topic: str, payload: bytes, timeout_s: float, *, retain: bool = False) -> None:
        """Publish and wait until the broker took it. Raises BrokerError."""
        answered = threading.Event()
        answers: list[BrokerError | None] = []

        def done(error: BrokerError | None) -> None:
            answers.append(error)
            answered.set()

        self.publish(topic, payload, retain=retain, done=done)
        if not answered.wait(timeout_s):
            text = f"acknowledged nothing within {timeout_s:g} s; look at its log"
            raise BrokerError(self._named(text))
        if answers[0] is not None:
            raise answers[0]

    def _named(self, text: str) -> str:
        return f"the broker {self.place} {text}"

    def _becomes(self, trouble: str, *, refused: bool = False) -> None:
        with self._condition:
            self.ready = not trouble
            self.trouble = self._named(trouble) if trouble else ""
            self._refused = refused
            self._condition.notify_all()
        if not self._stopping:
            self._changed()

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: Any, got: Any) -> None:
        self._answered = True
        if reason.is_failure:
            text = refusals.login(reason.value, str(reason), self.user, self._client_id)
            self._becomes(text, refused=True)
            return
        shared = any(topic.startswith("$share/") for topic in self._topics)
        lacking = refusals.lacking(got, shared=shared)
        if lacking:
            self._becomes(lacking, refused=True)
            return
        self.connection += 1
        self._largest = getattr(got, "MaximumPacketSize", None)
        self._subscribe()

    def _subscribe(self) -> None:
        if self._topics:
            options = SubscribeOptions(qos=1)
            self._client.subscribe([(topic, options) for topic in self._topics])
        else:
            self._becomes("")

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.is_failure:
                text = refusals.subscribe(reason.value, str(reason), self.user, topic)
                self._becomes(text, refused=True)
                self._again = threading.Timer(self._again_s, self._subscribe)
                self._again.daemon = True
                self._again.start()
                self._again_s = min(_AGAIN_S[1], 2 * self._again_s)
                return
        self._again_s = _AGAIN_S[0]
        self._becomes("")

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        # paho catches what failed and calls this from there, without telling what it was.
        error = sys.exc_info()[1]
        text = refusals.unreachable(error, self._host, tls=self._tls)
        self._becomes(text, refused=isinstance(error, ssl.SSLError))

    def _on_disconnect(
        self, client: Client, _data: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        answered, self._answered = self._answered, False
        if self._again:
            self._again.cancel()
        # What was not acknowledged is not sent again: it was told as lost, and is old by then.
        client.drop_out_messages()
        with self._condition:
            lost, self._waiting = self._waiting, {}
            self._early.clear()
        for _, done in lost.values():
            done(BrokerError(self._named("was lost before it acknowledged")))
        if flags.is_disconnect_packet_from_server:
            self._becomes(refusals.farewell(reason.value, str(reason), self.user, self._client_id))
        elif not answered:
            self._becomes(
                "closed the connection before it answered: does it speak MQTT 5, and TLS where "
                "the URL says mqtts:// (or none where it says mqtt://)?"
            )
        elif not self._refused:
            self._becomes("closed the connection, or the network did")

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: Any, _got: Any) -> None:
        with self._condition:
            topic, done = self._waiting.pop(mid, ("", None))
            if done is None:
                self._early[mid] = reason
            self._condition.notify_all()
        if done is not None:
            self._settle(topic, done, reason)

    def _settle(self, topic: str, done: Done, reason: Any) -> None:
        if not reason.is_failure:
            done(None)
            return
        text = refusals.publish(reason.value, str(reason), self.user, topic)
        done(Denied(self._named(text)))


def _tls(ca: bytes) -> ssl.SSLContext:
    try:
        text = ca.decode("ascii") if ca.lstrip().startswith(b"-----") else ca
        context = ssl.create_default_context(cadata=text or None)
    except (ValueError, ssl.SSLError):
        raise BrokerError("the CA is no certificate; give a file in PEM or DER") from None
    # Python 3.13 wants more of a small utility's own CA than the meter and Python 3.12 do.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
