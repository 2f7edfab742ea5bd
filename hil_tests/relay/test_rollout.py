"""Updates go to few meters first, and to no more once meters fall back; a relay gives pieces."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import wire
from hil_tests.relay.test_carrier import FakeMeter
from hil_tests.services import DOMAIN, UTILITY, Broker, SignedMeter, wait_until
from parwana.relay.carrier import Carrier
from parwana.relay.rollout import STAGES, Offer, Rollout, progress, staged
from parwana.store.frames import signed_frame
from parwana.store.letters import examine
from parwana.store.reader import Store

SERIAL = 1_800_000_000
VERSION = 0x000200
TARGET = 10 << 24 | VERSION
IMAGE = b"".join(bytes([n]) * 512 for n in range(3))
FRAME = wire.pack_update(3, SERIAL, TARGET, bytes(28))
BUNDLE = wire.pack_bundle(FRAME, [(0, bytes(64))])
WAIT_S = 3600
HOUSES = [SignedMeter(seed) for seed in range(1, 201)]


class World:
    """A roll-out over 200 houses; `told` are those that were offered it since the last look."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_s = SERIAL + 100
        self._told: list[tuple[bytes, bytes]] = []
        self._sequence = 0
        with store.transaction() as tx:
            for number, house in enumerate(HOUSES):
                tx.enrol(house.address, number + 1, 1, 3)
            tx.add_update(SERIAL, FRAME, IMAGE, self.now_s)
            tx.set_update(SERIAL, wait_s=WAIT_S)
        self.rollout = Rollout(store, lambda: self.now_s, lambda *told: self._told.append(told))

    def change(self, **values: object) -> None:
        with self.store.transaction() as tx:
            tx.set_update(SERIAL, **values)

    def ended(self, how: int, *houses: SignedMeter, serial: int = SERIAL) -> None:
        self._sequence += 1
        with self.store.transaction() as tx:
            for house in houses:
                event = house.event(
                    wire.EVENT_UPDATE_ENDED, self._sequence, self.now_s, 0, how, serial, TARGET
                )
                stored = signed_frame(house.address, *event)
                tx.add_frames(house.address, [stored], self.now_s)

    def step(self) -> list[bytes]:
        """Decide, look again; return who was told."""
        self.rollout.step()
        self.rollout.step()
        told, self._told = self._told, []
        assert all(bundle == BUNDLE for _, bundle in told)
        return [meter for meter, _ in told]

    @property
    def offer(self) -> Offer:
        (row,) = self.store.updates()
        return Offer.of(row)

    def houses(self, percent: int) -> list[SignedMeter]:
        chosen = staged(SERIAL, percent, [house.address for house in HOUSES])
        return [house for house in HOUSES if house.address in chosen]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_stages_hold_each_other_and_are_never_empty() -> None:
    meters = [bytes([n]) * 20 for n in range(150)]
    groups = [staged(SERIAL, percent, meters) for percent in STAGES]
    assert [len(group) for group in groups] == [2, 15, 150]
    assert groups[0] < groups[1] < groups[2]
    assert staged(SERIAL, 1, meters[:3]) <= set(meters[:3])
    assert len(staged(SERIAL, 1, meters[:3])) == 1
    assert staged(SERIAL, 0, meters) == staged(SERIAL, 100, []) == set()
    assert staged(SERIAL + 1, 10, meters) != groups[1], "not always the same houses try it"


def test_nothing_is_offered_before_m_signed(world: World) -> None:
    assert world.step() == []
    world.change(bundle=BUNDLE)
    assert world.step() == []
    assert world.rollout.piece(SERIAL, 0) is None
    world.change(percent=1)
    assert set(world.step()) == {house.address for house in world.houses(1)}
    assert world.rollout.piece(SERIAL, 0) == IMAGE[:512]


def test_it_goes_from_stage_to_stage_by_what_meters_signed(world: World) -> None:
    world.change(bundle=BUNDLE, percent=1, since_s=world.now_s)
    first, tenth = world.houses(1), world.houses(10)
    assert len(world.step()) == 2
    world.now_s += 2 * WAIT_S
    world.ended(wire.UPDATE_RUNS, first[0])
    world.step()
    assert world.offer.percent == 1, "half of them do not run it"
    world.ended(wire.UPDATE_RUNS, first[1], serial=SERIAL - 1)
    world.step()
    assert world.offer.percent == 1, "that was another update"
    world.ended(wire.UPDATE_RUNS, first[1])
    told = world.step()
    assert world.offer.percent == 10
    assert set(told) == {house.address for house in tenth} - {house.address for house in first}
    world.ended(wire.UPDATE_RUNS, *tenth)
    world.step()
    assert world.offer.percent == 10, "the stage is young"
    world.now_s += WAIT_S
    assert len(world.step()) == 180
    assert world.offer.percent == 100
    world.ended(wire.UPDATE_RUNS, *HOUSES)
    world.now_s += WAIT_S
    world.step()
    assert (world.offer.percent, world.offer.stopped) == (100, "")


def test_it_stops_when_a_meter_of_the_first_falls_back(world: World) -> None:
    world.change(bundle=BUNDLE, percent=1)
    first = world.houses(1)
    world.step()
    assert world.rollout.heard(first[1].address, 0x000100) == [BUNDLE]
    world.ended(wire.UPDATE_FELL_BACK, first[0])
    world.now_s += 2 * WAIT_S
    assert world.step() == []
    assert world.offer.stopped == "1 of 1 meters that tried it fell back"
    assert world.rollout.heard(first[1].address, 0x000100) == []
    assert world.rollout.piece(SERIAL, 0) is None
    world.ended(wire.UPDATE_RUNS, *first[1:])
    world.now_s += 2 * WAIT_S
    world.step()
    assert world.offer.percent == 1, "it does not go on by itself"


def test_one_in_two_hundred_does_not_stop_it_three_do(world: World) -> None:
    world.change(bundle=BUNDLE, percent=100)
    world.ended(wire.UPDATE_RUNS, *HOUSES[5:])
    world.ended(wire.UPDATE_FELL_BACK, HOUSES[0])
    world.step()
    assert not world.offer.stopped
    assert world.rollout.heard(HOUSES[0].address, 0x000100) == [], "it has tried it"
    world.ended(wire.UPDATE_FELL_BACK, *HOUSES[1:3])
    world.step()
    assert world.offer.stopped


def test_troubles_are_told_and_stop_nothing(world: World) -> None:
    world.change(bundle=BUNDLE, percent=100)
    world.ended(wire.UPDATE_SPOILT, *HOUSES[:3])
    world.ended(wire.UPDATE_UNWRITTEN, *HOUSES[3:5])
    world.ended(wire.UPDATE_RUNS, HOUSES[0])
    world.step()
    assert not world.offer.stopped
    found = progress(world.store, world.offer)
    assert found.troubled == {house.address for house in HOUSES[1:5]}
    assert found.runs == {HOUSES[0].address}


def test_a_hello_of_a_meter_that_lacks_it_is_answered_with_it(world: World) -> None:
    world.change(bundle=BUNDLE, percent=1)
    world.step()
    inside = world.houses(1)[0].address
    others = [house.address for house in HOUSES if house not in world.houses(1)]
    assert world.rollout.heard(inside, VERSION - 1) == [BUNDLE]
    assert world.rollout.heard(inside, VERSION) == []
    assert world.rollout.heard(others[0], VERSION - 1) == []


def test_who_listens_is_told_again_after_a_while(world: World) -> None:
    world.change(bundle=BUNDLE, percent=1)
    assert len(world.step()) == 2
    world.now_s += 500
    assert world.step() == []
    world.now_s += 200
    assert len(world.step()) == 2
    with world.store.transaction() as tx:
        for house in world.houses(1):
            heard = {"version": VERSION, "heard_s": world.now_s}
            tx.heard([{"meter": house.address, **heard}])
    world.now_s += 700
    assert world.step() == [], "they run it, as they say"


def test_pieces(world: World) -> None:
    world.change(bundle=BUNDLE, percent=1)
    world.step()
    pieces = [world.rollout.piece(SERIAL, number) for number in (0, 2, 3, 65535)]
    assert pieces == [IMAGE[:512], IMAGE[1024:], None, None]
    assert world.rollout.piece(SERIAL + 1, 0) is None


def test_a_get_is_a_letter_that_keeps_nothing() -> None:
    house = HOUSES[0]
    letter = examine(house.topic("up"), wire.pack_get(SERIAL, 2), UTILITY, DOMAIN)
    assert (letter.meter, letter.get, letter.refused) == (house.address, (SERIAL, 2), [])
    short = examine(house.topic("up"), wire.pack_get(SERIAL, 2)[:-1], UTILITY, DOMAIN)
    assert (short.get, len(short.refused)) == (None, 1)


def test_a_relay_offers_and_gives_over_a_broker(tmp_path: Path, store: Store) -> None:
    broker = Broker(tmp_path)
    house = FakeMeter(1, broker)
    carrier = Carrier(UTILITY, broker.url, store, lambda: SERIAL)
    try:
        with store.transaction() as tx:
            tx.enrol(house.address, 1, 1, 3)
            tx.add_update(SERIAL, FRAME, IMAGE, SERIAL)
            tx.set_update(SERIAL, bundle=BUNDLE, percent=1)
        carrier.start()
        carrier.roll_out()
        wait_until(lambda: carrier.connected, "the relay")
        carrier.roll_out()
        assert house.next() == ("down", BUNDLE)
        house.publish(wire.pack_hello(1, 1, 0, 0, 2, 0x000100, 0))
        assert [house.next(), house.next()] == [("down", 1), ("down", BUNDLE)]
        house.publish(wire.pack_get(SERIAL, 9))
        house.publish(wire.pack_get(SERIAL - 1, 1))
        house.publish(wire.pack_get(SERIAL, 1))
        assert house.next() == ("down", (SERIAL, 1, IMAGE[512:1024]))
        wait_until(lambda: carrier.counters.pieces == 1, "the count")
        assert carrier.counters.quarantined == 0
    finally:
        carrier.stop()
        house.close()
        broker.stop()
