"""Hold the bench's own power flow against power-grid-model's, with unbalanced loads.

    python -m bench.losses.check [--write hil_tests/vectors/powerflow.json]

Prints the largest difference of a voltage. --write keeps one small case, as power-grid-model
solves it, for the tests.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.losses.grids import NEUTRAL, Complexes, Grid, overhead
from bench.losses.world import flow

ALLOWED_V = 0.01
_PHASE = np.exp(-2j * np.pi * np.arange(3) / 3)
_SOURCE_V = 236.0


def solved(grid: Grid, phases: np.ndarray, apparent: Complexes) -> np.ndarray:
    """Return each house's voltage (magnitude), as power-grid-model solves one moment."""
    import power_grid_model as pgm

    nodes, houses = len(grid.parent), grid.houses
    ids = {"source": 0, "bus": 1}  # node n of the grid is 1 + n, house i is 1 + nodes + i
    house = [1 + nodes + i for i in range(houses)]
    lines = [(ids["source"], ids["bus"], grid.transformer_ohm, grid.transformer_ohm)]
    for n in range(1, nodes):
        phase = complex(grid.segment_ohm[n])
        lines.append((1 + int(grid.parent[n]), 1 + n, phase, phase * (1 + 3 * NEUTRAL)))
    for i in range(houses):
        drop = complex(grid.drop_ohm[i])
        lines.append((1 + int(grid.house_node[i]), house[i], drop, drop))

    def array(kind: str, count: int, **values: Any) -> Any:
        made = pgm.initialize_array("input", kind, count)
        for name, value in values.items():
            made[name] = value
        return made

    count = 1 + nodes + houses
    rated_v = _SOURCE_V * np.sqrt(3)
    first, last, positive, zero = (np.array(part) for part in zip(*lines, strict=True))
    power = np.zeros((2, houses, 3))
    power[0, range(houses), phases] = apparent.real
    power[1, range(houses), phases] = apparent.imag
    model = pgm.PowerGridModel(
        {
            "node": array("node", count, id=range(count), u_rated=rated_v),
            "source": array(
                "source", 1, id=count, node=0, status=1, u_ref=1.0, sk=1e15, rx_ratio=0.1
            ),
            "line": array(
                "line",
                len(lines),
                id=range(count + 1, count + 1 + len(lines)),
                from_node=first,
                to_node=last,
                from_status=1,
                to_status=1,
                r1=positive.real,
                x1=positive.imag,
                c1=0.0,
                tan1=0.0,
                r0=zero.real,
                x0=zero.imag,
                c0=0.0,
                tan0=0.0,
                i_n=1000.0,
            ),
            "asym_load": array(
                "asym_load",
                houses,
                id=range(count + 1 + len(lines), count + 1 + len(lines) + houses),
                node=house,
                status=1,
                type=pgm.LoadGenType.const_power,
                p_specified=power[0],
                q_specified=power[1],
            ),
        }
    )
    found = model.calculate_power_flow(symmetric=False, error_tolerance=1e-10)
    return np.asarray(found["node"]["u"][house, phases])


def ours(grid: Grid, phases: np.ndarray, apparent: Complexes) -> np.ndarray:
    """Return the same by the bench's own power flow."""
    source = (_SOURCE_V * _PHASE)[None, :]
    voltage, _, _ = flow(grid, grid.house_node, grid.drop_ohm, phases, apparent[None, :], source)
    return np.asarray(np.abs(voltage[0]))


def case(houses: int, seed: int) -> tuple[Grid, np.ndarray, Complexes]:
    """Return a feeder with unbalanced loads."""
    rng = np.random.default_rng(seed)
    grid = overhead(houses, rng)
    phases = np.asarray(rng.integers(0, 3, houses))
    return grid, phases, rng.uniform(50, 900, houses) * (1 + 1j * rng.uniform(0.1, 0.35, houses))


def main() -> None:
    """Compare; exit with 1 where they differ by more than ALLOWED_V."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    worst = 0.0
    for houses in (5, 30, 100, 200):
        for seed in range(5):
            made = case(houses, seed)
            apart = float(np.abs(solved(*made) - ours(*made)).max())
            worst = max(worst, apart)
        print(f"{houses} houses: within {apart:.2e} V, lowest {solved(*made).min():.1f} V")
    if asked.write:
        asked.write.write_text(json.dumps(vector(*case(8, 1)), indent=1) + "\n")
    raise SystemExit(worst > ALLOWED_V)


def vector(grid: Grid, phases: np.ndarray, apparent: Complexes) -> dict[str, Any]:
    """Return a case and power-grid-model's solution as JSON takes it."""

    def pairs(values: Complexes) -> list[list[float]]:
        return [[float(z.real), float(z.imag)] for z in np.atleast_1d(values)]

    return {
        "by": "power-grid-model, asymmetric, one neutral as thick as a phase",
        "source_v": _SOURCE_V,
        "transformer_ohm": pairs(np.array(grid.transformer_ohm))[0],
        "parent": grid.parent.tolist(),
        "segment_ohm": pairs(grid.segment_ohm),
        "house_node": grid.house_node.tolist(),
        "drop_ohm": pairs(grid.drop_ohm),
        "phase": phases.tolist(),
        "apparent_va": pairs(apparent),
        "voltage_v": solved(grid, phases, apparent).tolist(),
    }


if __name__ == "__main__":
    main()
