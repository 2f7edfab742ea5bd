"""Energy by day and month: differences of the registers that a meter signed at midnights."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

from parwana.chain.merkle import day_of
from parwana.chain.periods import DAY_S


class Mark(NamedTuple):
    """The register at the end of a local day (days since 1970)."""

    day: int
    energy_wh: int


class Span(NamedTuple):
    """What was used from local day `first` to `last`, both included: more than one where no
    register was signed at a midnight in between.
    """

    first: int
    last: int
    energy_wh: int

    @property
    def start(self) -> date:
        """Return the first day."""
        return _date(self.first)

    @property
    def end(self) -> date:
        """Return the last day."""
        return _date(self.last)


def marks(registers: Iterable[tuple[int, int]], utc_offset_s: int) -> list[Mark]:
    """Return the registers at the ends of days, of (time_s, energy_wh) of closing readings."""
    found = {day_of(time_s, utc_offset_s): energy_wh for time_s, energy_wh in registers}
    return [Mark(day, found[day]) for day in sorted(found)]


def days(of: list[Mark]) -> list[Span]:
    """Return what was used between each two marks."""
    return [Span(a.day + 1, b.day, max(0, b.energy_wh - a.energy_wh)) for a, b in pairwise(of)]


def months(of: list[Span]) -> list[Span]:
    """Return what was used by calendar month of `days`, the last one as far as it is known.

    Days that one difference covers count to the month of the last of them.
    """
    grouped = groupby(of, key=lambda span: (span.end.year, span.end.month))
    spans = [list(group) for _, group in grouped]
    return [Span(g[0].first, g[-1].last, sum(span.energy_wh for span in g)) for g in spans]


@lru_cache(1000)  # each page has the days of a year
def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_S, UTC).date()
