"""Keep what inspections found, and give a feeder's loads: what `parwana losses` works on."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

import wire
from parwana.store.changes import Changes
from parwana.store.tables import frames, inspections


class InspectionChanges(Changes):
    """The part of a Writer that is about inspections."""

    def add_inspection(self, number: int, at_s: int, found: str) -> None:
        """Keep what was found at a point; the last word on one instant stays."""
        row = {"number": number, "at_s": at_s, "found": found}
        insert = self._insert(inspections).values(row)
        keys = [inspections.c.number, inspections.c.at_s]
        self._db.execute(insert.on_conflict_do_update(index_elements=keys, set_={"found": found}))


class InspectionReader:
    """The part of a Store that is about inspections and loads; `_connected` is the Store's."""

    _connected: Any

    def inspections(self) -> list[sa.Row]:
        """Return all inspections (number, at_s, found), by time."""
        with self._connected() as db:
            order = inspections.c.at_s, inspections.c.number
            return list(db.execute(sa.select(inspections).order_by(*order)))

    def loads(self, meter: bytes, from_s: int, to_s: int) -> Iterator[bytes]:
        """Give a meter's readings (40 bytes) of from_s < time_s ≤ to_s in their order.

        What contradicts another reading is left out.
        """
        query = sa.select(frames.c.frame).where(
            frames.c.meter == meter,
            frames.c.kind == wire.KIND_READING,
            frames.c.time_s > from_s,
            frames.c.time_s <= to_s,
            sa.not_(frames.c.contradicted),
        )
        with self._connected() as db:
            for row in db.execution_options(yield_per=10_000).execute(
                query.order_by(frames.c.sequence)
            ):
                yield bytes(row.frame)
