"""Readings side by side: gaps that registers close, and intervals that compare."""

import numpy as np
import pytest

from parwana.losses.series import Series, block_means, filled

NAN = float("nan")


def series(power: list[list[float]]) -> Series:
    watts = np.array(power)
    rows = len(watts)
    return Series(
        numbers=tuple(range(1, watts.shape[1] + 1)),
        step_s=900,
        end_s=np.arange(1, rows + 1) * 900,
        power_w=watts,
        voltage_v=np.full(watts.shape, 230.0),
        head_power_w=np.nansum(watts, axis=1),
        head_voltage_v=np.full(rows, 231.0),
    )


def test_a_gap_of_one_interval_is_what_the_register_counted() -> None:
    power = np.array([[400.0], [NAN], [800.0]])
    energy = np.array([[1000.0], [NAN], [1500.0]])  # 500 Wh, of which 200 Wh in the last
    assert filled(power, energy, 900)[1, 0] == pytest.approx(1200.0)


def test_a_longer_gap_and_one_at_the_edge_stay_open() -> None:
    power = np.array([[400.0], [NAN], [NAN], [800.0], [NAN]])
    energy = np.array([[1000.0], [NAN], [NAN], [1500.0], [NAN]])
    assert np.isnan(filled(power, energy, 900)[[1, 2, 4], 0]).all()


def test_intervals_with_an_unknown_house_do_not_compare() -> None:
    made = series([[1.0, 2.0]] * 9 + [[1.0, NAN]])
    assert len(made.complete()) == 9


def test_a_house_that_is_silent_throughout_spoils_nothing() -> None:
    assert len(series([[1.0, NAN]] * 10).complete()) == 10


def test_an_interval_without_the_feeder_does_not_compare() -> None:
    made = series([[1.0, 2.0]] * 3)
    made.head_voltage_v[1] = NAN
    assert made.complete().end_s.tolist() == [900, 2700]


def test_days_are_counted_from_the_first_interval() -> None:
    made = series([[1.0]] * 97)
    assert made.block()[[0, 95, 96]].tolist() == [0, 0, 1]
    assert len(made.between(900, 2700)) == 2


def test_means_of_blocks() -> None:
    values = np.array([[1.0], [3.0], [10.0]])
    means, counts = block_means(values, np.array([7, 7, 9]))
    assert means[:, 0].tolist() == [2.0, 10.0]
    assert counts.tolist() == [2.0, 1.0]
