"""What is exported: which meters, from when to when, as the store was at what instant."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from parwana.store.frames import KINDS, SignedFrame
from parwana.store.reader import Store


class ExportError(Exception):
    """This cannot be exported so; the text says what to write."""


@dataclass(frozen=True)
class Point:
    """A meter and its place. A point whose meter was replaced has several."""

    meter: bytes
    number: int
    kind: str
    feeder: int

    @property
    def address(self) -> str:
        """Return 0x and 40 hex digits."""
        return "0x" + self.meter.hex()


@dataclass(frozen=True)
class Span:
    """Readings that end at after_s < time_s ≤ until_s: a day's last one ends at midnight.

    Only what the store received before `asked_s` counts, so that what is asked twice is the same.
    """

    after_s: int
    until_s: int
    asked_s: int

    def readings(self, store: Store, point: Point) -> Iterator[SignedFrame]:
        """Give a meter's readings by sequence, without holding them all. Raises StoreError."""
        return store.readings(point.meter, self.after_s, self.until_s, self.asked_s)


def instant(text: str, utc_offset_s: int) -> int:
    """Return Unix seconds of a local date, month or time, or of what is Unix seconds already.

    Raises ExportError.
    """
    with suppress(ValueError, OverflowError):
        if text.isascii() and text.isdecimal():
            time_s = int(text)
        else:
            day = text + "-01" if re.fullmatch(r"\d{4}-\d{2}", text) else text
            time = datetime.fromisoformat(day)
            local = time.tzinfo is None
            time_s = int((time.replace(tzinfo=UTC) if local else time).timestamp())
            time_s -= utc_offset_s if local else 0
        if 0 <= time_s < 2**32:
            return time_s
    raise ExportError(
        f"{text}: write a date like 2027-01-15, a month, a time like 2027-01-15T06:00, or Unix "
        "seconds; a date is the utility's, from midnight on"
    )


def chosen(
    store: Store, meters: Sequence[bytes], numbers: Sequence[int], feeder: int | None
) -> list[Point]:
    """Return the meters that are named, or measure or hang on a feeder; all if nothing is.

    Also those out of service: what they signed stays. Raises ExportError, StoreError.
    """
    known = [
        Point(row.meter, row.number, KINDS[row.kind], row.feeder)
        for row in store.meters()
        if row.number is not None
    ]
    everything = not (meters or numbers or feeder is not None)
    found = [
        point
        for point in known
        if everything
        or point.meter in meters
        or point.number in numbers
        or (feeder is not None and feeder in (point.feeder, point.number))
    ]
    for lacks, what in (
        ({*meters} - {point.meter for point in known}, "--meter"),
        ({*numbers} - {point.number for point in known}, "--number"),
    ):
        if lacks:
            first = min(lacks)
            name = first if isinstance(first, int) else "0x" + first.hex()
            raise ExportError(f"{what} {name} is not in the store; see: parwana meters --retired")
    if not found:
        raise ExportError("the store has no such meters; see: parwana meters --retired")
    return found
