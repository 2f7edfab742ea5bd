"""What chance can do, and how errors of a direction are forgiven."""

from dataclasses import replace

import numpy as np
import pytest

from hil_tests.losses.test_suspects import learnt
from hil_tests.losses.worlds import halves, world
from parwana.losses import naming, weigh
from parwana.losses.suspects import HOUSE


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
    project, made = learnt()
    window = halves(world())[1].complete()
    block = window.block()
    places = project.places
    profiles = weigh.Profiles.of(window.power_w, block, places.near, places.kind)
    chance = weigh.by_chance(project, profiles, np.random.default_rng(0), 99)
    assert len(chance) == 99
    left = np.where(project.used, np.nan_to_num(made.residual(window)), 0)
    honest = weigh.fit(project, profiles, project.bands(left, block), (1.0, 1.0))
    stolen = 0.1 * np.nan_to_num(window.power_w[:, 3])[:, None] * places.direction[:, 3]
    robbed = weigh.fit(project, profiles, project.bands(left + stolen, block), (1.0, 1.0))
    houses = places.kind == HOUSE
    assert robbed.gain[houses].max() > chance.max() > honest.gain[houses].min()
    assert int(np.argmax(robbed.gain)) == 3
    assert robbed.share[3] == pytest.approx(0.1, abs=0.01)
    assert robbed.follows[3] > 0.9


def test_what_a_meter_s_own_error_explains_follows_no_house() -> None:
    """A tap of 100 W, while the meter of one house comes to show less by 1 %, or by 5 %."""
    project, made = learnt()
    window = halves(world())[1].complete()
    block = window.block()
    places = project.places
    profiles = weigh.Profiles.of(window.power_w, block, places.near, places.kind)
    left = np.where(project.used, np.nan_to_num(made.residual(window)), 0)
    shares = []
    for share in (0.01, 0.05):
        power = 100 + share * np.nan_to_num(window.power_w[:, 3])
        robbed = left + power[:, None] * places.direction[:, 3]
        found = weigh.fit(project, profiles, project.bands(robbed, block), (1.0, 1.0))
        shares.append(found.share[3])
        assert found.steady_w[3] == pytest.approx(100, abs=15)
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.05, abs=0.01)


def test_who_is_likeliest_only_with_errors_forgiven_is_not_named() -> None:
    project, made = learnt()
    window = halves(world())[1].complete()
    block = window.block()
    places = project.places
    profiles = weigh.Profiles.of(window.power_w, block, places.near, places.kind)
    left = np.where(project.used, np.nan_to_num(made.residual(window)), 0)
    stolen = 0.2 * np.nan_to_num(window.power_w[:, 3])
    robbed = left + stolen[:, None] * places.direction[:, 3]
    found = weigh.fit(project, profiles, project.bands(robbed, block), (1.0, 1.0))
    weights = np.where(np.arange(len(places.kind)) == 3, 1.0, 0.0)
    silent = np.zeros(len(window.numbers), bool)
    gain = found.gain.copy()
    gain[-1] = gain.max() + 1
    named = [
        naming.named(window, project, one, weights, silent, float(stolen.mean()), 1 / 1000)
        for one in (found, replace(found, gain=gain))
    ]
    assert [suspect.numbers for suspect in named[0]] == [(window.numbers[3],)]
    assert named[1] == []


def test_a_bypass_that_follows_nothing_is_unlikely() -> None:
    project, _ = learnt()
    count = len(project.places.kind)
    even = np.full(count, 1 / count)
    same = weigh.posterior(np.zeros(count), np.ones(count), project, even)
    assert np.allclose(same, 1 / count)
    unlike = weigh.posterior(np.zeros(count), np.zeros(count), project, even)
    assert unlike[0] < unlike[-1] / 10
