"""Keep small records on flash, whole or not at all: payload ‖ CRC-32 of it."""

import os
from binascii import crc32

_ABSENT = 2  # ENOENT
_CRC_SIZE = 4


class RecordError(Exception):
    """A record is there but damaged: use a safe default and say so in a signed event."""


def save(path, payload):
    """Replace the record at `path` by `payload` (bytes); durable on return.

    A cut at any moment leaves the old record or the new one.
    """
    aside = path + ".new"
    with open(aside, "wb") as file:
        file.write(payload)
        file.write(crc32(payload).to_bytes(_CRC_SIZE, "big"))
    # littlefs replaces the target in the same commit that removes the source.
    os.rename(aside, path)


def load(path):
    """Return the payload at `path`, None if there is no record. Raises RecordError if damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        if error.errno == _ABSENT:
            return None
        raise
    payload, crc = data[:-_CRC_SIZE], data[-_CRC_SIZE:]
    if len(data) < _CRC_SIZE or crc32(payload).to_bytes(_CRC_SIZE, "big") != crc:
        raise RecordError("%s is damaged" % path)
    return payload
