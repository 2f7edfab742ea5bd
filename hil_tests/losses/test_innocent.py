"""What is no theft, from residuals made by hand."""

import numpy as np

from parwana.losses import innocent
from parwana.losses.series import Series

ROWS, HOUSES = 400, 4
RNG = np.random.default_rng(6)
WATTS = RNG.uniform(50, 900, (ROWS, HOUSES))


def window() -> Series:
    still = np.full((ROWS, HOUSES), 230.0)
    end_s = np.arange(1, ROWS + 1) * 900
    head = WATTS.sum(axis=1)
    return Series((11, 12, 13, 14), 900, end_s, WATTS.copy(), still, head, still[:, 0])


def noise() -> np.ndarray:
    scale = [20.0, *[0.05] * HOUSES]
    return np.random.default_rng(7).standard_normal((ROWS, HOUSES + 1)) * scale


def test_quiet_residuals_say_nothing() -> None:
    used = np.ones(HOUSES + 1, bool)
    assert not innocent.strangers(noise(), window()).any()
    assert innocent.clocks(noise(), window()) == []
    assert innocent.connections(noise(), window(), used) == []


def test_a_house_that_another_line_supplies() -> None:
    left = noise()
    left[:, 0] -= WATTS[:, 2]
    assert innocent.strangers(left, window()).tolist() == [False, False, True, False]


def test_a_meter_that_shows_too_much_by_a_quarter_is_no_stranger() -> None:
    left = noise()
    left[:, 0] -= 0.25 * WATTS[:, 2]
    assert not innocent.strangers(left, window()).any()


def test_a_steady_load_that_goes_around_its_meter_is_no_stranger() -> None:
    steady, left = window(), noise()
    around = np.random.default_rng(8).uniform(0, 300, ROWS)
    steady.power_w[:, 2] = 400 - around
    left[:, 0] += around
    assert not innocent.strangers(left, steady).any()


def test_a_clock_that_went_off() -> None:
    left = noise()
    left[:, 0] += 180 / 900 * np.gradient(WATTS[:, 1])
    [text] = innocent.clocks(left, window())
    assert text.startswith("the clock of 12 is 1")
    assert "ahead of" in text


def test_a_connection_that_got_worse() -> None:
    left = noise()
    left[:, 4] -= 0.3 * WATTS[:, 3] / 230
    [(number, text)] = innocent.connections(left, window(), np.ones(HOUSES + 1, bool))
    assert number == 14
    assert "0.30 ohm" in text
    unused = np.array([True, True, True, True, False])
    assert innocent.connections(left, window(), unused) == []
