"""Time `parwana losses` on a feeder of 200 houses: a store on disk, one process, one core.

    python -m bench.losses.speed [--houses 200] [--learn 30] [--days 30]

Exit code 1 where it takes more than CEILING_S of processor time. What it says is what the command
says: one meter reads 20 % low in the second half.
"""

import argparse
import os
import resource
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import wire
from bench.losses.grids import overhead
from bench.losses.world import START_S, Case, make
from parwana.chain.deployment import Deployment
from parwana.losses.series import Floats, Series
from parwana.store.reader import SignedFrame, Store, signed_frame
from parwana.world.programs import parwana

CEILING_S = 10.0
FEEDER = 9000
_OFFSET_S = 19_800


def main() -> None:
    """Build the store, run the command, tell what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--houses", type=int, default=200)
    parser.add_argument("--learn", type=int, default=30)
    parser.add_argument("--days", type=int, default=30)
    asked = parser.parse_args()
    rng = np.random.default_rng(200)
    days = {"reference_days": asked.learn, "days": asked.days}
    made = make(overhead(asked.houses, rng), Case("low", 0.2), rng, **days)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/store.db"
        fill(url, made.series)
        deployment(url).save(folder / "town.json")
        from_ = datetime.fromtimestamp(made.from_s + _OFFSET_S, UTC).strftime("%Y-%m-%d")
        end_s = int(made.series.end_s[-1]) + _OFFSET_S
        to = datetime.fromtimestamp(end_s, UTC).strftime("%Y-%m-%dT%H:%M")
        command = parwana("losses", str(FEEDER), "--deployment", folder / "town.json")
        one_core = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--from", from_, "--to", to], check=True, env=one_core)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{asked.houses} houses, {asked.learn} + {asked.days} days: {took_s:.1f} s of one core")
    raise SystemExit(took_s > CEILING_S)


def fill(url: str, series: Series) -> None:
    """Write what the meters said; whoever checks signatures will find none."""
    store = Store(url)
    numbers = [FEEDER, *series.numbers]
    with store.transaction() as tx:
        for number in numbers:
            kind, feeder = (2, 0) if number == FEEDER else (1, FEEDER)
            tx.enrol(number.to_bytes(20, "big"), number, kind, feeder)
    watts = np.column_stack([series.head_power_w, series.power_w])
    volts = np.column_stack([series.head_voltage_v, series.voltage_v])
    for place, number in enumerate(numbers):
        made = readings(number, series, watts[:, place], volts[:, place])
        with store.transaction() as tx:
            tx.add_frames(number.to_bytes(20, "big"), made, START_S)
    store.close()


def readings(number: int, series: Series, watts: Floats, volts: Floats) -> list[SignedFrame]:
    """Return the readings of one meter."""
    address = number.to_bytes(20, "big")
    energy = np.nancumsum(watts) * series.step_s / 3600
    rows = []
    for i in np.flatnonzero(~np.isnan(watts) & ~np.isnan(volts)):
        time_s, dw, dv = int(series.end_s[i]), round(watts[i] * 10), round(volts[i] * 10)
        values = (int(i) + 1, time_s, int(energy[i]), dw, dw, 0, dv, dv, 500, 97, 1)
        frame = wire.pack_reading(wire.FLAG_OUTPUT_CLOSED, *values)
        rows.append(signed_frame(address, frame, bytes(64)))
    return rows


def deployment(url: str) -> Deployment:
    """Return a deployment whose chain nobody asks."""
    address = "0x" + "11" * 20
    return Deployment(
        utility_id="bench",
        chain_id=31337,
        rpc="http://127.0.0.1:1",
        registry=address,
        energy_ledger=address,
        payment_ledger=address,
        permit_threshold=1,
        permit_signers=["11" * 64],
        period={"kind": "month"},
        utc_offset_s=_OFFSET_S,
        payment_window_s=86400,
        broker="mqtt://127.0.0.1:1",
        store=url,
    )


if __name__ == "__main__":
    main()
