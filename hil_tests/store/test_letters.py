"""What is believed: only frames that the topic's meter signed, whatever else arrives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wire
from hil_tests.services import DOMAIN, UTILITY, SignedMeter
from parwana.store.letters import MALFORMED, SIGNATURE, TOPIC, Letter, examine
from parwana.store.signatures import ORDER

METER = SignedMeter(1)
OTHER = SignedMeter(2)
HELLO = wire.pack_hello(1, 9, 4, 0, 2, 0x000100, wire.CONTROL_CONNECTED)


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
    assert found.hello or found.refused or found.get
