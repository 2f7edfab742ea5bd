"""What the store knows of each meter.

Readings and events are signed by the meter. Version, and the permit until its event comes, are
what a hello said, which anyone can send.
"""

from dataclasses import dataclass
from typing import Any

import wire
from parwana.chain.periods import DAY_S
from parwana.store.frames import CONTROLS, KINDS
from parwana.store.reader import Store
from parwana.store.tables import TAKEN
from parwana.world.options import SILENT_S

OPEN_MOST_DW = 100  # docs/supply.md: more of it is a load
SOON_S = 3 * DAY_S  # before its end a permit is an alarm
BYPASSED = "contactor bypassed"
_FLAGS = {
    wire.FLAG_SENSOR_SILENT: "sensor silent",
    wire.FLAG_MAINS_OUTAGE: "mains outage",
    wire.FLAG_CLOCK_UNTRUSTED: "clock untrusted",
    wire.FLAG_STEP_HELD: "step held back",
    wire.FLAG_JOURNAL_OVERWROTE: "readings overwritten",
    wire.FLAG_TAMPER: "tamper",
}
# Events of the last day
_EVENTS = {
    wire.EVENT_OVERLOAD_LOCKED: "overload, locked",
    wire.EVENT_TAMPER: "tamper",
    wire.EVENT_TASK_RESTARTED: "task restarted",
    wire.EVENT_STATE_LOST: "state lost",
    wire.EVENT_PERMIT_REFUSED: "permit refused",
    wire.EVENT_CONTACTOR_BYPASSED: BYPASSED,
}


@dataclass(frozen=True)
class Row:
    """One meter. Times in Unix seconds, 0: never or none; `contactor`: closed, open, or ""."""

    number: int
    kind: str
    feeder: int
    meter: str
    in_service: bool
    heard_s: int
    reading_s: int
    energy_wh: int
    power_dw: int
    permit_serial: int
    permit_end_s: int
    version: str
    contactor: str
    control: str
    alarms: list[str]


def read(store: Store, now_s: int, silent_s: int = SILENT_S) -> list[Row]:
    """Return the rows of all enrolled meters, by number. Raises StoreError."""
    accepted, outstanding = store.accepted_permits(), {row.meter for row in store.outstanding()}
    doubted = set(store.contradictions())
    lacking = {row.meter for row in store.trust() if row.state != TAKEN}
    told: dict[bytes, set[str]] = {}
    for event in store.events(list(_EVENTS), now_s - DAY_S):
        fields: Any = wire.parse(event.frame)
        if fields.code != wire.EVENT_TAMPER or fields.a:
            told.setdefault(event.meter, set()).add(_EVENTS[fields.code])
    newest, nothing = store.newest_readings(), (None, 0)
    found = []
    for row in store.meters():
        if row.number is None:
            continue
        frame, received_s = newest.get(row.meter, nothing)
        reading: Any = wire.parse(frame) if frame else None
        heard_s = max(row.heard_s, received_s)
        end_s = end_s_of(accepted.get(row.meter))
        alarms = set(told.get(row.meter, ()))
        if now_s - heard_s > silent_s:
            alarms.add("silent" if heard_s else "never heard")
        if reading:
            alarms |= {word for flag, word in _FLAGS.items() if reading.flags & flag}
            if row.kind == 1 and _bypassed(store, row.meter, reading):
                alarms.add(BYPASSED)
        if row.kind == 1 and end_s and end_s < now_s + SOON_S:
            days = max(1, -((now_s - end_s) // DAY_S))
            alarms.add("permit ended" if end_s < now_s else f"permit ends within {days} d")
        if row.meter in outstanding:
            alarms.add("permit not taken")
        if row.meter in lacking:
            alarms.add("change of trust not taken")
        if row.meter in doubted:
            alarms.add("contradicts itself")
        closed = bool(reading and reading.flags & wire.FLAG_OUTPUT_CLOSED)
        control = (reading.flags & wire.CONTROL_MASK) >> wire.CONTROL_SHIFT if reading else 0
        version = row.version
        made = Row(
            number=row.number,
            kind=KINDS[row.kind],
            feeder=row.feeder,
            meter="0x" + row.meter.hex(),
            in_service=row.in_service,
            heard_s=heard_s,
            reading_s=reading.time_s if reading else 0,
            energy_wh=reading.energy_wh if reading else 0,
            power_dw=reading.power_dw if reading else 0,
            permit_serial=row.permit_serial,
            permit_end_s=end_s,
            version=f"{version >> 16}.{version >> 8 & 255}.{version & 255}" if version else "",
            contactor=("closed" if closed else "open") if reading else "",
            control=CONTROLS[control] if reading else "",
            alarms=sorted(alarms) if row.in_service else [],
        )
        found.append(made)
    return found


def _bypassed(store: Store, meter: bytes, reading: Any) -> bool:
    """Tell whether power flowed for a whole interval in which the contactor was to be open.

    The event comes once, and may be long ago.
    """
    if reading.power_dw <= OPEN_MOST_DW or _connected(reading):
        return False
    before = store.last_reading(meter, reading.time_s - 1)
    return before is not None and not _connected(wire.parse(before.frame))


def _connected(reading: Any) -> bool:
    control = (reading.flags & wire.CONTROL_MASK) >> wire.CONTROL_SHIFT
    return bool(control == wire.CONTROL_CONNECTED)


def end_s_of(bundle: bytes | None) -> int:
    """Return when a permit ends, with its days of grace."""
    if bundle is None:
        return 0
    fields: Any = wire.parse(bytes(bundle[: wire.FRAME_SIZE]))
    return int(fields.valid_until_s + DAY_S * fields.grace_days)
