"""Keep frames without their digest, and each of their bytes once; find a day by its pages.

A row whose columns are not what its frame says goes to the quarantine, as it was.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision, down_revision = "2", "1"
_PAGE, _ZERO, _DAY_S = 128, 1 << 31, 86400
_ROWS = 10_000  # in memory at once
_KEY = "PRIMARY KEY (meter, sequence, variant)"
_FRAMES = """
CREATE TABLE frames (meter INTEGER NOT NULL, sequence INTEGER NOT NULL, time_s INTEGER NOT NULL,
received_s INTEGER NOT NULL, variant SMALLINT, kind SMALLINT,
frame {blob} NOT NULL, signature {blob} NOT NULL{key})"""
_FRAMED = """
CREATE TABLE framed (id {serial} NOT NULL PRIMARY KEY, meter {blob} NOT NULL UNIQUE, day INTEGER,
page INTEGER)"""
_DAYS = """
CREATE TABLE days (day INTEGER NOT NULL, meter INTEGER NOT NULL, page INTEGER NOT NULL,
PRIMARY KEY (day, meter, page))"""
_PRUNED = """
CREATE TABLE pruned (from_s {whole} NOT NULL PRIMARY KEY, to_s {whole} NOT NULL,
before_s {whole} NOT NULL, leaves {whole} NOT NULL, root {blob} NOT NULL)"""
_INDEXES = """
CREATE INDEX frames_closing ON frames (meter, time_s) WHERE kind = 3;
CREATE INDEX frames_events ON frames (meter, sequence) WHERE kind = 2;
CREATE INDEX frames_doubted ON frames (meter, sequence) WHERE variant > 0"""


def upgrade() -> None:
    """Copy all frames."""
    db, tell = op.get_bind(), op.get_context().opts["tell"]
    sqlite = db.dialect.name == "sqlite"
    blob, less = ("BLOB", 0) if sqlite else ("BYTEA", _ZERO)
    serial, rowid = ("INTEGER", " WITHOUT ROWID") if sqlite else ("SERIAL", "")
    for name in ("closing", "contradicted", "day", "events"):
        op.execute(f"DROP INDEX IF EXISTS frames_{name}")
    op.rename_table("frames", "frames_1")
    if not sqlite:
        op.execute("ALTER INDEX frames_pkey RENAME TO frames_1_pkey")
    op.execute(_FRAMED.format(serial=serial, blob=blob))
    op.execute(_FRAMES.format(blob=blob, key=f", {_KEY}" if sqlite else "") + rowid)
    op.execute(_DAYS + rowid)
    op.execute(_PRUNED.format(whole="INTEGER" if sqlite else "BIGINT", blob=blob))
    total = db.execute(sa.text("SELECT count(*) FROM frames_1")).scalar_one()
    addresses = db.execute(sa.text("SELECT DISTINCT meter FROM frames_1 ORDER BY meter")).scalars()
    done = 0
    for number, meter in enumerate([bytes(one) for one in addresses], 1):
        db.execute(sa.text("INSERT INTO framed (meter) VALUES (:meter)"), {"meter": meter})
        pages: set[tuple[int, int]] = set()
        for rows in _batches(db, meter):
            good = []
            for _, alike in groupby(rows, lambda row: row.sequence):
                group = list(alike)
                whole = [row for row in group if _true(row)]
                _set_aside(db, meter, [row for row in group if row not in whole])
                good += [(i * (len(whole) > 1), row) for i, row in enumerate(whole, 1)]
            pages |= {(r.time_s // _DAY_S, (r.sequence - less) // _PAGE) for _, r in good}
            _keep(db, number, less, good)
            done += len(rows)
            tell("frames", done, total)
        made = [{"d": day, "m": number, "p": page} for day, page in sorted(pages)]
        if made:
            db.execute(sa.text("INSERT INTO days VALUES (:d, :m, :p)"), made)
    op.drop_table("frames_1")
    for statement in _INDEXES.split(";"):
        op.execute(statement)
    if not sqlite:
        op.execute("CREATE INDEX frames_sequence ON frames (meter, sequence)")
    op.execute("UPDATE parwana_schema SET version = 2")


def _batches(db: sa.Connection, meter: bytes) -> Iterator[list[Any]]:
    """Give a meter's rows by sequence, all of one sequence together."""
    query = sa.text(
        "SELECT sequence, frame, signature, kind, time_s, closing, received_s FROM frames_1 "
        "WHERE meter = :m AND sequence >= :first ORDER BY sequence, digest LIMIT :n"
    )
    first = 0
    while rows := list(db.execute(query, {"m": meter, "first": first, "n": _ROWS})):
        last = first = rows[-1].sequence
        if len(rows) == _ROWS and rows[0].sequence < last:
            rows = [row for row in rows if row.sequence < last]
        else:
            first += 1
        yield rows


def _true(row: Any) -> bool:
    """Say whether the columns are what the frame says."""
    frame = bytes(row.frame)
    said = frame[:2], frame[4:12], len(frame), len(row.signature)
    place = row.sequence.to_bytes(8, "big", signed=True) + row.time_s.to_bytes(
        8, "big", signed=True
    )
    kind = row.kind in (1, 2) and bytes([1, row.kind])
    return said == (kind, place[4:8] + place[12:], 40, 64) and not any(place[:4] + place[8:12])


def _keep(db: sa.Connection, number: int, less: int, rows: list[tuple[int, Any]]) -> None:
    made = [
        {
            "m": number,
            "s": row.sequence - less,
            "t": row.time_s - less,
            "r": row.received_s - less,
            "v": variant or (None if less else 0),
            "k": _kind(row),
            "f": bytes(row.frame[2:4] + row.frame[12:]),
            "g": bytes(row.signature),
        }
        for variant, row in rows
    ]
    if made:
        db.execute(sa.text("INSERT INTO frames VALUES (:m, :s, :t, :r, :v, :k, :f, :g)"), made)


def _kind(row: Any) -> int | None:
    """Return 2 for an event, 3 for a reading that closes (flag 1, protocol.md, 1.1), else None."""
    if row.kind == 1:
        return 3 if row.frame[3] & 1 else None
    return 2


def _set_aside(db: sa.Connection, meter: bytes, rows: list[Any]) -> None:
    for row in rows:
        payload = bytes(row.frame) + bytes(row.signature)
        detail = f"stood for sequence {row.sequence}, time {row.time_s}"
        values = {
            "digest": sha256(meter + detail.encode() + payload).digest(),
            "detail": detail,
            "topic": meter.hex(),
            "payload": payload,
            "size": len(payload),
            "at": row.received_s,
        }
        db.execute(
            sa.text(
                "INSERT INTO quarantine VALUES (:digest, 'altered', :detail, :topic, :payload, "
                ":size, 1, :at, :at)"
            ),
            values,
        )
        db.execute(
            sa.text(
                "INSERT INTO tallies VALUES ('altered', 1, 0) "
                "ON CONFLICT (reason) DO UPDATE SET kept = tallies.kept + 1"
            )
        )
