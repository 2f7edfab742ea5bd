"""Say what to do when the store's database fails: a file wants other things than a server."""

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

WAIT_S = 15

# What SQLite answers: its primary result codes, https://www.sqlite.org/rescode.html
_FILE = {
    5: f"is locked by another process for {WAIT_S} s; end that one first",
    6: f"is locked by another process for {WAIT_S} s; end that one first",
    8: "cannot be written; check who owns it and its folder",
    10: "cannot be read or written; check that its disk is sound and has room",
    11: "is damaged; move it away and restore a copy",
    13: "cannot grow, the disk is full; make room",
    14: "cannot be opened; check that its folder exists and is yours",
    26: "is damaged, or no database at all; move it away and restore a copy",
}

# SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html, by their beginnings.
_CLOSED = "has closed our session: it restarts or fails over; the next try connects anew"
_LOST = {
    "08": _CLOSED,
    "57P": _CLOSED,
    "25P03": _CLOSED,
    "25006": "takes no writes: it is a standby, or set to read only; lead the URL to the primary",
}
_LACKS = "lacks a table of the store; restore a copy, or start again with an empty database"
_SERVER = {
    "28": "does not let us in; check user and password in the URL, and the server's pg_hba.conf",
    "3D000": "has no such database; make it (createdb) or mend the URL",
    "42501": "does not let our user do this; make it the owner of the database",
    "42P01": _LACKS,
    "53100": "has a full disk; make room on the server",
    "53300": "has no session left for us; raise its max_connections, or end other sessions",
    "55P03": f"is locked by another session for {WAIT_S} s; end that one first",
}
_AWAY = "cannot be reached; check that it runs and that the URL has its host and port"

# A session that is not made has no SQLSTATE, only libpq's and the server's words.
_WORDS = {
    r"password|authentication failed|pg_hba\.conf|role .* does not exist": "28",
    r"database .* does not exist": "3D000",
    r"permission denied": "42501",
    r"too many (clients|connections)|connection slots": "53300",
}


class StoreError(Exception):
    """The store cannot be used now; of the transaction nothing was kept. Says what to do."""


class StoreAway(StoreError):
    """The server cannot be reached, or does not take writes, now; it is worth waiting for."""


def lost(state: str | None) -> bool:
    """Say whether a SQLSTATE means that none of our sessions is of use any more."""
    return _of(_LOST, state or "") is not None


def translated(error: SQLAlchemyError, name: str) -> StoreError:
    """Return what to raise for a database's error, without the statement or its values."""
    orig = getattr(error, "orig", None)
    lines = str(orig or error).strip().splitlines() or [type(error).__name__]
    said = lines[0]
    kind, advice = StoreError, None
    code, state = getattr(orig, "sqlite_errorcode", None), getattr(orig, "sqlstate", None)
    if code is not None:
        advice = _LACKS if "no such table" in said else _FILE.get(code & 0xFF)
    elif state is not None:
        advice = _of(_SERVER, state)
        if advice is None and lost(state):
            kind, advice = StoreAway, _of(_LOST, state)
    elif isinstance(error, OperationalError):
        # Several hosts: a line each below the first.
        said = "; ".join(line[2:] for line in lines if line.startswith("- ")) or said
        advice = _of(_SERVER, _said(said)) or _AWAY
        kind = StoreAway if advice in (_AWAY, _SERVER["53300"]) else StoreError
    return kind(f"{name} {advice or 'cannot be used now'} ({said})")


def _of(table: dict[str, str], state: str) -> str | None:
    return next((table[start] for start in table if state.startswith(start)), None)


def _said(text: str) -> str:
    """Return the SQLSTATE that a refused session stands for, "" if the server just was away."""
    return next((state for words, state in _WORDS.items() if re.search(words, text)), "")


def label(url: sa.URL) -> str:
    """Return the URL as errors may show it: where the store is, and no secret."""
    places: Any = {key: url.query[key] for key in ("host", "port") if key in url.query}
    shown = url.set(drivername=url.get_backend_name(), query=places)
    return shown.render_as_string(hide_password=True)
