"""Pruning: what goes, what stays, and that nothing goes before its root is final."""

import json
from pathlib import Path

import pytest

import wire
from hil_tests.audit.test_roots import later
from hil_tests.town import Town
from parwana import cli
from parwana.audit.command import audit
from parwana.chain import merkle
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay.roots import ROOT_WAIT_S, Roots
from parwana.store import pruning
from parwana.store.reader import Store
from parwana.upkeep.prune import Pruned, PruneError, period_s, prune

DAY_S = 86400


def pruned(town: Town, store: Store, keep_s: int = 0) -> Pruned:
    world = town.world
    return prune(world.chain, world.deployment, store, keep_s, int(world.clock.now()) + DAY_S)


def kept(store: Store, meter: bytes) -> list[tuple[int, bool]]:
    return [(one.sequence, one.closing) for one in store.frames(meter)]


def test_ordinary_readings_go_and_the_audit_still_agrees(rooted: Town, copy: Store) -> None:
    before = {row.meter: list(copy.frames(row.meter)) for row in copy.meters()}
    leaves = audit(rooted.world.deployment, rooted.world.chain, copy).counts["frames_under_roots"]
    done = pruned(rooted, copy)
    assert (done.days, done.waiting) == (2, [])
    assert done.readings == sum(
        not one.closing and one.kind == wire.KIND_READING and one != of[-1]
        for of in before.values()
        for one in of
        if merkle.day_of(one.time_s, rooted.world.deployment.utc_offset_s) >= rooted.first
    )
    for meter, of in before.items():
        told = kept(copy, meter)
        assert told[-1][0] == of[-1].sequence
        assert [s for s, closes in told if closes] == [f.sequence for f in of if f.closing]
    report = audit(rooted.world.deployment, rooted.world.chain, copy)
    assert report.findings == []
    assert report.counts["frames_under_roots"] == leaves
    assert pruned(rooted, copy) == Pruned()


def test_a_day_that_is_kept_stays(rooted: Town, copy: Store) -> None:
    keep_s = int(rooted.world.clock.now()) + DAY_S - rooted.periods.start(rooted.first + 1)
    assert pruned(rooted, copy, keep_s + 1).days == 0
    assert pruned(rooted, copy, keep_s - 1).days == 1


def test_a_root_that_is_not_final_is_none(rooted: Town, copy: Store) -> None:
    deployment, chain = rooted.world.deployment, rooted.world.chain

    class Behind:
        def __getattr__(self, name: str) -> object:
            return getattr(chain, name)

        def finalized_block(self) -> int:
            return deployment.from_block

    done = prune(Behind(), deployment, copy, 0, int(rooted.world.clock.now()) + DAY_S)  # type: ignore[arg-type]
    assert (done.days, done.readings) == (0, 0)
    assert rooted.first in done.waiting


def test_a_frame_that_came_late_waits_for_the_next_root(rooted: Town, copy: Store) -> None:
    house = rooted.houses[2]
    frame = house.stored(50, time_s=rooted.periods.start(rooted.first) + 900, energy_wh=7)
    with copy.transaction() as tx:
        tx.add_frames(house.address, [frame], int(rooted.world.clock.now()))
    done = pruned(rooted, copy)
    assert (done.days, done.waiting) == (1, [rooted.first])


def test_what_comes_after_it_is_kept_and_makes_no_lesser_root(rooted: Town, copy: Store) -> None:
    house, now_s = rooted.houses[0], int(rooted.world.clock.now())
    old = next(iter(copy.readings(house.address, 0, 2**32, 2**40)))
    rest = [one for one in copy.frames(house.address) if one.time_s > old.time_s]
    assert pruned(rooted, copy).days == 2
    assert old.sequence not in dict(kept(copy, house.address))
    time_s = rooted.periods.start(rooted.first) + 900
    late = house.stored(60, time_s=time_s, energy_wh=7)
    with copy.transaction() as tx:
        again = tx.add_frames(house.address, [old, *rest, late], now_s)
    assert (again.new, again.repeated) == (1, 1 + len(rest))
    assert 60 in dict(kept(copy, house.address))
    found = copy.leaves(house.domain, time_s, time_s + 1, 2**40)
    assert [leaf.sequence for leaf in found] == [60]
    with later(rooted, DAY_S + ROOT_WAIT_S):
        world = rooted.world
        chain = Chain.of(world.deployment, dev_key(9))
        ledgers = chain.ledgers(world.deployment)
        Roots(chain, ledgers, copy, world.deployment, world.clock.now).land()
        findings = audit(world.deployment, world.chain, copy).findings
        assert not {"root", "no_root", "deleted"} & {finding.kind for finding in findings}


def test_one_that_was_broken_off_goes_on(
    rooted: Town, copy: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store(f"sqlite:///{rooted.copy_store(tmp_path / 'whole.db')}")
    expected = pruned(rooted, whole)
    whole.close()
    monkeypatch.setattr(pruning, "_PAGES", 1)
    calls = 0

    def stop(self: object, *given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return removed(self, *given)  # type: ignore[arg-type]

    removed = pruning.PruneChanges.remove
    monkeypatch.setattr(pruning.PruneChanges, "remove", stop)
    with pytest.raises(KeyboardInterrupt):
        pruned(rooted, copy)
    pruned(rooted, copy)
    for row in copy.meters():
        assert len(kept(copy, row.meter)) < len(list(rooted.store.frames(row.meter)))
    left = sum(len(kept(copy, row.meter)) for row in copy.meters())
    were = sum(len(list(rooted.store.frames(row.meter))) for row in copy.meters())
    assert were - left == expected.readings


@pytest.mark.parametrize("text", ["", "0d", "2", "2 y", "-1d", "1h", "d", "99999d"])
def test_a_period_is_told_how_to_be_written(text: str) -> None:
    with pytest.raises(PruneError, match="400d, 60w, 18m, 2y"):
        period_s(text)


def test_a_period_is_never_shorter_than_it_says() -> None:
    assert period_s("400d") == 400 * DAY_S
    assert period_s("18m") == 558 * DAY_S
    assert period_s("2y") == 732 * DAY_S


def test_the_command_says_what_it_did(
    rooted: Town, copy: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "town.json"
    rooted.world.deployment.save(path)
    command = ["store", "prune", "--deployment", str(path), "--keep", "9y", "--json"]
    assert cli.main([*command, "--store", copy.name]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["days"], told["readings"]) == (True, 0, 0)
