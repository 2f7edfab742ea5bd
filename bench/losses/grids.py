"""Radial low-voltage feeders: which segment carries whom, with what impedance.

Ohms of one conductor. A node is a pole or joint; houses and taps hang on nodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

OVERHEAD = 0.868 + 0.35j  # ohm a km: bare aluminium, 35 mm2
NEUTRAL = 1.0  # a neutral as thick as a phase
DROP = 1.91 + 0.1j  # ohm a km: service cable, aluminium, 16 mm2
THIN_DROP = 3.08 + 0.1j  # 10 mm2


@dataclass(frozen=True)
class Grid:
    """A tree of nodes behind a transformer; segment n leads to node n, node 0 is the busbar."""

    name: str
    parent: NDArray[np.int64]
    segment_ohm: Complexes  # a phase conductor
    house_node: NDArray[np.int64]
    drop_ohm: Complexes  # of each house's service, both conductors
    transformer_ohm: complex

    @property
    def houses(self) -> int:
        """Return how many houses hang on it."""
        return len(self.house_node)

    def paths(self) -> NDArray[np.bool_]:
        """Return [node, segment]: whether the segment leads from the busbar to the node."""
        found = np.zeros((len(self.parent), len(self.parent)), bool)
        for node in range(1, len(self.parent)):  # parents come first
            found[node] = found[self.parent[node]]
            found[node, node] = True
        return found

    def shared_ohm(self, nodes: NDArray[np.int64]) -> Complexes:
        """Return [i, j]: the impedance of a conductor that the ways to both nodes share."""
        paths = self.paths()[nodes].astype(float)
        return np.asarray((paths * self.segment_ohm) @ paths.T)


def overhead(houses: int, rng: np.random.Generator, span_m: float = 40.0) -> Grid:
    """Return a weak feeder: long thin branches of 12 houses or so, one to three houses a pole."""
    parent, ohm = [0], [0j]
    homes: list[int] = []
    branches = max(1, houses // 12)
    ends = [0] * branches
    while len(homes) < houses:
        branch = int(rng.integers(branches))
        start = ends[branch]
        if start and rng.random() < 0.15:  # a spur
            start = int(parent[start])
        parent.append(start)
        ohm.append(OVERHEAD * span_m * rng.uniform(0.7, 1.3) / 1000)
        ends[branch] = max(ends[branch], len(parent) - 1)
        homes += [len(parent) - 1] * min(int(rng.integers(1, 4)), houses - len(homes))
    return Grid(
        f"overhead-{houses}",
        np.array(parent),
        np.array(ohm),
        np.array(homes),
        _drops(houses, rng, THIN_DROP),
        (3 + 6j) / max(100, 1.5 * houses),  # 100 kVA, or 1.5 a house
    )


def _drops(houses: int, rng: np.random.Generator, kind: complex) -> Complexes:
    return np.asarray(2 * kind * rng.uniform(10, 40, houses) / 1000)


def simbench(code: str, rng: np.random.Generator) -> tuple[Grid, list[str]]:
    """Return a grid of SimBench, and the profile of each of its loads."""
    net = _net(code)
    root = int(net.trafo.lv_bus.iloc[0])
    near: dict[int, list[tuple[int, complex]]] = {}
    for line in net.line.itertuples():
        ohm = complex(line.r_ohm_per_km, line.x_ohm_per_km) * line.length_km / line.parallel
        near.setdefault(line.from_bus, []).append((line.to_bus, ohm))
        near.setdefault(line.to_bus, []).append((line.from_bus, ohm))
    number, order, parent, ohms = {root: 0}, [root], [0], [0j]
    for bus in order:
        for other, ohm in near.get(bus, []):
            if other not in number:
                number[other] = len(parent)
                order.append(other)
                parent.append(number[bus])
                ohms.append(ohm)
    loads = net.load[net.load.bus.isin(number)]
    trafo = net.trafo.iloc[0]
    base = (1000 * trafo.vn_lv_kv) ** 2 / (1e6 * trafo.sn_mva)
    r = trafo.vkr_percent / 100 * base
    x = np.sqrt((trafo.vk_percent / 100 * base) ** 2 - r**2)
    grid = Grid(
        code,
        np.array(parent),
        np.array(ohms),
        np.array([number[bus] for bus in loads.bus]),
        _drops(len(loads), rng, DROP),
        complex(r, x),
    )
    return grid, list(loads.profile)


_NETS: dict = {}


def _net(code: str):
    if code not in _NETS:
        try:
            import simbench as library
        except ModuleNotFoundError:
            wanted = "pip install -r bench/losses/requirements.txt"
            raise SystemExit(f"bench.losses: SimBench's grids need: {wanted}") from None
        _NETS[code] = library.get_simbench_net(code)
    return _NETS[code]


def simbench_profiles(code: str) -> dict[str, Floats]:
    """Return SimBench's profiles of active power, a year in steps of 15 minutes, by name."""
    table = _net(code).profiles["load"]
    ends = "_pload"
    return {
        name[: -len(ends)]: table[name].to_numpy(float)
        for name in table.columns
        if name.endswith(ends)
    }
