"""Readings as one Parquet file, made of CSV by DuckDB: in one pass, in bounded memory."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from parwana.export import csvfile
from parwana.export.selection import ExportError

_TYPES = {int: "BIGINT", bool: "BOOLEAN", str: "VARCHAR"}
_COLUMNS = {name: _TYPES[kind] for name, kind in csvfile.COLUMNS.items()} | {
    "time": "TIMESTAMP WITH TIME ZONE"
}
# One thread keeps the order of the lines; nothing may be fetched from anywhere.
_SETTINGS = {"threads": 1, "memory_limit": "128MB", "autoinstall_known_extensions": False}
_AS = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 30720"  # rows that are held in memory


def library() -> Any:
    """Return duckdb, which is large and optional. Raises ExportError."""
    try:
        return import_module("duckdb")
    except ImportError:
        raise ExportError(
            "Parquet needs duckdb: pip install 'parwana[parquet]'; or take --format csv"
        ) from None


def write(pieces: Sequence[Path], out: Path) -> None:
    """Write the lines of CSV files without heads into one Parquet file, in their order."""
    columns = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in _COLUMNS.items())
    read = (
        f"read_csv([{', '.join(_quoted(piece) for piece in pieces)}], header = false, "
        f"auto_detect = false, delim = ',', columns = {{{columns}}})"
    )
    with library().connect(config=_SETTINGS) as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(f"COPY (FROM {read}) TO {_quoted(out)} ({_AS})")


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"
