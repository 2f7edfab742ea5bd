"""Who has signed in: users, invitations, sessions, links on labels, challenges. Tokens are hashed.

It is a file of its own; lost, everybody signs in anew, and labels need new links.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error

from parwana.web.kept import Kept

STAFF, OWNER = "staff", "owner"
INVITE_S, STAFF_S, OWNER_S, CHALLENGE_S = 24 * 3600, 12 * 3600, 90 * 86400, 300
PASSWORD_LEAST, PASSWORD_MOST = 10, 200
NAME_MOST = 60
_TABLES = """
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS invites (token BLOB PRIMARY KEY, until_s INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (token BLOB PRIMARY KEY, kind TEXT NOT NULL, who TEXT NOT NULL,
    number INTEGER NOT NULL, csrf TEXT NOT NULL, until_s INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS links (number INTEGER PRIMARY KEY, token BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS challenges (nonce TEXT PRIMARY KEY, meter TEXT NOT NULL,
    text TEXT NOT NULL, until_s INTEGER NOT NULL);
"""


class PeopleError(ValueError):
    """What was given cannot be taken; the text is a msgid of the catalogues."""


def _(text: str) -> str:
    return text


@dataclass(frozen=True)
class Seat:
    """Somebody who signed in: of the utility, or of the house `number`."""

    kind: str
    who: str
    number: int
    csrf: str


class People(Kept):
    """Keep who may come in; any thread may ask. `now` is real time: it bounds sessions."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex())
        path = folder / "people.sqlite"
        path.touch(mode=0o600)
        super().__init__(path, _TABLES)

    def invite(self) -> str:
        """Return the token of an invitation for one user of the utility."""
        token = secrets.token_urlsafe(24)
        with self._open() as db:
            db.execute("DELETE FROM invites WHERE until_s < ?", (self._now(),))
            until_s = int(self._now()) + INVITE_S
            db.execute("INSERT INTO invites VALUES (?, ?)", (_hashed(token), until_s))
        return token

    def is_invited(self, token: str) -> bool:
        """Say whether an invitation can still be used."""
        with self._open() as db:
            query = "SELECT 1 FROM invites WHERE token = ? AND until_s >= ?"
            return db.execute(query, (_hashed(token), self._now())).fetchone() is not None

    def join(self, token: str, name: str, password: str) -> str:
        """Make an invited user; return the token of a session. Raises PeopleError."""
        if not 0 < len(name.strip()) <= NAME_MOST:
            raise PeopleError(_("Write a name of 1 to 60 letters."))
        if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
            raise PeopleError(_("Choose a password of at least 10 letters."))
        hashed = self._hasher.hash(password)
        with self._open() as db:
            query = "DELETE FROM invites WHERE token = ? AND until_s >= ?"
            if db.execute(query, (_hashed(token), self._now())).rowcount != 1:
                raise PeopleError(_("This invitation was used, or is too old; ask for another."))
            try:
                db.execute("INSERT INTO users VALUES (?, ?)", (name.strip(), hashed))
            except sqlite3.IntegrityError:
                raise PeopleError(_("Somebody has this name already; choose another.")) from None
        return self._seated(STAFF, name.strip(), 0, STAFF_S)

    def login(self, name: str, password: str) -> str | None:
        """Return the token of a session, None for a wrong name or password; both take as long."""
        with self._open() as db:
            query = "SELECT hash FROM users WHERE name = ?"
            found = db.execute(query, (name.strip(),)).fetchone()
        try:
            self._hasher.verify(found[0] if found else self._nobody, password[:PASSWORD_MOST])
        except Argon2Error:
            return None
        return self._seated(STAFF, name.strip(), 0, STAFF_S) if found else None

    def _seated(self, kind: str, who: str, number: int, lasts_s: int) -> str:
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        until_s = int(self._now()) + lasts_s
        with self._open() as db:
            db.execute("DELETE FROM sessions WHERE until_s < ?", (self._now(),))
            row = (_hashed(token), kind, who, number, csrf, until_s)
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", row)
        return token

    def seat(self, token: str) -> Seat | None:
        """Return whose session a token is of, None if of nobody's."""
        query = "SELECT kind, who, number, csrf FROM sessions WHERE token = ? AND until_s >= ?"
        with self._open() as db:
            found = db.execute(query, (_hashed(token), self._now())).fetchone()
        return Seat(*found) if found else None

    def leave(self, token: str) -> None:
        """End a session."""
        with self._open() as db:
            db.execute("DELETE FROM sessions WHERE token = ?", (_hashed(token),))

    def link(self, number: int) -> str:
        """Return the token of a new link for a house's label; the one before opens no more."""
        token = secrets.token_urlsafe(18)
        self.unlink(number)
        with self._open() as db:
            db.execute("INSERT INTO links VALUES (?, ?)", (number, _hashed(token)))
        return token

    def unlink(self, number: int) -> None:
        """Revoke a house's link, and end the sessions of who came in to it."""
        with self._open() as db:
            db.execute("DELETE FROM links WHERE number = ?", (number,))
            db.execute("DELETE FROM sessions WHERE kind = ? AND number = ?", (OWNER, number))

    def has_link(self, number: int) -> bool:
        """Say whether a house's label has a link that opens."""
        with self._open() as db:
            query = "SELECT 1 FROM links WHERE number = ?"
            return db.execute(query, (number,)).fetchone() is not None

    def opened(self, token: str) -> tuple[int, str] | None:
        """Return (number, token of a session) of the house that a link opens, if any."""
        with self._open() as db:
            query = "SELECT number FROM links WHERE token = ?"
            found = db.execute(query, (_hashed(token),)).fetchone()
        return (found[0], self._seated(OWNER, "label", found[0], OWNER_S)) if found else None

    def challenge(self, meter: str, make: Callable[[str], str]) -> tuple[str, str]:
        """Return (nonce, text) to sign for a meter's page; `make` puts the nonce into the text."""
        nonce = secrets.token_hex(16)
        text, now_s = make(nonce), int(self._now())
        with self._open() as db:
            db.execute("DELETE FROM challenges WHERE until_s < ?", (now_s,))
            row = (nonce, meter, text, now_s + CHALLENGE_S)
            db.execute("INSERT INTO challenges VALUES (?, ?, ?, ?)", row)
        return nonce, text

    def answered(self, nonce: str, meter: str) -> str | None:
        """Return the text of a challenge, once; None if it is none, or too old."""
        with self._open() as db:
            query = "SELECT text FROM challenges WHERE nonce = ? AND meter = ? AND until_s >= ?"
            found = db.execute(query, (nonce, meter, self._now())).fetchone()
            db.execute("DELETE FROM challenges WHERE nonce = ?", (nonce,))
        return str(found[0]) if found else None

    def owner(self, who: str, number: int) -> str:
        """Return the token of a session of the house's own key."""
        return self._seated(OWNER, who, number, OWNER_S)


def _hashed(token: str) -> bytes:
    return sha256(token.encode()).digest()
