"""What households draw: appliances that come and go, and SimBench's recorded days."""

import numpy as np

from bench.losses.grids import Floats

DAY_S = 86400
# How likely an appliance starts in each hour of the day
_HOURS = np.array([2, 1, 1, 1, 1, 3, 6, 7, 5, 4, 4, 5, 6, 5, 4, 4, 5, 7, 9, 10, 9, 7, 5, 3], float)


def appliances(houses: int, days: int, step_s: int, rng: np.random.Generator) -> Floats:
    """Return watts [step, house] of households that live their own lives under one weather."""
    steps = days * DAY_S // step_s
    change = np.zeros((steps + 1, houses))
    habits = np.exp(rng.normal(0, 0.4, houses))
    lively = np.exp(rng.normal(0, 0.35, (days, houses)))
    counts = rng.poisson(14 * habits * lively)
    day, house = np.nonzero(counts)
    times = counts[day, house]
    day, house = np.repeat(day, times), np.repeat(house, times)
    hour = rng.choice(24, len(day), p=_HOURS / _HOURS.sum())
    start_s = day * DAY_S + hour * 3600 + rng.uniform(0, 3600, len(day))
    last_s = np.clip(rng.exponential(2400, len(day)), 180, 5 * 3600)
    watts = np.clip(np.exp(rng.normal(np.log(350), 1.0, len(day))), 20, 3500)
    for at_s, sign in ((start_s, 1.0), (start_s + last_s, -1.0)):  # a step shared between two
        place = np.minimum(at_s / step_s, steps - 1e-6)
        whole = place.astype(int)
        part = place - whole
        np.add.at(change, (whole, house), sign * watts * (1 - part))
        np.add.at(change, (whole + 1, house), sign * watts * part)
    base = rng.uniform(25, 110, houses) * (1 + 0.25 * rng.standard_normal((steps, houses)))
    return (
        np.maximum(change.cumsum(0)[:steps], 0)
        + np.abs(base)
        + _cooling(houses, days, step_s, rng)
    )


def _cooling(houses: int, days: int, step_s: int, rng: np.random.Generator) -> Floats:
    """Return what fans and air conditioners draw: the weather is everybody's."""
    steps = days * DAY_S // step_s
    hour = np.arange(steps) * step_s / 3600
    daily = _wander(days, 0.8, rng)[np.arange(steps) * step_s // DAY_S]
    heat = np.clip(0.5 + 0.8 * np.sin((hour - 9) * np.pi / 12) + 0.6 * daily, 0, 3)
    owns = rng.random(houses) < 0.35
    running = rng.random((steps, houses)) < 0.7
    return np.asarray(heat[:, None] * owns * rng.uniform(50, 350, houses) * running)


def _wander(count: int, keep: float, rng: np.random.Generator) -> Floats:
    """Return a first-order walk of unit variance."""
    found = rng.standard_normal(count)
    for i in range(1, count):
        found[i] = keep * found[i - 1] + np.sqrt(1 - keep**2) * found[i]
    return found


def recorded(
    names: list[str],
    library: dict[str, Floats],
    days: int,
    step_s: int,
    rng: np.random.Generator,
) -> Floats:
    """Return watts [step, house]: days of each house's profile, drawn from the season's."""
    per_day = 96
    season = int(rng.integers(0, 365 - 90))
    found = np.empty((days * DAY_S // step_s, len(names)))
    for i, name in enumerate(names):
        year = library[name][: 365 * per_day].reshape(365, per_day)
        drawn = year[season + rng.integers(0, 90, days)].ravel()
        drawn = np.roll(drawn, int(rng.integers(-4, 5)))
        watts = drawn / library[name].mean() * np.exp(rng.normal(np.log(420), 0.5))
        repeated = np.repeat(watts, 900 // step_s) if step_s < 900 else watts
        found[:, i] = repeated * np.exp(rng.normal(0, 0.15, len(repeated)))
    return found


def reactive(watts: Floats, rng: np.random.Generator) -> Floats:
    """Return the reactive power that goes with it, inductive."""
    houses = watts.shape[1]
    share = rng.uniform(0.1, 0.35, houses) + 0.05 * rng.standard_normal(watts.shape)
    return np.asarray(watts * share)


def tap(steps: int, step_s: int, mean_w: float, rng: np.random.Generator) -> Floats:
    """Return watts of a tap: half of them steady, half with a life of their own."""
    if rng.random() < 0.5:
        return np.full(steps, mean_w) * (1 + 0.02 * rng.standard_normal(steps))
    course = appliances(1, steps * step_s // DAY_S, step_s, rng)[:, 0]
    return np.asarray(course / course.mean() * mean_w)
