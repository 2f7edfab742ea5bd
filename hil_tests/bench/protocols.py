"""What a bench can do to a meter and see of it, whatever stands behind."""

import time
from collections import deque
from typing import Protocol


class BenchError(Exception):
    """The bench cannot do what a test asks; the message says what to check or to write."""


class Power(Protocol):
    """The board's supply."""

    def on(self) -> None:
        """Give the board power."""

    def off(self) -> None:
        """Cut the power."""

    def cycle(self, off_s: float = 1.0) -> None:
        """Cut the power for `off_s` seconds."""
        self.off()
        time.sleep(off_s)
        self.on()


class Load(Protocol):
    """What the meter's sensor sees: it draws `watts` while the contactor is closed."""

    watts: float
    tolerance: float  # relative

    def close(self) -> None:
        """Let go of its port."""


class Sensor(Load, Protocol):
    """An emulated sensor and the load behind it, which can be changed and spoilt."""

    silent: bool

    @property
    def closed(self) -> bool:
        """Whether the contactor above the load is closed."""

    def draw(self, watts: float) -> None:
        """Change the load."""

    def energy_wh(self) -> float:
        """Return the energy that has flowed."""

    def set_register_wh(self, value_wh: int) -> None:
        """Set the sensor's own energy register; 0 is what its reset command does."""

    def inject(self, fault: str, count: int = 1) -> None:
        """Spoil the next `count` answers (boards.virtual.pzem.FAULTS)."""

    @property
    def requests(self) -> int:
        """How often it was asked."""

    @property
    def request_times_s(self) -> deque[float]:
        """When it was asked (time.monotonic)."""


class Line(Protocol):
    """The wires beside the serial port: the contactor's position, and the button.

    `watched`: the contactor is seen by itself; else it is only what the meter says of it.
    """

    watched: bool
    has_button: bool
    changes: list[tuple[float, bool]]  # (time.monotonic, closed)

    @property
    def closed(self) -> bool:
        """Whether the contactor is closed."""

    def press(self) -> None:
        """Press the button and keep it down."""

    def release(self) -> None:
        """Let the button go."""

    def close(self) -> None:
        """Stop watching."""
