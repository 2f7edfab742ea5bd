"""How the audit reads and shows: all logs in one pass, bars for who looks at a terminal."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from hil_tests.town import Town
from parwana.world import progress


def test_all_events_of_several_contracts_come_in_the_chains_order(
    rooted: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, first = rooted.world, rooted.world.deployment.from_block
    of = [world.ledgers.registry, world.ledgers.energy, world.ledgers.payment]
    one_by_one = [
        log
        for contract in of
        for abi in contract.abi
        if abi["type"] == "event"
        for log in world.chain.logs(contract.events[abi["name"]], first)
    ]
    one_by_one.sort(key=lambda log: (log["blockNumber"], log["logIndex"]))
    monkeypatch.setattr("parwana.chain.ranges.RANGE_BLOCKS", 4)
    parts = list(world.chain.every(of, first, world.chain.head()))
    assert len(parts) > 3
    assert parts[-1][0] == world.chain.head() + 1
    assert [log for _, found in parts for log in found] == one_by_one
    assert {log["event"] for log in one_by_one} >= {"Enrolled", "Closed", "Billed", "DailyRoot"}


def test_a_range_with_too_many_logs_is_halved(
    rooted: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, first = rooted.world, rooted.world.deployment.from_block
    of = [world.ledgers.registry, world.ledgers.energy, world.ledgers.payment]
    whole = [log for _, found in world.chain.every(of, first, world.chain.head()) for log in found]
    most = max(sum(log["blockNumber"] == n for log in whole) for n in range(world.chain.head()))
    monkeypatch.setattr("parwana.devchain.rpc.MAX_LOGS", most)
    parts = list(world.chain.every(of, first, world.chain.head()))
    assert len(parts) > 1
    assert [log for _, found in parts for log in found] == whole


def test_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        text = io.StringIO()
        console = Console(file=text, force_terminal=terminal, width=100)
        monkeypatch.setattr(progress, "Console", lambda console=console, **_: console)
        with progress.shown() as told:
            for done in range(4):
                told("blocks of the chain", done, 3)
        assert ("blocks of the chain" in text.getvalue()) == terminal
        assert ("3/3" in text.getvalue()) == terminal


def test_the_command_shows_them_and_leaves_stdout_alone(
    rooted: Town, spoilt: Path, tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment.json"
    rooted.world.deployment.save(deployment)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "parwana.cli", "audit", "--deployment", str(deployment)),
            *("--store", f"sqlite:///{spoilt}", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        timeout=60,
        check=True,
    )
    os.close(theirs)
    seen = b""
    while b"days' roots" not in seen or b"2/2" not in seen:
        seen += os.read(ours, 65536)
    os.close(ours)
    for what in (b"meters in the store", b"blocks of the chain"):
        assert what in seen
    assert json.loads(done.stdout)["ok"] is True
