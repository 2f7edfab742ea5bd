"""Frames side by side: as the codec reads them, in the feeder's intervals."""

from collections.abc import Callable

import numpy as np
import pytest

import wire
from parwana.losses.readings import ReadingsError, aligned, columns

START_S = 1_767_205_800  # local midnight at UTC+5:30
ON = wire.FLAG_OUTPUT_CLOSED


def frame(time_s: int, energy_wh: int, power_dw: int, *, flags: int = ON, trust: int = 1) -> bytes:
    values = (time_s, energy_wh, power_dw, power_dw + 1, 1800, 2301, 2280, 500, 97, trust)
    return wire.pack_reading(flags, 7, *values)


def meter(step_s: int, watts: list[int], skip: tuple[int, ...] = ()) -> np.ndarray:
    """Return a meter's readings from START_S on, but those of the intervals `skip`."""
    wh, frames = 0.0, []
    for number, power in enumerate(watts, 1):
        wh += power * step_s / 3600
        if number not in skip:
            frames.append(frame(START_S + number * step_s, int(wh), power * 10))
    return columns(frames)


def one(house: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda _place: house


def test_the_columns_are_those_of_the_codec() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        high = (0x1000, 2**32, 2**32, 2**48, 2**32, 2**32, 2**32, 2**16, 2**16, 2**16, 101, 3)
        values = [int(rng.integers(0, most)) for most in high]
        values[0] &= ~wire.CONTROL_MASK
        packed = wire.pack_reading(*values)
        parsed, row = wire.parse(packed), columns([packed])[0]
        assert isinstance(parsed, wire.Reading)
        names = [name for name in row.dtype.names or () if name not in ("format", "kind", "trust")]
        assert [int(row[name]) for name in names] == [getattr(parsed, name) for name in names]
        assert row["trust"] == parsed.clock_trust


@pytest.mark.parametrize("step_s", [900, 3600])
def test_readings_of_one_interval_stand_side_by_side(step_s: int) -> None:
    """Intervals begin where local time says: UTC+5:30 is half an hour off for whole hours."""
    found = aligned(9, meter(step_s, [500, 700]), (1,), one(meter(step_s, [490, 680])))
    assert found.step_s == step_s
    assert found.end_s.tolist() == [START_S + step_s, START_S + 2 * step_s]
    assert found.head_power_w.tolist() == [500, 700]
    assert found.power_w[:, 0].tolist() == [490, 680]
    assert found.voltage_v[:, 0].tolist() == [230.1, 230.1]


def test_minutes_are_taken_together_by_the_register() -> None:
    head = meter(60, [600] * 60)
    found = aligned(9, head, (1,), one(meter(60, [300] * 30 + [900] * 30)))
    assert found.step_s == 900
    assert found.head_power_w[1:].tolist() == [600, 600, 600]
    assert found.power_w[1:, 0].tolist() == [300, 900, 900]


def test_a_missing_reading_is_closed_by_the_register() -> None:
    head = meter(900, [500] * 4)
    house = meter(900, [400, 480, 400, 400], skip=(2,))
    found = aligned(9, head, (1,), one(house))
    assert found.power_w[:, 0].tolist() == [400, 480, 400, 400]
    assert np.isnan(found.voltage_v[1, 0])


@pytest.mark.parametrize(
    "flag", [wire.FLAG_BOOT, wire.FLAG_SENSOR_SILENT, wire.FLAG_REGISTER_EVENT]
)
def test_where_a_meter_did_not_measure_throughout_its_register_tells(flag: int) -> None:
    frames = [frame(START_S + 900, 100, 4000), frame(START_S + 1800, 225, 1, flags=ON | flag)]
    found = aligned(9, meter(900, [600, 600]), (1,), one(columns(frames)))
    assert found.power_w[:, 0].tolist() == [400, 500]
    assert np.isnan(found.voltage_v[1, 0])


def test_polls_refine_the_register_and_never_overrule_it() -> None:
    """A register counts 125 Wh, 500 W; polls may say 503.4 W, as a Wh is 4 W, but not 600 W."""
    frames = [
        frame(START_S + 900, 100, 4000),
        frame(START_S + 1800, 225, 5034),
        frame(START_S + 2700, 350, 6000),
    ]
    found = aligned(9, meter(900, [600, 600, 600]), (1,), one(columns(frames)))
    assert found.power_w[:, 0].tolist() == [400, 503.4, 504]


def test_a_reading_of_an_unknown_time_counts_for_nothing() -> None:
    frames = [frame(START_S + 900, 100, 4000), frame(START_S + 1800, 200, 4000, trust=0)]
    found = aligned(9, meter(900, [600, 600]), (1,), one(columns(frames)))
    assert np.isnan(found.power_w[1, 0])


def test_a_meter_that_never_spoke_is_unknown_throughout() -> None:
    found = aligned(9, meter(900, [600, 600]), (1,), one(columns([])))
    assert np.isnan(found.power_w).all()


def test_a_feeder_without_readings_is_told() -> None:
    with pytest.raises(ReadingsError, match="feeder 9 has 0 readings of a known time"):
        aligned(9, columns([]), (1,), one(columns([])))
