"""The tables of the bench: a cell a kind and size, ours beside the baselines."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.losses.world import INNOCENT

_HEAD = (
    "kind size worlds alarm told first top3 named wrong"
    " | regression:first top3 correlation:first top3"
)
Rows = list[dict[str, Any]]


def show(folder: Path) -> None:
    """Print the tables of all files in a folder."""
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        if rows:
            print(f"\n## {path.stem}: {len(rows)} worlds, {rows[0]['houses']} houses")
            print("\n".join(lines(rows)))


def lines(rows: Rows) -> list[str]:
    """Return the lines of a grid's table.

    `first` and `top3` of a house are its rank; of a tap, whether the house named first is the
    nearest of its phase, and whether one of those named is among the nearest three.
    """
    cells: dict[tuple[str, float], Rows] = defaultdict(list)
    for row in rows:
        cells[row["kind"], row["size"]].append(row)
    found = [_HEAD]
    for (kind, size), cell in cells.items():
        values = [_percent(cell, test) for test in _tests(kind)]
        found.append(f"{kind:10} {size:<7g} {len(cell):4} " + " ".join(f"{v:>5}" for v in values))
    honest = [row for row in rows if row["kind"] == "honest"]
    if honest:
        days = np.array([day for row in honest for day in row["day_missing"]])
        false = float(np.quantile(days, 0.99))
        limit = false + float(np.quantile(-(days - np.median(days)), 0.9))
        loss = np.mean([row["loss_share"] for row in honest])
        found.append(f"technical loss {100 * loss:.2f} % of the feeder's energy")
        found.append(
            f"a day: 1 % of honest days above {100 * false:.3f} %; "
            f"thefts of {100 * limit:.3f} % exceed that on 9 days of 10"
        )
    innocent = [row for row in rows if row["kind"] in INNOCENT]
    named = sum(bool(row["named"]) for row in innocent)
    found.append(f"no theft: {named} of {len(innocent)} feeder-months named anybody")
    took = [row["cpu_s"] for row in rows]
    found.append(f"seconds a feeder: median {np.median(took):.2f}, most {max(took):.2f}")
    return found


def _tests(kind: str) -> list[Callable[[dict[str, Any]], bool] | None]:
    house = kind in ("low", "bypass", "silent")
    tap = kind == "tap"
    nobody: list[Callable[[dict[str, Any]], bool] | None] = [None] * 6
    common: list[Callable[[dict[str, Any]], bool] | None] = [lambda row: row["alarm"]]
    if tap:
        return [
            *common,
            lambda row: [s[0] for s in row["named"]] == ["tap"],
            lambda row: bool(row["named"]) and row["named"][0][1][:1] == row["near"][:1],
            lambda row: (
                bool(row["named"]) and bool(set(row["named"][0][1]) & set(row["near"][:3]))
            ),
            lambda row: bool(row["named"]),
            lambda row: any(s[0] != "tap" for s in row["named"]),
            lambda row: row["regression_tap"],
            None,
            lambda row: row["correlation_tap"],
            None,
        ]
    if not house:
        return [*common, None, None, None, lambda row: bool(row["named"]), *nobody[:5]]
    return [
        *common,
        lambda row: [s[0] for s in row["named"]] == [row["kind"]],
        lambda row: row["rank"] == 1,
        lambda row: row["rank"] <= 3,
        lambda row: any(row["true"] in s[1] for s in row["named"]),
        lambda row: any(row["true"] not in s[1] for s in row["named"]),
        lambda row: row["regression"] == 1,
        lambda row: row["regression"] <= 3,
        lambda row: row["correlation"] == 1,
        lambda row: row["correlation"] <= 3,
    ]


def _percent(cell: Rows, test: Callable[[dict[str, Any]], bool] | None) -> str:
    if test is None:
        return "-"
    return f"{100 * sum(test(row) for row in cell) / len(cell):.0f}%"
