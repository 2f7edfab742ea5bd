"""Remove readings of days that are proven for ever, and know which days these are.

What money and trust rest on stays: closings, events, contradictions, each meter's last reading.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from parwana.store.changes import Changes
from parwana.store.frames import SignedFrame
from parwana.store.rows import DAY_S, newest_reading, zero
from parwana.store.tables import IS_SOLE, PAGE, days, framed, frames, meters, pruned

_PAGES = 512  # in a transaction
_METER: sa.BindParameter[int] = sa.bindparam("of")
_FIRST: sa.BindParameter[int] = sa.bindparam("first")
_LAST: sa.BindParameter[int] = sa.bindparam("last")
_ON_PAGE = sa.and_(frames.c.meter == _METER, frames.c.sequence.between(_FIRST, _LAST))
_REMOVE = frames.delete().where(
    _ON_PAGE,
    frames.c.kind.is_(None),
    IS_SOLE,
    frames.c.time_s >= sa.bindparam("from_s"),
    frames.c.time_s < sa.bindparam("to_s"),
    frames.c.received_s < sa.bindparam("before_s"),
    frames.c.sequence < newest_reading(_METER),
)
_SOME_LEFT = sa.exists().where(
    _ON_PAGE,
    frames.c.time_s >= sa.bindparam("midnight_s"),
    frames.c.time_s < sa.bindparam("end_s"),
)
_THIS = days.c.day == sa.bindparam("at"), days.c.page == sa.bindparam("on")
_EMPTY = days.delete().where(days.c.meter == _METER, *_THIS, ~_SOME_LEFT)
# So that the next frame there is noted again.
_FORGET = framed.update().where(framed.c.id == _METER).values(day=None, page=None)

Page = tuple[int, int, int]  # day, number of the meter, page


class PruneChanges(Changes):
    """The part of a Writer that is about removing readings."""

    def prune(self, from_s: int, to_s: int, before_s: int, leaves: int, root: bytes) -> None:
        """Keep that readings of from_s ≤ time_s < to_s, received before `before_s`, may go.

        Over all `leaves` frames of that time `root` (32 bytes) is final on the chain. The first
        word on a day stays.
        """
        row: dict[str, Any] = {
            "from_s": from_s,
            "to_s": to_s,
            "before_s": before_s,
            "leaves": leaves,
            "root": root,
        }
        self._db.execute(self._insert(pruned).values(row).on_conflict_do_nothing())

    def remove(self, day: sa.Row[Any], after: Page | None) -> tuple[int, Page | None]:
        """Remove some of a pruned day's readings, from the page after `after` on.

        Return how many, and after which page to go on, None at the end.
        """
        pages = self._pages(day, after)
        # As every writer does, who else may believe a page noted that is gone by its commit.
        mine = sa.select(framed.c.meter).where(framed.c.id.in_({page.meter for page in pages}))
        lock = sa.select(meters.c.meter).where(meters.c.meter.in_(mine))
        self._db.execute(lock.order_by(meters.c.meter).with_for_update())
        span = {"from_s": day.from_s, "to_s": day.to_s, "before_s": day.before_s}
        less, told = zero(self._db), []
        for page in pages:
            first = page.page * PAGE + less
            at = {"of": page.meter, "first": first, "last": first + PAGE - 1}
            midnight_s = page.day * DAY_S
            when = {"at": page.day, "on": page.page, "midnight_s": midnight_s}
            told.append((at | span, at | when | {"end_s": midnight_s + DAY_S}))
        if not told:
            return 0, None
        removed = self._db.execute(_REMOVE, [one for one, _ in told]).rowcount
        self._db.execute(_EMPTY, [one for _, one in told])
        self._db.execute(_FORGET, [{"of": meter} for meter in {page.meter for page in pages}])
        return removed, tuple(pages[-1])

    def _pages(self, day: sa.Row[Any], after: Page | None) -> Sequence[Any]:
        of_days = days.c.day.between(day.from_s // DAY_S, (day.to_s - 1) // DAY_S)
        query = sa.select(days.c.day, days.c.meter, days.c.page).where(of_days)
        if after is not None:
            query = query.where(sa.tuple_(days.c.day, days.c.meter, days.c.page) > after)
        order = days.c.day, days.c.meter, days.c.page
        return self._db.execute(query.order_by(*order).limit(_PAGES)).all()

    def gone(self, of: Iterable[SignedFrame]) -> list[SignedFrame]:
        """Return those that are of a pruned day."""
        spans = self._db.execute(sa.select(pruned.c.from_s, pruned.c.to_s)).all()
        return [f for f in of if any(a <= f.time_s < b for a, b in spans)]


class PruneReader:
    """The part of a Store that is about removed readings; `_connected` is the Store's."""

    _connected: Any

    def pruned(self) -> list[sa.Row[Any]]:
        """Return (from_s, to_s, before_s, leaves, root) of the pruned days, by time."""
        with self._connected() as db:
            return list(db.execute(sa.select(pruned).order_by(pruned.c.from_s)))
