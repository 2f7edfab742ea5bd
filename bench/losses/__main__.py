"""Let feeders live, rob some, and see who is found: `parwana losses` against two baselines.

    python -m bench.losses [--grids overhead-30,1-LV-rural2--0-no_sw] [--worlds 200] [--cases ...]
                           [--interval 900] [--processes 2] [--out build/losses]

Each world is 30 quiet days and 30 with a case, seeds fixed. A line of JSON a world goes to
OUT/GRID-INTERVAL.jsonl, and is not computed again; --table prints the tables of what is there.
SimBench's grids need what bench/losses/requirements.txt lists.
"""

import argparse
import json
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.losses import baselines, loads, table
from bench.losses.grids import Floats, Grid, overhead, simbench, simbench_profiles
from bench.losses.world import Case, Collapse, World, make
from parwana.losses import verdict
from parwana.losses.series import Series

GRIDS = "overhead-10,overhead-30,overhead-100,1-LV-rural1--0-no_sw,1-LV-rural2--0-no_sw,"
GRIDS += "1-LV-semiurb4--0-no_sw,1-LV-urban6--0-no_sw"
CASES = (
    *(Case(kind, share) for kind in ("low", "bypass") for share in (0.05, 0.1, 0.2, 0.5)),
    *(Case("tap", watts) for watts in (100.0, 200.0, 500.0, 1000.0, 2000.0)),
    Case("silent", 1.0),
    Case("honest"),
    Case("growth", 0.3),
    Case("ct", 5 / 6),
    Case("ct", 1.05),
    Case("swap"),
    Case("empty"),
    Case("skew", 240.0),
    Case("connection", 0.2),
)
_TRIES = 20


def world(name: str, case: Case, number: int, interval_s: int) -> tuple[World, Grid]:
    """Make world `number` of a cell; the same in every run."""
    for attempt in range(_TRIES):
        key = f"{name}/{case.kind}/{case.size}/{number}/{attempt}"
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        days = 30 if interval_s == 900 else 10
        options: dict[str, Any] = {"reference_days": days, "days": days, "interval_s": interval_s}
        options["parts"] = 3 if interval_s == 900 else 1
        if name.startswith("overhead-"):
            grid = overhead(int(name.split("-")[1]), rng)
        else:
            grid, profiles = simbench(name, rng)
            step_s = interval_s // options["parts"]
            library = simbench_profiles(name)
            options["watts"] = loads.recorded(profiles, library, 2 * days, step_s, rng)
        try:
            return make(grid, case, rng, **options), grid
        except Collapse:
            continue
    raise SystemExit(f"bench.losses: {name} carries no such load in {_TRIES} tries")


def quarters(series: Series) -> Series:
    """Take shorter intervals together as `parwana losses` does: by the registers, to 1 Wh."""
    count = 900 // series.step_s
    if count <= 1:
        return series

    def means(values: Floats) -> Floats:
        whole = values[: len(values) // count * count]
        return np.asarray(whole.reshape(-1, count, *values.shape[1:]).mean(axis=1))

    def counted(watts: Floats) -> Floats:
        found = means(watts)
        registers = np.floor(np.nancumsum(found, axis=0) / 4)
        return np.asarray(np.where(np.isnan(found[1:]), np.nan, np.diff(registers, axis=0) * 4))

    return Series(
        series.numbers,
        900,
        series.end_s[count - 1 :: count][1:],
        counted(series.power_w),
        means(series.voltage_v)[1:],
        counted(series.head_power_w),
        means(series.head_voltage_v)[1:],
    )


def one(job: tuple[str, Case, int, int]) -> dict[str, Any]:
    """Judge one world; return what is to be counted."""
    name, case, number, interval_s = job
    made, grid = world(name, case, number, interval_s)
    series = quarters(made.series)
    reference = series.between(0, made.from_s)
    window = series.between(made.from_s, int(series.end_s[-1]))
    began_s = time.process_time()
    found = verdict.judge(reference, window)
    took_s = time.process_time() - began_s
    true = None if made.house is None else made.house + 1
    ranking = sorted(found.houses, key=lambda house: -found.houses[house])
    row: dict[str, Any] = {
        "grid": name,
        "kind": case.kind,
        "size": case.size,
        "number": number,
        "houses": grid.houses,
        "alarm": found.alarm,
        "missing_w": round(found.missing_w, 2),
        "error_w": round(found.error_w, 2),
        "stolen_w": round(made.stolen_wh * 3600 / (series.end_s[-1] - made.from_s), 2),
        "limit_day": found.limits_w["day"] / found.feeder_w,
        "day_missing": [round(w / found.feeder_w, 6) for w in found.daily_w],
        "loss_share": made.loss_share,
        "named": [[s.kind, list(s.numbers), round(s.probability, 4)] for s in found.suspects],
        "innocent": list(found.innocent),
        "true": true,
        "near": [i + 1 for i in made.tap_near],
        "rank": ranking.index(true) + 1 if true else 0,
        "line": round(found.line, 4),
        "cpu_s": round(took_s, 2),
    }
    for baseline in (baselines.regression, baselines.correlation):
        order, tap = baseline(reference.complete(), window.complete())
        ours = baseline.__name__
        row[ours] = order.index(true - 1) + 1 if true else 0
        row[f"{ours}_tap"] = tap
    return row


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--grids", default=GRIDS)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--cases", default="", help="kinds, comma between; default: all")
    parser.add_argument("--interval", type=int, default=900)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/losses"))
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if not asked.table:
        kinds = set(asked.cases.split(",")) if asked.cases else {case.kind for case in CASES}
        cases = [case for case in CASES if case.kind in kinds]
        for name in asked.grids.split(","):
            path = asked.out / f"{name}-{asked.interval}.jsonl"
            run(path, name, cases, asked.worlds, asked.interval, asked.processes)
    table.show(asked.out)


def run(
    path: Path, name: str, cases: list[Case], worlds: int, interval_s: int, processes: int
) -> None:
    """Judge the worlds that the file does not hold yet; worlds by turns, so a stop loses none."""
    done = set()
    if path.exists():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        done = {(row["kind"], row["size"], row["number"]) for row in rows}
    jobs = [
        (name, case, number, interval_s)
        for number in range(worlds)
        for case in cases
        if (case.kind, case.size, number) not in done
    ]
    with ProcessPoolExecutor(processes) as pool, path.open("a") as file:
        for row in pool.map(one, jobs, chunksize=1):
            file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
