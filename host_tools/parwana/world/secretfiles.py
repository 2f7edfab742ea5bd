"""Files that hold a secret: mode 600 before they hold it, and refused if others can read them."""

import os
import stat
from contextlib import suppress
from pathlib import Path

_ACL = "system.posix_acl_access"


class SecretFileError(Exception):
    """A file with a secret can be read by others; the text says what to do."""


def create(path: Path, data: bytes) -> None:
    """Write a new file. Raises FileExistsError."""
    path.touch(0o600, exist_ok=False)
    path.write_bytes(data)


def replace(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file in the place of the one that is there, if one is: all of it or nothing.

    `durable`: on return it outlasts a power cut.
    """
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    create(aside, data)
    if durable:
        _sync(aside)
    aside.replace(path)
    if durable:
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exposed(path: Path) -> bool:
    """Say whether somebody else than its owner can read the file."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):  # a pipe, as a shell's <(...)
        return False
    if mode & stat.S_IRGRP and not mode & stat.S_IROTH:
        # With an access list the group's bits are its mask: systemd lends secrets that way.
        with suppress(AttributeError, OSError):
            return _ACL not in os.listxattr(path)
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def refuse_exposed(path: Path, what: str) -> None:
    """Raise SecretFileError if others can read the file that is `what`."""
    if exposed(path):
        raise SecretFileError(f"{what} {path} can be read by others; chmod 600 {path}")
