"""A feeder's readings side by side: one row an interval, one column a house.

Floats, as nothing here is signed: W, V, and seconds of Unix time at the interval's end.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DAY_S = 86400
_SILENT = 0.2  # of the intervals


@dataclass(frozen=True)
class Series:
    """What the meters of a feeder said of the same intervals; NaN where nobody knows."""

    numbers: tuple[int, ...]
    step_s: int
    end_s: Integers
    power_w: Floats
    voltage_v: Floats
    head_power_w: Floats
    head_voltage_v: Floats

    def __len__(self) -> int:
        return len(self.end_s)

    def block(self, length_s: int = DAY_S) -> Integers:
        """Return the block of each interval, counted from the first interval's start."""
        return np.asarray((self.end_s - self.end_s[0]) // length_s)

    def rows(self, chosen: NDArray[np.bool_]) -> "Series":
        """Return some of the intervals."""
        return replace(
            self,
            end_s=self.end_s[chosen],
            power_w=self.power_w[chosen],
            voltage_v=self.voltage_v[chosen],
            head_power_w=self.head_power_w[chosen],
            head_voltage_v=self.head_voltage_v[chosen],
        )

    def complete(self) -> "Series":
        """Return the intervals that compare: the feeder's own reading, no house's unknown.

        A house that says nothing for most of the time does not spoil those of the others.
        """
        if not len(self):
            return self
        gone = np.isnan(self.power_w)
        silent = gone.mean(axis=0) > _SILENT
        head = ~np.isnan(self.head_power_w) & ~np.isnan(self.head_voltage_v)
        return self.rows(head & ~gone[:, ~silent].any(axis=1))

    def without(self, houses: NDArray[np.bool_]) -> "Series":
        """Return the same with nothing known of the power of some houses."""
        return replace(self, power_w=np.where(houses, np.nan, self.power_w))

    def between(self, from_s: int, to_s: int) -> "Series":
        """Return the intervals that end in from_s < end ≤ to_s."""
        return self.rows((self.end_s > from_s) & (self.end_s <= to_s))


def filled(power_w: Floats, energy_wh: Floats, step_s: int) -> Floats:
    """Return the power with gaps of one interval closed by the register, exact to 1 Wh.

    power_w [interval, meter] is NaN where no reading came, energy_wh the register at each
    interval's end, NaN likewise. What flowed in a longer gap is known, but not when: it
    stays open.
    """
    found = power_w.copy()
    before, gone, after = power_w[:-2], power_w[1:-1], power_w[2:]
    row, column = np.nonzero(np.isnan(gone) & ~np.isnan(before) & ~np.isnan(after))
    wh = energy_wh[row + 2, column] - energy_wh[row, column]
    found[row + 1, column] = np.maximum(0, wh * 3600 / step_s - power_w[row + 2, column])
    return found


def block_means(values: Floats, block: Integers) -> tuple[Floats, Floats]:
    """Return the means of each block's rows, and how many rows each has."""
    blocks, place = np.unique(block, return_inverse=True)
    counts = np.bincount(place).astype(float)
    sums = np.zeros((len(blocks), values.shape[1]))
    np.add.at(sums, place, values)
    return sums / counts[:, None], counts
