"""Whatever bytes come, the codec refuses them or gives back exactly them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import wire

PACK: "dict[type, Any]" = {
    wire.Reading: wire.pack_reading,
    wire.Event: wire.pack_event,
    wire.Permit: wire.pack_permit,
    wire.Time: wire.pack_time,
    wire.Signer: wire.pack_signer,
    wire.Ledger: wire.pack_ledger,
    wire.Update: wire.pack_update,
}
u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
trust = st.integers(0, 2)
flags = st.integers(0, 0x0FFF).filter(lambda value: value & 0xC0 != 0xC0)
hour = st.integers(0, 23)
readings = st.builds(
    wire.pack_reading,
    *(flags, u32, u32, u64, u32, u32, u32, u16, u16, u16, st.integers(0, 100), trust),
)
events = st.builds(wire.pack_event, u16, u32, u32, u64, u32, u32, u32, trust)
permits = st.builds(
    wire.pack_permit,
    *(st.integers(0, 7), u32, u32, u32, u32, u32, u64, hour, hour, st.integers(0, 127), u8),
)
times = st.builds(wire.pack_time, u32, u32)
signers = st.builds(
    wire.pack_signer, st.integers(0, 7), u32, u32, st.binary(min_size=28, max_size=28)
)
ledgers = st.builds(wire.pack_ledger, u32, u32, u64, st.binary(min_size=20, max_size=20))
updates = st.builds(wire.pack_update, u16, u32, u32, st.binary(min_size=28, max_size=28))
frames = st.one_of(readings, events, permits, times, signers, ledgers, updates)
signatures = st.binary(min_size=64, max_size=64)


def after(heads: "st.SearchStrategy[bytes]", most: int, least: int = 0) -> Any:
    """Make `heads` followed by any `least` to `most` bytes."""
    return st.builds(
        lambda head, rest: head + rest, heads, st.binary(min_size=least, max_size=most)
    )


def packed(fields: Any) -> bytes:
    return PACK[type(fields)](*fields)


@given(frames)
def test_frames_come_back(frame: bytes) -> None:
    assert packed(wire.parse(frame)) == frame


@settings(max_examples=1000)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.binary(min_size=40, max_size=40),
        st.builds(
            lambda kind, rest: bytes([1, kind]) + rest,
            st.integers(0, 9),
            st.binary(min_size=38, max_size=38),
        ),
    )
)
def test_hostile_frames(data: bytes) -> None:
    try:
        fields = wire.parse(data)
    except wire.FrameError:
        return
    assert packed(fields) == data


@given(frames, st.integers(0, 319))
def test_no_two_frames_mean_the_same(frame: bytes, bit: int) -> None:
    """A flipped bit is refused, or it changes a field: no byte is without meaning."""
    flipped = bytearray(frame)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        fields = wire.parse(bytes(flipped))
    except wire.FrameError:
        return
    assert (type(fields), fields) != (type(wire.parse(frame)), wire.parse(frame))


@settings(max_examples=1000)
@given(
    st.one_of(
        st.binary(max_size=700),
        st.builds(lambda f, rest: f + rest, frames, st.binary(max_size=200)),
    )
)
def test_hostile_bundles(data: bytes) -> None:
    try:
        bundle = wire.parse_bundle(data)
    except wire.FrameError:
        return
    joined = bundle.frame + bundle.public_key
    for index, signature in bundle.signatures:
        joined += bytes([index]) + signature
    assert joined == data
    assert 1 <= len(bundle.signatures) <= 8


@given(
    st.one_of(permits, times, signers, ledgers, updates),
    st.binary(min_size=64, max_size=64),
    st.dictionaries(st.integers(0, 7), signatures, min_size=1),
)
def test_bundles_come_back(frame: bytes, key: bytes, signed: "dict[int, bytes]") -> None:
    public_key = key if frame[1] == wire.KIND_SIGNER else b""
    rising = sorted(signed.items())
    bundle = wire.pack_bundle(frame, rising, public_key)
    assert wire.parse_bundle(bundle) == wire.Bundle(frame, public_key, rising)
    message = wire.pack_bundle_message(bundle)
    assert wire.parse_message(message) == (wire.MESSAGE_BUNDLE, bundle)


@settings(max_examples=1000)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda kind, rest: bytes([kind]) + rest, st.integers(0, 7), st.binary(max_size=250)
        ),
        st.builds(
            lambda f, s, rest: b"\1" + f + s + rest, frames, signatures, st.binary(max_size=2)
        ),
        st.builds(lambda rest: b"\2\1" + rest, st.binary(min_size=23, max_size=25)),
        after(st.sampled_from([b"\5", b"\6"]), 7, 5),
        after(st.just(b"\6"), 519, 517),
    )
)
def test_hostile_messages(data: bytes) -> None:
    try:
        message_type, value = wire.parse_message(data)
    except wire.FrameError:
        return
    if message_type == wire.MESSAGE_FRAMES:
        assert wire.pack_frames(value) == data
    elif message_type == wire.MESSAGE_HELLO:
        assert wire.pack_hello(*value) == data
    elif message_type == wire.MESSAGE_WANT:
        assert wire.pack_want(value) == data
    elif message_type == wire.MESSAGE_GET:
        assert wire.pack_get(*value) == data
    elif message_type == wire.MESSAGE_PIECE:
        assert wire.pack_piece(*value) == data
    else:
        assert bytes([wire.MESSAGE_BUNDLE]) + value == data


@given(st.integers(1, 2**32 - 16), st.lists(signatures, min_size=1, max_size=16))
def test_frames_messages_come_back(first: int, made: "list[bytes]") -> None:
    signed = [(wire.pack_event(1, first + i, 0, 0), signature) for i, signature in enumerate(made)]
    assert wire.parse_message(wire.pack_frames(signed)) == (wire.MESSAGE_FRAMES, signed)


@given(st.text(max_size=120))
def test_hostile_topics(name: str) -> None:
    try:
        utility_id, meter, leaf = wire.parse_topic(name)
    except wire.FrameError:
        return
    assert wire.topic(utility_id, meter, leaf) == name


@given(
    st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
    st.binary(min_size=20, max_size=20),
    st.sampled_from(["up", "down", "permit", "status"]),
)
def test_topics_come_back(utility_id: str, meter: bytes, leaf: str) -> None:
    assert wire.parse_topic(wire.topic(utility_id, meter, leaf)) == (utility_id, meter, leaf)
