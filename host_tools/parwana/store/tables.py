"""The store's tables, the same on SQLite and PostgreSQL. Addresses and digests are raw bytes.

frames       every verified frame, in columns what orders it, the rest packed (`frames.packed`)
framed       a small number for each meter that `frames` has anything of, which stands there for it
days         of each UTC day since 1970 the pages, of PAGE sequences, that hold a frame of it
pruned       days whose readings were removed: what of them is on the chain
runs         the sequences of a meter that are held, as ranges: the lowest missing is one look-up
meters       what the chain says of a meter (number, kind, feeder) and what its last hello said
permits      the bundles that were published on the chain, to deliver
trust        kinds 5 and 6 that a meter is to take, in the order of their serials
updates      what is offered to meters: frame, archive, bundle once m signed, and to how many
signatures   what permit signers sign, so that they can find each other
inspections  what somebody found who went to look at a house for theft
quarantine   what arrived and was not believed, bounded; `tallies` counts it and what was dropped
leases       which work on the chain is whose, and until when, so that relays do not do it twice
cursors      up to which block a reader of the chain has read
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

VERSION = 2  # the revision in migrations/ that makes these tables
PAGE = 128  # sequences, so that a page of quarter hours begins on one day and ends on the next
ZERO = 1 << 31  # what PostgreSQL subtracts from four bytes


class _Shifted(TypeDecorator[int]):
    """0 … 2**32 - 1 in PostgreSQL's four bytes, which have a sign."""

    impl = sa.Integer
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        return lambda value: None if value is None else value - ZERO

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:  # noqa: ARG002
        return lambda value: None if value is None else value + ZERO


metadata = sa.MetaData()
_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Four = sa.Integer().with_variant(_Shifted(), "postgresql")
_Address = sa.LargeBinary(20)

schema = sa.Table("parwana_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

framed = sa.Table(
    "framed",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("meter", _Address, nullable=False, unique=True),
    # What `days` got last of it: the next reading most often is of the same.
    sa.Column("day", sa.Integer),
    sa.Column("page", sa.Integer),
)

# In this order PostgreSQL pads nothing. What each byte costs: docs/decisions/0032.
# NULL takes no byte: `kind` is one of these, or NULL of a reading that does not close.
EVENT, CLOSING = 2, 3
frames = sa.Table(
    "frames",
    metadata,
    sa.Column("meter", sa.Integer, nullable=False),  # framed.id
    sa.Column("sequence", _Four, nullable=False),
    sa.Column("time_s", _Four, nullable=False),
    sa.Column("received_s", _Four, nullable=False),
    # Of a sequence that has several frames 1, 2, …; else NULL, in SQLite's key 0
    sa.Column("variant", sa.SmallInteger, nullable=True),
    sa.Column("kind", sa.SmallInteger),
    sa.Column("frame", sa.LargeBinary(30), nullable=False),
    sa.Column("signature", sa.LargeBinary(64), nullable=False),
    sa.PrimaryKeyConstraint("meter", "sequence", "variant").ddl_if(dialect="sqlite"),
    sqlite_with_rowid=False,
)
# Two numbers take an entry of 20 bytes, a third makes it 28: whoever writes holds the meter.
sa.Index("frames_sequence", frames.c.meter, frames.c.sequence).ddl_if(dialect="postgresql")


def _partial(name: str, condition: str, *columns: sa.Column[Any]) -> Any:
    """Make an index of some frames; return its condition for queries, which must say it alike."""
    where = sa.text(condition)
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)
    return sa.text(f"frames.{condition}")


CLOSES = _partial("frames_closing", f"kind = {CLOSING}", frames.c.meter, frames.c.time_s)
IS_EVENT = _partial("frames_events", f"kind = {EVENT}", frames.c.meter, frames.c.sequence)
DOUBTED = _partial("frames_doubted", "variant > 0", frames.c.meter, frames.c.sequence)


def is_reading(of: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that a row of `frames`, or of an alias of it, is a reading."""
    return sa.func.coalesce(of.c.kind, 0) != EVENT


IS_READING = is_reading(frames)
IS_SOLE = sa.func.coalesce(frames.c.variant, 0) == 0

days = sa.Table(
    "days",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("meter", sa.Integer, primary_key=True, autoincrement=False),  # framed.id
    sa.Column("page", sa.Integer, primary_key=True, autoincrement=False),  # sequence // PAGE
    sqlite_with_rowid=False,
)

pruned = sa.Table(
    "pruned",
    metadata,
    sa.Column("from_s", _Integer, primary_key=True, autoincrement=False),
    sa.Column("to_s", _Integer, nullable=False),
    sa.Column("before_s", _Integer, nullable=False),  # what was received later stays
    sa.Column("leaves", _Integer, nullable=False),
    sa.Column("root", sa.LargeBinary(32), nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("meter", _Address, primary_key=True),
    sa.Column("first", _Integer, primary_key=True, autoincrement=False),
    sa.Column("last", _Integer, nullable=False),
)

meters = sa.Table(
    "meters",
    metadata,
    sa.Column("meter", _Address, primary_key=True),
    sa.Column("number", _Integer),
    sa.Column("kind", sa.SmallInteger),
    sa.Column("feeder", _Integer),
    sa.Column("in_service", sa.Boolean, nullable=False, default=False),
    sa.Column("oldest", _Integer, nullable=False, default=1),
    sa.Column("next", _Integer, nullable=False, default=1),
    sa.Column("permit_serial", _Integer, nullable=False, default=0),
    sa.Column("boots", _Integer, nullable=False, default=0),
    sa.Column("version", _Integer, nullable=False, default=0),
    sa.Column("control_state", sa.SmallInteger, nullable=False, default=0),
    sa.Column("heard_s", _Integer, nullable=False, default=0),
)

permits = sa.Table(
    "permits",
    metadata,
    sa.Column("meter", _Address, primary_key=True),
    sa.Column("serial", _Integer, primary_key=True, autoincrement=False),
    sa.Column("bundle", sa.LargeBinary, nullable=False),
    sa.Column("block", _Integer, nullable=False),
)

# What became of a change of trust
UNTOLD, TOLD, TAKEN = 0, 1, 2

trust = sa.Table(
    "trust",
    metadata,
    sa.Column("meter", _Address, primary_key=True),
    sa.Column("serial", _Integer, primary_key=True, autoincrement=False),
    sa.Column("bundle", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False, index=True),
)

updates = sa.Table(
    "updates",
    metadata,
    sa.Column("serial", _Integer, primary_key=True, autoincrement=False),
    sa.Column("frame", sa.LargeBinary(40), nullable=False),
    sa.Column("image", sa.LargeBinary, nullable=False),
    sa.Column("bundle", sa.LargeBinary),
    sa.Column("percent", sa.SmallInteger, nullable=False),  # of the meters, to whom it is offered
    sa.Column("since_s", _Integer, nullable=False),
    sa.Column("wait_s", _Integer, nullable=False),  # at least, before more are offered it
    sa.Column("stopped", sa.String(200), nullable=False),  # why; "" while it goes on
)

signatures = sa.Table(
    "signatures",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("signer_index", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("signature", sa.LargeBinary(64), nullable=False),
    sa.Column("frame", sa.LargeBinary(40), nullable=False),
    sa.Column("scope", sa.LargeBinary, nullable=False, index=True),
    sa.Column("made_s", _Integer, nullable=False),
)

inspections = sa.Table(
    "inspections",
    metadata,
    sa.Column("number", _Integer, primary_key=True, autoincrement=False),  # of the point
    sa.Column("at_s", _Integer, primary_key=True, autoincrement=False),
    sa.Column("found", sa.String(20), nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("reason", sa.String(32), nullable=False, index=True),
    sa.Column("detail", sa.String(200), nullable=False),
    sa.Column("topic", sa.String(200), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("size", _Integer, nullable=False),
    sa.Column("seen", _Integer, nullable=False),
    sa.Column("first_s", _Integer, nullable=False),
    sa.Column("last_s", _Integer, nullable=False),
)

tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("reason", sa.String(32), primary_key=True),
    sa.Column("kept", _Integer, nullable=False),
    sa.Column("dropped", _Integer, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("work", sa.LargeBinary, primary_key=True),
    sa.Column("holder", sa.String(42), nullable=False),
    sa.Column("until_s", _Integer, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("block", _Integer, nullable=False),
)
