"""Read a .mpy file: which functions of machine code it holds.

Source: MicroPython's documentation, "MicroPython .mpy files", format 6.
"""

from dataclasses import dataclass
from pathlib import Path

KINDS = ("bytecode", "native", "viper", "asm")


@dataclass(frozen=True)
class Function:
    """A function's code as the file holds it."""

    kind: str
    code: bytes


class MpyError(ValueError):
    """The file is no .mpy of format 6 made of what mpy-cross writes here."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise MpyError(f"the file ends at {len(self.data)}, within a field")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        value = 0
        while True:
            byte = self.take(1)[0]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value


def functions(path: Path) -> list[Function]:
    """Return all functions of a file, outermost first. Raises MpyError."""
    reader = _Reader(path.read_bytes())
    if reader.take(2) != b"M\x06":
        raise MpyError(f"{path} is no .mpy of format 6")
    reader.take(2)
    strings, objects = reader.number(), reader.number()
    for _ in range(strings):
        size = reader.number()
        if not size & 1:
            reader.take((size >> 1) + 1)
    for _ in range(objects):
        _skip_object(reader)
    found: list[Function] = []
    _read_function(reader, found)
    if reader.at != len(reader.data):
        raise MpyError(f"{path} goes on after its last function")
    return found


def _skip_object(reader: _Reader) -> None:
    kind = reader.take(1)[0]
    if kind > 4:
        size = reader.number()
        if kind == 10:
            for _ in range(size):
                _skip_object(reader)
        else:
            reader.take(size + (kind in (5, 6)))


def _read_function(reader: _Reader, found: list[Function]) -> None:
    head = reader.number()
    kind = KINDS[head & 3]
    found.append(Function(kind, reader.take(head >> 3)))
    if kind != "bytecode":
        flags = reader.number()
        if kind == "asm" or (kind == "viper" and flags & 0x70):
            raise MpyError("machine code with data or relocations of its own")
    if head & 4:
        for _ in range(reader.number()):
            _read_function(reader, found)
