"""What is learnt from a quiet feeder: its losses, and the line that its voltages tell of."""

import numpy as np
import pytest

from bench.losses.grids import overhead
from bench.losses.world import Case, make
from hil_tests.losses.worlds import DAYS, HOUSES, halves, world
from parwana.losses import model


def test_the_line_is_learnt_from_voltages() -> None:
    """Z of two houses of a phase is what their ways share, as the grid was built."""
    rng = np.random.default_rng(5)
    grid = overhead(HOUSES, rng)
    made = make(grid, Case(), rng, reference_days=DAYS, days=1)
    learnt = model.learn(made.series.between(0, made.from_s).complete())
    true = grid.shared_ohm(grid.house_node).real
    own = 2 * np.diag(true) + grid.drop_ohm.real
    assert np.corrcoef(np.diag(learnt.ohm), own)[0, 1] > 0.9
    assert np.allclose(learnt.ohm, learnt.ohm.T)
    assert np.all(learnt.ohm_error > 0)
    # Those of another phase share the neutral alone, which lifts their voltage.
    strong = learnt.ohm > 4 * learnt.ohm_error
    assert 0.1 < strong.mean() < 0.8


def test_what_is_left_over_is_far_less_than_the_losses() -> None:
    reference, window = (part.complete() for part in halves(world()))
    learnt = model.learn(reference)
    left = learnt.residual(window)[:, 0]
    losses = model.imbalance(window)
    assert abs(left.mean()) < 0.05 * losses.mean()
    assert left.std() < 0.5 * losses.std()


def test_the_balance_is_less_sure_at_other_loads() -> None:
    reference, window = (part.complete() for part in halves(world()))
    learnt = model.learn(reference)
    more = type(window)(**{**vars(window), "power_w": window.power_w * 2})
    assert learnt.energy_error(more, 30.0) > 1.2 * learnt.energy_error(window, 30.0)


def test_an_outlier_of_the_reference_teaches_nothing() -> None:
    reference, window = (part.complete() for part in halves(world()))
    spoilt = type(reference)(**vars(reference))
    spoilt.head_power_w[:] = reference.head_power_w
    power = reference.head_power_w.copy()
    power[100:104] += 20_000
    spoilt = type(reference)(**{**vars(reference), "head_power_w": power})
    good, bad = (model.learn(part).residual(window)[:, 0] for part in (reference, spoilt))
    assert abs(bad.mean() - good.mean()) < 10  # 20 kW for an hour are 69 W of the mean


def test_clocks_that_are_off_do_not_make_loads_seem_less_than_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.losses.world._SKEW_S", 120)
    rng = np.random.default_rng(2)
    grid = overhead(12, rng)
    made = make(grid, Case("growth", 0.5), rng, reference_days=20, days=5)
    reference, window = (part.complete() for part in halves(made))
    left = model.learn(reference).residual(window)[:, 0]
    assert abs(left.mean()) < 0.0014 * window.head_power_w.mean()  # learnt from quarters: 0.0029
