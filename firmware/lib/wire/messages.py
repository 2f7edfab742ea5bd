"""Pack and parse bundles, also as text, MQTT payloads and topics (docs/protocol.md 4, 5, 8)."""

import struct
from binascii import crc32, hexlify, unhexlify
from collections import namedtuple

from . import codes
from .domains import check_address, check_utility_id
from .frames import Event, FrameError, Reading, parse

Bundle = namedtuple("Bundle", "frame public_key signatures")
Hello = namedtuple("Hello", "oldest next permit_serial trust_serial boots version control_state")

_PROTOCOL = 1
_HELLO = ">BBIIIIIBHB"
_HELLO_SIZE = 26
_GET_SIZE = 7
_SIGNED = codes.FRAME_SIZE + codes.SIGNATURE_SIZE
_INDEXED = 1 + codes.SIGNATURE_SIZE
_TEXT = b"PARWANA:"


def pack_bundle(
    frame: bytes, signatures: "list[tuple[int, bytes]]", public_key: bytes = b""
) -> bytes:
    """Join a frame (40 bytes, kind 3 to 7), the new key (64 bytes, kind 5 only) and signatures.

    `signatures` are 1 to 8 of (signer index, 64 bytes), indices rising. Raises FrameError.
    """
    parts = [bytes(frame), bytes(public_key)]
    last = -1
    for index, signature in signatures:
        if not last < index <= 7:
            raise FrameError("bundle: signer index %d after %d, must rise to 7" % (index, last))
        last = index
        parts.append(bytes([index]))
        parts.append(_check_signature(signature))
    bundle = b"".join(parts)
    parsed = parse_bundle(bundle)
    if parsed.public_key != public_key:
        raise FrameError("bundle: a public key of 64 bytes goes with kind 5, and only with it")
    return bundle


def parse_bundle(data: bytes) -> Bundle:
    """Return Bundle(frame, public_key or b"", [(signer index, signature of 64 bytes)]).

    Whether the indices rise and the signatures verify is left to who knows the signers.
    Raises FrameError as `split_bundle`.
    """
    frame, public_key, at = split_bundle(data)
    signatures = []
    for start in range(at, len(data), _INDEXED):
        signatures.append((data[start], bytes(data[start + 1 : start + _INDEXED])))
    return Bundle(frame, public_key, signatures)


def split_bundle(data: bytes) -> "tuple[bytes, bytes, int]":
    """Return (frame, public key or b"", where the signatures begin, 65 bytes each).

    Raises FrameError when the frame is malformed or of kind 1 or 2, or the length does not fit.
    """
    frame = bytes(data[: codes.FRAME_SIZE])
    parse(frame)
    kind = frame[1]
    if kind <= codes.KIND_EVENT:
        raise FrameError("bundle: kind %d is signed by a meter, not by signers" % kind)
    at = codes.FRAME_SIZE
    public_key = b""
    if kind == codes.KIND_SIGNER:
        at += codes.PUBLIC_KEY_SIZE
        public_key = bytes(data[codes.FRAME_SIZE : at])
    count, rest = divmod(len(data) - at, _INDEXED)
    if rest or not 1 <= count <= codes.SIGNATURES_MAX:
        raise FrameError(
            "bundle: %d bytes after byte %d, must be 1 to 8 times 65" % (len(data) - at, at)
        )
    return frame, public_key, at


def pack_text(bundle: bytes) -> str:
    """Return a bundle as a line of text, without its end: 356 characters for two signatures."""
    return (_TEXT + hexlify(bundle + crc32(bundle).to_bytes(4, "big"))).decode().upper()


def parse_text(line: bytes) -> "bytes | None":
    """Return the bundle in a line without its end, None if the line is of another kind.

    Raises FrameError when it begins as a bundle's and is damaged.
    """
    if line[:8].upper() != _TEXT:
        return None
    try:
        # MicroPython 1.25 passes over an odd digit.
        data = b"" if len(line) & 1 else unhexlify(line[8:])
    except ValueError:
        data = b""
    if crc32(data[:-4]).to_bytes(4, "big") != data[-4:]:
        raise FrameError("damaged or not whole; paste the line again")
    return data[:-4]


def pack_frames(signed: "list[tuple[bytes, bytes]]") -> bytes:
    """Pack the `frames` message of 1 to 16 (frame of 40 bytes, signature of 64 bytes).

    It does not parse the frames, which the meter made itself. Raises FrameError.
    """
    if not 1 <= len(signed) <= codes.FRAMES_MAX:
        raise FrameError("frames: %d of them, must be 1 to 16" % len(signed))
    message = bytearray(1 + len(signed) * _SIGNED)
    message[0] = codes.MESSAGE_FRAMES
    at = 1
    for frame, signature in signed:
        if len(frame) != codes.FRAME_SIZE:
            raise FrameError("frame has %d bytes, must have 40" % len(frame))
        message[at : at + codes.FRAME_SIZE] = frame
        message[at + codes.FRAME_SIZE : at + _SIGNED] = _check_signature(signature)
        at += _SIGNED
    return bytes(message)


def pack_hello(
    oldest: int,
    next: int,  # noqa: A002  (the protocol's word)
    permit_serial: int,
    trust_serial: int,
    boots: int,
    version: int,
    control_state: int,
) -> bytes:
    """Pack `hello`; `version` is major * 65536 + minor * 256 + patch. Raises FrameError."""
    for value in (oldest, next, permit_serial, trust_serial, boots):
        if not 0 <= value <= 0xFFFFFFFF:
            raise FrameError("hello: %d, must fit 4 bytes" % value)
    if not 0 <= version <= 0xFFFFFF:
        raise FrameError("hello: version %d, must fit 3 bytes" % version)
    if not 0 <= control_state <= codes.CONTROL_READY:
        raise FrameError("hello: control_state %d, must be 0 to 2" % control_state)
    return struct.pack(
        _HELLO,
        codes.MESSAGE_HELLO,
        _PROTOCOL,
        oldest,
        next,
        permit_serial,
        trust_serial,
        boots,
        version >> 16,
        version & 0xFFFF,
        control_state,
    )


def pack_want(sequence: int) -> bytes:
    """Pack `want`: the sequence that the meter shall send next. Raises FrameError."""
    if not 0 <= sequence <= 0xFFFFFFFF:
        raise FrameError("want: %d, must fit 4 bytes" % sequence)
    return struct.pack(">BI", codes.MESSAGE_WANT, sequence)


def pack_bundle_message(bundle: bytes) -> bytes:
    """Pack the message that carries a bundle. Raises FrameError."""
    parse_bundle(bundle)
    return bytes([codes.MESSAGE_BUNDLE]) + bundle


def pack_get(serial: int, piece: int) -> bytes:
    """Pack `get`: the number of the piece of an update that the meter lacks. Raises FrameError."""
    return struct.pack(">BIH", codes.MESSAGE_GET, *_check_piece(serial, piece))


def pack_piece(serial: int, piece: int, data: bytes) -> bytes:
    """Pack one piece (512 bytes) of an update. Raises FrameError."""
    if len(data) != codes.PIECE_SIZE:
        raise FrameError("piece has %d bytes, must have 512" % len(data))
    return struct.pack(">BIH", codes.MESSAGE_PIECE, *_check_piece(serial, piece)) + bytes(data)


def _check_piece(serial: int, piece: int) -> "tuple[int, int]":
    if not (0 <= serial <= 0xFFFFFFFF and 0 <= piece <= 0xFFFF):
        raise FrameError("piece %d of %d: must fit 2 and 4 bytes" % (piece, serial))
    return serial, piece


def parse_message(data: bytes) -> tuple:
    """Return (type, value) of a payload of `up`, `down`, `permit` or `time`.

    Values: MESSAGE_FRAMES a list of (frame, signature), frames checked, sequences rising by one;
    MESSAGE_HELLO a Hello; MESSAGE_GET (serial, piece); the others: see `parse_down`.
    Raises FrameError.
    """
    message_type = data[0] if data else 0
    if message_type == codes.MESSAGE_FRAMES:
        return message_type, [(frame, signature) for frame, signature, _ in parse_frames(data)]
    if message_type == codes.MESSAGE_HELLO:
        return message_type, _parse_hello(data)
    if message_type == codes.MESSAGE_GET:
        if len(data) != _GET_SIZE:
            raise FrameError("get has %d bytes, must have 7" % len(data))
        return message_type, struct.unpack_from(">IH", data, 1)
    return parse_down(data)


def parse_down(data: bytes) -> tuple:
    """Return (type, value) of a payload that a meter takes: of `down`, `permit` or `time`.

    Values: MESSAGE_WANT a sequence; MESSAGE_BUNDLE bytes for `parse_bundle`, yet unchecked, so
    that who counts refusals sees the bad ones too; MESSAGE_PIECE (serial, piece, 512 bytes as a
    memoryview). Raises FrameError.
    """
    if not data:
        raise FrameError("message is empty")
    message_type = data[0]
    if message_type == codes.MESSAGE_PIECE:
        if len(data) != _GET_SIZE + codes.PIECE_SIZE:
            raise FrameError("piece has %d bytes, must have 519" % len(data))
        serial, piece = struct.unpack_from(">IH", data, 1)
        return message_type, (serial, piece, memoryview(data)[_GET_SIZE:])  # no second copy of it
    if message_type == codes.MESSAGE_WANT:
        if len(data) != 5:
            raise FrameError("want has %d bytes, must have 5" % len(data))
        return message_type, struct.unpack_from(">I", data, 1)[0]
    if message_type == codes.MESSAGE_BUNDLE:
        return message_type, bytes(data[1:])
    raise FrameError("message, byte 0: type %d is unknown or out of place" % message_type)


def topic(utility_id: str, meter: bytes, leaf: str) -> str:
    """Return the topic of a meter (address, 20 bytes); leaf is up, down, permit or status."""
    address = hexlify(check_address(meter)).decode()
    return "parwana/1/%s/%s/%s" % (check_utility_id(utility_id), address, leaf)


def time_topic(utility_id: str) -> str:
    """Return the topic of the utility's signed time."""
    return "parwana/1/%s/time" % check_utility_id(utility_id)


def parse_topic(name: str) -> "tuple[str, bytes, str]":
    """Return (utility id, meter address, leaf) of a meter's topic. Raises FrameError."""
    parts = name.split("/")
    if len(parts) != 5 or parts[:2] != ["parwana", "1"] or len(parts[3]) != 40:
        raise FrameError("topic must be parwana/1/{utility}/{meter, 40 hex digits}/{leaf}")
    if any(c not in "0123456789abcdef" for c in parts[3]):
        raise FrameError("topic: the meter must be 40 lower-case hex digits")
    return check_utility_id(parts[2]), unhexlify(parts[3]), parts[4]


def _check_signature(signature: bytes) -> bytes:
    if len(signature) != codes.SIGNATURE_SIZE:
        raise FrameError("signature has %d bytes, must have 64" % len(signature))
    return bytes(signature)


def parse_frames(data: bytes) -> "list[tuple[bytes, bytes, Reading | Event]]":
    """Return the (frame, signature, fields) of a MESSAGE_FRAMES. Raises FrameError."""
    count, rest = divmod(len(data) - 1, _SIGNED)
    if rest or not 1 <= count <= codes.FRAMES_MAX:
        raise FrameError("frames: %d bytes, must be 1 + 1 to 16 times 104" % len(data))
    signed = []
    previous = None
    for at in range(1, len(data), _SIGNED):
        frame = bytes(data[at : at + codes.FRAME_SIZE])
        fields = parse(frame)
        if not isinstance(fields, (Reading, Event)):
            raise FrameError("frames, byte %d: kind %d is no meter's" % (at + 1, frame[1]))
        if previous is not None and fields.sequence != previous + 1:
            raise FrameError("frames: sequence %d after %d" % (fields.sequence, previous))
        previous = fields.sequence
        signed.append((frame, bytes(data[at + codes.FRAME_SIZE : at + _SIGNED]), fields))
    return signed


def _parse_hello(data: bytes) -> Hello:
    if len(data) != _HELLO_SIZE:
        raise FrameError("hello has %d bytes, must have 26" % len(data))
    if data[1] != _PROTOCOL:
        raise FrameError("hello, byte 1: protocol %d is unknown, must be 1" % data[1])
    if data[25] > codes.CONTROL_READY:
        raise FrameError("hello, byte 25: control_state %d, must be 0 to 2" % data[25])
    _, _, oldest, following, permit, trust, boots, major, minor, state = struct.unpack(
        _HELLO, data
    )
    if oldest > following:
        raise FrameError("hello: oldest %d is after next %d" % (oldest, following))
    return Hello(oldest, following, permit, trust, boots, major << 16 | minor, state)
