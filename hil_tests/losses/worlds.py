"""Small feeders, of which each is judged once; and a store that holds what one's meters said."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import wire
from bench.losses.grids import overhead
from bench.losses.world import START_S, Case, World, make
from hil_tests.meter.test_pairing import DEPLOYMENT
from parwana.losses.series import Series
from parwana.losses.verdict import Verdict, judge
from parwana.store.reader import SignedFrame, Store

HOUSES, DAYS = 10, 12
FEEDER = 900


@cache
def world(kind: str = "honest", size: float = 0.0) -> World:
    """Return a feeder that lives quietly for DAYS, and then for DAYS with a case."""
    rng = np.random.default_rng(5)
    return make(overhead(HOUSES, rng), Case(kind, size), rng, reference_days=DAYS, days=DAYS)


def halves(made: World) -> tuple[Series, Series]:
    """Return reference and window."""
    series = made.series
    return series.between(0, made.from_s), series.between(made.from_s, int(series.end_s[-1]))


@cache
def judged(kind: str = "honest", size: float = 0.0) -> tuple[Verdict, World]:
    """Return what is said of a world, and the world."""
    made = world(kind, size)
    return judge(*halves(made)), made


def low() -> World:
    """Return a feeder of 8 houses that lives by the hour; in the end one meter reads 30 % low."""
    rng = np.random.default_rng(8)
    grid, case = overhead(8, rng), Case("low", 0.3)
    return make(grid, case, rng, reference_days=DAYS, days=DAYS, interval_s=3600, parts=4)


def stored(series: Series, folder: Path) -> Path:
    """Return a deployment file whose store holds what a feeder's meters said."""
    url = f"sqlite:///{folder}/store.db"
    store = Store(url)
    meters = [(FEEDER, 2, 0, series.head_power_w, series.head_voltage_v)]
    meters += [
        (number, 1, FEEDER, series.power_w[:, i], series.voltage_v[:, i])
        for i, number in enumerate(series.numbers)
    ]
    for number, kind, feeder, watts, volts in meters:
        address = number.to_bytes(20, "big")
        with store.transaction() as tx:
            tx.enrol(address, number, kind, feeder)
            tx.add_frames(address, frames(address, series.end_s, watts, volts), START_S)
    store.close()
    path = folder / "town.json"
    replace(DEPLOYMENT, store=url, utc_offset_s=19_800).save(path)
    return path


def frames(address: bytes, end_s: Any, watts: Any, volts: Any) -> list[SignedFrame]:
    """Return a meter's readings as the store takes them; none where it said nothing."""
    energy = np.nancumsum(watts)
    made = []
    for number, time_s in enumerate(end_s, 1):
        if np.isnan(watts[number - 1]) or np.isnan(volts[number - 1]):
            continue
        wh, dw, dv = int(energy[number - 1]), round(watts[number - 1] * 10), volts[number - 1] * 10
        values = (int(time_s), wh, dw, dw, 0, round(dv), round(dv), 500, 97, 1)
        frame = wire.pack_reading(wire.FLAG_OUTPUT_CLOSED, number, *values)
        made.append(SignedFrame(address, number, frame, bytes(64), int(time_s)))
    return made
