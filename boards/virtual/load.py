"""What flows in the wires: recorded household loads, contactors, taps and the feeder above them.

Power in watts, energy in watt-hours of the world's clock. A load is anything with `power_w()` and
`energy_wh()`; a meter measures one load.
"""

import csv
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from parwana.world.clock import WorldClock

STEP_S = 900


class Load(Protocol):
    """A load that somebody can measure."""

    def power_w(self) -> float:
        """Return the power that flows now."""

    def energy_wh(self) -> float:
        """Return the energy that has flowed since the load was made."""


class Profile:
    """A course of power in steps of 15 minutes that starts at `start_s` and repeats for ever."""

    def __init__(self, watts: Sequence[float], start_s: float) -> None:
        if not watts:
            raise ValueError("a load profile needs at least one value")
        self._watts = list(watts)
        self._start_s = start_s
        self._sums = [0.0, *accumulate(w * STEP_S for w in self._watts)]

    @classmethod
    def from_csv(cls, path: Path, column: int, start_s: float) -> "Profile":
        """Read one column, counted from 0, of a file with a heading line."""
        with path.open(newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            return cls([float(row[column]) for row in rows], start_s)

    def power_w(self, time_s: float) -> float:
        """Return the power at a Unix time."""
        return self._watts[int((time_s - self._start_s) // STEP_S) % len(self._watts)]

    def energy_ws(self, time_s: float) -> float:
        """Return the energy from `start_s` to a Unix time, in watt-seconds."""
        rounds, rest = divmod(time_s - self._start_s, STEP_S * len(self._watts))
        step, part = divmod(rest, STEP_S)
        return rounds * self._sums[-1] + self._sums[int(step)] + part * self._watts[int(step)]


class House:
    """A household behind a contactor, with a main switch of its own behind that.

    Without a meter and always closed, it is a tap.
    """

    def __init__(self, profile: Profile, clock: WorldClock, *, closed: bool = True) -> None:
        self._profile, self._clock = profile, clock
        self._closed, self._switch = closed, True
        self._lock = threading.Lock()
        self._since_s = clock.now()
        self._energy_ws = 0.0

    @property
    def closed(self) -> bool:
        """Whether the contactor lets current through."""
        return self._closed

    @closed.setter
    def closed(self, closed: bool) -> None:
        with self._lock:
            self._settle()
            self._closed = closed

    @property
    def switch(self) -> bool:
        """Whether the household's own main switch lets current through."""
        return self._switch

    @switch.setter
    def switch(self, switch: bool) -> None:
        with self._lock:
            self._settle()
            self._switch = switch

    def follow(self, profile: Profile) -> None:
        """Take another course of power from now on."""
        with self._lock:
            self._settle()
            self._profile = profile

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing meanwhile, however far the clock is set."""
        with self._lock:
            self._settle()
            yield
            self._since_s = self._clock.now()

    def power_w(self) -> float:
        """Return the power that flows now: 0 behind an open contactor or switch."""
        flows = self._closed and self._switch
        return self._profile.power_w(self._clock.now()) if flows else 0.0

    def energy_wh(self) -> float:
        """Return the energy that has flowed since the house was made."""
        with self._lock:
            self._settle()
            return self._energy_ws / 3600

    def _settle(self) -> None:
        now = self._clock.now()
        if self._closed and self._switch:
            course = self._profile
            self._energy_ws += course.energy_ws(now) - course.energy_ws(self._since_s)
        self._since_s = now


class Feeder:
    """A line that feeds several loads and loses a fraction of what they take."""

    def __init__(self, loads: Sequence[Load], loss: float = 0.0) -> None:
        self._loads, self._loss = list(loads), loss

    def power_w(self) -> float:
        """Return the power at the line's head."""
        return sum(load.power_w() for load in self._loads) * (1 + self._loss)

    def energy_wh(self) -> float:
        """Return the energy that has passed the line's head."""
        return sum(load.energy_wh() for load in self._loads) * (1 + self._loss)
