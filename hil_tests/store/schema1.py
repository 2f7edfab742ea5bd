"""The tables of schema 1, as the first releases made them: what `migrate` must take."""

import sqlalchemy as sa

VERSION = 1

metadata = sa.MetaData()
_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Address = sa.LargeBinary(20)

schema = sa.Table("parwana_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

frames = sa.Table(
    "frames",
    metadata,
    sa.Column("meter", _Address, primary_key=True),
    sa.Column("sequence", _Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("frame", sa.LargeBinary(40), nullable=False),
    sa.Column("signature", sa.LargeBinary(64), nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("time_s", _Integer, nullable=False),
    sa.Column("closing", sa.Boolean, nullable=False),
    sa.Column("contradicted", sa.Boolean, nullable=False),
    sa.Column("received_s", _Integer, nullable=False),
    # The key holds the digest last: one index serves the order, the look-up and the uniqueness.
    sqlite_with_rowid=False,
)
sa.Index(
    "frames_closing",
    frames.c.meter,
    frames.c.time_s,
    sqlite_where=frames.c.closing,
    postgresql_where=frames.c.closing,
)
sa.Index(
    "frames_contradicted",
    frames.c.meter,
    frames.c.sequence,
    sqlite_where=frames.c.contradicted,
    postgresql_where=frames.c.contradicted,
)
frames_day = sa.Index("frames_day", frames.c.time_s, frames.c.received_s)
IS_EVENT = frames.c.kind == sa.literal_column("2")  # as it stands: an index is chosen by the text
frames_events = sa.Index(
    "frames_events",
    frames.c.meter,
    frames.c.sequence,
    sqlite_where=IS_EVENT,
    postgresql_where=IS_EVENT,
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
