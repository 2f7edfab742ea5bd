"""Two methods of the literature, on the same readings.

Both take the loss that P and P² explain, learnt from the same quiet reference, off the imbalance
of the window, and look for the house whose profile the rest resembles.
Sources: S.-C. Yip et al., "Detection of energy theft and defective smart meters in smart grids
using linear regression", IJEPES 91 (2017); K. Zheng et al., "A novel combined data-driven approach
for electricity theft detection", IEEE TII 15 (2018), there with MIC beside Pearson's correlation.
"""

import numpy as np

from parwana.losses.series import Floats, Series

_SIGNIFICANT = 4.0


def residual(reference: Series, window: Series) -> Floats:
    """Return the window's imbalance less the technical loss learnt from the reference."""

    def parts(series: Series) -> tuple[Floats, Floats]:
        load = np.nansum(series.power_w, axis=1)
        return np.column_stack([np.ones(len(load)), load, load**2]), series.head_power_w - load

    x, y = parts(reference)
    loss = np.linalg.lstsq(x, y, rcond=None)[0]
    x, y = parts(window)
    return np.asarray(y - x @ loss)


def regression(reference: Series, window: Series) -> tuple[list[int], bool]:
    """Rank houses (columns) by the t of their coefficient; say whether it tells a tap.

    A tap is what no house's coefficient is significant for, while the constant is.
    """
    y, watts = residual(reference, window), np.nan_to_num(window.power_w)
    x = np.column_stack([np.ones(len(y)), watts])
    inverse = np.linalg.pinv(x.T @ x)
    found = inverse @ (x.T @ y)
    left = y - x @ found
    error = np.sqrt(
        np.maximum(np.diag(inverse), 1e-30) * (left @ left) / max(1, len(y) - x.shape[1])
    )
    t = found / error
    tap = t[0] > _SIGNIFICANT and t[1:].max() < _SIGNIFICANT
    return [int(i) for i in np.argsort(-t[1:])], bool(tap)


def correlation(reference: Series, window: Series) -> tuple[list[int], bool]:
    """Rank houses by the correlation of their profile with the rest; it tells no taps."""
    y, watts = residual(reference, window), np.nan_to_num(window.power_w)
    y = y - y.mean()
    x = watts - watts.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=0) * (y @ y))
    alike = np.where(scale > 0, x.T @ y / np.maximum(scale, 1e-12), -1)
    return [int(i) for i in np.argsort(-alike)], False
