"""Who took what was missing: asked of `parwana losses`, told in a line."""

import json
from datetime import UTC, datetime
from typing import Any

from parwana.demo.rehearsal import Rehearsal
from parwana.losses.inspections import WHAT
from parwana.world.programs import parwana, run

_LOSSES_S = 120


def losses(world: Rehearsal, first: int, feeder: int, month: int) -> dict[str, Any]:
    """Ask who took what is missing in a month, by what came before it."""
    deployment = world.deployment
    from_, to = (
        datetime.fromtimestamp(
            deployment.periods.start(first + number) + deployment.utc_offset_s, UTC
        ).strftime("%Y-%m-%dT%H:%M")
        for number in (month - 1, month)
    )
    asked = (str(feeder), "--from", from_, "--to", to)
    command = parwana("losses", *asked, "--deployment", world.deployment_path, "--json")
    told: dict[str, Any] = json.loads(run("parwana losses", command, _LOSSES_S))
    return told


def kinds(report: dict[str, Any]) -> list[str]:
    """Return what kinds of theft were told."""
    return [suspect["kind"] for suspect in report["losses"]["suspects"]]


def lines(losses: dict[str, Any]) -> list[str]:
    """Return what is said of each suspect."""
    return [_line(losses, suspect) for suspect in losses["suspects"]]


def _line(losses: dict[str, Any], suspect: dict[str, Any]) -> str:
    near = ", ".join(str(number) for number in suspect["numbers"])
    where = f" near house {near}" if near else ""
    return (
        f"{losses['feeder']}, month {losses['month']}: {WHAT[suspect['kind']]}{where}, "
        f"{100 * suspect['probability']:.0f} % sure, {suspect['missing_w']:.0f} W"
    )
