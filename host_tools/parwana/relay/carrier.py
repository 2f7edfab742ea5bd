"""Carry between the broker and the store: verify, commit, answer, acknowledge; deliver permits."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import wire
from parwana.relay.intake import Answer, Counters, commit
from parwana.store.letters import Letter, examine
from parwana.store.reader import Store, StoreError
from parwana.world import broker

GROUP = "relays"
BATCH = 256  # payloads in one transaction
INFLIGHT = 256  # unacknowledged payloads that the broker may hand over
PACKET_BYTES = 8192  # the broker drops what is larger; a full `frames` has 1,665 bytes
_QUEUE = 4 * INFLIGHT
_RETRY_S = 2.0
log = logging.getLogger("parwana.relay")


@dataclass(frozen=True)
class _Arrived:
    message: MQTTMessage
    connection: int


class Carrier:
    """Connect one broker and one store for one utility.

    The session is clean and each payload is acknowledged after its commit: a broker need not keep
    for us what every meter sends again until `want` passes it, and no more than INFLIGHT payloads
    wait in memory.
    """

    def __init__(self, utility_id: str, broker_url: str, store: Store, now: Callable[[], float]):
        self.counters = Counters()
        self.unknown_heard = threading.Event()
        self._utility_id = utility_id
        self._domain = wire.reading_domain(utility_id)
        self._store = store
        self._now = now
        self._arrived: queue.Queue[_Arrived | None] = queue.Queue()
        self._connection = 0
        self._subscribed = False
        self._lock = threading.Lock()
        self.bug: Exception | None = None
        self._stopping = threading.Event()
        self._client = self._make_client(broker_url)
        self._worker = threading.Thread(target=self._work, name="store")

    def _make_client(self, url: str) -> Client:
        made = broker.client(url, manual_ack=True)
        made.on_connect = self._on_connect
        made.on_subscribe = self._on_subscribe
        made.on_disconnect = self._on_disconnect
        made.on_message = self._on_message
        limits = Properties(PacketTypes.CONNECT)
        limits.ReceiveMaximum = INFLIGHT
        limits.MaximumPacketSize = PACKET_BYTES
        _, host, port, _, _ = broker.parse_url(url)
        made.connect_async(host, port, keepalive=30, clean_start=True, properties=limits)
        return made

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._worker.start()
        self._client.loop_start()

    def stop(self) -> None:
        """Finish the payloads in hand, then leave the broker."""
        self._stopping.set()
        self._arrived.put(None)
        self._worker.join()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Say whether the broker is connected and sends what meters publish."""
        return self._subscribed and self._client.is_connected()

    def count(self, more: Counters) -> None:
        """Add to the counters."""
        with self._lock:
            for item in fields(more):
                total = getattr(self.counters, item.name) + getattr(more, item.name)
                setattr(self.counters, item.name, total)

    def deliver(self, meter: bytes, bundle: bytes) -> None:
        """Publish a permit, retained on the meter's permit topic.

        Without the broker it is not published now, but after the next connect.
        """
        if not self.connected:
            return
        topic = wire.topic(self._utility_id, meter, "permit")
        payload = bytes([wire.MESSAGE_BUNDLE]) + bundle
        self._client.publish(topic, payload, qos=1, retain=True)
        self.count(Counters(permits_delivered=1))

    def _on_connect(
        self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            log.warning("the broker refuses: %s; check its user, password and rights", reason)
            return
        self._connection += 1
        client.subscribe(f"$share/{GROUP}/parwana/1/{self._utility_id}/+/up", qos=1)

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            log.warning("the broker refuses the subscription: %s; check our rights", reasons[0])
            return
        self._subscribed = True
        log.info("connected to the broker")
        # A broker that restarted may have forgotten what it had retained.
        self._arrived.put(None)

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._subscribed = False
        if not self._stopping.is_set():
            log.warning("lost the broker (%s), trying again", reason)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.qos == 0 and self._arrived.qsize() > _QUEUE:
            self.count(Counters(dropped=1))
            return
        self._arrived.put(_Arrived(message, self._connection))

    def _work(self) -> None:
        try:
            self._take_all()
        except Exception as error:  # handed to `run`, which ends the process with it
            self.bug = error

    def _take_all(self) -> None:
        redeliver = False
        while True:
            batch: list[_Arrived] = []
            item = self._arrived.get()
            while True:
                if item is None:
                    redeliver = True
                else:
                    batch.append(item)
                if len(batch) == BATCH or self._arrived.empty():
                    break
                item = self._arrived.get()
            if batch:
                self._take(batch)
            if self._stopping.is_set():
                return
            if redeliver and self.connected:
                redeliver = not self._redeliver()

    def _take(self, batch: list[_Arrived]) -> None:
        letters = [self._examine(item.message) for item in batch]
        while True:
            try:
                answers, counters, unknown = commit(self._store, letters, int(self._now()))
                break
            except StoreError as error:
                self.count(Counters(store_failures=1))
                log.error("%s; %d payloads wait for it", error, len(batch))
                if self._stopping.wait(_RETRY_S):
                    return
        self.count(counters)
        for answer in answers:
            self._answer(answer)
        for item in batch:
            if item.message.qos and item.connection == self._connection:
                self._client.ack(item.message.mid, item.message.qos)
        if unknown:
            self.unknown_heard.set()

    def _examine(self, message: MQTTMessage) -> Letter:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = repr(message._topic)
        return examine(topic, bytes(message.payload), self._utility_id, self._domain)

    def _answer(self, answer: Answer) -> None:
        topic = wire.topic(self._utility_id, answer.meter, "down")
        # Without the broker an answer is worth nothing: the meter asks again when it is back.
        if self.connected:
            self._client.publish(topic, wire.pack_want(answer.want), qos=1)
            if answer.bundle is not None:
                self.deliver(answer.meter, answer.bundle)

    def _redeliver(self) -> bool:
        try:
            outstanding = self._store.outstanding()
        except StoreError as error:
            log.error("%s", error)
            return False
        for permit in outstanding:
            self.deliver(permit.meter, permit.bundle)
        return True
