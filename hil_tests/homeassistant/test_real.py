"""The real Home Assistant takes the discovery; restarts in any order spoil nothing."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hil_tests.homeassistant.conftest import FEEDER, HOUSE, Told
from hil_tests.homeassistant.realhome import RealHome, real_home
from hil_tests.services import Broker, wait_until
from parwana.homeassistant.state import State

ENERGY, POWER = f"{HOUSE.id}_energy", f"{HOUSE.id}_power"
FULL: dict[str, float | str | None] = {
    **{"power": 400.0, "voltage": 230.0, "current": 1.8, "frequency": 50.0, "power_factor": 97},
    **{"supply": "connected", "permit_end": "2027-01-18T08:00:00+00:00"},
    "measured": "2027-01-15T07:59:00+00:00",
}
SILENT = dict.fromkeys(FULL)


class Three:
    """Broker, Home Assistant and bridge; each can be stopped and started."""

    def __init__(self, broker: Broker, home: RealHome) -> None:
        self.broker, self.home = broker, home
        self.told: Told | None = None
        self.energy_wh = 12_345

    def start(self, what: str) -> None:
        {"broker": self.broker.start, "home": self.home.start, "bridge": self._bridge}[what]()

    def _bridge(self) -> None:
        self.told = Told(self.broker.url, wait_s=0)

    def stop(self) -> None:
        if self.told:
            self.told.bridge.stop()
            self.told = None
        self.home.stop()
        self.broker.stop()

    def shows(self, unique_id: str, value: str, *, live: bool = True) -> None:
        """Tell until it is shown."""

        def seen() -> bool:
            assert self.told
            house = State(live, self.energy_wh, FULL if live else SILENT)
            self.told.tell(house, State(True, 99_000, FULL))
            return self.home.state(unique_id) == value

        last: Callable[[], str] = lambda: f"{self.home.state(unique_id)}; {self.home.last_words()}"  # noqa: E731
        wait_until(seen, f"{unique_id} {value}", 120, last)


@pytest.mark.long
def test_home_assistant_shows_counts_and_outlives_restarts_in_any_order(
    own_broker: Broker, tmp_path: Path
) -> None:
    with real_home(tmp_path / "home", own_broker.port) as home:
        three = Three(own_broker, home)
        three.stop()
        orders = list(itertools.permutations(("broker", "home", "bridge")))
        for number, order in enumerate(orders):
            three.energy_wh += 55
            for what in order:
                three.start(what)
            three.shows(ENERGY, str(three.energy_wh / 1000))
            three.shows(POWER, "400.0")
            assert home.state(f"{FEEDER.id}_energy") == "99.0"
            if number < len(orders) - 1:
                three.stop()

        entity, _, attributes = home.entity(ENERGY)
        assert entity == "sensor.house_17_energy"
        assert (attributes["state_class"], attributes["unit_of_measurement"]) == (
            "total_increasing",
            "kWh",
        )
        parts = ("voltage", "current", "frequency", "power_factor", "supply", "due", "permit_end")
        shown = [home.state(f"{HOUSE.id}_{part}") for part in parts]
        assert shown == ["230.0", "1.8", "50.0", "97", "connected", "0.0042", FULL["permit_end"]]

        three.shows(POWER, "unavailable", live=False)
        assert home.state(ENERGY) == str(three.energy_wh / 1000), "the register stays"
        assert home.state(f"{HOUSE.id}_supply") == "unknown"

        assert three.told
        three.told.tell(gone=(FEEDER,))
        wait_until(lambda: home.state(f"{FEEDER.id}_energy") is None, "the removal", 30)
        three.told.tell(gone=(FEEDER,))
        time.sleep(2)
        assert home.state(ENERGY)
        assert home.complaints() == []
        three.stop()

        counted = [float(value) for value in home.history(entity) if value[0].isdecimal()]
        assert counted == sorted(counted), "never down, and so never 0"
        assert counted[0] == 12.4
        assert counted[-1] == three.energy_wh / 1000
        others = {value for value in home.history(entity) if not value[0].isdecimal()}
        assert others <= {"unavailable", "unknown"}
