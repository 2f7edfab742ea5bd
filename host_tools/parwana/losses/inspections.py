"""What inspections found, as odds for the next time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from parwana.chain.periods import DAY_S

WHAT = {
    "tap": "a tap of the line, before all meters",
    "bypass": "a load that goes around the meter",
    "low": "a meter that reads low by a constant share",
    "silent": "a meter that is silent while its house draws",
}
FINDINGS = (*WHAT, "nothing")
_AGAIN = 5.0  # somebody who was found once, for others
_CLEARED = 0.05  # a house in which somebody looked and found nothing
_CLEAR_S = 90 * DAY_S


@dataclass(frozen=True)
class Prior:
    """Odds of each house for another, and the share of thefts that are taps of the line."""

    houses: dict[int, float]
    tap: float


def prior(rows: Iterable[Any], from_s: int) -> Prior:
    """Return what the inspections (number, at_s, found) teach of a window that begins at from_s.

    A house that was found empty-handed is believed for 90 days; one that was caught is looked at
    sooner. How often it was the line is learnt from all of them.
    """
    odds: dict[int, float] = {}
    taps, houses = 1, 1
    for row in rows:
        if row.found == "nothing":
            if row.at_s >= from_s - _CLEAR_S:
                odds[row.number] = odds.get(row.number, 1.0) * _CLEARED
        elif row.found == "tap":
            taps += 1
        else:
            houses += 1
            odds[row.number] = odds.get(row.number, 1.0) * _AGAIN
    return Prior(odds, taps / (taps + houses))
