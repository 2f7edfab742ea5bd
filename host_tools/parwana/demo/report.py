"""What the demo shows at its end, and what of it is not as the story demands."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import wire
from parwana.audit.command import FOUND
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.periods import DAY_S
from parwana.demo import theft
from parwana.demo.evidence import Evidence, address_of, drain
from parwana.demo.rehearsal import Rehearsal
from parwana.store import signatures
from parwana.world.programs import parwana, run

ALARMS = {0: None, 1: "theft", 2: "over-billing", 3: None}
INCOMPARABLE = 3
_AUDIT_S = 120
_PROVEN = 4  # what a proof says with a node: the frame, its leaf, the ledger, the log
REASONS = {
    getattr(wire, name): name[len("REASON_") :].lower()
    for name in dir(wire)
    if name.startswith("REASON_")
}


def collect(
    world: Rehearsal,
    first: int,
    offline: tuple[int, float, float],
    cut: int,
    tapped: tuple[int, int],
) -> dict[str, Any]:
    """Return the report.

    `first` is the first whole period, `offline` (house, from, to), `cut` the house whose power was
    cut, `tapped` (feeder, month).
    """
    on_board = {meter.number: drain(world, meter) for meter in world.meters}
    captured = sum(
        frame[1] == wire.KIND_READING for frames in on_board.values() for frame in frames
    )
    with Evidence(world) as evidence:
        domain = evidence.deployment.reading_domain
        stored = verified = repeated = 0
        for meter in world.meters:
            seen: Counter[int] = Counter()
            for item in evidence.store.frames(address_of(meter)):
                seen[item.sequence] += 1
                if item.kind != wire.KIND_READING:
                    continue
                stored += 1
                digest = wire.digest(domain, item.frame)
                verified += signatures.signer(digest, item.signature) == address_of(meter)
            repeated += sum(seen.values()) - len(seen) if meter.number == cut else 0
        report: dict[str, Any] = {
            "meters": [
                {"number": m.number, "kind": m.kind, "feeder": m.feeder, "address": m.address}
                for m in world.meters
            ],
            "readings": {"captured": captured, "stored": stored, "verified": verified},
            "closings_on_chain": sum(
                isinstance(result, Closing)
                for log in evidence.logs("energy", "Closed")
                for result in unpack_results(log["results"])
            ),
            "bills": len(evidence.logs("payment", "Billed")),
            "payments": len(evidence.logs("payment", "Paid")),
            "permits": _permits(world, evidence),
            "supply": _supply(world, evidence),
            "first_month_s": evidence.deployment.periods.start(first),
            "feeders": [
                {
                    "feeder": log["feeder"],
                    "period": log["period"],
                    "month": log["period"] - first + 1,
                    "supplied_wh": log["supplied_wh"],
                    "sold_wh": log["sold_wh"],
                    "alarm": ALARMS[log["alarm"]],
                    "comparable": log["alarm"] != INCOMPARABLE,
                }
                for log in evidence.logs("energy", "Reconciled")
            ],
            "offline": _offline(world, evidence, offline),
            "power_cut": _power_cut(world, evidence, cut, on_board[cut], repeated),
            "claims_without_permit_in_log": _unproved(evidence),
        }
        closing_s = evidence.deployment.periods.start(first + 1)
        report["proof"] = _prove(world, evidence, closing_s)
    command = parwana("audit", "--deployment", world.deployment_path, "--json")
    report["audit"] = json.loads(run("parwana audit", command, _AUDIT_S, good=(0, FOUND)))
    report["losses"] = {"month": tapped[1], **theft.losses(world, first, *tapped)}
    report["time_factor"] = world.clock.factor
    return report


def _prove(world: Rehearsal, evidence: Evidence, closing_s: int) -> dict[str, Any]:
    """Prove the reading of house 1 that closed the first month; check it without the store."""
    meter = next(m for m in world.meters if m.number == 1)
    (closing, *_) = evidence.store.closings([address_of(meter)], closing_s, closing_s + DAY_S)
    path = world.folder / "proof.json"
    asked = ("--meter", meter.address, "--sequence", str(closing.sequence), "--out", path)
    made = parwana("prove", "--deployment", world.deployment_path, *asked)
    run("parwana prove", made, _AUDIT_S)
    check = parwana("prove", "--check", path, "--rpc", evidence.chain.rpc_url, "--json")
    told = json.loads(run("parwana prove --check", check, _AUDIT_S))
    return {"meter": meter.number, "sequence": closing.sequence, "proven": len(told["proven"])}


def _permits(world: Rehearsal, evidence: Evidence) -> dict[str, int]:
    published = {
        (bytes.fromhex(log["meter"][2:]), log["serial"])
        for log in evidence.logs("payment", "PermitPublished")
    }
    accepted = {
        (address_of(meter), event.a)
        for meter in world.meters
        for event in evidence.events(meter, wire.EVENT_PERMIT_ACCEPTED)
    }
    return {"published": len(published), "accepted": len(published & accepted)}


def _supply(world: Rehearsal, evidence: Evidence) -> list[dict[str, Any]]:
    """Return each cut and reconnection that a meter signed, by time.

    A latching contactor without an auxiliary contact is driven to its last position at every boot,
    which is signed too; where the position stays what it was, nothing was cut or reconnected.
    """
    names = {wire.EVENT_DISCONNECTED: "disconnected", wire.EVENT_RECONNECTED: "reconnected"}
    rows = []
    for meter in world.meters:
        connected = False
        for event in evidence.events(meter, *names):
            if connected != (event.code == wire.EVENT_RECONNECTED):
                connected = not connected
                what, why = names[event.code], REASONS[event.a]
                rows.append(
                    {"meter": meter.number, "event": what, "reason": why, "time": event.time_s}
                )
    return sorted(rows, key=lambda row: row["time"])


def _offline(
    world: Rehearsal, evidence: Evidence, offline: tuple[int, float, float]
) -> dict[str, Any]:
    number, from_s, to_s = offline
    meter = next(m for m in world.meters if m.number == number)
    buffered = [
        item
        for item in evidence.store.frames(address_of(meter))
        if item.kind == wire.KIND_READING and from_s <= item.time_s < to_s
    ]
    late = [item for item in buffered if item.received_s >= to_s]
    return {"meter": number, "buffered": len(buffered), "backfilled": len(late)}


def _power_cut(
    world: Rehearsal, evidence: Evidence, number: int, frames: list[bytes], repeated: int
) -> dict[str, Any]:
    meter = next(m for m in world.meters if m.number == number)
    held = {item.sequence for item in evidence.store.frames(address_of(meter))}
    made = {int.from_bytes(frame[4:8], "big") for frame in frames}
    log = meter.board.log_path.read_text(errors="replace")
    return {
        "meter": number,
        "cuts_in_a_write": log.count("power cut in a flash write"),
        "lost": len(set(range(1, max(made) + 1)) - held),
        "repeated": repeated + len(frames) - len(made),
    }


def _unproved(evidence: Evidence) -> int:
    """Count the payments that were claimed without a permit's frame and signatures in the log."""
    published = {
        (log["meter"], log["serial"])
        for log in evidence.logs("payment", "PermitPublished")
        if len(log["frame"]) == wire.FRAME_SIZE and log["signatures"]
    }
    return sum(
        (log["meter"], log["serial"]) not in published for log in evidence.logs("payment", "Paid")
    )


def unfulfilled(report: dict[str, Any], *, late: int, tapped_month: int, feeder: int) -> list[str]:
    """Return what is not as the story demands, a line each."""
    readings, cut, offline = report["readings"], report["power_cut"], report["offline"]
    cuts = Counter(
        row["meter"]
        for row in report["supply"]
        if row["event"] == "disconnected" and row["reason"] == "expired"
    )
    others = [
        row["meter"]
        for row in report["supply"]
        if row["event"] == "disconnected" and row["meter"] != late
    ]
    last = [row["event"] for row in report["supply"] if row["meter"] == late][-1:]
    balances = report["feeders"]
    alarms = [(row["feeder"], row["month"]) for row in balances if row["alarm"]]
    checks = [
        (
            readings["captured"] == readings["stored"] == readings["verified"] > 0,
            "readings differ",
        ),
        (cut["lost"] == cut["repeated"] == 0, "the power cut lost or repeated frames"),
        (cut["cuts_in_a_write"] == 1, "the power was not cut in a write"),
        (cuts[late] == 1 and last == ["reconnected"], f"house {late} was not cut once and back"),
        (not others, f"others were cut: {others}"),
        (alarms == [(feeder, tapped_month)], f"the alarms are {alarms}"),
        (theft.kinds(report) == ["tap"], f"the theft was told as {theft.kinds(report)}"),
        (offline["buffered"] == offline["backfilled"] > 0, "the offline house did not backfill"),
        (report["permits"]["accepted"] == report["permits"]["published"], "a permit is missing"),
        (report["claims_without_permit_in_log"] == 0, "a claim has no permit in the log"),
        (not report["audit"]["findings"], "the audit found something"),
        (report["proof"]["proven"] == _PROVEN, "a reading was not proven by a daily root"),
    ]
    return [text for good, text in checks if not good]


def save(report: dict[str, Any], path: Path) -> None:
    """Write the report."""
    path.write_text(json.dumps(report, indent=2) + "\n")


def show(report: dict[str, Any], console: Console, path: Path) -> None:
    """Print what a person reads in ten seconds."""
    table = Table(title="A feeder lived", show_header=False, title_style="bold")
    readings, permits, cut = report["readings"], report["permits"], report["power_cut"]
    audited, proof = report["audit"]["counts"], report["proof"]
    rows = [
        ("meters", f"{len(report['meters'])}"),
        (
            "readings",
            f"{readings['captured']} on the boards, {readings['stored']} stored, "
            f"{readings['verified']} verified",
        ),
        (
            "on chain",
            f"{report['closings_on_chain']} closings, {report['bills']} bills, "
            f"{report['payments']} payments",
        ),
        ("permits", f"{permits['published']} published, {permits['accepted']} accepted"),
        (
            "offline",
            f"house {report['offline']['meter']}: {report['offline']['buffered']} readings "
            f"buffered, {report['offline']['backfilled']} backfilled",
        ),
        (
            "power cut",
            f"house {cut['meter']}, in a flash write: {cut['lost']} lost, "
            f"{cut['repeated']} repeated",
        ),
        *(
            ("supply", f"house {row['meter']} {row['event']}: {row['reason']}")
            for row in report["supply"]
            if row["time"] >= report["first_month_s"]
        ),
        *(("feeder", _feeder_line(row)) for row in report["feeders"] if row["month"] > 0),
        *(("theft", text) for text in theft.lines(report["losses"])),
        ("audit", f"{len(report['audit']['findings'])} findings"),
        (
            "roots",
            f"{audited['daily_roots']} daily roots, over {audited['frames_under_roots']} readings "
            "and events",
        ),
        ("proof", f"house {proof['meter']}, sequence {proof['sequence']}: by the chain alone"),
        ("time", f"{report['wall_s']} s, {report['time_factor']:g} times faster than life"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"report: {path}")


def _feeder_line(row: dict[str, Any]) -> str:
    alarm = f"  ALARM: {row['alarm']}" if row["alarm"] else ""
    return (
        f"{row['feeder']}, month {row['month']}: {row['supplied_wh'] / 1000:.2f} kWh supplied, "
        f"{row['sold_wh'] / 1000:.2f} kWh sold{alarm}"
    )
