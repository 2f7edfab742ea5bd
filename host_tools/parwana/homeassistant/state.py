"""What a meter's newest frames say now, for a program that shows the last value it was given.

So nothing here is older than it looks: what was not measured, or is over by a later event, is
None, and a meter that still sends what it buffered has no state until it is through.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import wire
from parwana.fleet.rows import end_s_of
from parwana.store.frames import CONTROLS, KINDS, sampled
from parwana.store.reader import Store

# After one of these the last reading no longer says what flows
_OVER = {
    wire.EVENT_BOOT,
    wire.EVENT_SENSOR_SILENT,
    wire.EVENT_MAINS_OUTAGE,
    wire.EVENT_DISCONNECTED,
    wire.EVENT_RECONNECTED,
}
_CONTROLS = {
    wire.EVENT_DISCONNECTED: CONTROLS[wire.CONTROL_DISCONNECTED],
    wire.EVENT_RECONNECTED: CONTROLS[wire.CONTROL_CONNECTED],
    wire.EVENT_READY_FOR_RECONNECTION: CONTROLS[wire.CONTROL_READY],
}


@dataclass(frozen=True)
class Meter:
    """A meter in service, as Home Assistant is told of it."""

    address: bytes
    number: int
    kind: str
    version: str

    @property
    def id(self) -> str:
        """Return what it is called for ever, also where another takes its place."""
        return f"parwana_{self.address.hex()}"


@dataclass(frozen=True)
class State:
    """The newest reading, and what came after it; `live`: it says what flows now."""

    live: bool
    energy_wh: int
    values: dict[str, float | str | None]


def meter_of(row: Any) -> Meter:
    """Return what is told of a meter, of its row in the store."""
    parts = row.version >> 16, row.version >> 8 & 255, row.version & 255
    version = ".".join(map(str, parts)) if row.version else ""
    return Meter(row.meter, row.number, KINDS[row.kind], version)


def look(store: Store, row: Any, permit: bytes | None, now_s: int, stale_s: int) -> State | None:
    """Return a meter's state; None: it has none, or is on the way. Raises StoreError."""
    newest = store.last_reading(row.meter, 2**32)
    if newest is None:
        return None
    reading: Any = wire.parse(newest.frame)
    fresh = now_s - reading.time_s <= stale_s
    later = [wire.parse(one.frame) for one in store.frames(row.meter, reading.sequence + 1)]
    last: Any = later[-1] if later else reading
    if not fresh and last.sequence + 1 < row.next:
        return None
    events = [one for one in later if isinstance(one, wire.Event)]
    live = fresh and sampled(reading) and not any(event.code in _OVER for event in events)
    control = CONTROLS[(reading.flags & wire.CONTROL_MASK) >> wire.CONTROL_SHIFT]
    for event in events:
        control = _CONTROLS.get(event.code, control)
    end_s = end_s_of(permit)
    values: dict[str, float | str | None] = dict.fromkeys(
        ("power", "voltage", "current", "frequency", "power_factor")
    )
    if live:
        values = {
            "power": reading.power_dw / 10,
            "voltage": reading.voltage_dv / 10,
            "current": reading.current_ma / 1000,
            "frequency": reading.frequency_dhz / 10,
            "power_factor": reading.power_factor_pct,
        }
    values["supply"] = control if now_s - last.time_s <= stale_s else None
    values["permit_end"] = _utc(end_s) if end_s else None
    values["measured"] = _utc(reading.time_s)
    return State(live, reading.energy_wh, values)


def _utc(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()
