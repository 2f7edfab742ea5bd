"""Small feeders, of which each is judged once."""

from functools import cache

import numpy as np

from bench.losses.grids import overhead
from bench.losses.world import Case, World, make
from parwana.losses.series import Series
from parwana.losses.verdict import Verdict, judge

HOUSES, DAYS = 10, 12


@cache
def world(kind: str = "honest", size: float = 0.0) -> World:
    """Return a feeder that lives quietly for DAYS, and then for DAYS with a case."""
    rng = np.random.default_rng(5)
    return make(overhead(HOUSES, rng), Case(kind, size), rng, reference_days=DAYS, days=DAYS)


def halves(made: World) -> tuple[Series, Series]:
    """Return reference and window."""
    series = made.series
    return series.between(0, made.from_s), series.between(made.from_s, int(series.end_s[-1]))


@cache
def judged(kind: str = "honest", size: float = 0.0) -> tuple[Verdict, World]:
    """Return what is said of a world, and the world."""
    made = world(kind, size)
    return judge(*halves(made)), made
