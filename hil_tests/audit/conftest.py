"""A town that lived, for the audit to look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.chainkit import utility
from hil_tests.town import Town
from parwana.chain.periods import DAY_S
from parwana.relay.roots import ROOT_WAIT_S
from parwana.store.reader import Store


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Give a town of which a relay closed one period and committed two days, the first one again,
    because a house sent the reading of its noon a day late.
    """
    folder = tmp_path_factory.mktemp("rooted")
    url = f"sqlite:///{folder}/store.db"
    store = Store(url)
    with utility(url) as world:
        town = Town(world, store)
        landing = town.landing(gather_s=0)
        late = town.houses[1]
        for day in (town.first, town.first + 1):
            start_s = town.periods.start(day)
            for i, meter in enumerate((town.feeder, *town.houses)):
                energy_wh = 1000 * (day - town.first) + 10 * i
                if meter is late and day == town.first:
                    town.next(late)  # of the reading that comes later
                else:
                    town.read(meter, start_s + DAY_S // 2, energy_wh + 500)
                town.close(meter, day, energy_wh + 1000)
            town.go_to(start_s + DAY_S + ROOT_WAIT_S * 11 // 10)
            assert landing.step().roots == day - town.first + 1
            if day == town.first:
                town.keep(late, late.reading(1, time_s=start_s + DAY_S // 2, energy_wh=300))
        yield town
    store.close()


@pytest.fixture
def spoilt(rooted: Town, tmp_path: Path) -> Path:
    return rooted.copy_store(tmp_path / "spoilt.db")
