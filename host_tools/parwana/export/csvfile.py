"""Readings as CSV: a line each, as the meter signed it, in its integers."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import wire
from parwana.export.selection import Point
from parwana.store.frames import CONTROLS, SignedFrame, sampled

# Each column and what it holds: an integer, text, or yes and no
COLUMNS = {
    "time": str,
    "time_s": int,
    "number": int,
    "kind": str,
    "feeder": int,
    "meter": str,
    "sequence": int,
    "energy_wh": int,
    "power_dw": int,
    "power_max_dw": int,
    "current_ma": int,
    "voltage_dv": int,
    "voltage_min_dv": int,
    "frequency_dhz": int,
    "power_factor_pct": int,
    "output_closed": bool,
    "control": str,
    "flags": str,
    "clock_trust": int,
    "contradicted": bool,
}
MEASURED = list(COLUMNS)[8:15]
HEAD = ",".join(COLUMNS) + "\r\n"
FLAGS = {
    wire.FLAG_CLOSING: "closing",
    wire.FLAG_BOOT: "boot",
    wire.FLAG_SENSOR_SILENT: "sensor_silent",
    wire.FLAG_MAINS_OUTAGE: "mains_outage",
    wire.FLAG_CLOCK_UNTRUSTED: "clock_untrusted",
    wire.FLAG_REGISTER_EVENT: "register_event",
    wire.FLAG_STEP_HELD: "step_held",
    wire.FLAG_JOURNAL_OVERWROTE: "journal_overwrote",
    wire.FLAG_TAMPER: "tamper",
}


def lines(point: Point, readings: Iterable[SignedFrame]) -> Iterator[str]:
    """Give a line for each reading (RFC 4180); what was not measured is empty, never 0."""
    place = f"{point.number},{point.kind},{point.feeder},{point.address}"
    for signed in readings:
        fields: Any = wire.parse(signed.frame)
        control = CONTROLS[(fields.flags & wire.CONTROL_MASK) >> wire.CONTROL_SHIFT]
        measured = [getattr(fields, name) for name in MEASURED] if sampled(fields) else None
        parts = (
            f"{datetime.fromtimestamp(fields.time_s, UTC):%Y-%m-%dT%H:%M:%SZ},{fields.time_s}",
            f"{place},{fields.sequence},{fields.energy_wh}",
            ",".join(map(str, measured)) if measured else "," * (len(MEASURED) - 1),
            _word(fields.flags & wire.FLAG_OUTPUT_CLOSED),
            control,
            " ".join(word for flag, word in FLAGS.items() if fields.flags & flag),
            f"{fields.clock_trust},{_word(signed.contradicted)}",
        )
        yield ",".join(parts) + "\r\n"


def _word(value: object) -> str:
    return "true" if value else "false"
