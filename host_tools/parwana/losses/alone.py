"""What can be known without a quiet time to learn from: which meter shows less than flows.

Two kinds of evidence, and neither needs a clean reference. The balance: what is missing follows
the load of a house, by more than a meter's class allows. And the line itself: the resistance that
the ways to two houses share is the same from either end, so Z of one on the other must be Z of the
other on the one. A meter that shows less current than flows makes its own column of Z too great,
and not its row.
"""

from dataclasses import dataclass

import numpy as np

from parwana.losses.model import Model, learn
from parwana.losses.series import Floats, Series

CLASS = 0.02  # what two meters of class 0.5 % may differ by, with room
SURE = 5.0  # standard errors
_SHARED = 6.0  # standard errors: a Z that is worth comparing with its mirror image
_PEERS = 3  # that a meter must be compared with
_AGREE = 3.0  # standard errors
_GAIN = 1.0  # a prior that lets a meter be wrong by anything


@dataclass(frozen=True)
class Meter:
    """How much more flows than a house's meter shows, as a share of what it shows."""

    number: int
    share: float
    error: float
    mirror: float


@dataclass(frozen=True)
class Alone:
    """What a window tells by itself; `steady_w` is missing at all hours, whatever is drawn."""

    meters: tuple[Meter, ...]
    steady_w: float
    steady_error_w: float
    mirror_error: float

    @property
    def named(self) -> tuple[Meter, ...]:
        """Return the meters that both kinds of evidence, or the balance where no voltages tell,
        find to show too little.
        """
        return tuple(
            meter
            for meter in self.meters
            if meter.share > CLASS + SURE * meter.error
            and (
                np.isnan(meter.mirror)
                or abs(meter.mirror - meter.share)
                < _AGREE * np.hypot(self.mirror_error, meter.error)
            )
        )


def look(window: Series) -> Alone:
    """Look at a window without a reference. Raises TooLittle."""
    window = window.complete()
    learnt = learn(window, gain=_GAIN)
    houses = len(window.numbers)
    # Neighbouring intervals are not strangers to each other: twice the noise of one.
    error = learnt.energy_errors(2 * float(learnt.left[:, 0].std()))
    mirror, mirror_error = mirrored(learnt)
    return Alone(
        tuple(
            Meter(
                window.numbers[i],
                float(learnt.energy[2 + i]),
                float(error[2 + i]),
                float(mirror[i]),
            )
            for i in range(houses)
        ),
        float(learnt.energy[0]),
        float(error[0]),
        mirror_error,
    )


def mirrored(learnt: Model) -> tuple[Floats, float]:
    """Return each meter's share by the asymmetry of Z, NaN where nothing tells, and the error.

    The shares are told up to one factor of all on a phase, since each is compared with the others:
    the median meter is taken to be right. Power factors differ, so mirror images do by some per
    cent; how far they do, the meters tell themselves.
    """
    one, error = learnt.one_way
    houses = len(one)
    strong = (one > _SHARED * error) & (one.T > _SHARED * error.T)
    np.fill_diagonal(strong, False)
    ratio = np.log(np.where(strong, one, 1) / np.where(strong, one.T, 1))
    relative = np.where(strong, error / np.where(strong, one, 1), 1)
    weight = np.where(strong, 1 / (relative**2 + relative.T**2), 0)
    # log of the ratio: the column's share less the row's. A Laplacian, a component a phase.
    laplacian = np.diag(weight.sum(axis=0)) - weight + np.eye(houses) * 1e-6
    found = np.linalg.solve(laplacian, (weight * ratio).sum(axis=0))
    shares = np.full(houses, np.nan)
    for i in np.flatnonzero(strong.sum(axis=0) >= _PEERS):
        shares[i] = np.expm1(found[i] - np.median(found[strong[i] | (np.arange(houses) == i)]))
    told = shares[~np.isnan(shares)]
    spread = 1.4826 * float(np.median(np.abs(told - np.median(told)))) if len(told) else 0.0
    return shares, max(spread, CLASS)
