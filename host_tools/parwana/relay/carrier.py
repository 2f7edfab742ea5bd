"""Carry between the broker and the store: verify, commit, answer, acknowledge; deliver permits."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields

from paho.mqtt.client import MQTTMessage

import wire
from parwana.relay.intake import Answer, Counters, commit
from parwana.relay.rollout import Rollout
from parwana.store.letters import Letter, examine
from parwana.store.reader import Store, StoreError
from parwana.world.broker import BrokerError, Denied, Session
from parwana.world.logs import Trouble

GROUP = "relays"
BATCH = 256  # payloads in one transaction
INFLIGHT = 256  # unacknowledged payloads that the broker may hand over
PACKET_BYTES = 8192  # the broker drops what is larger; a full `frames` has 1,665 bytes
_QUEUE = 4 * INFLIGHT
_RETRY_S = 2.0
_DENIED_S = (5.0, 300.0)  # until denied permits are tried again
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
        self.rollout = Rollout(store, now, self.tell)
        self._arrived: queue.Queue[_Arrived | None] = queue.Queue()
        self._lock = threading.Lock()
        self._denied: dict[bytes, bytes] = {}  # permits by meter
        self._denied_s = _DENIED_S[0]
        self._denied_again_s = 0.0
        self._trouble = {
            n: Trouble(log, n) for n in ("broker", "store", "permits", "answers", "pieces")
        }
        self.bug: Exception | None = None
        self._stopping = threading.Event()
        self._session = Session(
            broker_url,
            [f"$share/{GROUP}/parwana/1/{utility_id}/+/up"],
            take=self._on_message,
            changed=self._changed,
            manual_ack=True,
            packet_bytes=PACKET_BYTES,
            inflight=INFLIGHT,
        )
        self._worker = threading.Thread(target=self._work, name="store")

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._worker.start()
        self._session.start()

    def stop(self) -> None:
        """Finish the payloads in hand, then leave the broker."""
        self._stopping.set()
        self._arrived.put(None)
        self._worker.join()
        self._session.stop()

    @property
    def connected(self) -> bool:
        """Say whether the broker is connected and sends what meters publish."""
        return self._session.ready

    @property
    def failures(self) -> dict[str, str]:
        """Return what goes wrong now, by what it is of: broker, store, permits, answers."""
        return {name: trouble.text for name, trouble in self._trouble.items() if trouble.text}

    def count(self, more: Counters) -> None:
        """Add to the counters."""
        with self._lock:
            for item in fields(more):
                total = getattr(self.counters, item.name) + getattr(more, item.name)
                setattr(self.counters, item.name, total)

    def deliver(self, meter: bytes, bundle: bytes) -> None:
        """Publish a permit, retained on the meter's permit topic.

        Without the broker it is not published now, but after the next connect; one that the
        broker denies is tried again, less and less often.
        """
        if not self.connected:
            return

        def done(error: BrokerError | None) -> None:
            self._published("permits", error, Counters(permits_delivered=1))
            with self._lock:
                if isinstance(error, Denied):
                    if not self._denied:
                        self._denied_again_s = time.monotonic() + self._denied_s
                    self._denied[meter] = bundle
                elif error is None:
                    self._denied.pop(meter, None)
                    self._denied_s = _DENIED_S[0]

        topic = wire.topic(self._utility_id, meter, "permit")
        payload = bytes([wire.MESSAGE_BUNDLE]) + bundle
        self._session.publish(topic, payload, retain=True, done=done)

    def tell(self, meter: bytes, bundle: bytes) -> None:
        """Publish a change of whom a meter trusts, or an update, for one that listens now.

        Nothing is retained: whom it does not reach lacks it in its next hello.
        """
        topic = wire.topic(self._utility_id, meter, "down")
        self._session.publish(topic, wire.pack_bundle_message(bundle), done=self._answered)

    def tell_new(self) -> None:
        """Tell what is new of all meters, if the broker is there. Raises StoreError."""
        if self.connected:
            with self._store.transaction() as writer:
                told = writer.tell()
            for row in told:
                self.tell(row.meter, row.bundle)

    def roll_out(self) -> None:
        """Decide whom to offer updates, and do, if the broker is there. Raises StoreError."""
        if self.connected:
            self.rollout.step()

    def _published(self, what: str, error: BrokerError | None, good: Counters) -> None:
        if error is None:
            self.count(good)
            self._trouble[what].over()
        elif isinstance(error, Denied):
            self.count(Counters(denied=1))
            self._trouble[what].failed(str(error))

    def _changed(self) -> None:
        if not self._session.ready:
            self._trouble["broker"].failed(self._session.trouble)
            return
        self._trouble["broker"].over()
        if self._session.connection == 1:
            log.info("connected to the broker %s", self._session.place)
        # A broker that restarted may have forgotten what it had retained.
        self._arrived.put(None)

    def _on_message(self, message: MQTTMessage) -> None:
        if not message.payload:  # who asks whether it may publish, as `parwana pair` does
            self._session.ack(message)
            return
        if message.qos == 0 and self._arrived.qsize() > _QUEUE:
            self.count(Counters(dropped=1))
            return
        self._arrived.put(_Arrived(message, self._session.connection))

    def _work(self) -> None:
        try:
            self._take_all()
        except Exception as error:  # handed to `run`, which ends the process with it
            self.bug = error

    def _take_all(self) -> None:
        redeliver = False
        while True:
            items = self._gather()
            redeliver |= None in items
            batch = [item for item in items if item is not None]
            if batch:
                self._take(batch)
            if self._stopping.is_set():
                return
            if self.connected:
                redeliver = redeliver and not self._redeliver()
                self._deliver_denied()

    def _gather(self) -> list[_Arrived | None]:
        """Return what has arrived, at most BATCH; nothing after a second of silence."""
        items: list[_Arrived | None] = []
        with suppress(queue.Empty):
            items.append(self._arrived.get(timeout=1))
            while len(items) < BATCH:
                items.append(self._arrived.get_nowait())
        return items

    def _take(self, batch: list[_Arrived]) -> None:
        letters = [self._examine(item.message) for item in batch]
        while True:
            try:
                answers, counters, unknown = commit(self._store, letters, int(self._now()))
                break
            except StoreError as error:
                self.count(Counters(store_failures=1))
                waiting = f"{error}; {len(batch)} payloads wait for it"
                self._trouble["store"].failed(waiting, logging.ERROR)
                if self._stopping.wait(_RETRY_S):
                    return
        self._trouble["store"].over()
        counters.answers = 0  # those count that the broker takes
        self.count(counters)
        for answer in answers:
            self._answer(answer)
        for letter in letters:
            self._serve(letter)
        for item in batch:
            if item.message.qos and item.connection == self._session.connection:
                self._session.ack(item.message)
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
            self._session.publish(topic, wire.pack_want(answer.want), done=self._answered)
            for change in answer.changes:  # before the permit, which new signers may have signed
                self.tell(answer.meter, change)
            if answer.bundle is not None:
                self.deliver(answer.meter, answer.bundle)

    def _serve(self, letter: Letter) -> None:
        """Offer an update to a meter that said hello; give the piece that one asks for."""
        if not self.connected:
            return
        if letter.hello:
            for bundle in self.rollout.heard(letter.meter, letter.hello.version):
                self.tell(letter.meter, bundle)
        if letter.get:
            try:
                piece = self.rollout.piece(*letter.get)
            except StoreError as error:  # the meter asks again
                self._trouble["store"].failed(str(error), logging.ERROR)
                return
            if piece is not None:
                topic = wire.topic(self._utility_id, letter.meter, "down")
                self._session.publish(topic, wire.pack_piece(*letter.get, piece), done=self._given)

    def _given(self, error: BrokerError | None) -> None:
        self._published("pieces", error, Counters(pieces=1))

    def _answered(self, error: BrokerError | None) -> None:
        self._published("answers", error, Counters(answers=1))

    def _redeliver(self) -> bool:
        try:
            outstanding = self._store.outstanding()
        except StoreError as error:
            self._trouble["store"].failed(str(error), logging.ERROR)
            return False
        for permit in outstanding:
            self.deliver(permit.meter, permit.bundle)
        return True

    def _deliver_denied(self) -> None:
        """Try again what the broker denied, if it is time to."""
        with self._lock:
            if not self._denied or time.monotonic() < self._denied_again_s:
                return
            again, self._denied = self._denied, {}
            self._denied_s = min(_DENIED_S[1], 2 * self._denied_s)
        for meter, bundle in again.items():
            self.deliver(meter, bundle)
