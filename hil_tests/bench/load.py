"""Loads: the PZEM emulator with a house behind it, and a real PZEM with a known load."""

from collections import deque

from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests.bench.protocols import BenchError, Load, Sensor
from parwana.world.clock import WorldClock

_WATTS = 2400.0
_REFRESH_S = 0.1  # a real one takes a second; the tests measure the meter, not the sensor


class EmulatedLoad(Sensor):
    """The emulator on any pyserial URL, in place of a PZEM; `house` is what it measures."""

    tolerance = 0.01

    def __init__(self, url: str, clock: WorldClock, unit_id: int = 1) -> None:
        self.watts = _WATTS
        self.clock = clock
        self._house = House(Profile([_WATTS], 0), clock, closed=False)
        self._pzem = Pzem(self._house, unit_id, refresh_s=_REFRESH_S)
        try:
            self.emulator = PzemEmulator(url, [self._pzem])
        except (OSError, ValueError) as error:
            raise BenchError(f"load: {url} does not open ({error}); check [load] port") from None
        self.emulator.start()

    def follow(self, closed: bool) -> None:
        """Let the current follow the contactor."""
        self._house.closed = closed

    @property
    def closed(self) -> bool:
        return self._house.closed

    @property
    def silent(self) -> bool:
        return self.emulator.silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        self.emulator.silent = silent

    def draw(self, watts: float) -> None:
        self.watts = watts
        self._house.follow(Profile([watts], 0))

    def energy_wh(self) -> float:
        return self._house.energy_wh()

    def set_register_wh(self, value_wh: int) -> None:
        self._pzem.set_energy_wh(value_wh)

    def inject(self, fault: str, count: int = 1) -> None:
        self.emulator.inject(fault, count)

    @property
    def requests(self) -> int:
        return self.emulator.requests

    @property
    def request_times_s(self) -> deque[float]:
        return self.emulator.request_times_s

    def restore(self) -> None:
        """Draw the usual power, answer well."""
        self.emulator.faults.clear()
        self.emulator.silent = False
        self.draw(_WATTS)

    def close(self) -> None:
        self.emulator.stop()


class RealLoad(Load):
    """A PZEM and something that draws `watts`, known to a relative `tolerance`."""

    def __init__(self, watts: float, tolerance: float) -> None:
        self.watts = watts
        self.tolerance = tolerance

    def close(self) -> None:
        """Nothing was opened."""
