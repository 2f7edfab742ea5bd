"""Open the store's database, SQLite or PostgreSQL."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from parwana.store import advice
from parwana.store.advice import StoreError
from parwana.store.tables import VERSION, metadata, schema


def engine(url: str, create: bool) -> sa.Engine:
    """Make the engine of a store's URL. Raises StoreError."""
    wanted = "write sqlite:///file.db or postgresql://user:password@host/name"
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"the store's URL does not parse; {wanted}") from None
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        if "@" in f"{parsed.host}{parsed.database}":
            raise StoreError("the store's URL has two @; write that of a password as %40")
    elif kind != "sqlite":
        raise StoreError(f"the store's URL is for {kind}; {wanted}")
    elif not parsed.database or parsed.database == ":memory:":
        raise StoreError(f"the store needs a file, memory forgets; {wanted}")
    elif not create and not Path(parsed.database).is_file():
        raise StoreError(f"there is no store at {parsed.database}; start `parwana relay` first")
    waits = {key: value for key, value in _waits(kind).items() if key not in parsed.query}
    try:
        made = sa.create_engine(parsed, pool_pre_ping=kind != "sqlite", connect_args=waits)
    except NoSuchModuleError:
        raise StoreError(f"the store's URL names an unknown driver; {wanted}") from None
    except ImportError:
        raise StoreError("PostgreSQL needs psycopg: pip install 'parwana[postgresql]'") from None
    if kind == "sqlite":
        sa.event.listen(made, "connect", _sqlite_connect)
        sa.event.listen(made, "begin", _sqlite_begin)
        if "uri" not in parsed.query:
            File(Path(str(parsed.database)), advice.label(made.url)).watch(made)
    else:
        sa.event.listen(made, "handle_error", _drop_pool)
    return made


class File:
    """The file of a SQLite store: it is made once, and not written when it is another's place.

    SQLite goes on writing to a file that was removed or replaced, which nobody finds again.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        with suppress(OSError):  # SQLite says what is wrong
            path.touch()

    def watch(self, made: sa.Engine) -> None:
        """Look at each connection and transaction."""
        sa.event.listen(made, "do_connect", self._connects)
        sa.event.listen(made, "connect", self._connected)
        sa.event.listen(made, "begin", self._begins)

    def _connects(self, *_: Any) -> None:
        if self._path.parent.is_dir() and not self._path.exists():
            raise StoreError(f"{self._name} is gone; put it back, or start again without it")

    def _connected(self, _connection: Any, record: Any) -> None:
        record.info["file"] = self._identity()

    def _begins(self, connection: sa.Connection) -> None:
        if connection.info["file"] != self._identity():
            connection.invalidate()
            raise StoreError(
                f"{self._name} was moved away or replaced while it was open; what is there now is "
                "opened next"
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino


def _waits(kind: str) -> dict[str, Any]:
    if kind == "sqlite":
        return {"timeout": advice.WAIT_S}
    return {
        "connect_timeout": advice.WAIT_S,
        "options": f"-c lock_timeout={advice.WAIT_S}s",
        # A server that vanished must not be waited for for hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": advice.WAIT_S * 1000,
    }


def _drop_pool(context: sa.ExceptionContext) -> None:
    # After a fail-over the old primary still answers: every session to it must be made anew.
    if advice.lost(getattr(context.original_exception, "sqlstate", None)):
        context.is_disconnect = True


def _sqlite_connect(connection: Any, _record: Any) -> None:
    # The driver shall not begin transactions by itself: a write must take its lock at the start.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # NORMAL loses commits in a power cut


def _sqlite_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("parwana_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def prepare(db: sa.Connection, create: bool, name: str) -> None:
    """Make the tables of an empty store, check the version of another. Raises StoreError."""
    if not sa.inspect(db).has_table(schema.name):
        if not create:
            raise StoreError(f"{name} holds no Parwana store; name the store of `parwana relay`")
        if db.dialect.name == "postgresql":
            # Two relays that start together make the tables one after the other.
            db.execute(sa.text("SELECT pg_advisory_xact_lock(7091)"))
        metadata.create_all(db)
        if db.execute(sa.select(schema.c.version)).scalar_one_or_none() is None:
            db.execute(schema.insert().values(version=VERSION))
    version = db.execute(sa.select(schema.c.version)).scalar_one_or_none()
    if version is None or version > VERSION:
        raise StoreError(
            f"{name} has schema {version}, this Parwana's is {VERSION}: it is of a newer one; "
            "install that, or restore the backup of before"
        )
    if version < VERSION:
        raise StoreError(
            f"{name} has schema {version}, this Parwana's is {VERSION}: stop what uses it, "
            "back it up, and run `parwana store migrate`"
        )
