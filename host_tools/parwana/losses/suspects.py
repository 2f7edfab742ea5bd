"""Where unmetered power could flow, and how well each place explains what the model left over.

Power u that is drawn at a place shows in all channels at once: u in the balance, and −u·Z/V in the
voltage of every house, by the resistance Z that its way shares with the place. So each place has a
direction; projected on it (generalised least squares), the residuals give the u that this place
would have drawn, interval by interval. A place is likely where that u is much, where little is
left over beside it, and, for a house, where u follows the house's own metered load.

Fast: within blocks of a day; slow: the blocks' means. They have noises of their own, taken from
the reference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parwana.losses.model import Model
from parwana.losses.series import Floats, Integers, block_means

HOUSE, LINE, HEAD = 0, 1, 2
_FACTORS = 8
_LINE_PARTS = (0.0, 0.4, 0.8)  # of a house's own way from where it leaves the others'
_MEMORY = 8  # intervals in which what is left over may resemble itself


@dataclass(frozen=True)
class Places:
    """Candidate places; `near` is the house they are at, `kind` HOUSE, LINE or HEAD."""

    kind: NDArray[np.int64]
    near: NDArray[np.int64]
    direction: Floats


def places(model: Model, used: NDArray[np.bool_]) -> Places:
    """Return the candidates; the last is HEAD, whose power no voltage knows of.

    `used` [channel] tells which channels count.
    """
    houses = len(model.ohm)
    columns = [*model.ohm.T]
    kinds, near = [HOUSE] * houses, [*range(houses)]
    for house in range(houses) if used[1:].any() else ():
        others = np.delete(model.ohm[house], house)
        own = float(model.ohm[house, house])
        shared = float(np.clip(others.max(initial=0), 0, max(own, 0)))
        for part in _LINE_PARTS:
            column = model.ohm[:, house].copy()
            column[house] = shared + part * (own - shared)
            columns.append(column)
            kinds.append(LINE)
            near.append(house)
    if not used[1:].any():  # one place for all of the line, as nothing tells them apart
        columns.append(np.zeros(houses))
        kinds.append(LINE)
        near.append(0)
    columns.append(np.zeros(houses))
    direction = np.vstack([np.ones(len(columns)), -np.array(columns).T / model.typical_v])
    direction[~used] = 0
    return Places(np.array([*kinds, HEAD]), np.array([*near, 0]), direction)


@dataclass(frozen=True)
class Bands:
    """Power that each place would have drawn: [block, interval in it, place], [block, place]."""

    fast: Floats
    slow: Floats
    counts: Floats


@dataclass(frozen=True)
class Band:
    """What makes power of residuals that are this fast, and the noise of it in the reference.

    `by` [channel, place] projects, `variance` is of each place's power, `scale` how much wider the
    noise was than the channels' correlation says, `spread` that of each channel, `cross`
    [channel, place] the covariance of a channel with a place's power, where nobody steals.
    """

    by: Floats
    variance: Floats
    scale: float
    spread: Floats
    cross: Floats


@dataclass(frozen=True)
class Projection:
    """How residuals become power at each place; `memory`: how long fast noise resembles itself."""

    places: Places
    used: NDArray[np.bool_]
    correlation: Floats
    fast: Band
    slow: Band
    memory: float
    reference: Bands

    def bands(self, left: Floats, block: Integers) -> Bands:
        """Project residuals [interval, channel]; NaN counts as nothing."""
        means, counts, fast = parted(np.nan_to_num(left), block)
        return Bands(folded(fast @ self.fast.by, block), means @ self.slow.by, counts)


def projection(model: Model, used: NDArray[np.bool_], block: Integers) -> Projection:
    """Learn the noise of the reference, and from it the projections."""
    left = np.where(used, np.nan_to_num(model.left), 0)
    found = places(model, used)
    means, counts, fast = parted(left, block)
    spread = np.maximum(fast.std(axis=0), 1e-6)
    slow_spread = np.maximum(means.std(axis=0, ddof=1), spread / np.sqrt(counts.mean()))
    correlation = _correlation(fast / spread, used)
    quick = _band(fast, spread, correlation, found.direction, used)
    slow = _band(means, slow_spread, correlation, found.direction, used)
    power = fast @ quick.by
    lumps = power[: len(power) // _MEMORY * _MEMORY].reshape(-1, _MEMORY, power.shape[1])
    alike = lumps.mean(axis=1).var(axis=0) * _MEMORY / np.maximum(power.var(axis=0), 1e-9)
    memory = float(np.clip(np.median(alike), 1, _MEMORY))
    reference = Bands(folded(power, block), means @ slow.by, counts)
    return Projection(found, used, correlation, quick, slow, memory, reference)


def parted(left: Floats, block: Integers) -> tuple[Floats, Floats, Floats]:
    """Return the blocks' means, how many rows each has, and each row without its block's mean."""
    means, counts = block_means(left, block)
    return means, counts, left - means[np.unique(block, return_inverse=True)[1]]


def _band(
    values: Floats,
    spread: Floats,
    correlation: Floats,
    direction: Floats,
    used: NDArray[np.bool_],
) -> Band:
    """Make a band of the reference's residuals.

    All places have one noise, or they could not be compared; it is as wide as it was at most.
    """
    scaled = (direction / spread[:, None])[used]
    solved = np.linalg.solve(correlation[np.ix_(used, used)], scaled)
    strength = (scaled * solved).sum(axis=0)
    by = np.zeros_like(direction)
    by[used] = solved / strength / spread[used, None]
    power = values @ by
    scale = max(1.0, float(np.median(power.var(axis=0, ddof=1) * strength)))
    return Band(by, scale / strength, scale, spread, values.T @ power / len(values))


def folded(values: Floats, block: Integers) -> Floats:
    """Return [block, row in it, column], filled up with zeros."""
    numbers, place, counts = np.unique(block, return_inverse=True, return_counts=True)
    found = np.zeros((len(numbers), counts.max(), values.shape[1]))
    row = np.arange(len(block)) - np.concatenate([[0], counts.cumsum()[:-1]])[place]
    found[place, row] = values
    return found


def unfolded(values: Floats, counts: Floats) -> Floats:
    """Return the rows of each block one after the other, without what `folded` filled up."""
    return np.concatenate([row[: int(n)] for row, n in zip(values, counts, strict=True)])


def _correlation(scaled: Floats, used: NDArray[np.bool_]) -> Floats:
    """Return the correlation of the channels, drawn towards a few common factors.

    The more channels there are for the intervals, the less the plain estimate is believed.
    """
    count, channels = scaled.shape
    full = scaled.T @ scaled / count
    factors = min(_FACTORS, int(used.sum()) // 3, count // 20)
    simple = np.eye(channels)
    if factors:
        values, vectors = np.linalg.eigh(full)
        common = vectors[:, -factors:] * np.sqrt(np.maximum(values[-factors:], 0))
        simple = common @ common.T
        simple += np.diag(np.clip(1 - np.diag(simple), 0.05, 1))
    drawn = min(1.0, max(0.1, 5 * used.sum() / count))
    found = drawn * simple + (1 - drawn) * full
    found[~used] = found[:, ~used] = 0
    found[np.diag_indices(channels)] = np.maximum(np.diag(found), 0.05)
    return np.asarray(found)
