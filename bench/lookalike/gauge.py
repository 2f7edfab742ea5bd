"""Read what the look-alike's gauges say; gauge.c writes it."""

import mmap
import struct
from dataclasses import dataclass, fields
from pathlib import Path

_PEAKS = ("stack_peak", "live_peak", "used_peak", "block_least")


@dataclass(frozen=True)
class Reading:
    """Bytes, but for `collections`. Peaks count from the last `Gauge.clear`."""

    stack_limit: int
    stack_peak: int  # most in use at a call
    heap_total: int
    live: int  # in use right after the last collection
    live_peak: int
    used_peak: int  # most in use right before a collection
    block: int  # largest free block right after the last collection
    block_least: int
    collections: int
    freed: int  # what collections gave back


class Gauge:
    """A file that a running look-alike keeps up to date."""

    def __init__(self, path: Path) -> None:
        self._names = [item.name for item in fields(Reading)]
        self._format = struct.Struct(f"={len(self._names)}I")
        path.write_bytes(bytes(self._format.size))
        self.path = path
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), self._format.size)

    def read(self) -> Reading:
        """Return how it stands."""
        return Reading(*self._format.unpack_from(self._bytes))

    def clear(self) -> None:
        """Start the peaks anew; the next call and the next collection set them."""
        for name in _PEAKS:
            struct.pack_into("=I", self._bytes, 4 * self._names.index(name), 0)
