"""The bench's view of the register file that a virtual board and its bench share."""

import mmap
import struct
from pathlib import Path

from boards.virtual.inside import registers as reg

_FORMATS = {"u16": "=H", "u32": "=I", "u64": "=Q"}
_RTC_START_NS = 946684800 * 10**9  # 2000-01-01


class RegisterFile:
    """Registers as bytes (`[offset]`) and, wider ones, by name; offsets are in `registers`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(reg.SIZE))
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), reg.SIZE)
        self._fill(reg.LINE, reg.FLOATING)
        self.float_pins(held_too=True)

    def __getitem__(self, offset: int) -> int:
        return self._bytes[offset]

    def __setitem__(self, offset: int, value: int) -> None:
        self._bytes[offset] = value

    def get(self, word: str) -> int:
        """Return the register named `word`."""
        kind, offset = reg.WORDS[word]
        return int(struct.unpack_from(_FORMATS[kind], self._bytes, offset)[0])

    def set(self, word: str, value: int) -> None:
        """Set the register named `word`."""
        kind, offset = reg.WORDS[word]
        struct.pack_into(_FORMATS[kind], self._bytes, offset, value)

    @property
    def flash_operations(self) -> tuple[int, int, int]:
        """How often the flash was read, written and erased since power on."""
        return self.get("flash_reads"), self.get("flash_writes"), self.get("flash_erases")

    def set_bytes(self, offset: int, data: bytes) -> None:
        """Set as many bytes as `data` has."""
        self._bytes[offset : offset + len(data)] = data

    def set_text(self, offset: int, text: str) -> None:
        """Set a text, behind its length."""
        data = text.encode()
        self.set_bytes(offset, bytes([len(data)]) + data)

    def start_clock(self, real_ns: int, factor: float) -> None:
        """Start the RTC at 2000-01-01, at the real time `real_ns`, `factor` times faster."""
        self.set("rtc_real_ns", real_ns)
        self.set("rtc_world_ns", _RTC_START_NS)
        self.set("factor_milli", round(factor * 1000))

    def level(self, pin: int) -> int:
        """Return the level on a pin: who drives it decides, then its pull, else it is 0."""
        for offset in (reg.OUT, reg.LINE, reg.PULLED):
            if self._bytes[offset + pin] != reg.FLOATING:
                return self._bytes[offset + pin]
        return 0

    def float_pins(self, held_too: bool) -> list[int]:
        """Let go of all pins, except held ones; return those that the board drove."""
        let_go = []
        for pin in range(reg.PINS):
            if self._bytes[reg.HELD + pin] and not held_too:
                continue
            if self._bytes[reg.OUT + pin] != reg.FLOATING:
                let_go.append(pin)
            for offset, value in (
                (reg.OUT, reg.FLOATING),
                (reg.PULLED, reg.FLOATING),
                (reg.HELD, 0),
            ):
                self._bytes[offset + pin] = value
        return let_go

    def _fill(self, offset: int, value: int) -> None:
        self.set_bytes(offset, bytes([value]) * reg.PINS)
