"""Several brokers behind one name, bridged to the one that relays are at (docs/scaling.md)."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.publish as mqtt
import pytest

import wire
from hil_tests.relay.test_carrier import FakeMeter
from hil_tests.services import UTILITY, Broker, wait_until
from parwana import REPO
from parwana.permits.bundle import make_permit
from parwana.relay.carrier import Carrier
from parwana.store.reader import Store
from parwana.world.programs import OPEN_TO_ALL

FRAME = make_permit(issued_at_s=9, valid_until_s=10, period=1, last_serial=0)
PERMIT = wire.pack_bundle_message(FRAME + bytes(65))


def bridge(hub: Broker) -> str:
    """Return the bridge of docs/scaling.md, towards a hub."""
    text = (REPO / "docs" / "scaling.md").read_text()
    [shown] = re.findall(r"```\n(connection .*?)```", text, re.DOTALL)
    return shown.replace("hub.example:1883", f"127.0.0.1:{hub.port}").replace("kalpa", UTILITY)


@pytest.fixture
def leaves(broker: Broker, tmp_path: Path) -> Iterator[list[Broker]]:
    made: list[Broker] = []
    for number in range(2):
        folder = tmp_path / f"leaf{number}"
        folder.mkdir()

        class Leaf(Broker):
            settings = f"{OPEN_TO_ALL}\n{bridge(broker)}\nlocal_clientid leaf{number}\n"

        made.append(Leaf(folder))
    yield made
    for leaf in made:
        leaf.stop()


@pytest.fixture
def meet(store: Store) -> Iterator[Callable[[int, Broker], FakeMeter]]:
    made: list[FakeMeter] = []

    def meter(seed: int, leaf: Broker) -> FakeMeter:
        made.append(FakeMeter(seed, leaf))
        with store.transaction() as tx:
            tx.enrol(made[-1].address, seed, 1, 3)
        return made[-1]

    yield meter
    for one in made:
        one.close()


def test_meters_of_every_leaf_are_heard_and_answered(
    broker: Broker, store: Store, leaves: list[Broker], meet: Callable[[int, Broker], FakeMeter]
) -> None:
    carriers = [Carrier(UTILITY, broker.url, store, time.time) for _ in range(2)]
    for carrier in carriers:
        carrier.start()
    try:
        meters = [meet(100 + at, leaf) for at, leaf in enumerate(leaves)]
        for meter in meters:
            meter.insist(1, 2)
            comes(meter, "down", 3)
        for meter in meters:  # a signer knows the hub alone
            mqtt.single(meter.topic("permit"), PERMIT, 1, True, port=broker.port)
            comes(meter, "permit", PERMIT[1:])

        moved, other = meters
        moved.close()
        leaves[0].stop()  # the name leads to another
        again = meet(100, leaves[1])
        comes(again, "permit", PERMIT[1:])  # retained by this leaf, too
        again.insist(3)
        comes(again, "down", 4)

        broker.stop()
        other.send(3)
        broker.start()
        other.insist(3, 4)
        wait_until(lambda: store.count_frames(other.address, 9) == 4, "all of both", 30)
        assert store.count_frames(again.address, 9) == 3
        assert not store.contradictions()
        assert not store.quarantined()
    finally:
        for carrier in carriers:
            carrier.stop()


def comes(meter: FakeMeter, leaf: str, value: object) -> None:
    """Wait for a message; what was sent twice is answered twice."""
    while meter.next() != (leaf, value):
        pass
