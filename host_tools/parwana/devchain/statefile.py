"""A key-value store in memory that appends what each block changed to a file."""

import fcntl
import struct
import zlib
from pathlib import Path

from eth.db.backends.memory import MemoryDB

_DELETED = 0xFFFFFFFF


class StateError(ValueError):
    """The state file cannot be used."""


class FileDB(MemoryDB):
    """Hold everything in memory; make it durable at each `commit`.

    One record a commit: length (4) ‖ CRC-32 (4) ‖ n × ( key length (2) ‖ key ‖ value length (4)
    ‖ value ), where value length 0xFFFFFFFF deletes. A record that a crash cut short is dropped
    at the next start.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._changed: dict[bytes, bytes | None] = {}
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StateError(
                f"{path} is in use by another devchain; stop that one first"
            ) from None
        self._file.seek(0)
        self._file.truncate(self._load(self._file.read()))

    def _load(self, data: bytes) -> int:
        at = 0
        while at + 8 <= len(data):
            size, crc = struct.unpack_from(">II", data, at)
            payload = data[at + 8 : at + 8 + size]
            if len(payload) != size or zlib.crc32(payload) != crc:
                break
            self._apply(payload)
            at += 8 + size
        return at

    def _apply(self, payload: bytes) -> None:
        at = 0
        while at < len(payload):
            (size,) = struct.unpack_from(">H", payload, at)
            key = payload[at + 2 : at + 2 + size]
            (length,) = struct.unpack_from(">I", payload, at + 2 + size)
            at += 6 + size
            if length == _DELETED:
                self.kv_store.pop(key, None)
                continue
            self.kv_store[key] = payload[at : at + length]
            at += length

    def __setitem__(self, key: bytes, value: bytes) -> None:
        super().__setitem__(key, value)
        self._changed[key] = value

    def __delitem__(self, key: bytes) -> None:
        super().__delitem__(key)
        self._changed[key] = None

    def commit(self) -> None:
        parts = []
        for key, value in self._changed.items():
            size = _DELETED if value is None else len(value)
            parts += [struct.pack(">H", len(key)), key, struct.pack(">I", size), value or b""]
        payload = b"".join(parts)
        self._file.write(struct.pack(">II", len(payload), zlib.crc32(payload)) + payload)
        self._file.flush()
        self._changed.clear()

    def close(self) -> None:
        self._file.close()
