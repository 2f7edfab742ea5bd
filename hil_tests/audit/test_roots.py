"""The audit of daily roots: what the store contradicts, what nobody committed, who committed."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil_tests.services import OF
from hil_tests.town import Town
from parwana import cli
from parwana.audit.command import audit
from parwana.audit.findings import Report
from parwana.chain import merkle
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.store.reader import Store
from parwana.store.rows import packed

# A key each, as what a key sent and a reorganisation took away is sent again with its next call.
FALSE, FEWER, OTHERS, STRANGER, FEEDERS = 10, 14, 15, 16, 17
OF_ROOTS = {"root", "no_root", "committer"}


def report(town: Town, path: Path, *committers: str) -> Report:
    store = Store(f"sqlite:///{path}", create=False)
    try:
        return audit(town.world.deployment, town.world.chain, store, committers)
    finally:
        store.close()


def found(town: Town, path: Path, *committers: str) -> list[tuple[str, str]]:
    """Return (kind, where) of the findings about roots."""
    findings = report(town, path, *committers).findings
    return [(f.kind, f.where) for f in findings if f.kind in OF_ROOTS]


def commit(town: Town, key: int, *days: tuple[int, bytes, int], feeder: int = 0) -> None:
    chain = Chain.of(town.world.deployment, dev_key(key))
    function = chain.ledgers(town.world.deployment).energy.functions.commit(feeder, days)
    chain.send(function)


@contextmanager
def later(town: Town, seconds: int) -> Iterator[None]:
    """Let time pass, and take back what was done meanwhile."""
    node, clock = town.world.node, town.world.clock
    before, now_s = town.world.chain.head(), clock.time_s
    try:
        clock.time_s += seconds
        node.mine()
        yield
    finally:
        node.rewind(before)
        clock.time_s = now_s


def sql(path: Path, statement: str, *values: Any) -> None:
    db = sqlite3.connect(path)
    assert db.execute(statement, values).rowcount > 0
    db.commit()
    db.close()


def test_honest_roots_have_no_findings(rooted: Town, spoilt: Path) -> None:
    told = report(rooted, spoilt)
    assert told.findings == []
    assert (told.counts["daily_roots"], told.counts["frames_under_roots"]) == (3, 20)


def test_a_frame_that_the_store_lost_is_found(rooted: Town, spoilt: Path) -> None:
    house = rooted.houses[1].address
    sql(spoilt, f"DELETE FROM frames WHERE meter = {OF} AND sequence = 1", house)
    assert ("root", f"day {rooted.first}") in found(rooted, spoilt)


def test_a_frame_that_was_exchanged_for_another_is_found(rooted: Town, spoilt: Path) -> None:
    """By whoever has the meter's key: each signature verifies, and the sequences are all there."""
    house = rooted.houses[0]
    other = house.stored(1, time_s=rooted.periods.start(rooted.first) + 43_200, energy_wh=1)
    sql(
        spoilt,
        f"UPDATE frames SET frame = ?, signature = ? WHERE meter = {OF} AND sequence = 1",
        *(packed(other.frame), other.signature, house.address),
    )
    assert found(rooted, spoilt) == [("root", f"day {rooted.first}")]


def test_a_day_without_a_root_is_found_in_time(rooted: Town, spoilt: Path) -> None:
    day = rooted.first + 2
    house = rooted.houses[2]
    now_s = int(rooted.world.clock.now())
    with later(rooted, merkle.LATENESS_S):
        store = Store(f"sqlite:///{spoilt}")
        with store.transaction() as tx:
            frame = house.stored(5, time_s=rooted.periods.start(day) + 900, energy_wh=9000)
            tx.add_frames(house.address, [frame], now_s + 900)
        store.close()
        assert found(rooted, spoilt) == []
        with later(rooted, merkle.LATENESS_S):
            assert found(rooted, spoilt) == [("no_root", f"day {day}")]


def test_late_frames_without_a_later_root_are_found_in_time(rooted: Town, spoilt: Path) -> None:
    house = rooted.houses[2]
    now_s = int(rooted.world.clock.now())
    store = Store(f"sqlite:///{spoilt}")
    with store.transaction() as tx:
        frame = house.stored(5, time_s=rooted.periods.start(rooted.first) + 900, energy_wh=9000)
        tx.add_frames(house.address, [frame], now_s)
    store.close()
    assert found(rooted, spoilt) == []
    with later(rooted, merkle.LATENESS_S):
        assert found(rooted, spoilt) == [("no_root", f"day {rooted.first}")]


@pytest.mark.parametrize(("key", "leaves"), [(FALSE, 10), (FALSE + 1, 11), (FALSE + 2, 2**32)])
def test_a_false_root_of_a_known_committer_is_found(
    rooted: Town, spoilt: Path, key: int, leaves: int
) -> None:
    known = dev_key(key).address
    with later(rooted, 60):
        commit(rooted, key, (rooted.first, b"\1" * 32, leaves))
        assert found(rooted, spoilt, known) == [("root", f"day {rooted.first}")]


def test_a_root_over_fewer_frames_does_not_supersede(rooted: Town, spoilt: Path) -> None:
    with later(rooted, 60):
        commit(rooted, FEWER, (rooted.first, b"\1" * 32, 9))
        assert found(rooted, spoilt, dev_key(FEWER).address) == []


def test_a_root_over_some_frames_of_another_store_is_given_time(
    rooted: Town, spoilt: Path
) -> None:
    """Which frames those are cannot be told; what counts is that a later root has all."""
    day = rooted.first + 2
    house, other = rooted.houses[2], rooted.houses[3]
    with later(rooted, 60):
        store = Store(f"sqlite:///{spoilt}")
        with store.transaction() as tx:
            for meter in (house, other):
                time_s = rooted.periods.start(day) + 900
                frame = meter.stored(5, time_s=time_s, energy_wh=9000)
                tx.add_frames(meter.address, [frame], int(rooted.world.clock.now()))
        store.close()
        commit(rooted, OTHERS, (day, b"\1" * 32, 1))
        known = dev_key(OTHERS).address
        assert found(rooted, spoilt, known) == []
        with later(rooted, merkle.LATENESS_S + 86_400):
            assert found(rooted, spoilt, known) == [("root", f"day {day}")]


def test_a_stranger_is_named_and_decides_nothing(rooted: Town, spoilt: Path) -> None:
    stranger = dev_key(STRANGER).address
    with later(rooted, 60):
        commit(
            rooted, STRANGER, (rooted.first, b"\1" * 32, 2**32), (rooted.first + 9, b"\2" * 32, 1)
        )
        assert found(rooted, spoilt) == [
            ("committer", f"2 days, the last of them {rooted.first + 9}")
        ]
        assert found(rooted, spoilt, stranger) == [
            ("root", f"day {rooted.first}"),
            ("root", f"day {rooted.first + 9}"),
        ]


def test_roots_of_single_feeders_are_anybodys(rooted: Town, spoilt: Path) -> None:
    with later(rooted, 60):
        commit(rooted, FEEDERS, (rooted.first, b"\1" * 32, 5), feeder=900)
        assert found(rooted, spoilt) == []


def test_a_committer_that_is_no_address_is_refused(
    rooted: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deployment.json"
    rooted.world.deployment.save(path)
    assert cli.main(["audit", "--deployment", str(path), "--committer", "me"]) == 1
    assert "--committer me: write the 40 hex digits" in capsys.readouterr().err
