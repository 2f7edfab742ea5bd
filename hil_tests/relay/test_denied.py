"""A relay at a broker that acknowledges and denies: told, counted, kept and tried again."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import MQTTMessage

import wire
from hil_tests.brokers import PASSWORD, URL_PASSWORD, GuardedBroker, rights_of_the_guide, stranger
from hil_tests.services import UTILITY, SignedMeter, wait_until
from parwana.relay import carrier as carrying
from parwana.relay.carrier import Carrier
from parwana.store.reader import Store
from parwana.world.broker import Session

READ = f"topic read parwana/1/{UTILITY}/+/up"
ALL = rights_of_the_guide(UTILITY)["services"]
HELLO = wire.pack_hello(1, 9, 0, 0, 2, 0x000100, wire.CONTROL_CONNECTED)
BUNDLE = wire.pack_bundle(wire.pack_permit(0, 7, 1, 2, 1), [(0, b"s" * 64)])


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedBroker]:
    made = GuardedBroker(tmp_path / "broker", {"relay": READ, "meter": "topic readwrite #"})
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "_DENIED_S", (0.2, 0.4))


@contextmanager
def carried(store: Store, url: str, *, connected: bool = True) -> Iterator[Carrier]:
    carrier = Carrier(UTILITY, url, store, time.time)
    carrier.start()
    try:
        if connected:
            wait_until(lambda: carrier.connected, "the relay's connection")
        yield carrier
    finally:
        carrier.stop()
        assert carrier.bug is None


def test_a_denied_permit_is_not_delivered_and_tried_again_until_it_is(
    guarded: GuardedBroker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    meter = SignedMeter(1)
    with store.transaction() as tx:
        tx.enrol(meter.address, 1, 1, 3)
        tx.add_permit(meter.address, 7, BUNDLE, 1)
    heard: list[MQTTMessage] = []
    with (
        caplog.at_level(logging.INFO),
        Session(guarded.of("meter"), [meter.topic("permit")], take=heard.append),
        carried(store, guarded.of("relay")) as carrier,
    ):
        wait_until(lambda: carrier.counters.denied >= 3, "three tries")
        assert carrier.counters.permits_delivered == 0
        assert [p.serial for p in store.outstanding()] == [7]
        assert "user 'relay' not publish to" in carrier.failures["permits"]
        guarded.allow("relay", ALL)
        wait_until(lambda: carrier.counters.permits_delivered, "the permit's delivery")
        wait_until(lambda: heard, "the permit")
        assert carrier.failures == {}
        denied = carrier.counters.denied
        time.sleep(1)
        assert (carrier.counters.denied, len(heard)) == (denied, 1)
    told = [r.getMessage() for r in caplog.records if "permits: " in r.getMessage()]
    assert f"lets user 'relay' not publish to {meter.topic('permit')}; give" in told[0]
    assert "permits: works again after" in told[1]
    assert len(told) == 2
    assert PASSWORD not in caplog.text
    assert URL_PASSWORD not in caplog.text


def test_the_newest_permit_of_a_meter_is_the_one_that_is_tried_again(store: Store) -> None:
    newer = wire.pack_bundle(wire.pack_permit(0, 8, 1, 2, 1), [(0, b"s" * 64)])
    meter = SignedMeter(2)
    with stranger(0, puback=0x87) as other, carried(store, other.url) as carrier:
        carrier.deliver(meter.address, BUNDLE)
        carrier.deliver(meter.address, newer)
        wait_until(lambda: carrier.counters.denied >= 2, "two denials")
        assert carrier._denied in ({meter.address: newer}, {})
        other.puback = 0
        wait_until(lambda: carrier.counters.permits_delivered, "the delivery")
        time.sleep(0.6)
        assert carrier.counters.permits_delivered == 1


def test_denied_answers_are_counted_and_told_once_and_readings_are_kept(
    guarded: GuardedBroker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    meters = [SignedMeter(seed) for seed in (3, 4)]
    with store.transaction() as tx:
        for number, meter in enumerate(meters):
            tx.enrol(meter.address, number, 1, 3)
    with (
        caplog.at_level(logging.INFO),
        carried(store, guarded.of("relay")) as carrier,
        Session(guarded.of("meter")) as session,
    ):
        session.wait(10)
        for meter in meters:
            session.put(meter.topic("up"), wire.pack_frames([meter.reading(1)]), 10)
        wait_until(lambda: carrier.counters.denied == 2, "two denied answers")
        assert (carrier.counters.answers, carrier.counters.frames_new) == (0, 2)
        guarded.allow("relay", ALL)
        session.put(meters[0].topic("up"), HELLO, 10)
        wait_until(lambda: carrier.counters.answers == 1, "an answer that is taken")
    assert [store.runs(meter.address) for meter in meters] == [[(1, 1)]] * 2
    told = [r.getMessage() for r in caplog.records if "answers: " in r.getMessage()]
    assert len(told) == 2, told
    assert "/down; give this user the right to write it" in told[0]


def test_a_relay_that_may_not_subscribe_is_not_connected_and_says_so(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        stranger(0, suback=0x87) as other,
        carried(store, other.url, connected=False) as carrier,
    ):
        wait_until(lambda: carrier.failures, "the denial")
        assert not carrier.connected
        topic = f"$share/relays/parwana/1/{UTILITY}/+/up"
        said = f"lets user 'someone' not subscribe to {topic}; give this user the right to read it"
        assert said in carrier.failures["broker"]
        assert said in caplog.text


def test_a_broker_that_kicks_again_and_again_does_not_fill_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO),
        stranger(0, goodbye=0x8E) as other,
        carried(store, other.url, connected=False),
    ):
        wait_until(lambda: other.connections >= 4, "four connections")
    told = [r.getMessage() for r in caplog.records]
    assert len(told) <= 3, told
    assert "another client with the client id parwana-" in caplog.text


def test_an_empty_message_asks_for_rights_and_is_nothing_to_a_relay(
    guarded: GuardedBroker, store: Store
) -> None:
    guarded.allow("relay", ALL)
    meter = SignedMeter(5)
    with store.transaction() as tx:
        tx.enrol(meter.address, 5, 1, 3)
    with (
        carried(store, guarded.of("relay")) as carrier,
        Session(guarded.of("meter")) as session,
    ):
        session.wait(10)
        for _ in range(300):  # more than a relay takes at once without acknowledging
            session.publish(meter.topic("up"), b"")
        session.put(meter.topic("up"), wire.pack_frames([meter.reading(1)]), 10)
        wait_until(lambda: carrier.counters.answers == 1, "the answer")
        assert store.quarantined() == []
        assert carrier.counters.quarantined == 0
