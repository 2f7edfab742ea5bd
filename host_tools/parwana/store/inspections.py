"""Keep what inspections found, and give a feeder's loads: what `parwana losses` works on."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from parwana.store.changes import Changes
from parwana.store.rows import frames_of
from parwana.store.tables import IS_READING, IS_SOLE, frames, inspections


class InspectionChanges(Changes):
    """The part of a Writer that is about inspections."""

    def add_inspection(self, number: int, at_s: int, found: str) -> None:
        """Keep what was found at a point; the last word on one instant stays."""
        row = {"number": number, "at_s": at_s, "found": found}
        insert = self._insert(inspections).values(row)
        keys = [inspections.c.number, inspections.c.at_s]
        self._db.execute(insert.on_conflict_do_update(index_elements=keys, set_={"found": found}))


class InspectionReader:
    """The part of a Store about inspections and loads; `_connected`, `_signed` are the Store's."""

    _connected: Any
    _signed: Any

    def inspections(self) -> list[sa.Row]:
        """Return all inspections (number, at_s, found), by time."""
        with self._connected() as db:
            order = inspections.c.at_s, inspections.c.number
            return list(db.execute(sa.select(inspections).order_by(*order)))

    def loads(self, meter: bytes, from_s: int, to_s: int) -> Iterator[bytes]:
        """Give a meter's readings (40 bytes) of from_s < time_s ≤ to_s in their order.

        What contradicts another reading is left out.
        """
        query = frames_of(meter).where(
            IS_READING,
            IS_SOLE,
            frames.c.time_s > from_s,
            frames.c.time_s <= to_s,
        )
        for reading in self._signed(query.order_by(frames.c.sequence)):
            yield reading.frame
