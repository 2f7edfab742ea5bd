"""What looks like theft and is none: clocks, connections, wrong feeders, wrong transformers."""

import numpy as np
from numpy.typing import NDArray

from parwana.losses.model import SKEW, changes
from parwana.losses.series import Floats, Series

_MISSED = 0.5  # of what a house's meter shows
_LATE_S = 60  # a clock that is further off than it was
_OHM = 0.05  # a connection that got worse by so much
_SURE = 8.0  # standard errors


def strangers(left: Floats, window: Series) -> NDArray[np.bool_]:
    """Tell whose power this feeder does not supply: the balance lacks as much as they draw.

    It lacks it in the mean, too: a steady load that goes around its meter now and then only makes
    the balance gain what the meter loses.
    """
    houses = len(window.numbers)
    watts = np.nan_to_num(window.power_w)
    mean, lacks = watts.mean(axis=0), -left[:, 0].mean()
    watts = watts - mean
    balance = left[:, 0] + lacks
    inverse = np.linalg.inv(watts.T @ watts + np.eye(houses))
    found = inverse @ (watts.T @ balance)
    error = np.std(balance - watts @ found) * np.sqrt(np.diag(inverse))
    missed = (found < -_MISSED) & (found < -_SURE * error)
    return np.asarray(missed & (lacks > _MISSED * mean))


def clocks(left: Floats, window: Series) -> list[str]:
    """Tell whose clock went off: the balance follows the changes of its power."""
    houses = len(window.numbers)
    x = changes(window)
    y = left[:, 0] - left[:, 0].mean()
    noise = float(np.median(np.abs(y))) * 1.4826 + 1e-9
    inverse = np.linalg.inv(x.T @ x + np.eye(houses) * (noise / SKEW) ** 2 / 100)
    found = inverse @ (x.T @ y)
    error = noise * np.sqrt(np.diag(inverse))
    late_s = found * window.step_s
    sure = (np.abs(late_s) > _LATE_S) & (np.abs(found) > _SURE * error)
    return [
        f"the clock of {window.numbers[i]} is {abs(late_s[i]):.0f} s "
        f"{'behind' if late_s[i] < 0 else 'ahead of'} where it was"
        for i in np.flatnonzero(sure)
    ]


def connections(left: Floats, window: Series, used: NDArray[np.bool_]) -> list[tuple[int, str]]:
    """Tell whose voltage falls further with its own load, and nobody else's: (number, text)."""
    found = []
    for place in np.flatnonzero(used[1:]):
        amps = np.nan_to_num(window.power_w[:, place]) / np.nanmean(window.voltage_v[:, place])
        amps = amps - amps.mean()
        volts = left[:, 1 + place] - left[:, 1 + place].mean()
        power = float(amps @ amps) + 1e-9
        ohm = -float(amps @ volts) / power
        error = float(np.std(volts)) / np.sqrt(power)
        if ohm > _OHM and ohm > _SURE * error:
            number = window.numbers[place]
            text = (
                f"the connection of {number} got worse by {ohm:.2f} ohm: it may burn, look at it"
            )
            found.append((number, text))
    return found
