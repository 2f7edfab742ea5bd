"""A reading or event as the store holds it."""

from dataclasses import dataclass

import wire

# What people and programs call a meter's kind, and its control_state
KINDS = {1: "house", 2: "transformer", 3: "plant"}
CONTROLS = ("disconnected", "connected", "ready")


@dataclass(frozen=True)
class SignedFrame:
    """A frame whose signature was checked against `meter`."""

    meter: bytes
    sequence: int
    frame: bytes
    signature: bytes
    time_s: int
    closing: bool = False
    contradicted: bool = False
    received_s: int = 0

    @property
    def kind(self) -> int:
        """Return the frame's kind, 1 or 2."""
        return self.frame[1]


def signed_frame(
    meter: bytes, frame: bytes, signature: bytes, fields: object = None
) -> SignedFrame:
    """Make a SignedFrame of a reading or event; `fields` are the frame's, if it is parsed already.

    It checks no signature. Raises wire.FrameError.
    """
    fields = fields or wire.parse(frame)
    if not isinstance(fields, wire.Reading | wire.Event):
        raise wire.FrameError(f"kind {frame[1]} is no meter's")
    return SignedFrame(
        meter=meter,
        sequence=fields.sequence,
        frame=frame,
        signature=signature,
        time_s=fields.time_s,
        closing=isinstance(fields, wire.Reading) and bool(fields.flags & wire.FLAG_CLOSING),
    )


def sampled(reading: wire.Reading) -> bool:
    """Say whether the sensor answered in the interval; else its electrical values mean nothing."""
    return not reading.flags & wire.FLAG_SENSOR_SILENT or reading.voltage_dv > 0
