"""Schema 1 had tables and indexes that were made when they were missing: make all of them."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "1", None


def upgrade() -> None:
    """Bring a store of the first release to the last of schema 1; `frames` is made anew later."""
    whole, blob = sa.BigInteger(), sa.LargeBinary()
    op.create_table(
        "trust",
        sa.Column("meter", blob, primary_key=True),
        sa.Column("serial", whole, primary_key=True, autoincrement=False),
        sa.Column("bundle", blob, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_trust_state", "trust", ["state"], if_not_exists=True)
    op.create_table(
        "updates",
        sa.Column("serial", whole, primary_key=True, autoincrement=False),
        sa.Column("frame", blob, nullable=False),
        sa.Column("image", blob, nullable=False),
        sa.Column("bundle", blob),
        sa.Column("percent", sa.SmallInteger, nullable=False),
        sa.Column("since_s", whole, nullable=False),
        sa.Column("wait_s", whole, nullable=False),
        sa.Column("stopped", sa.String(200), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "inspections",
        sa.Column("number", whole, primary_key=True, autoincrement=False),
        sa.Column("at_s", whole, primary_key=True, autoincrement=False),
        sa.Column("found", sa.String(20), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "leases",
        sa.Column("work", blob, primary_key=True),
        sa.Column("holder", sa.String(42), nullable=False),
        sa.Column("until_s", whole, nullable=False),
        if_not_exists=True,
    )
