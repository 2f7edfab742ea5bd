"""Bring a store of an older Parwana to this one's tables: alembic runs what migrations/ has."""

from pathlib import Path

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from parwana.store.advice import label, translated
from parwana.store.database import engine, prepare
from parwana.store.tables import VERSION, schema
from parwana.world.progress import Told, untold

_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7091)"


def scripts() -> ScriptDirectory:
    """Return the revisions that there are."""
    return ScriptDirectory(str(Path(__file__).parent / "migrations"))


def migrate(url: str, told: Told = untold) -> int:
    """Bring a store to schema VERSION, or leave it as it is; return which it had.

    Raises StoreError, also for a store of a newer Parwana.
    """
    made = engine(url, create=False)
    name = label(made.url)
    try:
        with made.connect() as connection:
            db = connection.execution_options(parwana_write=True)
            with db.begin():
                before = _upgrade(db, name, told)
        if before != VERSION and made.dialect.name == "sqlite":
            with made.connect() as connection:  # an older one's pages stay in the file otherwise
                connection.connection.execute("VACUUM")
    except SQLAlchemyError as error:
        raise translated(error, name) from None
    finally:
        made.dispose()
    return before


def _upgrade(db: sa.Connection, name: str, told: Told) -> int:
    if db.dialect.name == "postgresql":
        db.execute(sa.text(_ONE_AT_A_TIME))
    before = None
    if sa.inspect(db).has_table(schema.name):
        before = db.execute(sa.select(schema.c.version)).scalar_one_or_none()
    if before is None or before >= VERSION:
        prepare(db, create=False, name=name)
        return VERSION
    revisions = scripts()
    options = {"fn": lambda at, _: revisions._upgrade_revs(str(VERSION), at), "tell": told}
    context = MigrationContext.configure(db, opts=options)
    if before > 1:
        context.stamp(revisions, str(before))
    with Operations.context(context):
        context.run_migrations()
    prepare(db, create=False, name=name)
    return int(before)
