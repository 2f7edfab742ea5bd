"""EnergyLedger.close and finish against protocol.md, section 7, written the plain way.

Batches of what anybody could land, in any order: meters of two feeders, retired and replaced ones,
strangers, times about every boundary and of 1970, registers that go back.
"""

import random
from dataclasses import dataclass
from typing import Any

import pytest

import wire
from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.test_close import (
    AHEAD,
    BACKWARD,
    CLOSED,
    NO_CLOSING,
    RETIRED,
    UNKNOWN,
    reasons,
)
from hil_tests.contracts.test_periods import month_of, start_of_month
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    HOUR_S,
    HOUSE,
    PLANT,
    START_S,
    TRANSFORMER,
    UTC_OFFSET_S,
    UTILITY,
    Meter,
    World,
)

MONTHS = 0


@dataclass
class Place:
    """A meter as registry and ledger must know it."""

    number: int
    feeder: int
    supplies: bool
    period: int
    energy_wh: int
    retired_at_s: int = 0


class Lands:
    """A ledger, the model of it, and what is tried on both."""

    def __init__(self, period_s: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(Evm(START_S), period_s)
        self.period_s = period_s
        self.meters: list[Meter] = []
        self.places: dict[str, Place] = {}
        self.sums: dict[tuple[int, int], list[int]] = {}  # supplied, sold, closed, spanning, own
        for number, kind, feeder in ((1, PLANT, 0), (2, TRANSFORMER, 1), (3, TRANSFORMER, 1)):
            self.enrol(number, kind, feeder)
        for number in range(10, 16):
            self.enrol(number, HOUSE, number % 3 + 1 if number % 3 else 0)

    def period_of(self, time_s: int) -> int:
        if self.period_s == MONTHS:
            return month_of(time_s, UTC_OFFSET_S)
        return (time_s + UTC_OFFSET_S) // self.period_s

    def start(self, period: int) -> int:
        if self.period_s == MONTHS:
            return start_of_month(period, UTC_OFFSET_S)
        return period * self.period_s - UTC_OFFSET_S

    def enrol(self, number: int, kind: int, feeder: int) -> None:
        meter = self.world.enrol(f"meter {len(self.meters)}", number, kind, feeder, initial_wh=7)
        self._serve(meter, feeder, supplies=kind != HOUSE)

    def _serve(self, meter: Meter, feeder: int, *, supplies: bool) -> None:
        before = self.period_of(self.world.evm.time_s) - 1
        self.meters.append(meter)
        self.places[meter.name] = Place(meter.number, feeder, supplies, before, 7)

    def leave(self) -> None:
        """Retire or replace one that is in service."""
        live = [m for m in self.meters if not self.places[m.name].retired_at_s]
        old = self.rng.choice(live)
        place = self.places[old.name]
        if place.supplies or self.rng.random() < 0.7:
            new = Meter(f"meter {len(self.meters)}", old.number)
            self.world.registry.replace(old.address, new.address, 7, sender=UTILITY)
            self._serve(new, place.feeder, supplies=place.supplies)
        elif len(live) > 6:
            self.world.registry.retire(old.address, sender=UTILITY)
        else:
            return
        place.retired_at_s = self.world.evm.time_s

    def some_time(self) -> int:
        now, rng = self.world.evm.time_s, self.rng
        period = self.period_of(now)
        edges = [self.start(period - back) for back in (-1, 0, 0, 0, 1, 2)]
        edges += [edge + DAY_S for edge in edges[:3]] + [now, now + HOUR_S]
        gone = [p.retired_at_s for p in self.places.values() if p.retired_at_s]
        edges += gone[-2:]
        if rng.random() < 0.05:
            return rng.choice([0, 1, 30 * DAY_S, 2**32 - 1])
        if rng.random() < 0.6:
            return self.start(period) + rng.choice([0, 0, 0, 1, 60, HOUR_S - 1])
        return rng.choice(edges) + rng.choice([-1, 0, 0, 1])

    def some_item(self) -> tuple[bytes, int]:
        """Return an item, and what must become of it; the model takes it, if it is to be."""
        rng = self.rng
        meter = rng.choice([*self.meters, *self.meters, Meter("stranger")])
        place = self.places.get(meter.name)
        time_s = self.some_time()
        energy_wh = (place.energy_wh if place else 7) + rng.choice([0, 5, 100, 100, 10**6, -1])
        flags = rng.choice([1, 1, 1, 1, 1, 3, 3, 0])
        trust = rng.choice([1, 1, 1, 1, 2, 2, 0])
        item = meter.reading(time_s, energy_wh, flags, trust)
        signed = rng.random() > 0.05
        if not signed:
            item = item[:40] + rng.choice([bytes(64), b"\xff" * 64, item[72:] + item[40:72]])
        reason = self._reason(place if signed else None, time_s, energy_wh, flags, trust)
        if not reason and place:
            self._take(place, self.period_of(time_s) - 1, energy_wh, closes=True)
        return item, reason

    def _reason(
        self, place: Place | None, time_s: int, energy_wh: int, flags: int, trust: int
    ) -> int:
        now = self.world.evm.time_s
        if not flags & wire.FLAG_CLOSING or not trust:
            return NO_CLOSING
        period = self.period_of(time_s)
        start = max(self.start(period), 0)
        if time_s > now + HOUR_S or start > now:
            return AHEAD
        if period == 0 or (time_s >= start + DAY_S and not flags & wire.FLAG_BOOT):
            return NO_CLOSING
        if place is None:
            return UNKNOWN
        if place.retired_at_s and time_s > place.retired_at_s:
            return RETIRED
        if period - 1 <= place.period:
            return CLOSED
        return BACKWARD if energy_wh < place.energy_wh else 0

    def _take(self, place: Place, period: int, energy_wh: int, *, closes: bool) -> None:
        used_wh, spanning = energy_wh - place.energy_wh, period > place.period + 1
        place.period, place.energy_wh = period, energy_wh
        above = self.sums.setdefault((place.feeder, period), [0] * 5)
        for i, value in ((1, used_wh), (2, closes), (3, spanning)):
            above[i] += value
        if place.supplies:
            own = self.sums.setdefault((place.number, period), [0] * 5)
            for i, value in ((0, used_wh), (3, spanning)):
                own[i] += value
            own[4] |= closes

    def finish(self) -> None:
        """Land a reading of one that left service, or see why not."""
        gone = [m for m in self.meters if self.places[m.name].retired_at_s]
        if not gone:
            return
        meter = self.rng.choice(gone)
        place = self.places[meter.name]
        energy_wh = place.energy_wh + self.rng.choice([0, 50])
        late = self.rng.random() < 0.2
        item = meter.reading(place.retired_at_s + late, energy_wh)
        period = self.period_of(place.retired_at_s)
        waits = self.world.evm.time_s < self.start(period) + DEADLINE_S
        if late or energy_wh == place.energy_wh or (place.period + 1 < period and waits):
            with pytest.raises(Reverted, match=r"^(read after|nothing new|closings missing)"):
                self.world.energy.finish(item)
            return
        self.world.energy.finish(item)
        self._take(place, period, energy_wh, closes=False)

    def step(self) -> None:
        """Let time pass, somebody leave, and a batch be landed."""
        rng, world = self.rng, self.world
        start = self.start(self.period_of(world.evm.time_s) + 1)
        if rng.random() < 0.5:
            world.evm.at(start + rng.choice([0, 0, 1, 60]))
        else:
            world.evm.at(world.evm.time_s + rng.randrange((start - world.evm.time_s) // 2 + 1))
        for _ in range(rng.choice([0, 0, 1, 2])):
            self.leave()
        batch = [self.some_item() for _ in range(rng.randrange(1, 40))]
        assert reasons(world, *(item for item, _ in batch)) == [reason for _, reason in batch]
        self.finish()

    def check(self) -> None:
        """Compare all that stands in the ledger."""
        for meter in self.meters:
            closing: Any = self.world.energy.closing(meter.address)
            place = self.places[meter.name]
            assert (closing.period, closing.energy_wh) == (place.period, place.energy_wh)
        for (feeder, period), expected in self.sums.items():
            sums = self.world.energy.sums(feeder, period)
            found = [sums.supplied_wh, sums.sold_wh, sums.closed, sums.spanning, sums.own_closed]
            assert found == expected
            assert sums.closed <= sums.expected


@pytest.mark.parametrize("period_s", [MONTHS, DAY_S, HOUR_S])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 100), marks=pytest.mark.long)])
def test_batches_against_the_model(period_s: int, seeds: range) -> None:
    for seed in seeds:
        lands = Lands(period_s, seed)
        for _ in range(12):
            lands.step()
        lands.check()
