"""How well each place explains the residuals, and how well chance would."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parwana.losses.series import Floats, Integers
from parwana.losses.suspects import HEAD, HOUSE, Bands, Projection, folded, parted, unfolded

SHUFFLES = 999
_AT_ONCE = 27  # shuffles
_EXAMINED = 100  # places, the best ones
_SCALE = 0.1  # relative error of a place's voltages as a whole: power factor, temperature
_PHASE = 0.01 / 230  # ohm a volt, common to the houses of a phase: the transformer's reactance
_FOLLOWS = 0.25
_WRONG = 0.02  # what a meter may have come to be wrong by follows its load, and is no theft
_UNLIKE_ITSELF = np.log(0.03)  # a bypass whose power follows nothing that its house draws


@dataclass(frozen=True)
class Profiles:
    """What each place's own metered load does: [block, row, place], and by blocks' means."""

    fast: Floats
    slow: Floats

    @classmethod
    def of(cls, power_w: Floats, block: Integers, near: Integers, kind: Integers) -> "Profiles":
        """Take houses their own power, the feeder's meter all of it, the line none."""
        known = np.nan_to_num(power_w)
        watts = known[:, near] * (kind == HOUSE)
        watts[:, kind == HEAD] = known.sum(axis=1)[:, None]
        means, _, fast = parted(watts, block)
        return cls(folded(fast, block), means)


@dataclass(frozen=True)
class Fit:
    """For each place: log of the likelihood against nothing, and u = steady + share·profile.

    `follows` is the part of u that is the profile's, `rest` the variance that is left over.
    """

    gain: Floats
    follows: Floats
    share: Floats
    steady_w: Floats
    rest: Floats


def fit(project: Projection, profiles: Profiles, bands: Bands, noise: tuple[float, float]) -> Fit:
    """Weigh every place on what was measured; `noise` is how much wider it is than before."""
    rows = float(bands.counts.sum())
    sums = {
        "uu": (bands.fast**2).sum(axis=(0, 1)),
        "um": (bands.fast * profiles.fast).sum(axis=(0, 1)),
        "mm": (profiles.fast**2).sum(axis=(0, 1)),
        "slow_uu": (bands.slow**2).sum(axis=0),
        "slow_um": (bands.slow * profiles.slow).sum(axis=0),
        "slow_mm": (profiles.slow**2).sum(axis=0),
        "slow_u": bands.slow.sum(axis=0),
        "slow_m": profiles.slow.sum(axis=0),
    }
    return _fitted(project, sums, rows, len(bands.slow), noise)


def _fitted(
    project: Projection, s: Any, rows: float, blocks: int, noise: tuple[float, float]
) -> Fit:
    """Fit share and steady, none of them negative, and the spread of what is left."""
    learnt = len(project.reference.slow)
    trust = learnt / (learnt + blocks)  # the reference's own means are no surer than these
    fast = 1 / (project.fast.variance * noise[0] * project.memory)
    slow = trust / (project.slow.variance * noise[1])
    kk = fast * s["mm"] + slow * s["slow_mm"] + 1e-12
    kc, cc = slow * s["slow_m"], slow * blocks
    k_right = fast * s["um"] + slow * s["slow_um"]
    c_right = slow * s["slow_u"]
    whole = np.maximum(kk * cc - kc**2, 1e-9 * kk * cc)
    k, c = (k_right * cc - c_right * kc) / whole, (c_right * kk - k_right * kc) / whole
    k, c = np.where(c < 0, k_right / kk, k), np.clip(c, 0, None)
    weak = (k < _WRONG) | (s["mm"] <= 0)
    if not project.used[1:].any():  # a house is known by what it draws alone
        shared = k * s["slow_m"] / blocks
        weak |= shared < _FOLLOWS * (shared + c)
    k, c = np.where(weak, 0, k), np.where(weak, np.clip(c_right / cc, 0, None), c)
    head = project.places.kind == HEAD  # a meter that reads high by a factor, and nothing beside
    k, c = np.where(head, k_right / kk, k), np.where(head, 0, c)
    fast_left = s["uu"] - 2 * k * s["um"] + k**2 * s["mm"]
    slow_left = (
        s["slow_uu"]
        + c**2 * blocks
        + k**2 * s["slow_mm"]
        - 2 * c * s["slow_u"]
        - 2 * k * s["slow_um"]
        + 2 * c * k * s["slow_m"]
    )
    count = rows / project.memory
    gain = _gain(s["uu"] * fast, fast_left * fast, np.where(head, np.inf, count))
    gain = gain + _gain(
        s["slow_uu"] * slow, slow_left * slow, np.where(head, np.inf, blocks * trust)
    )
    gain = gain - 0.5 * np.log(count) * (1.0 * (k > 0) + (c > 0) + 1)
    before = (project.reference.fast**2).sum(axis=(0, 1)) / project.reference.counts.sum()
    rest = fast_left / rows - before * noise[0]
    shared = k * s["slow_m"] / blocks
    follows = shared / np.maximum(shared + c, 1e-9)
    return Fit(gain, follows, k, c, np.maximum(rest, 0))


def _gain(before: Floats, after: Floats, count: Any) -> Floats:
    """Return the gain in log-likelihood; what is left over may be wider than the noise.

    Where `count` is infinite it may not.
    """
    ratio = np.maximum(after / count, 1e-12)
    return np.asarray(
        0.5 * (before - np.where(ratio > 1, count * (1 + np.log(np.maximum(ratio, 1))), after))
    )


def by_chance(
    project: Projection, profiles: Profiles, rng: np.random.Generator, shuffles: int = SHUFFLES
) -> Floats:
    """Return the best gain of a house with days of the reference dealt to these profiles.

    In the reference nobody stole, so whatever a house gains there is chance: the days' residuals
    against the days' loads of now, in any order.
    """
    houses = project.places.kind == HOUSE
    fast, slow = project.reference.fast[:, :, houses], project.reference.slow[:, houses]
    own, means = profiles.fast[:, :, houses], profiles.slow[:, houses]
    rows = min(fast.shape[1], own.shape[1])
    cross = np.einsum("atl,btl->abl", fast[:, :rows], own[:, :rows])
    power = (fast**2).sum(axis=1)
    blocks = len(own)
    narrow = replace(
        project,
        places=replace(project.places, kind=project.places.kind[houses]),
        fast=replace(project.fast, variance=project.fast.variance[houses]),
        slow=replace(project.slow, variance=project.slow.variance[houses]),
        reference=Bands(fast, slow, project.reference.counts),
    )
    same = {
        "mm": (own**2).sum(axis=(0, 1)),
        "slow_mm": (means**2).sum(axis=0),
        "slow_m": means.sum(axis=0),
    }
    best = np.empty(shuffles)
    now = np.arange(blocks)
    total = float(project.reference.counts.mean() * blocks)
    for first in range(0, shuffles, _AT_ONCE):
        size = min(_AT_ONCE, shuffles - first)
        then = rng.integers(0, len(fast), (size, blocks))
        u = slow[then]
        sums = {
            **same,
            "uu": power[then].sum(axis=1),
            "um": cross[then, now].sum(axis=1),
            "slow_uu": (u**2).sum(axis=1),
            "slow_um": (u * means).sum(axis=1),
            "slow_u": u.sum(axis=1),
        }
        gain = _fitted(narrow, sums, total, blocks, (1.0, 1.0)).gain
        best[first : first + size] = gain.max(axis=1)
    return best


def forgiven(
    found: Fit,
    project: Projection,
    error: Floats,
    left: Floats,
    block: Integers,
    bands: Bands,
    noise: tuple[float, float],
) -> Floats:
    """Return what each place gains if its direction may be wrong by `error` [house, place] ohm.

    The more power flowed, the less a place's direction may be off; but Z is known to a few per
    cent only, and of a tap nobody knows the power factor. So what a place leaves over in the shape
    of its own power counts only as far as such errors do not explain it.
    """
    used, places = project.used, project.places
    means, _, fast = parted(left[:, used], block)
    trust = len(project.reference.slow) / (len(project.reference.slow) + len(means))
    inverse = np.linalg.inv(project.correlation[np.ix_(used, used)])
    parts = []
    for values, band, weight in (
        (fast, project.fast, 1 / (noise[0] * project.memory)),
        (means, project.slow, trust / noise[1]),
    ):
        own = weight / band.scale * inverse / np.outer(band.spread[used], band.spread[used])
        parts.append((values, own, band.cross[used]))
    rows = np.flatnonzero(places.kind != HEAD)
    rows = rows[np.argsort(-found.gain[rows])[:_EXAMINED]]
    gained = np.full(len(places.kind), -np.inf)
    gained[places.kind == HEAD] = 0
    for place in rows:
        direction = places.direction[used, place]
        courses = (unfolded(bands.fast[:, :, place], bands.counts), bands.slow[:, place])
        precision = np.zeros((len(direction), len(direction)))
        pull = np.zeros(len(direction))
        for (values, own, cross), course in zip(parts, courses, strict=True):
            chance = len(course) / float(direction @ own @ direction)
            power = float(course @ course) - chance
            if power > 2 * chance / np.sqrt(len(course)):
                share = power / (power + chance)
                by_noise = len(course) * cross[:, place]
                precision += share * power * own
                pull += share * own @ (course @ values - by_noise - power * direction)
        gained[place] = _marginal(precision, pull, error[:, place][used[1:]], direction)
    return gained


def _marginal(precision: Floats, pull: Floats, error: Floats, direction: Floats) -> float:
    """Return the log of E[exp(pull·e − e·precision·e/2)] over errors e of a direction."""
    scale = np.append(0, _SCALE * direction[1:])
    phase = np.append(0, _PHASE * (direction[1:] < 0))
    own = np.append(1e-6, error)
    factor = np.column_stack([np.diag(own), scale, phase])
    inner = np.eye(factor.shape[1]) + factor.T @ precision @ factor
    toward = factor.T @ pull
    solved = np.linalg.solve(inner, toward)
    return float(0.5 * toward @ solved - 0.5 * np.linalg.slogdet(inner)[1])


def posterior(gain: Floats, follows: Floats, project: Projection, prior: Floats) -> Floats:
    """Return the probability of each place."""
    log = gain + np.log(prior)
    alone = (project.places.kind == HOUSE) & (follows < _FOLLOWS)
    log = log + np.where(alone, _UNLIKE_ITSELF, 0)
    weight = np.exp(log - log.max())
    return np.asarray(weight / weight.sum())
