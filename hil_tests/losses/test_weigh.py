"""What chance can do, and how errors of a direction are forgiven."""

from dataclasses import replace

import numpy as np
import pytest

from hil_tests.losses.test_suspects import learnt
from hil_tests.losses.worlds import halves, world
from parwana.losses import naming, weigh
from parwana.losses.series import Floats
from parwana.losses.suspects import HOUSE, LINE


class Robbed:
    """A quiet window of a feeder, from which power can be stolen at house 3."""

    def __init__(self, *, voltages: bool = True) -> None:
        self.project, made = learnt(voltages=voltages)
        self.window = halves(world())[1].complete()
        self.places, self._block = self.project.places, self.window.block()
        of = self.window.power_w, self._block, self.places.near, self.places.kind
        self.profiles = weigh.Profiles.of(*of)
        self.load_w = np.nan_to_num(self.window.power_w[:, 3])
        self._left = np.where(self.project.used, np.nan_to_num(made.residual(self.window)), 0)

    def fit(self, stolen_w: Floats) -> weigh.Fit:
        left = self._left + stolen_w[:, None] * self.places.direction[:, 3]
        bands = self.project.bands(left, self._block)
        return weigh.fit(self.project, self.profiles, bands, (1.0, 1.0))


def test_the_marginal_likelihood_is_that_of_sampled_errors() -> None:
    """log E[exp(pull·e − e·P·e/2)] over e of the prior, by Monte Carlo."""
    rng = np.random.default_rng(4)
    direction = np.array([1.0, -0.002, -0.001])
    error = np.array([2e-4, 3e-4])
    precision = np.diag([1e-3, 4e6, 2e6])
    pull = np.array([0.0, 900.0, -500.0])
    count = 400_000
    own = rng.standard_normal((count, 3)) * [1e-6, *error]
    scale = rng.standard_normal((count, 1)) * weigh._SCALE * np.append(0, direction[1:])
    phase = rng.standard_normal((count, 1)) * weigh._PHASE * np.array([0.0, 1.0, 1.0])
    e = own + scale + phase
    sampled = np.log(np.exp(e @ pull - 0.5 * ((e @ precision) * e).sum(axis=1)).mean())
    assert weigh._marginal(precision, pull, error, direction) == pytest.approx(sampled, abs=0.02)


def test_what_follows_a_house_gains_more_than_any_shuffle_of_quiet_days() -> None:
    feeder = Robbed()
    rng = np.random.default_rng(0)
    chance = weigh.by_chance(feeder.project, feeder.profiles, rng, 99)
    assert len(chance) == 99
    honest, robbed = feeder.fit(0 * feeder.load_w), feeder.fit(0.1 * feeder.load_w)
    houses = feeder.places.kind == HOUSE
    assert robbed.gain[houses].max() > chance.max() > honest.gain[houses].min()
    assert int(np.argmax(robbed.gain)) == 3
    assert robbed.share[3] == pytest.approx(0.1, abs=0.01)
    assert robbed.follows[3] > 0.9


def test_what_a_meter_s_own_error_explains_follows_no_house() -> None:
    """A tap of 100 W, while the meter of one house comes to show less by 1 %, or by 5 %."""
    feeder = Robbed()
    found = [feeder.fit(100 + share * feeder.load_w) for share in (0.01, 0.05)]
    for one in found:
        assert one.steady_w[3] == pytest.approx(100, abs=15)
    assert found[0].share[3] == 0
    assert found[1].share[3] == pytest.approx(0.05, abs=0.01)


def test_without_voltages_a_tap_is_laid_to_no_house_for_a_little_that_it_follows() -> None:
    feeder = Robbed(voltages=False)
    even = np.full(len(feeder.places.kind), 1 / len(feeder.places.kind))
    shares, likeliest = [], []
    for stolen in (700 + 0.1 * feeder.load_w, 0.3 * feeder.load_w):
        found = feeder.fit(stolen)
        shares.append(found.share[3])
        weights = weigh.posterior(found.gain, found.follows, feeder.project, even)
        likeliest.append(feeder.places.kind[int(np.argmax(weights))])
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.3, abs=0.03)
    assert likeliest == [LINE, HOUSE]


def test_who_is_likeliest_only_with_errors_forgiven_is_not_named() -> None:
    feeder = Robbed()
    stolen = 0.2 * feeder.load_w
    found = feeder.fit(stolen)
    weights = np.where(np.arange(len(feeder.places.kind)) == 3, 1.0, 0.0)
    numbers = feeder.window.numbers
    silent = np.zeros(len(numbers), bool)
    gain = found.gain.copy()
    gain[-1] = gain.max() + 1
    rest = weights, silent, float(stolen.mean()), 1 / 1000
    named = [
        naming.named(feeder.window, feeder.project, one, *rest)
        for one in (found, replace(found, gain=gain))
    ]
    assert [suspect.numbers for suspect in named[0]] == [(numbers[3],)]
    assert named[1] == []


def test_a_bypass_that_follows_nothing_is_unlikely() -> None:
    project, _ = learnt()
    count = len(project.places.kind)
    even = np.full(count, 1 / count)
    same = weigh.posterior(np.zeros(count), np.ones(count), project, even)
    assert np.allclose(same, 1 / count)
    unlike = weigh.posterior(np.zeros(count), np.zeros(count), project, even)
    assert unlike[0] < unlike[-1] / 10
