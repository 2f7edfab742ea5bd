"""The bench's worlds are what they say: flow as others solve it, meters no better than a PZEM."""

import json

import numpy as np
import pytest

from bench.losses import baselines, loads, table
from bench.losses.grids import Grid, overhead
from bench.losses.world import Collapse, flow
from hil_tests.losses.worlds import DAYS, HOUSES, halves, world
from parwana import REPO

VECTOR = json.loads((REPO / "hil_tests/vectors/powerflow.json").read_text())


def numbers(pairs: list[list[float]]) -> np.ndarray:
    return np.array([complex(*pair) for pair in pairs])


def test_voltages_are_those_of_power_grid_model() -> None:
    grid = Grid(
        "vector",
        np.array(VECTOR["parent"]),
        numbers(VECTOR["segment_ohm"]),
        np.array(VECTOR["house_node"]),
        numbers(VECTOR["drop_ohm"]),
        complex(*VECTOR["transformer_ohm"]),
    )
    source = VECTOR["source_v"] * np.exp(-2j * np.pi * np.arange(3) / 3)
    apparent = numbers(VECTOR["apparent_va"])[None, :]
    phases = np.array(VECTOR["phase"])
    voltage, busbar, total = flow(
        grid, grid.house_node, grid.drop_ohm, phases, apparent, source[None, :]
    )
    assert np.abs(voltage[0]) == pytest.approx(VECTOR["voltage_v"], abs=1e-4)
    # What enters at the busbar and does not reach a house heats the line.
    lost = float((busbar * np.conj(total)).real.sum() - apparent.real.sum())
    assert 0 < lost < 0.05 * apparent.real.sum()


def test_a_line_that_cannot_carry_its_load_is_told() -> None:
    grid = overhead(5, np.random.default_rng(1))
    apparent = np.full((1, 5), 200_000 + 0j)
    source = np.full((1, 3), 230 + 0j)
    with pytest.raises(Collapse):
        flow(grid, grid.house_node, grid.drop_ohm, np.zeros(5, int), apparent, source)


def test_meters_are_no_better_than_a_pzem() -> None:
    """Tenths of a volt and of a watt, readings that are lost, and a class of half a per cent."""
    series = world().series
    volts = series.voltage_v[~np.isnan(series.voltage_v)]
    assert np.allclose(volts * 10, np.round(volts * 10))
    assert 0.005 < np.isnan(series.voltage_v).mean() < 0.02
    gaps = np.isnan(series.voltage_v) & ~np.isnan(series.power_w)
    closed = series.power_w[gaps]
    assert len(closed) > 50
    balance = series.head_power_w - series.power_w.sum(axis=1)
    assert np.nanmean(np.abs(balance)) > 0.002 * np.nanmean(series.head_power_w)


@pytest.mark.parametrize("kind", ["low", "bypass"])
def test_a_thief_takes_what_is_said(kind: str) -> None:
    reference, window = halves(world(kind, 0.2))
    made = world(kind, 0.2)
    assert made.house is not None
    shown_wh = np.nanmean(window.power_w[:, made.house]) * DAYS * 24
    share = made.stolen_wh / (made.stolen_wh + shown_wh)
    assert share == pytest.approx(0.2, abs=0.01 if kind == "low" else 0.08)
    honest = halves(world())[0]
    assert np.allclose(reference.power_w, honest.power_w, equal_nan=True) or kind == "bypass"


def test_a_silent_meter_says_nothing_and_a_tap_is_no_house() -> None:
    made = world("silent", 1.0)
    assert made.house is not None
    assert np.isnan(halves(made)[1].power_w[:, made.house]).all()
    assert world("tap", 500.0).house is None
    assert world("tap", 500.0).stolen_wh / (24 * DAYS) == pytest.approx(500, rel=0.1)


def test_households_live_by_day_and_in_their_own_way() -> None:
    watts = loads.appliances(20, 14, 900, np.random.default_rng(2))
    assert watts.min() >= 0
    assert 100 < watts.mean() < 1000
    alike = np.asarray(np.corrcoef(watts.T))[np.triu_indices(20, 1)]
    assert 0 < alike.mean() < 0.3
    hours = watts.mean(axis=1).reshape(14, 24, 4).mean(axis=(0, 2))
    assert hours[18:21].mean() > 1.5 * hours[2:5].mean()


@pytest.mark.parametrize("method", [baselines.regression, baselines.correlation])
def test_the_baselines_find_what_is_easy(method: object) -> None:
    """They are no straw men: half a house's load by a constant factor is found by both."""
    made = world("low", 0.5)
    reference, window = (part.complete() for part in halves(made))
    order, tap = method(reference, window)  # type: ignore[operator]
    assert order[0] == made.house
    assert sorted(order) == list(range(HOUSES))
    assert not tap


def test_a_table_counts() -> None:
    row = {
        "kind": "low", "size": 0.2, "alarm": True, "true": 3, "rank": 1, "regression": 2,
        "correlation": 5, "named": [["low", [3], 0.99]], "cpu_s": 0.5, "near": [],
        "regression_tap": False, "correlation_tap": False,
    }  # fmt: skip
    missed = {**row, "rank": 4, "named": []}
    wrong = {**row, "rank": 2, "named": [["low", [4], 0.99]]}
    innocent = {**row, "kind": "growth", "size": 0.3, "named": [["low", [4], 0.99]]}
    found = table.lines([row, row, missed, wrong, innocent])
    assert found[1].split() == (
        ["low", "0.2", "4", "100%", "75%", "50%", "75%", "50%", "25%", "0%", "100%", "0%", "0%"]
    )
    assert "no theft: 1 of 1 feeder-months named anybody" in found
