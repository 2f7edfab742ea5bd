"""Readings as Green Button data: an Atom feed of ESPI resources.

A meter is a UsagePoint with one MeterReading: the energy, in Wh, between two readings of its
register, in an IntervalBlock for each local day. Source: NAESB REQ.21 (ESPI), espi.xsd.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import wire
from parwana.chain.periods import DAY_S
from parwana.export.selection import Point
from parwana.store.frames import SignedFrame, sampled

_ROOT = "/espi/1_1/resource"
_NAMES = uuid.UUID("0e9f2c0a-6f0b-5d0f-9b0e-7d1c1f6f9a51")  # ours, for uuid5
_DOUBTS = wire.FLAG_CLOCK_UNTRUSTED | wire.FLAG_STEP_HELD
_RAW, _QUESTIONABLE = 14, 10  # QualityOfReading
_NO_SUMMER_TIME = "FFFFFFFF"
# Energy delivered in an interval, as metered. What the numbers mean: espi.xsd, ReadingType
_READING_TYPE = (
    "<ReadingType><accumulationBehaviour>4</accumulationBehaviour><commodity>1</commodity>"
    f"<dataQualifier>12</dataQualifier><defaultQuality>{_RAW}</defaultQuality>"
    "<flowDirection>1</flowDirection><kind>12</kind>"
    "<powerOfTenMultiplier>0</powerOfTenMultiplier><timeAttribute>0</timeAttribute>"
    "<uom>72</uom></ReadingType>"
)
TAIL = "</feed>\n"


@dataclass(frozen=True)
class _Interval:
    start_s: int
    end_s: int
    energy_wh: int
    doubtful: bool

    def xml(self) -> str:
        """Return the IntervalReading."""
        quality = f"<ReadingQuality><quality>{_QUESTIONABLE}</quality></ReadingQuality>"
        return (
            f"<IntervalReading>{quality if self.doubtful else ''}"
            f"<timePeriod>{_period(self.start_s, self.end_s)}</timePeriod>"
            f"<value>{self.energy_wh}</value></IntervalReading>"
        )


@dataclass(frozen=True)
class Feed:
    """A feed of one utility, made at an instant; the same question gets the same bytes."""

    utility_id: str
    utc_offset_s: int
    made_s: int

    def head(self) -> str:
        """Return what stands before the meters."""
        local = (
            f"<LocalTimeParameters><dstEndRule>{_NO_SUMMER_TIME}</dstEndRule><dstOffset>0"
            f"</dstOffset><dstStartRule>{_NO_SUMMER_TIME}</dstStartRule>"
            f"<tzOffset>{self.utc_offset_s}</tzOffset></LocalTimeParameters>"
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
            f"<id>{self._id('feed', self.made_s)}</id><title>{self.utility_id}</title>"
            f"<author><name>{self.utility_id}</name></author><updated>{_utc(self.made_s)}</updated>"
            f'<link rel="self" href="{_ROOT}/Batch/{self.utility_id}"/>\n'
            + self._entry("Local time", local, f"{_ROOT}/LocalTimeParameters/1")
            + self._entry("Energy delivered", _READING_TYPE, f"{_ROOT}/ReadingType/1")
        )

    def entries(
        self, point: Point, readings: Iterable[SignedFrame], before: SignedFrame | None
    ) -> Iterator[str]:
        """Give a meter's entries; `before` is its last reading before these, if any."""
        place = f"{_ROOT}/UsagePoint/{point.address[2:]}"
        meter = (
            "<UsagePoint><ServiceCategory><kind>0</kind></ServiceCategory><status>1</status>"
            "</UsagePoint>"
        )
        series = f"{place}/MeterReading/1"
        title = f"{point.kind} {point.number}, meter {point.address}"
        yield self._entry(title, meter, place, [f"{place}/MeterReading"])
        related = [f"{series}/IntervalBlock", f"{_ROOT}/ReadingType/1"]
        up = f"{place}/MeterReading"
        yield self._entry("Energy", "<MeterReading/>", series, related, up)
        for day, block in self._days(intervals(readings, before)):
            start_s, end_s = block[0].start_s, block[-1].end_s
            content = (
                f"<IntervalBlock><interval>{_period(start_s, end_s)}</interval>"
                + "".join(interval.xml() for interval in block)
                + "</IntervalBlock>"
            )
            yield self._entry("", content, f"{related[0]}/{day}", up=related[0])

    def _days(self, found: Iterable[_Interval]) -> Iterator[tuple[str, list[_Interval]]]:
        """Give intervals by the local day of their ends."""
        days = groupby(found, lambda one: (one.end_s - 1 + self.utc_offset_s) // DAY_S)
        for day, block in days:
            yield f"{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m-%d}", list(block)

    def _entry(
        self, title: str, content: str, place: str, related: Iterable[str] = (), up: str = ""
    ) -> str:
        links = f'<link rel="self" href="{place}"/>'
        links += f'<link rel="up" href="{up or place.rpartition("/")[0]}"/>'
        links += "".join(f'<link rel="related" href="{href}"/>' for href in related)
        name, _, rest = content.partition(">")
        inside = name.rstrip("/") + ' xmlns="http://naesb.org/espi"'
        inside += ("/>" if name.endswith("/") else ">") + rest
        made = _utc(self.made_s)
        return (
            f"<entry><id>{self._id(place)}</id>{links}<title>{title}</title>"
            f'<content type="application/xml">{inside}</content>'
            f"<published>{made}</published><updated>{made}</updated></entry>\n"
        )

    def _id(self, *parts: object) -> str:
        return f"urn:uuid:{uuid.uuid5(_NAMES, ' '.join(map(str, (self.utility_id, *parts))))}"


def intervals(readings: Iterable[SignedFrame], before: SignedFrame | None) -> Iterator[_Interval]:
    """Give what was used from one reading to the next; a gap is one long interval.

    The register never decreases; a reading that says less, or whose time does not rise (a clock
    that was set back), ends no interval: the next one holds its energy. Of readings that
    contradict each other the first counts, as questionable.
    """
    start: Any = wire.parse(before.frame) if before else None
    doubtful = False
    for signed in readings:
        fields: Any = wire.parse(signed.frame)
        if start is None or fields.sequence == start.sequence:
            start = start or fields
            continue
        doubtful |= signed.contradicted or bool(fields.flags & _DOUBTS) or not sampled(fields)
        if fields.time_s <= start.time_s or fields.energy_wh < start.energy_wh:
            doubtful = True
            continue
        used_wh = fields.energy_wh - start.energy_wh
        yield _Interval(start.time_s, fields.time_s, used_wh, doubtful)
        start, doubtful = fields, False


def _period(start_s: int, end_s: int) -> str:
    return f"<duration>{end_s - start_s}</duration><start>{start_s}</start>"


def _utc(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
