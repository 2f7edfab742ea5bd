"""Put frames into their table and take them out, where no byte stands twice."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from parwana.store.frames import SignedFrame
from parwana.store.held import ask, insert
from parwana.store.tables import CLOSING, EVENT, PAGE, ZERO, framed, frames, is_reading

DAY_S = 86400
_FORMAT, _READING, _FOUR = 1, 1, 0xFFFFFFFF
_COLUMNS = [column for column in frames.columns if column.name != "meter"]
# All frames, as `signed` takes them
FRAMES = sa.select(framed.c.meter, *_COLUMNS).join(framed, framed.c.id == frames.c.meter)
ENERGY = sa.func.substr(frames.c.frame, 3, 8, type_=sa.LargeBinary)  # protocol.md, 1
CODE = sa.func.substr(frames.c.frame, 1, 2, type_=sa.LargeBinary)  # of an event

_IDS = """
SELECT framed.meter, framed.id, framed.day, framed.page
FROM asked JOIN framed ON framed.meter = asked.meter"""
_NEW = "INSERT INTO framed (meter) SELECT meter FROM asked WHERE true ON CONFLICT DO NOTHING"
_KEPT = """
SELECT frames.meter, frames.sequence, frames.kind, frames.time_s, frames.frame
FROM asked JOIN frames ON frames.meter = asked.id AND frames.sequence = asked.four
ORDER BY frames.variant"""
_DOUBT = """
UPDATE frames SET variant = 1 FROM asked
WHERE frames.meter = asked.id AND frames.sequence = asked.four
AND coalesce(frames.variant, 0) = 0"""
_DAYS = """
INSERT INTO days (day, meter, page) SELECT day, id, page FROM asked WHERE true
ON CONFLICT DO NOTHING"""

_LAST = (
    "UPDATE framed SET day = asked.day, page = asked.page FROM asked WHERE framed.id = asked.id"
)

Place = tuple[bytes, int]  # meter, sequence


def packed(frame: bytes) -> bytes:
    """Return the 30 bytes of a frame (40) that its row's other columns do not say."""
    return frame[2:4] + frame[12:]


def unpacked(kind: int | None, sequence: int, time_s: int, rest: bytes) -> bytes:
    """Return the frame of a row: 40 bytes, unless somebody altered the row."""
    head = bytes([_FORMAT, EVENT if kind == EVENT else _READING])
    place = (sequence & _FOUR) << 32 | time_s & _FOUR
    return head + rest[:2] + place.to_bytes(8, "big") + rest[2:]


def signed(row: Any) -> SignedFrame:
    """Return the frame of a row of FRAMES or `frames_of`."""
    return SignedFrame(
        row.meter,
        row.sequence,
        unpacked(row.kind, row.sequence, row.time_s, row.frame),
        row.signature,
        row.time_s,
        row.kind == CLOSING,
        bool(row.variant),
        row.received_s,
    )


def of(meter: bytes) -> sa.ColumnElement[bool]:
    """Return the condition that a frame is this meter's, which keeps the order of an index."""
    number = sa.select(framed.c.id).where(framed.c.meter == meter)
    return frames.c.meter == number.scalar_subquery()


def frames_of(meter: bytes) -> sa.Select[Any]:
    """Return the query of one meter's frames."""
    named = sa.literal(meter, sa.LargeBinary).label("meter")
    return sa.select(named, *_COLUMNS).where(of(meter))


def newest_reading(number: sa.ColumnElement[int]) -> sa.ScalarSelect[int]:
    """Return the sequence of the last reading of the meter of a number (framed.id), NULL of none.

    It is read from the index, backwards, and stands for itself in a query of other frames.
    """
    of_it = frames.alias()
    query = sa.select(of_it.c.sequence).where(of_it.c.meter == number, is_reading(of_it))
    return query.order_by(of_it.c.sequence.desc()).limit(1).scalar_subquery()


def zero(db: sa.Connection) -> int:
    """Return what four bytes of this database are less than their value."""
    return ZERO if db.dialect.name == "postgresql" else 0


class Rows:
    """The frames of some meters, within one transaction that holds them."""

    def __init__(self, db: sa.Connection, meters: Iterable[bytes]) -> None:
        self._db, self._zero = db, zero(db)
        self._ids: dict[bytes, int] = {}
        self._marked: set[tuple[int, int, int]] = set()
        self._know(wanted := [(meter,) for meter in meters])
        new = sorted(one for one in wanted if one[0] not in self._ids)
        if new:
            ask(db, _NEW, ("meter",), new)
            self._know(new)

    def _know(self, wanted: Sequence[tuple[bytes]]) -> None:
        for meter, number, day, page in ask(self._db, _IDS, ("meter",), wanted):
            self._ids[meter] = number
            self._marked.add((day, number, page))

    def kept(self, places: Iterable[Place]) -> dict[Place, list[bytes]]:
        """Return the frames (40 bytes) that are held of each (meter, sequence), as they came."""
        meters = {number: meter for meter, number in self._ids.items()}
        found: dict[Place, list[bytes]] = {}
        for number, four, kind, at, rest in ask(
            self._db, _KEPT, ("id", "four"), self._asked(places)
        ):
            sequence = four + self._zero
            frame = unpacked(kind, sequence, at + self._zero, rest)
            found.setdefault((meters[number], sequence), []).append(frame)
        return found

    def doubt(self, places: Iterable[Place]) -> None:
        """Mark the frame of each (meter, sequence) that was the only one."""
        ask(self._db, _DOUBT, ("id", "four"), self._asked(places))

    def _asked(self, places: Iterable[Place]) -> list[tuple[int, int]]:
        return [(self._ids[meter], sequence - self._zero) for meter, sequence in sorted(places)]

    def add(
        self,
        fresh: Sequence[SignedFrame],
        variants: Mapping[tuple[bytes, bytes], int],
        received_s: int | None,
    ) -> None:
        """Insert frames; `variants` says by (meter, frame) which contradict, 1 and higher.

        `received_s` None: as each frame says.
        """
        ids, less, rows, found = self._ids, self._zero, [], set()
        sole = 0 if self._db.dialect.name == "sqlite" else None
        for one in fresh:
            number, four, frame = ids[one.meter], one.sequence - less, one.frame
            kind = CLOSING if one.closing else EVENT if frame[1] == EVENT else None
            variant = variants.get((one.meter, frame), sole) if variants else sole
            at_s = one.received_s if received_s is None else received_s
            place = number, four, one.time_s - less, at_s - less
            rows.append((*place, variant, kind, packed(frame), one.signature))
            found.add((one.time_s // DAY_S, number, four // PAGE))
        insert(self._db, frames, rows)
        columns, places = ("day", "id", "page"), sorted(found - self._marked)
        ask(self._db, _DAYS, columns, places)
        ask(self._db, _LAST, columns, list({one[1]: one for one in places}.values()))
