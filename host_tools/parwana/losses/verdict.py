"""From readings to a verdict: what is missing, what kind of loss it is, and where to look."""

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from parwana.losses import innocent, naming, suspects, weigh
from parwana.losses import model as models
from parwana.losses.inspections import Prior
from parwana.losses.naming import NAMED, Suspect
from parwana.losses.series import DAY_S, Floats, Integers, Series, block_means
from parwana.losses.suspects import HEAD, HOUSE, LINE

ALARM = 1 / 1000  # false alarms a window
_BLOCKS = 10
_SILENT = 0.2  # of the intervals
_LEAST = 8  # intervals of a window
_DRIFT = 2e-4  # of a feeder's power: a month of a PZEM's, which no reference has seen
_AS_MUCH = 0.95
_SILENCE = 10.0
_OHM = 0.02  # relative error of each Z beside that of the regression
EVEN = Prior({}, 0.5)


@dataclass(frozen=True)
class Verdict:
    """What the readings of a feeder say of a window; powers are means, in W.

    `chance` is how often shuffled quiet days do as well as the best house; `pattern` has, for each
    house whose voltage tells, (number, ohm seen, ohm expected) of the likeliest place.
    """

    missing_w: float
    error_w: float
    alarm: bool
    chance: float
    limits_w: dict[str, float]
    feeder_w: float
    loss_w: float
    suspects: tuple[Suspect, ...]
    innocent: tuple[str, ...]
    houses: dict[int, float]
    line: float
    pattern: tuple[tuple[int, float, float], ...]
    daily_w: Floats = field(repr=False)


def judge(reference: Series, window: Series, *, prior: Prior = EVEN, seed: int = 0) -> Verdict:
    """Judge a window by a quiet reference. Raises TooLittle."""
    reference, window = reference.complete(), window.complete()
    learnt = models.learn(reference)
    if len(window) < _LEAST:
        raise models.TooLittle(
            f"{len(window)} complete intervals in the window are too few; take a longer one"
        )
    silent = np.isnan(window.power_w).mean(axis=0) > _SILENT
    left = learnt.residual(window)
    stranger = innocent.strangers(left, window) & ~silent
    if stranger.any():
        window = window.without(stranger)
        left = learnt.residual(window)
    used = np.array([True, *_informative(learnt, reference) & ~silent & ~stranger])
    left = np.where(used, np.nan_to_num(left), 0)
    block_s = _block_s(reference)
    blocks, before = window.block(block_s), reference.block(block_s)
    degrees = len(np.unique(before)) - 1
    feeder_w = float(window.head_power_w.mean())
    daily = block_means(left[:, :1], blocks)[0][:, 0]
    day_w = _block_spread(learnt.left[:, 0], before)
    rows = len(reference) / (degrees + 1)
    learnt_w = learnt.energy_error(window, day_w * np.sqrt(rows))
    error_w = float(np.sqrt(day_w**2 / len(daily) + learnt_w**2 + (_DRIFT * feeder_w) ** 2))
    missing_w = float(daily.mean())
    beyond = abs(missing_w) > quantile(ALARM, degrees) * error_w
    project = suspects.projection(learnt, used, before)
    bands = project.bands(left, blocks)
    profiles = weigh.Profiles.of(window.power_w, blocks, project.places.near, project.places.kind)
    noise = _wider(project, left, blocks)
    fitted = weigh.fit(project, profiles, bands, noise)
    chance = weigh.by_chance(project, profiles, np.random.default_rng(seed))
    houses = project.places.kind == HOUSE
    as_good = int((chance >= fitted.gain[houses].max()).sum())
    p_value = (1 + as_good) / (1 + len(chance))
    gain = fitted.gain + weigh.forgiven(
        fitted, project, _direction_error(learnt, project), left, blocks, bands, noise
    )
    hidden = _hidden(project, gain, silent)
    if hidden is not None:
        gain[hidden] = gain.max() + _SILENCE
    weights = weigh.posterior(
        gain, fitted.follows, project, naming.prior(window, project, silent, prior)
    )
    told: list[Suspect] = []
    if beyond and missing_w > 0:
        told = naming.named(window, project, fitted, weights, silent, missing_w, p_value)
    meter = fitted.share[project.places.kind == HEAD][0]
    return Verdict(
        missing_w=missing_w,
        error_w=error_w,
        alarm=bool(beyond and missing_w > 0),
        chance=p_value,
        limits_w=_limits(day_w, _DRIFT * feeder_w, block_s, degrees),
        feeder_w=feeder_w,
        loss_w=feeder_w - float(np.nansum(window.power_w, axis=1).mean()) - missing_w,
        suspects=tuple(told),
        innocent=(
            *(
                f"{window.numbers[i]} is not supplied by this feeder, which lacks what its meter "
                "shows: it hangs on another line"
                for i in np.flatnonzero(stranger)
            ),
            *_unbalanced(beyond, missing_w, weights, project, float(meter)),
            *(() if beyond else innocent.clocks(left, window)),
            *(
                text
                for number, text in innocent.connections(left, window, used)
                if all(number not in suspect.numbers for suspect in told)
            ),
        ),
        houses={
            window.numbers[near]: float(weight)
            for near, weight in zip(project.places.near[houses], weights[houses], strict=True)
        },
        line=float(weights[project.places.kind == LINE].sum()),
        pattern=_pattern(window, learnt, project, bands, left, int(np.argmax(weights))),
        daily_w=daily,
    )


def _unbalanced(
    beyond: bool, missing_w: float, weights: Floats, project: suspects.Projection, share: float
) -> list[str]:
    """Tell of a feeder's meter that is wrong by a factor, and of more sold than was supplied."""
    if beyond and weights[project.places.kind == HEAD][0] >= NAMED:
        which = "high" if share > 0 else "low"
        return [
            f"the feeder's own meter reads {100 * abs(share):.1f} % {which}: see to its current "
            "transformers and its settings"
        ]
    if beyond and missing_w < 0:
        return [
            f"{-missing_w:.0f} W more are metered in the houses than at the feeder: a house of "
            "another feeder is counted here, or a phase of the feeder's meter is missing"
        ]
    return []


def _pattern(
    window: Series,
    learnt: models.Model,
    project: suspects.Projection,
    bands: suspects.Bands,
    left: Floats,
    place: int,
) -> tuple[tuple[int, float, float], ...]:
    """Return what a place's power did to each voltage, and what it should have done, in ohm."""
    course = suspects.unfolded(bands.fast[:, :, place] + bands.slow[:, None, place], bands.counts)
    power = float(course @ course)
    if not power:
        return ()
    seen = -(course @ left[:, 1:]) / power * learnt.typical_v
    expected = -project.places.direction[1:, place] * learnt.typical_v
    told = np.flatnonzero(project.used[1:])
    return tuple((window.numbers[i], float(seen[i]), float(expected[i])) for i in told)


def _block_s(reference: Series) -> int:
    span = int(reference.end_s[-1] - reference.end_s[0]) + reference.step_s
    if span >= _BLOCKS * DAY_S:
        return DAY_S
    steps = max(1, span // _BLOCKS // reference.step_s)
    return int(steps * reference.step_s)


def _block_spread(values: Floats, block: Integers) -> float:
    means = block_means(values[:, None], block)[0][:, 0]
    alike = float(np.corrcoef(means[:-1], means[1:])[0, 1]) if len(means) > 4 else 0.0
    return float(means.std(ddof=1) * np.sqrt(1 + 2 * max(0.0, alike)))


def quantile(alpha: float, degrees: int) -> float:
    """Return what Student's t exceeds with probability alpha.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z, n = NormalDist().inv_cdf(1 - alpha), float(max(degrees, 1))
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / n**power for power, term in enumerate(terms))


def _limits(day_w: float, drift_w: float, block_s: int, degrees: int) -> dict[str, float]:
    """Return the theft that shows in 9 of 10 windows at 1 % false alarms."""
    found = {}
    for name, days in (("day", 1), ("week", 7), ("month", 30)):
        count = max(1.0, days * DAY_S / block_s)
        error = np.sqrt(day_w**2 * (1 / count + 1 / (degrees + 1)) + drift_w**2)
        found[name] = float((quantile(0.01, degrees) + quantile(0.1, degrees)) * error)
    return found


def _informative(learnt: models.Model, reference: Series) -> NDArray[np.bool_]:
    """Tell whose voltage says anything of the loads."""
    moves = np.nanstd(reference.voltage_v, axis=0) > 0.05
    told = np.diag(learnt.ohm) > 4 * np.diag(learnt.ohm_error)
    return np.asarray(moves & told)


def _wider(project: suspects.Projection, left: Floats, block: Integers) -> tuple[float, float]:
    """Return how much more noise there is now than in the reference, never less than 1.

    What one place draws, or two, moves the channels in one direction, or two: the others tell.
    """
    used = project.used
    means, _, fast = suspects.parted(left, block)
    lower = np.linalg.cholesky(project.correlation[np.ix_(used, used)])
    parts = ((fast, project.fast.spread), (means - means.mean(axis=0), project.slow.spread))
    found = []
    for values, spread in parts:
        white = np.linalg.solve(lower, (values / spread)[:, used].T)
        powers = np.linalg.svd(white, compute_uv=False) ** 2 / white.shape[1]
        rest = powers[2:].sum() / max(1, used.sum() - 2) if used.sum() > 4 else 1.0
        found.append(max(1.0, float(rest)))
    return found[0], found[1]


def _hidden(project: suspects.Projection, gain: Floats, silent: NDArray[np.bool_]) -> int | None:
    """Return the place of a silent house that explains about as much as any place does.

    A meter that fell silent and power that went missing are one thing rather than two.
    """
    places = np.flatnonzero((project.places.kind == HOUSE) & silent[project.places.near])
    if not len(places):
        return None
    best = int(places[np.argmax(gain[places])])
    return best if gain[best] > _AS_MUCH * gain.max() else None


def _direction_error(learnt: models.Model, project: suspects.Projection) -> Floats:
    """Return by how much each place's direction may be off, [house, place] in 1/A."""
    near = project.places.near
    ohm = np.abs(project.places.direction[1:]) * learnt.typical_v
    return np.asarray(np.hypot(learnt.ohm_error[:, near], _OHM * ohm) / learnt.typical_v)
