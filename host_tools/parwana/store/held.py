"""Know which sequences of meters are held, as ranges, for many meters in one look."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from parwana.store.tables import runs

Span = tuple[bytes, int, int]  # meter, first and last sequence
_ROWS = 2048  # in one query; SQLite takes 32,766 values
_SEQUENCE_MAX = 0xFFFFFFFF

# Of each span what it touches, and what begins before it: at most one run, found by its index.
_TOUCHING = """
SELECT DISTINCT runs.meter, runs.first, runs.last FROM asked JOIN runs
ON runs.meter = asked.meter AND runs.first <= asked.last + 1 AND runs.first >= coalesce(
(SELECT max(r.first) FROM runs AS r WHERE r.meter = asked.meter AND r.first <= asked.first),
asked.first)"""
_DIGESTS = """
SELECT frames.meter, frames.sequence, frames.digest FROM asked JOIN frames
ON frames.meter = asked.meter AND frames.sequence = asked.sequence"""


def digests(db: sa.Connection, of: Iterable[tuple[bytes, int]]) -> dict[tuple[bytes, int], set]:
    """Return the digests that are held of each (meter, sequence)."""
    found: dict[tuple[bytes, int], set] = {}
    for meter, sequence, digest in _ask(db, _DIGESTS, ("meter", "sequence"), list(of)):
        found.setdefault((meter, sequence), set()).add(digest)
    return found


class Held:
    """The runs that some spans touch, within one transaction; ranges are never adjacent."""

    def __init__(self, db: sa.Connection, spans: Iterable[Span]) -> None:
        self._db = db
        self._was: dict[bytes, dict[int, int]] = {}
        wanted = [(meter, max(0, first - 1), last) for meter, first, last in spans]
        for meter, first, last in _ask(db, _TOUCHING, ("meter", "first", "last"), wanted):
            self._was.setdefault(meter, {})[first] = last
        self._now = {meter: sorted(of.items()) for meter, of in self._was.items()}

    def __contains__(self, one: tuple[bytes, int]) -> bool:
        meter, sequence = one
        of = self._now.get(meter, [])
        at = bisect_right(of, (sequence, _SEQUENCE_MAX)) - 1
        return at >= 0 and sequence <= of[at][1]

    def add(self, meter: bytes, first: int, last: int) -> None:
        """Hold first … last, which one of the spans that were asked for contains."""
        of = self._now.setdefault(meter, [])
        start = bisect_left(of, (first, 0))
        if start and of[start - 1][1] >= first - 1:
            start -= 1
        stop = bisect_right(of, (last + 1, _SEQUENCE_MAX))
        merged = [(first, last), *of[start:stop]]
        of[start:stop] = [(min(run[0] for run in merged), max(run[1] for run in merged))]

    def lowest_missing(self, meter: bytes, oldest: int) -> int:
        """Return the lowest sequence, not below `oldest`, that is not held."""
        oldest = max(1, oldest)
        of = self._now.get(meter, [])
        at = bisect_right(of, (oldest, _SEQUENCE_MAX)) - 1
        if at < 0 or of[at][1] < oldest:
            return oldest
        return min(of[at][1] + 1, _SEQUENCE_MAX)

    def save(self) -> None:
        """Write what was added."""
        gone, new, longer = [], [], []
        for meter, of in self._now.items():
            was, now = self._was.get(meter, {}), dict(of)
            gone += [{"of": meter, "from": first} for first in was.keys() - now.keys()]
            for first, last in of:
                if first not in was:
                    new.append({"meter": meter, "first": first, "last": last})
                elif was[first] != last:
                    longer.append({"of": meter, "from": first, "last": last})
        for statement, rows in ((_GONE, gone), (_NEW, new), (_LONGER, longer)):
            many(self._db, statement, rows)


_MINE = (runs.c.meter == sa.bindparam("of")) & (runs.c.first == sa.bindparam("from"))
_GONE, _NEW = runs.delete().where(_MINE), runs.insert()
_LONGER = runs.update().where(_MINE).values(last=sa.bindparam("last"))


def ranges(rising: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give (first, last) of each unbroken range of rising numbers."""
    start = 0
    for i in range(1, len(rising) + 1):
        if i == len(rising) or rising[i] != rising[i - 1] + 1:
            yield rising[start], rising[i - 1]
            start = i


def many(db: sa.Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement once a row, each with all its parameters, without SQLAlchemy between.

    The columns' types must be the drivers' own: none of ours needs a conversion.
    """
    text, order = _compiled(statement, db.dialect)
    if rows:
        given = rows if order is None else [tuple(row[name] for name in order) for row in rows]
        db.exec_driver_sql(text, given)


@lru_cache(maxsize=64)
def _compiled(statement: Any, dialect: sa.Dialect) -> tuple[str, Sequence[str] | None]:
    """Return the text for the driver, and the order of its parameters unless they have names."""
    made = statement.compile(dialect=dialect)
    return str(made), made.positiontup


def _ask(
    db: sa.Connection, query: str, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> Iterator[sa.Row]:
    """Give the answer to a query that joins `asked`, a table of these rows."""
    mark = "?" if db.dialect.paramstyle == "qmark" else "%s"
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        size = 1 << (len(some) - 1).bit_length()  # few sizes, so few statements to prepare
        padded = [*some, *[some[-1]] * (size - len(some))]
        values = tuple(value for row in padded for value in row)
        yield from db.exec_driver_sql(_asking(query, names, size, mark), values)


@lru_cache(maxsize=64)
def _asking(query: str, names: tuple[str, ...], size: int, mark: str) -> str:
    values = ", ".join([f"({', '.join([mark] * len(names))})"] * size)
    return f"WITH asked ({', '.join(names)}) AS (VALUES {values}) {query}"
