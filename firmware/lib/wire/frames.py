"""Pack and parse the 40-byte frame (docs/protocol.md section 1)."""

import struct
from collections import namedtuple

from . import codes


class FrameError(ValueError):
    """Bytes, or values for them, that docs/protocol.md refuses: drop them. It says where."""


Reading = namedtuple(
    "Reading",
    "flags sequence time_s energy_wh power_dw power_max_dw current_ma voltage_dv "
    "voltage_min_dv frequency_dhz power_factor_pct clock_trust",
)
Event = namedtuple("Event", "code sequence time_s energy_wh a b c clock_trust")
Permit = namedtuple(
    "Permit",
    "flags serial issued_at_s valid_until_s period power_limit_dw energy_limit_wh "
    "no_cut_from_h no_cut_to_h no_cut_weekdays grace_days",
)
Time = namedtuple("Time", "serial issued_at_s")
Signer = namedtuple("Signer", "index serial issued_at_s key_prefix")
Ledger = namedtuple("Ledger", "serial issued_at_s chain_id ledger")
Update = namedtuple("Update", "pieces serial target hash_prefix")

_FORMAT = 1
_U8 = 0xFF
_U16 = 0xFFFF
_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF

# kind: (type, layout after format and kind, the most of each field, or minus the length of bytes)
_KINDS = {
    codes.KIND_READING: (
        Reading,
        ">BBHIIQIIIHHHBB",
        (codes.FLAGS_READING, _U32, _U32, _U64, _U32, _U32, _U32, _U16, _U16, _U16, 100, 2),
    ),
    codes.KIND_EVENT: (Event, ">BBHIIQIII7xB", (_U16, _U32, _U32, _U64, _U32, _U32, _U32, 2)),
    codes.KIND_PERMIT: (
        Permit,
        ">BBHIIIIIQBBBB4x",
        (codes.FLAGS_PERMIT, _U32, _U32, _U32, _U32, _U32, _U64, 23, 23, 0x7F, _U8),
    ),
    codes.KIND_TIME: (Time, ">BB2xII28x", (_U32, _U32)),
    codes.KIND_SIGNER: (Signer, ">BBHII28s", (7, _U32, _U32, -28)),
    codes.KIND_LEDGER: (Ledger, ">BB2xIIQ20s", (_U32, _U32, _U64, -20)),
    codes.KIND_UPDATE: (Update, ">BBHII28s", (_U16, _U32, _U32, -28)),
}


def pack_reading(
    flags: int,
    sequence: int,
    time_s: int,
    energy_wh: int,
    power_dw: int,
    power_max_dw: int,
    current_ma: int,
    voltage_dv: int,
    voltage_min_dv: int,
    frequency_dhz: int,
    power_factor_pct: int,
    clock_trust: int,
) -> bytes:
    """Pack a reading; `time_s` is the end of its interval. Raises FrameError out of range."""
    return _pack(
        codes.KIND_READING,
        flags,
        sequence,
        time_s,
        energy_wh,
        power_dw,
        power_max_dw,
        current_ma,
        voltage_dv,
        voltage_min_dv,
        frequency_dhz,
        power_factor_pct,
        clock_trust,
    )


def pack_event(
    code: int,
    sequence: int,
    time_s: int,
    energy_wh: int,
    a: int = 0,
    b: int = 0,
    c: int = 0,
    clock_trust: int = codes.TRUST_NONE,
) -> bytes:
    """Pack an event (section 1.2 tells what a, b and c are). Raises FrameError out of range."""
    return _pack(codes.KIND_EVENT, code, sequence, time_s, energy_wh, a, b, c, clock_trust)


def pack_permit(
    flags: int,
    serial: int,
    issued_at_s: int,
    valid_until_s: int,
    period: int,
    power_limit_dw: int = 0,
    energy_limit_wh: int = 0,
    no_cut_from_h: int = 0,
    no_cut_to_h: int = 0,
    no_cut_weekdays: int = 0,
    grace_days: int = 0,
) -> bytes:
    """Pack a permit; a limit of 0 is none. Raises FrameError out of range."""
    return _pack(
        codes.KIND_PERMIT,
        flags,
        serial,
        issued_at_s,
        valid_until_s,
        period,
        power_limit_dw,
        energy_limit_wh,
        no_cut_from_h,
        no_cut_to_h,
        no_cut_weekdays,
        grace_days,
    )


def pack_time(serial: int, issued_at_s: int) -> bytes:
    """Pack a time frame. Raises FrameError out of range."""
    return _pack(codes.KIND_TIME, serial, issued_at_s)


def pack_signer(index: int, serial: int, issued_at_s: int, key_prefix: bytes) -> bytes:
    """Pack the change of signer `index` (0-7) to the key of `key_prefix` (28 bytes).

    Raises FrameError out of range.
    """
    return _pack(codes.KIND_SIGNER, index, serial, issued_at_s, key_prefix)


def pack_ledger(serial: int, issued_at_s: int, chain_id: int, ledger: bytes) -> bytes:
    """Pack the change to a PaymentLedger (20-byte address). Raises FrameError out of range."""
    return _pack(codes.KIND_LEDGER, serial, issued_at_s, chain_id, ledger)


def pack_update(pieces: int, serial: int, target: int, hash_prefix: bytes) -> bytes:
    """Pack the offer of a slot's archive of `pieces` times 512 bytes.

    `target` is architecture * 2**24 + version, `hash_prefix` the first 28 bytes of the archive's
    SHA-256. Raises FrameError out of range.
    """
    return _pack(codes.KIND_UPDATE, pieces, serial, target, hash_prefix)


def parse(frame: bytes) -> "Reading | Event | Permit | Time | Signer | Ledger | Update":
    """Return the fields of a frame (40 bytes). Raises FrameError for what section 1 refuses."""
    if len(frame) != codes.FRAME_SIZE:
        raise FrameError("frame has %d bytes, must have 40" % len(frame))
    if frame[0] != _FORMAT:
        raise FrameError("frame, byte 0: format %d is unknown, must be 1" % frame[0])
    kind = frame[1]
    if kind not in _KINDS:
        raise FrameError("frame, byte 1: kind %d is unknown, must be 1 to 7" % kind)
    fields, layout, _ = _KINDS[kind]
    values = struct.unpack(layout, frame)[2:]
    # What unpacking skips, packing writes as zero: a difference is a reserved byte in use.
    canonical = _pack(kind, *values)
    if canonical != frame:
        at = [canonical[i] == frame[i] for i in range(codes.FRAME_SIZE)].index(False)
        raise FrameError("kind %d, byte %d: reserved, must be 0" % (kind, at))
    return fields(*values)


def _pack(kind: int, *values) -> bytes:
    _, layout, most = _KINDS[kind]
    for i in range(len(most)):
        value = values[i]
        if most[i] < 0:
            if not isinstance(value, (bytes, bytearray)) or len(value) != -most[i]:
                raise FrameError("kind %d, field %d: must be %d bytes" % (kind, i, -most[i]))
        elif not isinstance(value, int) or not 0 <= value <= most[i]:
            raise FrameError("kind %d, field %d: %s, must be 0 to %d" % (kind, i, value, most[i]))
    if kind == codes.KIND_READING and values[0] & codes.CONTROL_MASK == codes.CONTROL_MASK:
        raise FrameError("reading, flags: control_state 3, must be 0 to 2")
    return struct.pack(layout, _FORMAT, kind, *values)
