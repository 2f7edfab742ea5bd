"""A house's page: what it used, owes and paid, and until when it has a permit."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import wire
from parwana.chain.account import Bill
from parwana.chain.merkle import day_of
from parwana.chain.periods import DAY_S
from parwana.chain.tariff import bill as priced
from parwana.fleet.rows import CONTROLS, KINDS, end_s_of
from parwana.store.frames import SignedFrame
from parwana.web import usage, words
from parwana.web.site import Site

YEAR_S = 396 * DAY_S  # thirteen months
EVENTS = 60
CURVE = 96  # frames: a day of quarters of an hour


@dataclass
class House:
    """What a page says of one meter. Times in Unix seconds; None, "" or 0: not known."""

    meter: str
    number: int
    kind: str
    feeder: int
    in_service: bool
    heard_s: int
    now_s: int
    reading: Any = None
    reading_s: int = 0
    contactor: str = ""
    control: str = ""
    days: list[usage.Span] = field(default_factory=list)
    months: list[usage.Span] = field(default_factory=list)
    curve: list[tuple[int, int]] = field(default_factory=list)  # time_s, power_dw
    today_wh: int | None = None
    period: int = 0
    period_wh: int | None = None
    estimate: int | None = None
    events: list[tuple[Any, words.Text]] = field(default_factory=list)
    permit: Any = None
    permit_end_s: int = 0
    bill: Bill | None = None
    ends: dict[int, int] = field(default_factory=dict)  # of permits, by serial


def house(site: Site, row: Any) -> House:
    """Read all of an enrolled meter's page, of its row in the store. Raises StoreError."""
    meter = bytes(row.meter)
    found = House(
        meter="0x" + meter.hex(),
        number=row.number,
        kind=KINDS[row.kind],
        feeder=row.feeder,
        in_service=row.in_service,
        heard_s=row.heard_s,
        now_s=site.now_s,
    )
    frames = site.store.latest(meter, CURVE)
    _state(found, frames)
    if found.reading is None:
        last = site.store.last_reading(meter, 2**32)
        _state(found, [last] if last else [])
    _energy(site, found, meter)
    for frame in site.store.last_events(meter, EVENTS):
        event: Any = wire.parse(frame.frame)
        found.events.append((event, words.event_words(event)))
    if row.kind == 1:
        _money(site, found, meter)
    return found


def _state(found: House, frames: list[SignedFrame]) -> None:
    for frame in frames:
        if frame.kind != wire.KIND_READING:
            continue
        fields: Any = wire.parse(frame.frame)
        found.curve.append((fields.time_s, fields.power_dw))
        if found.reading is None:
            closed = fields.flags & wire.FLAG_OUTPUT_CLOSED
            found.reading, found.reading_s = fields, fields.time_s
            found.contactor = "closed" if closed else "open"
            control = (fields.flags & wire.CONTROL_MASK) >> wire.CONTROL_SHIFT
            found.control = CONTROLS[control]
            found.heard_s = max(found.heard_s, frame.received_s)
    found.curve.reverse()


def _energy(site: Site, found: House, meter: bytes) -> None:
    if found.reading is None:
        return
    offset_s = site.deployment.utc_offset_s
    span_s = found.reading_s - YEAR_S, found.reading_s + 1
    marks = usage.marks(site.store.registers(meter, *span_s), offset_s)
    enrolled = site.book.enrolment(found.meter)
    if enrolled and (not marks or enrolled.time_s > found.reading_s - YEAR_S):
        first = usage.Mark(day_of(enrolled.time_s, offset_s) - 1, enrolled.values["initial_wh"])
        marks = [first, *(mark for mark in marks if mark.day > first.day)]
    today = day_of(found.now_s, offset_s)
    marks = [mark for mark in marks if mark.day < today]
    found.days = usage.days(marks)
    found.months = usage.months(found.days)
    if marks and marks[-1].day == today - 1:
        found.today_wh = max(0, found.reading.energy_wh - marks[-1].energy_wh)


def _money(site: Site, found: House, meter: bytes) -> None:
    found.bill = site.book.bill(found.meter, found.number)
    periods = site.deployment.periods
    found.period = periods.of(found.now_s)
    closed = site.book.closed(found.meter)
    enrolled = site.book.enrolment(found.meter)
    if found.reading and enrolled:
        since_wh, last = enrolled.values["initial_wh"], periods.of(enrolled.time_s) - 1
        if closed:
            since_wh, last = closed.energy_wh, closed.period
        found.period_wh = max(0, found.reading.energy_wh - since_wh)
        tariffs = site.book.tariffs()
        if tariffs:
            found.estimate = priced(tariffs, found.period_wh, last, max(1, found.period - last))
    bundle = site.store.accepted_permit(meter)
    if bundle:
        found.permit = wire.parse(bundle[: wire.FRAME_SIZE])
        found.permit_end_s = end_s_of(bundle)
    for row in site.store.latest_permits(meter, 24):
        found.ends[row.serial] = end_s_of(row.bundle)


def local(time_s: int, utc_offset_s: int) -> datetime:
    """Return an instant in the utility's local time."""
    return datetime.fromtimestamp(time_s + utc_offset_s, UTC)
