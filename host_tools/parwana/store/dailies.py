"""What daily roots are made of: the frames of a day, in their order."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

import wire
from parwana.store.rows import DAY_S, FRAMES, zero
from parwana.store.tables import PAGE, days, framed, frames


class Leaf(NamedTuple):
    """A frame under a daily root; its digest is of 32 bytes."""

    meter: bytes
    sequence: int
    digest: bytes
    received_s: int


class DayReader:
    """The part of a Store that is about days; `_connected`, `_signed` are the Store's."""

    _connected: Any
    _signed: Any

    def days(self, utc_offset_s: int, before_s: int) -> dict[int, int]:
        """Return how many frames of each local day since 1970 were received before `before_s`."""
        with self._connected() as db:
            plain = sa.type_coerce(frames.c.time_s, sa.BigInteger)
            day = (plain + (zero(db) + utc_offset_s - 1)) // DAY_S
            query = sa.select(day, sa.func.count()).where(
                frames.c.time_s > -utc_offset_s, frames.c.received_s < before_s
            )
            return {row[0]: row[1] for row in db.execute(query.group_by(day))}

    def leaves(self, domain: bytes, from_s: int, to_s: int, before_s: int) -> Iterator[Leaf]:
        """Give all frames of from_s ≤ time_s < to_s that were received before `before_s`, in the
        order of a daily root. `domain` is that of readings (32 bytes).
        """
        of_days = days.c.day.between(from_s // DAY_S, (to_s - 1) // DAY_S)
        pages = sa.select(days.c.meter, days.c.page).where(of_days).distinct().subquery()
        first = pages.c.page * PAGE
        on_them = sa.and_(
            frames.c.meter == pages.c.meter, frames.c.sequence.between(first, first + (PAGE - 1))
        )
        query = FRAMES.join(pages, on_them).where(
            frames.c.time_s >= from_s, frames.c.time_s < to_s, frames.c.received_s < before_s
        )
        found = self._signed(query.order_by(framed.c.meter, frames.c.sequence))
        for (meter, sequence), alike in groupby(found, lambda one: (one.meter, one.sequence)):
            made = [(wire.digest(domain, one.frame), one.received_s) for one in alike]
            for digest, received_s in sorted(made):
                yield Leaf(meter, sequence, digest, received_s)

    def utc_days(self) -> list[int]:
        """Return the UTC days since 1970 of which there are frames, rising."""
        with self._connected() as db:
            query = sa.select(days.c.day).distinct().order_by(days.c.day)
            return list(db.execute(query).scalars())
