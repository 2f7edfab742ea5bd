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
_GONE = """
DELETE FROM runs WHERE (meter, first) IN (SELECT meter, first FROM asked)"""
_LONGER = """
UPDATE runs SET last = asked.last FROM asked
WHERE runs.meter = asked.meter AND runs.first = asked.first"""


class Held:
    """The runs that some spans touch, within one transaction; ranges are never adjacent."""

    def __init__(self, db: sa.Connection, spans: Iterable[Span]) -> None:
        self._db = db
        self._was: dict[bytes, dict[int, int]] = {}
        wanted = [(meter, max(0, first - 1), last) for meter, first, last in spans]
        for meter, first, last in ask(db, _TOUCHING, ("meter", "first", "last"), wanted):
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
        gone: list[tuple[bytes, int]] = []
        new: list[Span] = []
        longer: list[Span] = []
        for meter, of in self._now.items():
            was, now = self._was.get(meter, {}), dict(of)
            gone += [(meter, first) for first in was.keys() - now.keys()]
            for first, last in of:
                if first not in was:
                    new.append((meter, first, last))
                elif was[first] != last:
                    longer.append((meter, first, last))
        ask(self._db, _GONE, ("meter", "first"), gone)
        insert(self._db, runs, new)
        ask(self._db, _LONGER, ("meter", "first", "last"), longer)


def ranges(rising: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give (first, last) of each unbroken range of rising numbers."""
    start = 0
    for i in range(1, len(rising) + 1):
        if i == len(rising) or rising[i] != rising[i - 1] + 1:
            yield rising[start], rising[i - 1]
            start = i


def insert(db: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of all columns, none of which is there; the values are the drivers' own types.

    Whoever calls holds the rows' meters, so that nobody else inserts them meanwhile.
    """
    names = table.columns.keys()
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    if rows and db.dialect.name == "sqlite":
        db.exec_driver_sql(f"{into} VALUES ({', '.join('?' * len(names))})", list(rows))
    elif rows:
        types = [column.type.compile(db.dialect) for column in table.columns]
        db.exec_driver_sql(f"{into} {_arrays(types)}", _columns(rows))


def _arrays(types: Iterable[str]) -> str:
    return f"SELECT * FROM unnest({', '.join(f'%b::{one}[]' for one in types)})"


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


def ask(
    db: sa.Connection, query: str, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Return the answer to a statement on `asked`, a table of these rows."""
    if not rows:
        return []
    if db.dialect.name != "sqlite":
        return _told(db.exec_driver_sql(_asking(query, names, 0), _columns(rows)))
    told = []
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        size = 1 << (len(some) - 1).bit_length()  # few sizes, so few statements to prepare
        padded = [*some, *[some[-1]] * (size - len(some))]
        values = tuple(value for row in padded for value in row)
        told += _told(db.exec_driver_sql(_asking(query, names, size), values))
    return told


def _told(result: sa.CursorResult[Any]) -> list[Any]:
    return list(result.all()) if result.returns_rows else []


@lru_cache(maxsize=64)
def _asking(query: str, names: tuple[str, ...], size: int) -> str:
    """Return the statement of `size` rows for SQLite; of 0, that of arrays for PostgreSQL."""
    if size:
        values = ", ".join([f"({', '.join('?' * len(names))})"] * size)
        asked = f"VALUES {values}"
    else:
        asked = _arrays("bytea" if name == "meter" else "bigint" for name in names)
    return f"WITH asked ({', '.join(names)}) AS ({asked}) {query}"
