"""A verdict in words."""

from datetime import datetime, tzinfo

import numpy as np

from parwana.losses.alone import CLASS, SURE, Alone
from parwana.losses.inspections import WHAT
from parwana.losses.series import DAY_S, Series
from parwana.losses.verdict import NAMED, Suspect, Verdict

_MONTH_H = 720


def report(
    feeder: int, reference: Series, window: Series, verdict: Verdict, zone: tzinfo
) -> list[str]:
    """Return the lines of a report."""
    begin, end = (
        datetime.fromtimestamp(int(at_s), zone)
        for at_s in (window.end_s[0] - window.step_s, window.end_s[-1])
    )
    days = (reference.end_s[-1] - reference.end_s[0] + reference.step_s) / DAY_S
    share = 100 / max(verdict.feeder_w, 1e-9)
    limits = verdict.limits_w
    lines = [
        f"feeder {feeder}, {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, "
        f"{len(window.numbers)} meters, learnt from {days:.0f} quiet days",
        f"supplied {verdict.feeder_w:.0f} W on average; lines and meters account for "
        f"{verdict.loss_w:.1f} W ({verdict.loss_w * share:.2f} %)",
        f"missing {verdict.missing_w:.1f} W ± {verdict.error_w:.1f} W "
        f"({verdict.missing_w * share:.2f} %): "
        + ("more than chance" if verdict.alarm else "no more than chance"),
        f"a theft would show from {limits['day']:.0f} W in a day, {limits['week']:.0f} W in a "
        f"week, {limits['month']:.0f} W in a month",
    ]
    for suspect in verdict.suspects:
        lines += suspected(suspect)
    if verdict.alarm and not verdict.suspects and not verdict.innocent:
        best = sorted(verdict.houses, key=lambda number: -verdict.houses[number])[:3]
        likely = ", ".join(f"{number} ({100 * verdict.houses[number]:.0f} %)" for number in best)
        lines.append(
            f"nobody is named: no house reaches {100 * NAMED:.0f} %; the likeliest are {likely}, "
            f"the line itself {100 * verdict.line:.0f} %"
        )
    return [*lines, *(f"no theft: {text}" for text in verdict.innocent)]


def suspected(suspect: Suspect) -> list[str]:
    """Return what to look at, and why."""
    names = ", ".join(str(number) for number in suspect.numbers)
    if suspect.kind == "tap":
        where = f"the line near {names}" if names else "the line"
    else:
        where = f"house {names}" if len(suspect.numbers) == 1 else f"houses {names}"
    worth = suspect.probability * suspect.missing_w * _MONTH_H / 1000
    lines = [
        f"look first at {where}: {WHAT[suspect.kind]}, {100 * suspect.probability:.1f} %",
        f"  {suspect.missing_w:.0f} W are missing"
        + (f", {100 * suspect.share:.0f} % of what the house draws" if suspect.share else "")
        + f"; an inspection is worth {worth:.0f} kWh a month",
    ]
    return [*lines, *(f"  {text}" for text in suspect.why)]


def alone(feeder: int, found: Alone) -> list[str]:
    """Return what a window tells without a quiet time to learn from."""
    lines = [
        f"feeder {feeder}, without a quiet time to learn from: what was there all the time "
        "shows only where it follows a house's own load",
        f"missing at all hours, whatever is drawn: {found.steady_w:.0f} W "
        f"± {SURE * found.steady_error_w:.0f} W, the meters' own use included",
    ]
    for meter in found.named:
        why = (
            "no voltages tell whether it is so"
            if np.isnan(meter.mirror)
            else f"by the voltages of its neighbours {100 * meter.mirror:.0f} % "
            f"± {100 * found.mirror_error:.0f} %"
        )
        lines.append(
            f"look first at house {meter.number}: by the balance {100 * meter.share:.1f} % "
            f"± {100 * meter.error:.1f} % more flows than its meter shows, {why}"
        )
    if not found.named:
        lines.append(f"no meter shows less than flows by more than {100 * CLASS:.0f} %, surely")
    return lines
