"""Who is named, how surely, and why."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parwana.losses.inspections import Prior
from parwana.losses.series import Floats, Series
from parwana.losses.suspects import HEAD, HOUSE, LINE, Projection
from parwana.losses.weigh import Fit

NAMED = 0.95  # the least probability at which a house, or a group, is named
NEAR = 3  # houses that may be named together
CHANCE = 1 / 1000  # what chance may do as well
_HEAD = 0.1  # how often the feeder's own meter is wrong, for a line that is tapped
_STEADY = 0.03  # share of a low meter's missing power that may not follow its load
_UNEVEN = 0.15  # of the noise, by which it may be wider in one direction


@dataclass(frozen=True)
class Suspect:
    """A place to look at first: `share` of the house's load is missing; `why` in words."""

    kind: str
    numbers: tuple[int, ...]
    probability: float
    missing_w: float
    share: float
    why: tuple[str, ...]


def prior(window: Series, project: Projection, silent: NDArray[np.bool_], told: Prior) -> Floats:
    """Return each place's prior: so much for the line, the rest for the houses."""
    kind, near = project.places.kind, project.places.near
    of_house = np.array([told.houses.get(number, 1.0) for number in window.numbers])
    found = np.where(kind == HOUSE, (1 - told.tap) * of_house[near] / of_house.sum(), 0.0)
    lines = (kind == LINE) & ~silent[near]  # a silent house's own line cannot be told from it
    found[lines] = told.tap / max(1, lines.sum())
    found[kind == HEAD] = _HEAD * told.tap
    return np.asarray(np.maximum(found, 1e-12))


def named(
    window: Series,
    project: Projection,
    fitted: Fit,
    weights: Floats,
    silent: NDArray[np.bool_],
    missing_w: float,
    chance: float,
) -> list[Suspect]:
    """Name a house, a few houses together, or the line; or nobody."""
    kind, near = project.places.kind, project.places.near
    told = int(project.used[1:].sum())
    lines = kind == LINE
    if weights[lines].sum() >= NAMED:
        around = np.zeros(len(window.numbers))
        np.add.at(around, near[lines], weights[lines])
        likely = [i for i in np.argsort(-around)[:NEAR] if told and around[i] > 1 - NAMED]
        names = tuple(window.numbers[i] for i in likely)
        why: tuple[str, ...] = (
            "what is missing follows the load of no house",
            f"the voltages of {told} houses are those of power drawn there"
            if told
            else "where on the line no voltage tells",
        )
        return [Suspect("tap", names, float(weights[lines].sum()), missing_w, 0.0, why)]
    houses = np.flatnonzero(kind == HOUSE)
    order = houses[np.argsort(-weights[houses])][:NEAR]
    total = weights[order].cumsum()
    if total[-1] < NAMED:
        return []
    chosen = order[: int(np.argmax(total >= NAMED)) + 1]
    first = int(chosen[0])
    probability, names = (
        float(total[len(chosen) - 1]),
        tuple(window.numbers[near[i]] for i in chosen),
    )
    if not _agrees(window, fitted, first, int(near[first]), missing_w):
        return []
    if silent[near[first]]:
        why = ("its meter gives no readings, and about as much power is missing since",)
        return [Suspect("silent", names, probability, missing_w, 1.0, why)]
    # Whoever is likeliest only because errors of the directions were forgiven is not named.
    if chance > CHANCE or int(np.argmax(fitted.gain)) not in chosen:
        return []
    load_w = float(np.nanmean(window.power_w[:, near[first]]))
    why = _of_house(window, project, fitted, weights, first, told)
    share = missing_w / (missing_w + load_w)
    what = "low" if _constant(window, project, fitted, first, missing_w) else "bypass"
    return [Suspect(what, names, probability, missing_w, share, why)]


def _agrees(window: Series, fitted: Fit, place: int, house: int, missing_w: float) -> bool:
    """Tell whether a place's power is about as much as the balance misses."""
    load_w = float(np.nanmean(np.nan_to_num(window.power_w[:, house])))
    power_w = float(fitted.steady_w[place]) + float(fitted.share[place]) * load_w
    return missing_w / 2 < power_w < 2 * missing_w


def _constant(
    window: Series, project: Projection, fitted: Fit, place: int, missing_w: float
) -> bool:
    """Tell whether what is missing is a constant share of what the house's meter shows."""
    power = window.power_w[:, project.places.near[place]]
    explained = fitted.share[place] ** 2 * float(np.nanvar(power))
    allowed = _STEADY * explained + _UNEVEN * float(project.fast.variance[place])
    return bool(fitted.rest[place] < allowed and fitted.steady_w[place] < missing_w / 4)


def _of_house(
    window: Series, project: Projection, fitted: Fit, weights: Floats, place: int, told: int
) -> tuple[str, ...]:
    kind, near = project.places.kind, project.places.near
    number = window.numbers[near[place]]
    found = []
    if fitted.share[place]:
        found.append(
            f"what is missing grows by {fitted.share[place]:.2f} W with each W that the meter of "
            f"{number} shows; shuffled quiet days do as well in no case of 999"
        )
    if not told:
        return (*found, "no voltages tell: the balance alone says so")
    beside = float(weights[(kind == LINE) & (near == near[place])].max(initial=0))
    odds = weights[place] / max(beside, 1e-300)
    times = "more than a million" if odds > 1e6 else f"{odds:.0f}"
    return (
        *found,
        f"the voltages of {told} houses place it behind the service of {number}, {times} times "
        "likelier than on the line beside it",
    )
