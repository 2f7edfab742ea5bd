"""Examine what a meter published: nothing that arrives is believed without its signature.

What proves nothing is for the quarantine, with one of the reasons below.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import wire
from parwana.store.frames import SignedFrame, signed_frame
from parwana.store.signatures import SignatureError, signer

TOPIC = "topic"  # not a meter's `up` topic of this utility
MALFORMED = "malformed"  # the payload does not parse, or is not for a relay
SIGNATURE = "signature"  # a frame was not signed by the topic's meter
_FRAMES = bytes([wire.MESSAGE_FRAMES])
_parse_topic = lru_cache(maxsize=16384)(wire.parse_topic)  # the same of each meter


@dataclass(frozen=True)
class Letter:
    """One payload, examined: what it proves, and what of it goes to the quarantine."""

    topic: str
    payload: bytes
    meter: bytes = b""
    hello: wire.Hello | None = None
    get: tuple[int, int] | None = None  # update serial, number of the piece
    frames: list[SignedFrame] = field(default_factory=list)
    refused: list[tuple[bytes, str, str]] = field(default_factory=list)  # payload, reason, detail


def examine(topic: str, payload: bytes, utility_id: str, domain: bytes) -> Letter:
    """Parse one payload of `up` and check its signatures; whatever it is, this returns."""

    def refuse(reason: str, error: Exception) -> Letter:
        return Letter(topic, payload, refused=[(payload, reason, str(error))])

    try:
        utility, meter, leaf = _parse_topic(topic)
        if utility != utility_id or leaf != "up":
            raise wire.FrameError(f"must be an `up` topic of {utility_id}")
    except wire.FrameError as error:
        return refuse(TOPIC, error)
    try:
        if payload[:1] != _FRAMES:
            kind, value = wire.parse_message(payload)
            if kind == wire.MESSAGE_HELLO:
                return Letter(topic, payload, meter, hello=value)
            if kind == wire.MESSAGE_GET:
                return Letter(topic, payload, meter, get=value)
            raise wire.FrameError(f"message {kind} is not for a relay")
        frames = [signed_frame(meter, *one) for one in wire.parse_frames(payload)]
        if frames[0].sequence == 0:
            raise wire.FrameError("sequence 0, the first is 1")
    except wire.FrameError as error:
        return refuse(MALFORMED, error)
    letter = Letter(topic, payload, meter)
    for frame in frames:
        try:
            made_by = signer(wire.digest(domain, frame.frame), frame.signature)
            if made_by != meter:
                raise SignatureError(f"signed by {made_by.hex()}")
            letter.frames.append(frame)
        except SignatureError as error:
            letter.refused.append((frame.frame + frame.signature, SIGNATURE, str(error)))
    return letter
