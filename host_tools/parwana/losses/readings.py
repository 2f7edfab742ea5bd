"""Lay the readings of a feeder and its houses side by side."""

from collections.abc import Callable, Iterable

import numpy as np

import wire
from parwana.losses.series import Floats, Integers, Series, filled
from parwana.store.reader import Store

STEP_S = 900
_UNEVEN = (
    wire.FLAG_BOOT
    | wire.FLAG_SENSOR_SILENT
    | wire.FLAG_MAINS_OUTAGE
    | wire.FLAG_REGISTER_EVENT
    | wire.FLAG_STEP_HELD
)
# A reading frame as columns; the test holds it against wire.parse. Source: docs/protocol.md
_FRAME = np.dtype(
    [
        ("format", "u1"), ("kind", "u1"), ("flags", ">u2"), ("sequence", ">u4"),
        ("time_s", ">u4"), ("energy_wh", ">u8"), ("power_dw", ">u4"), ("power_max_dw", ">u4"),
        ("current_ma", ">u4"), ("voltage_dv", ">u2"), ("voltage_min_dv", ">u2"),
        ("frequency_dhz", ">u2"), ("power_factor_pct", "u1"), ("trust", "u1"),
    ]
)  # fmt: skip


class ReadingsError(ValueError):
    """The store does not hold what is needed; the text says what is missing."""


def columns(frames: Iterable[bytes]) -> np.ndarray:
    """Return readings as one array with a column a field."""
    return np.frombuffer(b"".join(frames), _FRAME)


def read(store: Store, feeder: int, from_s: int, to_s: int) -> Series:
    """Return what the meters of a feeder said of the intervals in from_s < end ≤ to_s.

    Intervals shorter than a quarter of an hour are taken together. Raises ReadingsError,
    StoreError.
    """
    rows = [row for row in store.meters() if row.number is not None and row.in_service]
    heads = {row.number: row.meter for row in rows if row.kind != 1}
    if feeder not in heads:
        there = ", ".join(str(number) for number in sorted(heads)) or "none yet"
        raise ReadingsError(f"no feeder {feeder} in the store; there are: {there}")
    houses = sorted((row.number, row.meter) for row in rows if row.feeder == feeder)
    if not houses:
        raise ReadingsError(f"no meter hangs on feeder {feeder}: there is nothing to compare")

    def of(meter: bytes) -> np.ndarray:
        return columns(store.loads(meter, from_s, to_s))

    return aligned(
        feeder,
        of(heads[feeder]),
        tuple(number for number, _ in houses),
        lambda place: of(houses[place][1]),
    )


def aligned(
    feeder: int, head: np.ndarray, numbers: tuple[int, ...], of: Callable[[int], np.ndarray]
) -> Series:
    """Put readings into the intervals of the feeder's own. Raises ReadingsError."""
    head = head[head["trust"] > 0]
    times = np.unique(head["time_s"].astype(np.int64))
    if len(times) < 2:
        raise ReadingsError(
            f"feeder {feeder} has {len(times)} readings of a known time then; choose another time"
        )
    gaps, counts = np.unique(np.diff(times), return_counts=True)
    own_s = int(gaps[counts.argmax()])
    step_s = STEP_S if own_s < STEP_S and STEP_S % own_s == 0 else own_s
    # A meter's intervals begin where local time says; quarters of an hour begin alike everywhere.
    phase_s = int(times[0]) % step_s if step_s == own_s else 0
    first = -(-(int(times[0]) - phase_s) // step_s) * step_s + phase_s
    end_s = np.arange(first, int(times[-1]) + 1, step_s)
    power = np.empty((len(end_s), len(numbers)))
    voltage = np.empty_like(power)
    for place in range(len(numbers)):
        power[:, place], voltage[:, place] = _of(of(place), end_s, step_s, own_s)
    head_w, head_v = _of(head, end_s, step_s, own_s)
    return Series(numbers, step_s, end_s, power, voltage, head_w, head_v)


def _of(found: np.ndarray, end_s: Integers, step_s: int, own_s: int) -> tuple[Floats, Floats]:
    """Return a meter's mean power and voltage in each interval, NaN where nobody knows.

    The register tells the power to 1 Wh; within that, the mean of what was polled tells it finer.
    Where the polls do not tell of the whole interval the register stands alone.
    """
    found = found[found["trust"] > 0]
    time_s = found["time_s"].astype(np.int64)
    slot = -((end_s[0] - time_s) // step_s)  # the interval that a time is in or ends
    on_time = (time_s - end_s[0]) % step_s == 0
    inside = (slot >= 0) & (slot < len(end_s))
    energy = np.full(len(end_s) + 1, np.nan)  # the register when an interval begins, and ends
    at_end = on_time & (slot >= -1) & (slot < len(end_s))
    energy[slot[at_end] + 1] = found["energy_wh"][at_end]
    power = np.diff(energy) * 3600 / step_s
    power[power < 0] = np.nan  # a second meter in this one's place
    if step_s == own_s:
        even = inside & on_time & (found["flags"] & _UNEVEN == 0)
        polled = found["power_dw"][even] / 10
        counted = np.where(np.isnan(power[slot[even]]), polled, power[slot[even]])
        rounding_w = 3600 / step_s
        power[slot[even]] = np.clip(polled, counted - rounding_w, counted + rounding_w)
    sound = inside & (found["flags"] & _UNEVEN == 0) & (found["voltage_dv"] > 0)
    sums = np.bincount(slot[sound], found["voltage_dv"][sound] / 10, len(end_s))
    counts = np.bincount(slot[sound], minlength=len(end_s))
    with np.errstate(invalid="ignore"):
        voltage = sums / counts
    whole = filled(power[:, None], energy[1:, None], step_s)[:, 0]
    return whole, voltage
