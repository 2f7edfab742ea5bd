"""What a relay believes: only frames that the topic's meter signed, whatever else arrives."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wire
from hil_tests.services import DOMAIN, UTILITY, SignedMeter
from parwana.relay.intake import (
    CONTRADICTION,
    MALFORMED,
    SIGNATURE,
    TOPIC,
    UNKNOWN,
    Answer,
    Letter,
    commit,
    examine,
)
from parwana.store import writer
from parwana.store.reader import Store
from parwana.store.signatures import ORDER

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


def test_signed_frames_are_taken() -> None:
    found = letter(frames(1, 2, 3))
    assert [f.sequence for f in found.frames] == [1, 2, 3]
    assert found.meter == METER.address
    assert not found.refused


def test_every_truncation_and_extension_is_refused() -> None:
    for payload in (frames(1, 2), HELLO):
        for size in range(len(payload)):
            assert reasons(letter(payload[:size])) == [MALFORMED] or size == 105
        assert reasons(letter(payload + b"\0")) == [MALFORMED]
    assert [f.sequence for f in letter(frames(1, 2)[:105]).frames] == [1]


def test_every_bit_flip_of_a_frame_is_refused() -> None:
    payload = frames(7)
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        found = letter(bytes(changed))
        assert not found.frames
        assert reasons(found)[0] in (MALFORMED, SIGNATURE)


def test_a_bad_frame_does_not_spoil_its_neighbours() -> None:
    payload = bytearray(frames(1, 2, 3))
    payload[1 + 104 + 50] ^= 1
    found = letter(bytes(payload))
    assert [f.sequence for f in found.frames] == [1, 3]
    assert reasons(found) == [SIGNATURE]


def test_the_other_encoding_of_a_signature_is_refused() -> None:
    frame, signature = METER.reading(1)
    vs = int.from_bytes(signature[32:], "big")
    high = ORDER - (vs & ~(1 << 255))
    for twin in (high, high | 1 << 255):
        forged = signature[:32] + (twin % (1 << 256)).to_bytes(32, "big")
        assert reasons(letter(wire.pack_frames([(frame, forged)]))) == [SIGNATURE]
    for forged in (
        bytes(64),
        b"\xff" * 64,
        signature[:32] + bytes(32),
        bytes(32) + signature[32:],
    ):
        assert reasons(letter(wire.pack_frames([(frame, forged)]))) == [SIGNATURE]


def test_another_meters_frames_and_other_utilities_are_refused() -> None:
    assert reasons(letter(frames(1, meter=OTHER))) == [SIGNATURE]
    foreign = SignedMeter(1, wire.reading_domain("another-board"))
    assert reasons(letter(frames(1, meter=foreign))) == [SIGNATURE]


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "parwana/1/test-board/up",
        METER.topic("down"),
        METER.topic("up").upper(),
        METER.topic("up") + "/x",
        METER.topic("up").replace("test-board", "another-board"),
        METER.topic("up").replace("parwana/1", "parwana/2"),
        "parwana/1/test-board/" + "g" * 40 + "/up",
        "\0\ud800",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    assert reasons(letter(frames(1), topic)) == [TOPIC]


def test_messages_that_are_not_for_a_relay_are_refused() -> None:
    permit = wire.pack_permit(0, 1, 1, 2, 1)
    bundle = wire.pack_bundle_message(wire.pack_bundle(permit, [(0, b"s" * 64)]))
    for payload in (wire.pack_want(3), bundle, b"", b"\x05", b"\x01"):
        assert reasons(letter(payload)) == [MALFORMED]
    assert reasons(letter(wire.pack_frames([(permit, b"s" * 64)]))) == [MALFORMED]
    assert reasons(letter(wire.pack_frames([METER.reading(0, time_s=5)]))) == [MALFORMED]
    jump = wire.pack_frames([METER.reading(1), METER.reading(3)])
    assert reasons(letter(jump)) == [MALFORMED]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), st.text(max_size=90))
def test_noise_is_refused_and_never_raises(payload: bytes, topic: str) -> None:
    assert not letter(payload, topic).frames
    found = letter(payload)
    assert not found.frames
    assert found.hello or found.refused


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
