"""What a relay keeps of what arrives, and what it answers."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wire
from hil_tests.services import DOMAIN, UTILITY, SignedMeter
from parwana.relay.intake import CONTRADICTION, UNKNOWN, Answer, commit
from parwana.store import writer
from parwana.store.letters import Letter, examine
from parwana.store.reader import Store
from parwana.store.tables import TAKEN, UNTOLD

METER = SignedMeter(1)
OTHER = SignedMeter(2)
HELLO = wire.pack_hello(1, 9, 4, 0, 2, 0x000100, wire.CONTROL_CONNECTED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    with opened.transaction() as tx:
        tx.enrol(METER.address, 17, 1, 3)
    yield opened
    opened.close()


def letter(payload: bytes, topic: str = METER.topic("up")) -> Letter:
    return examine(topic, payload, UTILITY, DOMAIN)


def frames(*sequences: int, meter: SignedMeter = METER) -> bytes:
    return wire.pack_frames([meter.reading(s) for s in sequences])


def reasons(found: Letter) -> list[str]:
    return [reason for _, reason, _ in found.refused]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.text(max_size=99), st.binary(max_size=300)), max_size=9))
def test_whatever_arrives_can_be_stored(store: Store, arrived: list[tuple[str, bytes]]) -> None:
    answers, counters, _ = commit(store, [letter(p, t) for t, p in arrived], 5)
    assert answers == []
    assert counters.quarantined == counters.messages == len(arrived)


def test_the_answer_is_the_lowest_sequence_that_is_missing(store: Store) -> None:
    def want(*payloads: bytes) -> int:
        answers, _, _ = commit(store, [letter(p) for p in payloads], 5)
        (answer,) = answers
        return answer.want

    assert want(HELLO) == 1
    assert want(frames(1, 2)) == 3
    assert want(frames(5, 6)) == 3
    assert want(frames(3, 4)) == 7
    assert want(frames(9), frames(7)) == 8
    assert want(frames(7)) == 8


def test_what_a_hello_no_longer_has_is_not_asked_for(store: Store) -> None:
    hello = wire.pack_hello(100, 120, 0, 0, 1, 1, 0)
    assert commit(store, [letter(hello)], 5)[0] == [Answer(METER.address, 100)]
    assert commit(store, [letter(frames(100))], 5)[0] == [Answer(METER.address, 101)]
    # Anyone can publish a hello; a frame that proves it wrong counts more.
    forged = wire.pack_hello(0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 1, 1, 0)
    assert commit(store, [letter(forged)], 5)[0] == [Answer(METER.address, 0xFFFFFFFF)]
    assert commit(store, [letter(frames(101))], 5)[0] == [Answer(METER.address, 102)]


def test_an_unknown_meter_gets_no_answer_and_loses_nothing(store: Store) -> None:
    mail = letter(frames(1, 2, meter=OTHER), OTHER.topic("up"))
    hello = letter(HELLO, OTHER.topic("up"))
    for _ in range(3):
        answers, counters, unknown = commit(store, [mail, hello], 5)
        assert (answers, counters.quarantined, unknown) == ([], 2, [mail, hello])
    assert store.tallies() == {UNKNOWN: (2, 0)}
    assert store.meter(OTHER.address) is None
    with store.transaction() as tx:
        tx.enrol(OTHER.address, 18, 1, 3)
    assert commit(store, [mail], 5)[0] == [Answer(OTHER.address, 3)]


def test_contradictions_are_kept_as_proof_and_bounded(store: Store) -> None:
    letters = [
        letter(wire.pack_frames([METER.reading(1, energy_wh=100 + i)]))
        for i in range(writer.CONTRADICTIONS_KEPT + 3)
    ]
    _, counters, _ = commit(store, letters, 5)
    assert counters.contradictions == writer.CONTRADICTIONS_KEPT + 2
    assert len(list(store.frames(METER.address))) == writer.CONTRADICTIONS_KEPT
    assert store.tallies() == {CONTRADICTION: (3, 0)}


def test_a_hello_of_a_meter_without_its_permit_gets_it(store: Store) -> None:
    with store.transaction() as tx:
        tx.add_permit(METER.address, 4, b"old", 1)
    assert commit(store, [letter(HELLO)], 5)[0] == [Answer(METER.address, 1)]
    with store.transaction() as tx:
        tx.add_permit(METER.address, 8, b"new", 1)
    assert commit(store, [letter(HELLO)], 5)[0] == [Answer(METER.address, 1, b"new")]


def test_a_signed_event_of_an_accepted_permit_is_noted(store: Store) -> None:
    event = METER.sign(wire.pack_event(wire.EVENT_PERMIT_ACCEPTED, 1, 1_700_000_000, 0, a=8))
    with store.transaction() as tx:
        tx.add_permit(METER.address, 8, b"new", 1)
    assert len(store.outstanding()) == 1
    commit(store, [letter(wire.pack_frames([event]))], 5)
    assert store.outstanding() == []


def test_a_batch_of_many_meters_is_answered_per_meter(store: Store) -> None:
    meters = [SignedMeter(seed) for seed in range(10, 30)]
    with store.transaction() as tx:
        for number, meter in enumerate(meters, 100):
            tx.enrol(meter.address, number, 1, 3)
    letters = [letter(frames(1, 2, meter=m), m.topic("up")) for m in meters]
    letters += [letter(frames(3, meter=m), m.topic("up")) for m in meters]
    random.Random(3).shuffle(letters)
    answers, counters, _ = commit(store, letters, 5)
    assert {a.meter: a.want for a in answers} == {m.address: 4 for m in meters}
    assert (counters.frames_new, counters.answers) == (60, 20)


def test_a_hello_is_answered_with_the_changes_of_trust_that_it_lacks(store: Store) -> None:
    def changes(trust_serial: int) -> list[bytes]:
        hello = wire.pack_hello(1, 9, 4, trust_serial, 2, 0x000100, wire.CONTROL_CONNECTED)
        [answer], _, _ = commit(store, [letter(hello)], 5)
        return answer.changes

    assert changes(0) == []
    with store.transaction() as tx:
        for serial in (5, 6, 7, 8):
            tx.add_trust(METER.address, serial, b"%d" % serial)
        tx.add_trust(OTHER.address, 5, b"other")
    assert changes(0) == [b"5", b"6", b"7"]
    assert changes(0) == [b"5", b"6", b"7"], "again, for it lacks them still"
    assert changes(7) == [b"8"]
    assert changes(8) == []


def test_a_signed_change_of_trust_is_known_as_taken(store: Store) -> None:
    with store.transaction() as tx:
        for serial in (5, 6, 7):
            tx.add_trust(METER.address, serial, b"%d" % serial)
    for sequence, code, a, b in (
        (1, wire.EVENT_SIGNER_CHANGED, 0, 5),
        (2, wire.EVENT_LEDGER_CHANGED, 6, 7),
    ):
        event = METER.event(code, sequence, 1_800_000_000, 0, a, b)
        commit(store, [letter(wire.pack_frames([event]))], 5)
    assert [row.state for row in store.trust()] == [TAKEN, TAKEN, UNTOLD]
