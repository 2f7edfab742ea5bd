"""The world's clock: real time, or a rehearsal that runs a stated number of times faster."""

import os
import time
from dataclasses import dataclass

VARIABLE = "PARWANA_CLOCK"


class ClockError(ValueError):
    """PARWANA_CLOCK does not parse."""


@dataclass(frozen=True)
class WorldClock:
    """Unix time: `start_s` at the real instant `real_start_s`, running `factor` times faster.

    The default is real time. One text form, "start_s:real_start_s:factor", carries it to other
    processes in the environment variable PARWANA_CLOCK.
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
        return cls.parse(text) if text else cls()
