"""What a feeder does when nobody steals: its losses, its clocks, and its voltages.

From a quiet reference it learns, for the power that the houses' meters do not show,

    head − Σ house = a + Σ gain·P + Σ skew·dP/dt + loss,   loss = Σ P·(V0 − V)/V

where the last term is measured rather than fitted: what the current of each house loses on its way
is its own drop of voltage times that current, up to angles. And for each house's voltage

    V = a + b·V0 − Σ Z·(P/V)

the sum over all houses, whose Z, learnt from the houses' own loads, tell the line: Z of a house on
another is the resistance that the ways to both share. All by ridge regression; what is left over
is taken from days that the regression did not see.
"""

from dataclasses import dataclass

import numpy as np

from parwana.losses.series import Floats, Integers, Series, block_means

GAIN = 0.01  # a house's meter against the feeder's, and its voltage in the loss
SKEW = 0.05  # of an interval
_LOSS = 0.1  # of the measured losses
_LONG_S = 7200  # enough that clocks matter little
_KNOWN = 1e8  # precision of what was learnt before
FOLDS = 5
_OHM = 2.0  # the widest prior for Z
_OUTLIER = 8
_ROUNDING_V = 0.03  # of a frame's tenth of a volt


class TooLittle(ValueError):
    """The readings do not suffice; the text says what is missing."""


@dataclass(frozen=True)
class Model:
    """What was learnt. Channels: the energy balance in W, then each house's voltage in V.

    `one_way` is Z and its error as the houses' currents told it, before both ways were taken
    together; `gain` is the prior of the meters' errors.
    """

    gain: float
    energy: Floats
    energy_gram: Floats
    voltage: Floats
    ohm: Floats
    ohm_error: Floats
    one_way: tuple[Floats, Floats]
    typical_v: float
    left: Floats

    def residual(self, series: Series) -> Floats:
        """Return [interval, channel]: what the model does not expect; NaN where nobody knows."""
        expected_v = voltage_design(series) @ self.voltage
        volts = series.voltage_v - expected_v
        expected = energy_design(series, expected_v) @ self.energy
        return np.column_stack([imbalance(series) - expected, volts])

    def energy_error(self, series: Series, noise_w: float) -> float:
        """Return how wrong the balance's mean may be; noise_w: of one interval, if all were alone.

        What was learnt at other loads than these is less sure.
        """
        mean = energy_design(series, voltage_design(series) @ self.voltage).mean(axis=0)
        return float(np.sqrt(mean @ self._spread(noise_w) @ mean))

    def energy_errors(self, noise_w: float) -> Floats:
        """Return the standard error of each coefficient of the balance."""
        return np.asarray(np.sqrt(np.diag(self._spread(noise_w))))

    def _spread(self, noise_w: float) -> Floats:
        ridge = np.diag(_energy_prior(len(self.ohm), self.gain))
        return np.asarray(np.linalg.inv(self.energy_gram / noise_w**2 + ridge))


def imbalance(series: Series) -> Floats:
    """Return the power that no house's meter shows."""
    return np.asarray(series.head_power_w - np.nansum(series.power_w, axis=1))


def energy_design(series: Series, expected_v: Floats) -> Floats:
    """Return the columns of the balance: one, the losses, each house's power, its changes."""
    watts = np.nan_to_num(series.power_w)
    volts = np.where(np.isnan(series.voltage_v), expected_v, series.voltage_v)
    losses = watts * (series.head_voltage_v[:, None] - volts) / np.maximum(volts, 1)
    return np.column_stack([np.ones(len(watts)), losses.sum(axis=1), watts, changes(series)])


def changes(series: Series) -> Floats:
    """Return by how much each house's power changes an interval."""
    watts = np.nan_to_num(series.power_w)
    return np.asarray(np.gradient(watts, axis=0)) if len(watts) > 1 else np.zeros_like(watts)


def _energy_prior(houses: int, gain: float) -> Floats:
    return np.array([1e-6, _LOSS**-2, *[gain**-2] * houses, *[SKEW**-2] * houses])


def voltage_design(series: Series) -> Floats:
    """Return the columns of the voltages: one, the feeder's voltage, each house's current."""
    near_v = np.where(np.isnan(series.voltage_v), series.head_voltage_v[:, None], series.voltage_v)
    amps = np.nan_to_num(series.power_w) / np.maximum(near_v, 1)
    return np.column_stack([np.ones(len(amps)), series.head_voltage_v, -amps])


def learn(series: Series, gain: float = GAIN) -> Model:
    """Learn from a reference in which meters are right to about `gain`. Raises TooLittle."""
    houses = len(series.numbers)
    day = series.block()
    days = np.unique(day)
    if len(series) < 20 or houses < 1:
        raise TooLittle(
            f"{len(series)} complete intervals of {houses} houses are too few to learn from; "
            "take a longer time"
        )
    blocks = day if len(days) >= FOLDS else np.arange(len(series)) * FOLDS // len(series)
    fold = blocks % FOLDS
    volts_x = voltage_design(series)
    guess = _interpolated(series.voltage_v, series.head_voltage_v)
    prior_v = np.array([1e-4, 1e-2, *[_OHM**-2] * houses])
    centre_v = np.zeros((houses + 2, houses))
    centre_v[1] = 1
    for _ in range(2):  # what is missing follows from what was learnt
        voltage, left_v, noise, _ = _ridge(volts_x, guess, prior_v, centre_v, fold, _ROUNDING_V)
        guess = np.where(np.isnan(series.voltage_v), volts_x @ voltage, series.voltage_v)
    energy_x = energy_design(series, volts_x @ voltage)
    centre_e = np.zeros((2 * houses + 2, 1))
    centre_e[1] = 1
    missing, prior_e = imbalance(series)[:, None], _energy_prior(houses, gain)
    skewed, off, *_ = _ridge(energy_x, missing, prior_e, centre_e, fold, 1.0)
    missing += _believable(off) - off
    # A clock that is off lends energy of one interval to the next. That makes each house's power a
    # little wrong, and its gain too small, the more so the shorter the intervals.
    longer = series.block(_LONG_S) if len(days) >= FOLDS else np.arange(len(series))
    longer_x, first = _together(energy_x, longer)
    centre_e[2 + houses :], prior_e[2 + houses :] = skewed[2 + houses :], _KNOWN
    energy, _, _, without = _ridge(
        longer_x, _together(missing, longer)[0], prior_e, centre_e, fold[first], 1.0
    )
    left_e = missing - np.einsum("ij,ijk->ik", energy_x, without[fold])
    one_way = _one_way(volts_x, voltage, noise, prior_v)
    ohm, error = _reciprocal(*one_way)
    left = _believable(np.column_stack([left_e, left_v]))
    return Model(
        gain,
        energy[:, 0],
        longer_x.T @ longer_x,
        voltage,
        ohm,
        error,
        one_way,
        float(np.nanmean(series.head_voltage_v)),
        left,
    )


def _interpolated(volts: Floats, head: Floats) -> Floats:
    """Return voltages whose gaps follow the feeder's."""
    found = volts - head[:, None]
    rows = np.arange(len(found))
    for column in range(found.shape[1]):
        gone = np.isnan(found[:, column])
        if gone.all():
            found[:, column] = 0
        elif gone.any():
            found[gone, column] = np.interp(rows[gone], rows[~gone], found[~gone, column])
    return found + head[:, None]


def _ridge(
    x: Floats, y: Floats, prior: Floats, centre: Floats, fold: Integers, floor: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return coefficients, what is left over in days that were not learnt from, its spread, and
    the coefficients without each fold.

    Intervals that fit badly count less (Huber); `prior` is the precision of each coefficient.
    """
    weight = np.ones(len(x))
    noise = np.full(y.shape[1], floor * 3)
    for _ in range(3):
        grams, rights = [], []
        for number in range(FOLDS):
            part = fold == number
            weighted = x[part] * weight[part, None]
            grams.append(weighted.T @ x[part])
            rights.append(weighted.T @ y[part])
        gram, right = sum(grams), sum(rights)
        ridge = prior * float(np.median(noise)) ** 2
        found = _solve(gram, right, ridge, centre)
        left = np.empty_like(y)
        without = np.empty((FOLDS, *found.shape))
        for number in range(FOLDS):
            part = fold == number
            without[number] = _solve(gram - grams[number], right - rights[number], ridge, centre)
            left[part] = y[part] - x[part] @ without[number]
        spread = 1.4826 * np.median(np.abs(left - np.median(left, axis=0)), axis=0)
        noise = np.maximum(spread, floor)
        far = np.sqrt((np.minimum(np.abs(left) / noise, 30) ** 2).mean(axis=1))
        weight = np.minimum(1, 3 / np.maximum(far, 1e-9))
    return found, left, noise, without


def _believable(left: Floats) -> Floats:
    """Return what is left over, cut where it is a fault of the line rather than noise."""
    wide = _OUTLIER * 1.4826 * np.median(np.abs(left), axis=0)
    return np.clip(left, -wide, wide)


def _together(values: Floats, block: Integers) -> tuple[Floats, Integers]:
    """Return one row a block, which tells as much as all of its rows, and where each begins."""
    means, counts = block_means(values, block)
    return means * np.sqrt(counts)[:, None], np.unique(block, return_index=True)[1]


def _solve(gram: Floats, right: Floats, ridge: Floats, centre: Floats) -> Floats:
    return np.asarray(np.linalg.solve(gram + np.diag(ridge), right + ridge[:, None] * centre))


def _one_way(x: Floats, voltage: Floats, noise: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Return Z [house, house that draws] and its error."""
    ridge = prior * float(np.median(noise)) ** 2
    inverse = np.linalg.inv(x.T @ x + np.diag(ridge))
    return voltage[2:].T, np.sqrt(np.outer(noise**2, np.diag(inverse)[2:]))


def _reciprocal(ohm: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return the mean of both directions, as they tell the same path, and its error."""
    one, other = error**-2, error.T**-2
    mean = (ohm * one + ohm.T * other) / (one + other)
    return np.asarray(mean), np.asarray((one + other) ** -0.5)
