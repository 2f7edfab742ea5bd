"""Without a quiet time: meters that show less than flows, by the balance and by the line."""

import numpy as np
import pytest

from bench.losses.grids import overhead
from bench.losses.world import Case, make
from parwana.losses.alone import CLASS, Alone, Meter, look

HOUSES = 20


def found(kind: str, size: float) -> tuple[Alone, int]:
    """Return what is told of a feeder on which it was so from the first day, and the house."""
    rng = np.random.default_rng(11)
    made = make(overhead(HOUSES, rng), Case(kind, size), rng, reference_days=0, days=20)
    return look(made.series), -1 if made.house is None else made.house + 1


def test_a_meter_that_always_read_low_is_found_in_two_ways() -> None:
    told, number = found("low", 0.15)
    [meter] = told.named
    true = 0.15 / 0.85
    assert meter.number == number
    assert meter.share == pytest.approx(true, abs=0.02)
    assert meter.mirror == pytest.approx(true, abs=3 * told.mirror_error)
    others = [abs(one.mirror) for one in told.meters if one.number != number]
    assert np.nanmedian(others) < abs(meter.mirror) / 2


def test_honest_meters_are_not_named() -> None:
    told, _ = found("honest", 0.0)
    assert told.named == ()
    assert all(abs(meter.share) < CLASS for meter in told.meters)


def test_a_tap_that_was_always_there_names_nobody() -> None:
    told, _ = found("tap", 300.0)
    assert told.named == ()


def test_two_kinds_of_evidence_that_contradict_each_other_name_nobody() -> None:
    one = Meter(
        1,
        0.20,
        0.01,
        0.19,
    )
    other = Meter(2, 0.20, 0.01, -0.10)
    silent = Meter(3, 0.20, 0.01, float("nan"))
    assert Alone((one, other, silent), 0.0, 1.0, 0.03).named == (one, silent)
