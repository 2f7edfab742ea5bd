"""Keep small records on flash, whole or not at all: payload ‖ CRC-32 of it."""

import os
from binascii import crc32

_ABSENT = 2  # ENOENT
_NO_MEMORY = 12  # ENOMEM
_EXISTS = 17  # EEXIST
_IS_FOLDER = 21  # EISDIR
_FOLDER = 0x4000  # of a mode
_CRC_SIZE = 4
_ASIDE_MOST = 9


class RecordError(Exception):
    """A record is there but damaged: use a safe default and say so in a signed event."""


def save(path, payload, made_room=None):
    """Replace the record at `path` by `payload` (bytes, at least one); durable on return.

    A cut at any moment leaves the old record or the new one. `made_room(error)` is asked for room
    when it cannot be written, until it returns False. Raises OSError.
    """
    replace(path, payload + crc32(payload).to_bytes(_CRC_SIZE, "big"), made_room)


def load(path):
    """Return the payload at `path`, None if there is no record. Raises RecordError if damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        if error.errno == _ABSENT:
            return None
        if error.errno == _NO_MEMORY:
            raise
        raise RecordError("%s cannot be read: %r" % (path, error))
    payload, crc = data[:-_CRC_SIZE], data[-_CRC_SIZE:]
    # Blank flash has the right CRC at times: four bytes 0x00, eight 0xff.
    if data == data[:1] * len(data) or crc32(payload).to_bytes(_CRC_SIZE, "big") != crc:
        raise RecordError("%s is damaged" % path)
    return payload


def replace(path, data, made_room=None):
    """Replace the file at `path` by `data` (bytes), as `save` does, without a CRC."""
    while True:
        try:
            _replace(path, data)
            return
        except OSError as error:
            if not made_room or not made_room(error):
                raise


def create(path):
    """Open an empty file at `path` to write bytes; a folder in its place goes aside."""
    try:
        return open(path, "wb")  # noqa: SIM115
    except OSError as error:
        if error.errno != _IS_FOLDER:
            raise
    clear(path)
    return open(path, "wb")  # noqa: SIM115


def folder(path):
    """Make a folder at `path` unless there is one; a file in its place goes aside."""
    try:
        os.mkdir(path)
    except OSError as error:
        if error.errno != _EXISTS:
            raise
        if not _is_folder(path):
            _move_aside(path)
            os.mkdir(path)


def clear(path):
    """Let nothing be at `path`: a file goes for good, a folder with something in it aside.

    Raises OSError.
    """
    try:
        os.remove(path)  # on littlefs an empty folder as well
    except OSError:
        if not _is_folder(path):
            raise
        _move_aside(path)


def _replace(path, data):
    if _overwritten(path, data):
        return
    aside = path + ".new"
    with create(aside) as file:
        file.write(data)
    try:
        # littlefs replaces the target in the same commit that removes the source.
        os.rename(aside, path)
    except OSError:
        if not _is_folder(path):
            raise
        clear(path)
        os.rename(aside, path)


def _overwritten(path, data):
    """Write over the file at `path`; return whether it is there, and not longer than `data`.

    littlefs keeps what it held until the new content is whole and the file closed: one commit.
    """
    try:
        file = open(path, "r+b")  # noqa: SIM115
    except OSError:
        return False
    with file:
        if file.seek(0, 2) > len(data):
            return False  # nothing here can make it shorter
        file.seek(0)
        file.write(data)
    return True


def _is_folder(path):
    try:
        return bool(os.stat(path)[0] & _FOLDER)
    except OSError:
        return False


def _move_aside(path):
    for number in range(1, _ASIDE_MOST + 1):
        try:
            os.rename(path, "%s.aside%d" % (path, number))
            return
        except OSError:
            if number == _ASIDE_MOST:
                raise
