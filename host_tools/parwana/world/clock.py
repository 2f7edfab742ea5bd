"""The world's clock: real time, or a rehearsal that runs a stated number of times faster."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "PARWANA_CLOCK"


class ClockError(ValueError):
    """PARWANA_CLOCK does not parse."""


@dataclass(frozen=True)
class WorldClock:
    """Unix time: `start_s` at the real instant `real_start_s`, running `factor` times faster.

    The default is real time. One text form, "start_s:real_start_s:factor", carries it to other
    processes in the environment variable PARWANA_CLOCK; "@" and a file that holds it, one that
    whoever runs the world may set (SetClock).
    """

    start_s: float = 0.0
    real_start_s: float = 0.0
    factor: float = 1.0

    def now(self) -> float:
        """Return the world's Unix time in seconds."""
        return self.start_s + (time.time() - self.real_start_s) * self.factor

    def real_seconds(self, world_seconds: float) -> float:
        """Return how long `world_seconds` of this clock take in real seconds."""
        return world_seconds / self.factor

    def sleep(self, world_seconds: float) -> None:
        """Sleep for `world_seconds` of this clock."""
        time.sleep(max(0.0, self.real_seconds(world_seconds)))

    def __str__(self) -> str:
        return f"{self.start_s!r}:{self.real_start_s!r}:{self.factor!r}"

    @classmethod
    def parse(cls, text: str) -> "WorldClock":
        """Read the text form. Raises ClockError."""
        parts = text.split(":")
        try:
            start, real, factor = (float(part) for part in parts)
        except ValueError:
            raise ClockError(
                f"{VARIABLE} is {text!r}; write start_s:real_start_s:factor, or unset it"
            ) from None
        if not (0 < factor <= 1e6 and abs(start) < 2**32 and abs(real) < 2**32):
            raise ClockError(f"{VARIABLE} is {text!r}; factor must be above 0 and at most 1000000")
        return cls(start, real, factor)

    @classmethod
    def starting(cls, start_s: float, factor: float) -> "WorldClock":
        """Make a clock that shows `start_s` now."""
        return cls(start_s, time.time(), factor)

    @classmethod
    def from_environment(cls) -> "WorldClock":
        """Return the clock that PARWANA_CLOCK states, else real time. Raises ClockError."""
        text = os.environ.get(VARIABLE)
        if text and text.startswith("@"):
            return SetClock(Path(text[1:]))
        return cls.parse(text) if text else cls()


class SetClock(WorldClock):
    """The clock that a file states; all programs that read it follow when it is set.

    Raises ClockError.
    """

    _path: Path
    _which: tuple[int, int]

    def __init__(self, path: Path) -> None:
        super().__init__()
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_which", (0, 0))
        self._follow()

    @classmethod
    def made(cls, path: Path, start_s: float, factor: float) -> "SetClock":
        """Make one that shows `start_s` now."""
        path.write_text(str(WorldClock.starting(start_s, factor)))
        return cls(path)

    def set(self, now_s: float) -> None:
        """Have it show another time from now on, as fast as before."""
        aside = self._path.with_name(self._path.name + ".new")
        aside.write_text(str(WorldClock.starting(now_s, self.factor)))
        aside.replace(self._path)
        self._follow()

    def now(self) -> float:
        """Return the world's Unix time in seconds."""
        self._follow()
        return super().now()

    def _follow(self) -> None:
        try:
            state = self._path.stat()
            which = state.st_ino, state.st_mtime_ns  # two may be of one instant
            if which == self._which:
                return
            found = WorldClock.parse(self._path.read_text())
        except OSError as error:
            raise ClockError(f"{VARIABLE} is @{self._path}: {error.strerror}") from None
        for name, value in vars(found).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_which", which)

    def __str__(self) -> str:
        return f"@{self._path}"
