"""The carrier between a real broker and a real store: answers, outages, floods, several relays."""

import logging
import queue
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

import wire
from hil_tests.services import UTILITY, Broker, SignedMeter, wait_until
from parwana.relay.carrier import Carrier
from parwana.store.reader import Store
from parwana.world.broker import BrokerError, parse_url

HELLO = wire.pack_hello(1, 9, 0, 0, 2, 0x000100, wire.CONTROL_CONNECTED)


class FakeMeter(SignedMeter):
    """A meter on the broker: it publishes, and collects what comes down."""

    def __init__(self, seed: int, broker: Broker, utility_id: str = UTILITY) -> None:
        super().__init__(seed, wire.reading_domain(utility_id))
        self._utility_id = utility_id
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=self.address.hex())
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._subscribed = False
        self._client.on_subscribe = self._on_subscribe
        self._client.connect_async("127.0.0.1", broker.port)
        self._client.loop_start()
        wait_until(lambda: self._subscribed, "the meter's subscriptions")

    def topic(self, leaf: str) -> str:
        """Return one of the meter's topics."""
        return wire.topic(self._utility_id, self.address, leaf)

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(self.topic("down"), 1), (self.topic("permit"), 1)])

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed = True

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.received.put((message.topic.rsplit("/", 1)[1], bytes(message.payload)))

    def publish(self, payload: bytes, qos: int = 1, topic: str = "") -> None:
        self._client.publish(topic or self.topic("up"), payload, qos=qos)

    def send(self, *sequences: int) -> None:
        self.publish(wire.pack_frames([self.reading(s) for s in sequences]))

    def insist(self, *sequences: int) -> None:
        """Send the same frames every second until something comes down."""

        def sent() -> bool:
            self.send(*sequences)
            wait_for = time.monotonic() + 1
            while self.received.empty() and time.monotonic() < wait_for:
                time.sleep(0.02)
            return not self.received.empty()

        wait_until(sent, "an answer", 60)

    def next(self, timeout_s: float = 15) -> tuple[str, Any]:
        """Return (leaf, message value) of what came down next."""
        try:
            leaf, payload = self.received.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"nothing came down within {timeout_s} s") from None
        return leaf, wire.parse_message(payload)[1]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def carry(broker: Broker, store: Store) -> Iterator[Callable[[], Carrier]]:
    running: list[Carrier] = []

    def start() -> Carrier:
        carrier = Carrier(UTILITY, broker.url, store, time.time)
        running.append(carrier)
        carrier.start()
        wait_until(lambda: carrier.connected, "the relay's connection")
        return carrier

    yield start
    for carrier in running:
        carrier.stop()
        assert carrier.bug is None


@pytest.fixture
def enrol(broker: Broker, store: Store) -> Iterator[Callable[[int], FakeMeter]]:
    made: list[FakeMeter] = []

    def new(seed: int) -> FakeMeter:
        meter = FakeMeter(seed, broker)
        with store.transaction() as tx:
            tx.enrol(meter.address, seed, 1, 3)
        made.append(meter)
        return meter

    yield new
    for meter in made:
        meter.close()


def test_hello_and_frames_are_answered_after_the_commit(
    store: Store, carry: Callable[[], Carrier], enrol: Callable[[int], FakeMeter]
) -> None:
    carrier, meter = carry(), enrol(1)
    meter.publish(HELLO)
    assert meter.next() == ("down", 1)
    meter.send(1, 2, 3)
    assert meter.next() == ("down", 4)
    assert store.runs(meter.address) == [(1, 3)]
    meter.send(1, 2, 3)
    assert meter.next() == ("down", 4)
    assert (carrier.counters.frames_new, carrier.counters.frames_repeated) == (3, 3)


def test_a_change_of_trust_is_told_at_once_and_to_who_says_that_it_lacks_it(
    store: Store, carry: Callable[[], Carrier], enrol: Callable[[int], FakeMeter]
) -> None:
    carrier, meter = carry(), enrol(21)
    changes = []
    for serial in (5, 6):
        frame = wire.pack_ledger(serial, 1_800_000_000, 31337, bytes(20))
        changes.append(wire.pack_bundle(frame, [(0, bytes(31) + b"1" + bytes(31) + b"1")]))
    with store.transaction() as tx:
        for serial, bundle in enumerate(changes, 5):
            tx.add_trust(meter.address, serial, bundle)
    carrier.tell_new()
    assert [meter.next() for _ in changes] == [("down", bundle) for bundle in changes]
    carrier.tell_new()
    meter.publish(wire.pack_hello(1, 9, 0, 5, 2, 0x000100, wire.CONTROL_CONNECTED))
    assert [meter.next(), meter.next()] == [("down", 1), ("down", changes[1])], "nothing twice"


def test_a_permit_is_retained_and_offered_again_to_who_lacks_it(
    store: Store, carry: Callable[[], Carrier], enrol: Callable[[int], FakeMeter]
) -> None:
    carrier, meter = carry(), enrol(2)
    bundle = wire.pack_bundle(wire.pack_permit(0, 7, 1, 2, 1), [(0, b"s" * 64), (2, b"t" * 64)])
    carrier.deliver(meter.address, bundle)
    assert meter.next() == ("permit", bundle)
    with store.transaction() as tx:
        tx.add_permit(meter.address, 7, bundle, 1)
    meter.publish(HELLO)
    assert {meter.next(), meter.next()} == {("down", 1), ("permit", bundle)}
    meter.publish(wire.pack_hello(1, 9, 7, 0, 2, 1, 0))
    assert meter.next() == ("down", 1)
    time.sleep(0.3)
    assert meter.received.empty()


def test_outstanding_permits_are_delivered_again_after_the_broker_forgot_them(
    broker: Broker,
    store: Store,
    carry: Callable[[], Carrier],
    enrol: Callable[[int], FakeMeter],
) -> None:
    carrier, meter = carry(), enrol(3)
    bundle = wire.pack_bundle(wire.pack_permit(0, 7, 1, 2, 1), [(0, b"s" * 64)])
    with store.transaction() as tx:
        tx.add_permit(meter.address, 7, bundle, 1)
    broker.stop()
    wait_until(lambda: not carrier.connected, "the relay to notice")
    broker.start()
    assert meter.next(40) == ("permit", bundle)
    meter.send(1)
    assert meter.next(40) == ("down", 2)


def test_while_the_store_is_out_nothing_is_answered_and_nothing_is_lost(
    store: Store,
    carry: Callable[[], Carrier],
    enrol: Callable[[int], FakeMeter],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    import sqlite3

    monkeypatch.setattr("parwana.relay.carrier._RETRY_S", 0.1)
    carrier, meter = carry(), enrol(4)
    with sqlite3.connect(tmp_path / "store.db", isolation_level=None) as db:
        db.execute("ALTER TABLE runs RENAME TO away")
        with caplog.at_level(logging.CRITICAL):
            meter.send(1, 2)
            wait_until(lambda: carrier.counters.store_failures > 1, "the store's failure")
            assert meter.received.empty()
            db.execute("ALTER TABLE away RENAME TO runs")
            assert meter.next() == ("down", 3)
    db.close()
    assert store.runs(meter.address) == [(1, 2)]


def test_an_unknown_meter_is_heard_once_it_is_enrolled(
    broker: Broker, store: Store, carry: Callable[[], Carrier]
) -> None:
    carrier = carry()
    meter = FakeMeter(5, broker)
    try:
        meter.send(1)
        assert carrier.unknown_heard.wait(15)
        assert meter.received.empty()
        with store.transaction() as tx:
            tx.enrol(meter.address, 5, 1, 3)
        meter.send(1)
        assert meter.next() == ("down", 2)
    finally:
        meter.close()


def test_hostile_payloads_do_not_disturb_the_others(
    store: Store,
    carry: Callable[[], Carrier],
    enrol: Callable[[int], FakeMeter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("parwana.store.writer.QUARANTINE_ROWS", 100)
    carrier, meter, rogue = carry(), enrol(6), enrol(7)
    rng = random.Random(11)
    signed = wire.pack_frames([meter.reading(s) for s in range(1, 17)])
    for size in range(len(signed)):
        if (size - 1) % 104 or not size:
            rogue.publish(signed[:size], topic=meter.topic("up"))
    for _ in range(300):
        changed = bytearray(signed[: 1 + 104 * rng.randrange(1, 17)])
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        rogue.publish(bytes(changed[:1] + changed[-104:]), topic=rogue.topic("up"))
    for size in (1664, 1666, 8000, 20_000, 500_000):
        rogue.publish(rng.randbytes(size), topic=meter.topic("up"))
    for topic in ("x/up", "%zz/up", meter.address.hex().upper() + "/up"):
        rogue.publish(b"noise", topic=f"parwana/1/{UTILITY}/{topic}")
    # A broker drops what a flood adds to a full queue: a meter sends again, here as there.
    meter.insist(1)
    assert meter.next() == ("down", 2)
    rogue.insist(1, 2)
    assert rogue.next() == ("down", 3)
    assert [f.sequence for f in store.frames(meter.address)] == [1]
    assert len(store.quarantined()) <= 300
    assert carrier.bug is None


def test_a_flood_without_acknowledgement_is_bounded(
    carry: Callable[[], Carrier],
    enrol: Callable[[int], FakeMeter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("parwana.relay.carrier._QUEUE", 16)
    monkeypatch.setattr("parwana.store.writer.QUARANTINE_ROWS", 50)
    carrier, meter = carry(), enrol(8)
    for i in range(4000):
        meter.publish(b"\x09%d" % i, qos=0)
    meter.insist(1)
    assert meter.next() == ("down", 2)
    total = carrier.counters
    wait_until(lambda: total.messages + total.dropped >= 3000, "the flood to pass", 30)
    assert total.dropped > 0


def test_two_relays_share_the_work_and_lose_nothing(
    store: Store, carry: Callable[[], Carrier], enrol: Callable[[int], FakeMeter]
) -> None:
    relays = [carry(), carry()]
    meters = [enrol(seed) for seed in range(20, 26)]
    for first in range(1, 41, 8):
        for meter in meters:
            meter.send(*range(first, first + 8))
        for meter in meters:
            assert meter.next() == ("down", first + 8)
    assert all(store.runs(m.address) == [(1, 40)] for m in meters)
    assert all(relay.counters.frames_new for relay in relays)
    assert sum(relay.counters.frames_new for relay in relays) == 240


def test_a_relay_waits_for_a_broker_that_comes_later(tmp_path: Path, store: Store) -> None:
    broker = Broker(tmp_path)
    broker.stop()
    carrier = Carrier(UTILITY, broker.url, store, time.time)
    carrier.start()
    try:
        time.sleep(0.3)
        assert not carrier.connected
        broker.start()
        wait_until(lambda: carrier.connected, "the relay's connection", 30)
    finally:
        carrier.stop()
        broker.stop()


@pytest.mark.parametrize(
    "url",
    ["", "host", "http://h:1", "mqtt://", "mqtt://h:x", "mqtt://u:secret@h:0x1", "mqtt://h/p"],
)
def test_a_wrong_broker_url_says_what_to_write(url: str) -> None:
    with pytest.raises(BrokerError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_broker_urls() -> None:
    assert parse_url("mqtt://h") == ("mqtt", "h", 1883, None, None)
    assert parse_url("mqtts://u:p%40@h") == ("mqtts", "h", 8883, "u", "p@")
    assert parse_url("mqtt://[::1]:99/") == ("mqtt", "::1", 99, None, None)
