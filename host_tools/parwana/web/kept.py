"""What the pages keep for themselves: SQLite files beside the store."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


class Kept:
    """A file with tables; any thread may ask."""

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(tables)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection; what was done is committed at the end."""
        with closing(sqlite3.connect(self.path, timeout=10)) as db, db:
            yield db
