"""A feeder lives: currents by power flow, meters of the PZEM's class, and perhaps a thief."""

from dataclasses import dataclass

import numpy as np

from bench.losses import loads
from bench.losses.grids import NEUTRAL, Complexes, Floats, Grid
from parwana.losses.series import DAY_S, Series, filled

START_S = 1_767_205_800
_CLASS = 0.005  # of a PZEM-004T: voltage, current, power and energy. Source: its manual
_TEMPERATURE = 30e-6  # a kelvin, standard deviation over meters
_SKEW_S = 30
_MISSING = 0.01
_CHUNK = 2880

THEFTS = ("low", "bypass", "tap", "silent")
INNOCENT = ("honest", "skew", "ct", "swap", "empty", "connection", "growth")


class Collapse(ArithmeticError):
    """The line cannot carry the load: no such feeder lives for long."""


@dataclass(frozen=True)
class Case:
    """What is wrong from the reference's end on: a share of a house, or the watts of a tap."""

    kind: str = "honest"
    size: float = 0.0


@dataclass(frozen=True)
class World:
    """What the meters say, and the truth: the house (column) or the node and phase concerned."""

    series: Series
    from_s: int
    case: Case
    house: int | None
    tap_near: tuple[int, ...]
    stolen_wh: float
    loss_share: float


def flow(
    grid: Grid,
    nodes: np.ndarray,
    drops: Complexes,
    phases: np.ndarray,
    apparent: Complexes,
    source: Complexes,
) -> tuple[Complexes, Complexes, Complexes]:
    """Return each load's voltage, and the busbar's voltages and currents by phase.

    apparent [step, load] is in VA, source [step, phase] the voltage behind the transformer.
    """
    shared = grid.shared_ohm(nodes)
    same = phases[:, None] == phases
    ohm = same * (shared + grid.transformer_ohm) + NEUTRAL * shared + np.diag(drops)
    voltage = np.empty(apparent.shape, complex)
    current = np.empty(apparent.shape, complex)
    for start in range(0, len(apparent), _CHUNK):
        part = slice(start, start + _CHUNK)
        ideal = source[part][:, phases]
        v = ideal.copy()
        for _ in range(20):
            i = np.conj(apparent[part] / v)
            new = ideal - i @ ohm.T
            moved = np.abs(new - v).max()
            v = new
            if moved < 1e-4:
                break
        else:
            raise Collapse(f"voltages below {np.abs(v).min():.0f} V")
        voltage[part], current[part] = v, np.conj(apparent[part] / v)
    of_phase = (phases[:, None] == np.arange(source.shape[1])).astype(complex)
    total = current @ of_phase
    return voltage, source - grid.transformer_ohm * total, total


def make(
    grid: Grid,
    case: Case,
    rng: np.random.Generator,
    *,
    reference_days: int = 30,
    days: int = 30,
    interval_s: int = 900,
    parts: int = 3,
    watts: Floats | None = None,
) -> World:
    """Let a feeder live for reference_days + days; `case` begins when the reference ends."""
    step_s = interval_s // parts
    all_days = reference_days + days
    if watts is None:
        watts = loads.appliances(grid.houses, all_days, step_s, rng)
    steps, houses = watts.shape
    late = np.arange(steps) * step_s >= reference_days * DAY_S
    chosen = int(rng.integers(houses))
    if case.kind == "growth":
        watts = np.where(late[:, None], watts * (1 + case.size), watts)
    if case.kind == "empty":
        watts = np.where(late[:, None] & (np.arange(houses) == chosen), 0, watts)
    reactive = loads.reactive(watts, rng)
    unmetered = np.zeros(steps)
    if case.kind in ("low", "bypass"):
        unmetered = watts[:, chosen] * _share(case, steps, step_s, rng) * late
    nodes, drops = grid.house_node, grid.drop_ohm.copy()
    phases = np.asarray(rng.integers(0, 3, houses))
    apparent = watts + 1j * reactive
    if case.kind == "tap":
        node = int(rng.integers(1, len(grid.parent)))
        nodes, drops = np.append(nodes, node), np.append(drops, 0.02)
        phases = np.append(phases, rng.integers(0, 3))
        course = loads.tap(steps, step_s, case.size, rng) * late
        apparent = np.hstack([apparent, (course * (1 + 0.2j))[:, None]])
    source = _source(steps, step_s, rng)
    if case.kind == "swap":
        apparent[:, chosen] *= ~late
    voltage, busbar, total = flow(grid, nodes, drops, phases, apparent, source)
    burnt = np.zeros(steps)
    if case.kind == "connection":  # a loose clamp of so many ohm; the others hardly feel it
        current = np.abs(apparent[:, chosen] / voltage[:, chosen])
        voltage[:, chosen] *= 1 - case.size * current * late / np.abs(voltage[:, chosen])
        burnt = case.size * current**2 * late
    magnitude = np.abs(voltage[:, :houses])
    if case.kind == "swap":
        other = np.abs(_source(steps, step_s, rng)[:, 0]) - watts[:, chosen] / 230 * 0.2
        magnitude[:, chosen] = np.where(late, other, magnitude[:, chosen])
    metered = watts.copy()
    metered[:, chosen] -= unmetered
    head = (busbar * np.conj(total)).real.sum(axis=1) + burnt
    true = np.column_stack([metered, head])
    volts = np.column_stack([magnitude, np.abs(busbar).mean(axis=1)])
    series = _meters(true, volts, case, chosen, late, interval_s, parts, rng)
    stolen = unmetered
    if case.kind == "silent":
        stolen = watts[:, chosen] * late
    if case.kind == "tap":
        stolen = apparent[:, -1].real
    return World(
        series,
        START_S + reference_days * DAY_S,
        case,
        chosen if case.kind not in ("tap", "honest", "growth", "ct") else None,
        _near(grid, node, phases) if case.kind == "tap" else (),
        float(stolen.sum() * step_s / 3600),
        float(1 - watts.sum() / head.sum()) if case.kind in ("honest", "growth") else 0.0,
    )


def _share(case: Case, steps: int, step_s: int, rng: np.random.Generator) -> Floats:
    if case.kind == "low":
        return np.full(steps, case.size)
    # Some circuits go around the meter: how much of the load that is changes every two hours.
    blocks = -(-steps * step_s // 7200)
    drawn = rng.beta(case.size * 1.5, (1 - case.size) * 1.5, blocks)
    return np.asarray(np.repeat(drawn, 7200 // step_s)[:steps])


def _source(steps: int, step_s: int, rng: np.random.Generator) -> Complexes:
    """Return the voltage of the three phases behind the transformer: it moves as in a grid."""
    hour = np.arange(steps) * step_s / 3600
    keep = np.exp(-step_s / 3600)
    shocks = rng.standard_normal((steps, 3)) * np.sqrt(1 - keep**2)
    shocks = shocks[:, :1] * 1.2 + shocks * 0.25
    walk = _filtered(shocks, keep)
    level = 236 + rng.normal(0, 1.5) - 2 * np.sin((hour[:, None] - 12) * np.pi / 12) + walk
    level = level + rng.normal(0, 0.4, 3)
    return np.asarray(level * np.exp(-2j * np.pi * np.arange(3) / 3))


def _filtered(shocks: Floats, keep: float) -> Floats:
    found = shocks.copy()
    for i in range(1, len(found)):
        found[i] += keep * found[i - 1]
    return found


def _meters(
    true: Floats,
    volts: Floats,
    case: Case,
    chosen: int,
    late: np.ndarray,
    interval_s: int,
    parts: int,
    rng: np.random.Generator,
) -> Series:
    """Return what PZEM-004Ts and the firmware make of it; the last column is the feeder's."""
    steps, meters = true.shape
    skew_s = rng.uniform(-_SKEW_S, _SKEW_S, meters)
    days = -(-steps * interval_s // parts // DAY_S)
    hour = np.arange(steps) * (interval_s / parts) / 3600
    warm = (
        6 * np.sin((hour - 9) * np.pi / 12)
        + np.repeat(3 * rng.standard_normal(days), -(-steps // days))[:steps]
    )
    gains = []
    for quantity in (true, volts):
        drift = rng.normal(0, _TEMPERATURE, meters)
        gain = rng.uniform(-_CLASS, _CLASS, meters)
        gains.append(quantity * (1 + gain + drift * warm[:, None]))
    power, voltage = gains
    power *= 1 + 0.0003 * rng.standard_normal(power.shape)
    voltage += 0.03 * rng.standard_normal(voltage.shape)
    if case.kind == "ct":
        power[:, -1] *= np.where(late, case.size, 1)
    power[power < 0.4] = 0
    count = steps // parts
    ends_late = late[::parts][:count]
    skews = np.tile(skew_s, (count, 1))
    if case.kind == "skew":
        skews[:, chosen] = np.where(ends_late, case.size, skews[:, chosen])
    mean_w, mean_v = (_means(x, skews, interval_s, parts) for x in (power, voltage))
    energy_wh = np.floor(np.cumsum(mean_w, axis=0) * interval_s / 3600)
    mean_w, mean_v = np.round(mean_w, 1), np.round(mean_v, 1)
    lost = rng.random(mean_w.shape) < _MISSING
    if case.kind in ("silent", "empty"):
        lost[:, chosen] |= ends_late
    for values in (mean_w, mean_v, energy_wh):
        values[lost] = np.nan
    whole = filled(mean_w, energy_wh, interval_s)
    return Series(
        tuple(range(1, meters)),
        interval_s,
        START_S + interval_s * np.arange(1, count + 1),
        whole[:, :-1],
        mean_v[:, :-1],
        whole[:, -1],
        mean_v[:, -1],
    )


def _means(values: Floats, skew_s: Floats, interval_s: int, parts: int) -> Floats:
    """Return the interval means of a meter whose clock is ahead or behind by up to a part."""
    shaped = values[: len(values) // parts * parts].reshape(-1, parts, values.shape[1])
    first, last = shaped[:, 0], shaped[:, -1]
    after = np.vstack([first[1:], last[-1:]]) - first
    before = np.vstack([first[:1], last[:-1]]) - last
    return np.asarray(
        shaped.mean(axis=1) + np.where(skew_s > 0, skew_s * after, -skew_s * before) / interval_s
    )


def _near(grid: Grid, node: int, phases: np.ndarray) -> tuple[int, ...]:
    """Return the houses (columns) of the tap's phase, the electrically nearest first."""
    nodes = np.append(grid.house_node, node)
    shared = np.abs(grid.shared_ohm(nodes))
    apart = shared.diagonal()[:-1] + shared[-1, -1] - 2 * shared[-1, :-1]
    own = np.flatnonzero(phases[:-1] == phases[-1])
    return tuple(int(i) for i in own[np.argsort(apart[own], kind="stable")])
