"""An audit that goes on from a checkpoint finds in the new part what a whole one finds."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests.audit.test_command import LATER_S, OF, OWES, PAYS, altered, flip, kinds, live, spoil
from hil_tests.chainkit import utility
from hil_tests.services import SignedMeter
from hil_tests.town import Town
from parwana import cli
from parwana.audit import meters
from parwana.audit import run as audit_module
from parwana.audit.checkpoint import Checkpoint, CheckpointError
from parwana.audit.command import audit
from parwana.audit.findings import Report
from parwana.chain.keys import dev_key
from parwana.store.reader import Store, signed_frame

AUDITOR = dev_key(15)


@dataclass
class Halfway:
    """A town of three periods, and what an audit kept after the first."""

    town: Town
    kept: Path

    def load(self) -> Checkpoint:
        return Checkpoint.load(self.kept, self.town.world.deployment, AUDITOR.address)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halfway]:
    folder = tmp_path_factory.mktemp("halfway")
    store = Store(f"sqlite:///{folder}/store.db")
    kept = folder / "kept.json"
    with utility(f"sqlite:///{folder}/store.db") as world:
        town = Town(world, store)

        def after(month: int) -> None:
            if month == 0:
                made = world.deployment
                report = audit(
                    made, world.chain, store, save=lambda c: c.save(kept, made, AUDITOR)
                )
                assert report.findings == []

        live(town, after)
        yield Halfway(town, kept)
    store.close()


@pytest.fixture
def copy(halfway: Halfway, tmp_path: Path) -> Path:
    return halfway.town.copy_store(tmp_path / "copy.db")


def both(halfway: Halfway, path: Path, **options: Any) -> tuple[Report, Report]:
    """Return what a whole audit and one that goes on say of a store."""
    of, chain = halfway.town.world.deployment, halfway.town.world.chain
    store = Store(f"sqlite:///{path}", create=False)
    try:
        whole = audit(of, chain, store)
        return whole, audit(of, chain, store, before=halfway.load(), **options)
    finally:
        store.close()


def test_an_honest_town_is_gone_on_with(halfway: Halfway, copy: Path) -> None:
    whole, on = both(halfway, copy)
    assert whole.findings == on.findings == on.before == []
    assert on.again == []
    assert on.trusted["frames"] == 11
    assert on.trusted["block"] == halfway.load().marks["payment"].block
    for name in ("frames", "closings", "bills"):
        assert 0 < on.counts[name] < whole.counts[name]
    assert on.counts["frames"] + on.trusted["frames"] == whole.counts["frames"]


def add(path: Path, meter: SignedMeter, signed: tuple[bytes, bytes]) -> None:
    store = Store(f"sqlite:///{path}")
    with store.transaction() as tx:
        frame = signed_frame(meter.address, *signed)
        tx.add_frames(meter.address, [frame], LATER_S)
    store.close()


NEW = [
    lambda town, path: spoil(
        path, f"UPDATE frames SET signature = zeroblob(64) WHERE meter = {OF} AND sequence = 6",
        town.houses[OWES].address,
    ),
    lambda town, path: spoil(
        path, f"UPDATE frames SET kind = 3 WHERE meter = {OF} AND sequence = 5",
        town.houses[OWES].address,
    ),
    lambda town, path: spoil(
        path, f"DELETE FROM frames WHERE meter = {OF} AND sequence = 4", town.houses[OWES].address
    ),
    lambda town, path: spoil(
        path, f"DELETE FROM frames WHERE meter = {OF} AND sequence = 6", town.feeder.address
    ),
    lambda town, path: add(path, town.houses[OWES], town.houses[OWES].reading(5, energy_wh=9)
    ),
    lambda town, path: add(path, stranger(town), stranger(town).reading(1)),
    lambda town, path: add(path, town.houses[OWES],
        town.houses[OWES].reading(9, time_s=town.world.clock.time_s, energy_wh=99_999),
    ),
    lambda town, path: add(path, town.houses[OWES],
        town.houses[OWES].reading(7, time_s=town.periods.start(town.first + 1), energy_wh=9),
    ),
    lambda town, path: add(path, town.houses[OWES],
        town.houses[OWES].event(
            wire.EVENT_PERMIT_ACCEPTED, 7, town.world.clock.time_s, 99_999, 77, 0, 0
        ),
    ),
    lambda town, path: add(path, town.houses[OWES],
        town.houses[OWES].reading(
            7, time_s=town.periods.start(town.first + 3), energy_wh=99_999,
            flags=wire.FLAG_CLOSING,
        ),
    ),
]  # fmt: skip


def stranger(town: Town) -> SignedMeter:
    return SignedMeter(7_777_777, town.feeder.domain)


@pytest.mark.parametrize("fraud", NEW)
def test_a_fraud_in_new_frames_is_found_as_by_a_whole_one(
    halfway: Halfway, copy: Path, fraud: Callable[[Town, Path], None]
) -> None:
    fraud(halfway.town, copy)
    whole, on = both(halfway, copy)
    assert whole.findings
    assert set(on.findings) == set(whole.findings)


@pytest.mark.parametrize(
    "change",
    [
        lambda: altered("Closed", results=lambda data: data[:-32]),
        lambda: altered("Reconciled", alarm=1),
        lambda: altered("Billed", amount=lambda a: a + 1),
        lambda: altered("Locked", amount=lambda a: a - 1),
        lambda: altered("Paid", payer="0x" + "11" * 20),
        lambda: altered("Refunded", amount=1),
        lambda: altered("PermitPublished", signatures=flip),
        lambda: altered("PermitPublished", frame=flip),
    ],
)
def test_a_chain_that_computes_wrong_in_new_blocks_is_found(
    halfway: Halfway, copy: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    real, first = audit_module._logs, halfway.load().marks["payment"].block + 1

    def logs(*arguments: Any) -> list[Any]:
        altered = change()
        found = [(e if e["blockNumber"] < first else altered(e), t) for e, t in real(*arguments)]
        return [(entry, time_s) for entry, time_s in found if entry is not None]

    monkeypatch.setattr(audit_module, "_logs", logs)
    whole, on = both(halfway, copy)
    assert whole.findings
    assert set(on.findings) == set(whole.findings)


def test_old_frames_that_are_more_or_fewer_are_looked_at_from_the_start(
    halfway: Halfway, copy: Path
) -> None:
    gone, twin = halfway.town.houses[OWES], halfway.town.houses[PAYS]
    spoil(copy, f"DELETE FROM frames WHERE meter = {OF} AND sequence = 1", gone.address)
    add(copy, twin, twin.reading(1, energy_wh=9))
    whole, on = both(halfway, copy)
    assert {"deleted", "contradiction"} <= kinds(on.findings)
    assert sorted(on.again) == sorted("0x" + meter.address.hex() for meter in (gone, twin))
    assert set(on.findings) == set(whole.findings)


def test_what_was_looked_at_is_taken_on_trust_and_that_is_said(
    halfway: Halfway, copy: Path
) -> None:
    spoil(
        copy,
        f"UPDATE frames SET signature = zeroblob(64) WHERE meter = {OF} AND sequence = 1",
        halfway.town.houses[OWES].address,
    )
    whole, on = both(halfway, copy)
    assert kinds(whole.findings) == {"signature"}
    assert on.findings == []
    assert (on.trusted["frames"], on.trusted["meters"]) == (11, 5)


def test_findings_stand_until_they_are_looked_at_again(halfway: Halfway, copy: Path) -> None:
    of, chain = halfway.town.world.deployment, halfway.town.world.chain
    house = halfway.town.houses[OWES]
    with closing(sqlite3.connect(copy)) as db:
        wanted = f"SELECT * FROM frames WHERE meter = {OF} AND sequence = 6"
        row = db.execute(wanted, (house.address,)).fetchone()
    spoil(copy, f"DELETE FROM frames WHERE meter = {OF} AND sequence = 6", house.address)
    kept: list[Checkpoint] = []
    store = Store(f"sqlite:///{copy}", create=False)
    first = audit(of, chain, store, before=halfway.load(), save=kept.append)
    assert "deleted" in kinds(first.findings)
    second = audit(of, chain, store, before=kept[-1], save=kept.append)
    assert kinds(second.before + second.findings) == kinds(first.findings)
    spoil(copy, f"INSERT INTO frames VALUES ({','.join('?' * len(row))})", *row)
    third = audit(of, chain, store, before=kept[-1])
    assert third.findings == []
    assert kinds(third.before) == {"closing"}, "of logs, which are not read again"
    store.close()


def test_a_frame_that_comes_while_a_meter_is_looked_at_is_not_deleted(
    halfway: Halfway, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town, real = halfway.town, Store.frames
    house = town.houses[OWES]
    came: list[bytes] = []

    def frames(store: Store, meter: bytes, first: int = 1) -> Iterator[Any]:
        yield from real(store, meter, first)
        if meter == house.address and not came:
            came.append(meter)
            add(copy, house, house.reading(7, time_s=town.world.clock.time_s, energy_wh=99_999))

    monkeypatch.setattr(Store, "frames", frames)
    store = Store(f"sqlite:///{copy}")
    assert audit(town.world.deployment, town.world.chain, store).findings == []
    store.close()
    assert came


def test_processes_find_what_one_does(
    halfway: Halfway, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "ALONE", 0)
    for fraud in NEW[:3]:
        fraud(halfway.town, copy)
    whole, on = both(halfway, copy, jobs=2)
    assert len(whole.findings) > 2
    assert set(on.findings) == set(whole.findings)


def test_an_audit_that_was_broken_off_goes_on(
    halfway: Halfway, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "SAVE_S", 0.0)
    of, chain = halfway.town.world.deployment, halfway.town.world.chain
    path = copy.with_name("kept.json")
    NEW[0](halfway.town, copy)
    store = Store(f"sqlite:///{copy}", create=False)
    whole = audit(of, chain, store)
    saved = 0

    def save(kept: Checkpoint) -> None:
        nonlocal saved
        kept.save(path, of, AUDITOR)
        saved += 1
        if saved == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(of, chain, store, save=save)
    before = Checkpoint.load(path, of, AUDITOR.address)
    assert (len(before.meters), before.marks) == (3, {})
    on = audit(of, chain, store, before=before)
    assert set(on.findings + on.before) == set(whole.findings)
    assert on.counts["closings"] == whole.counts["closings"]
    store.close()


def test_who_may_not_be_believed_is_refused(halfway: Halfway, copy: Path, tmp_path: Path) -> None:
    of, path = halfway.town.world.deployment, tmp_path / "kept.json"
    text = halfway.kept.read_text()
    kept = json.loads(text)
    path.write_text(text)
    with pytest.raises(CheckpointError, match="not signed by"):
        Checkpoint.load(path, of, dev_key(3).address)
    path.write_text(json.dumps({**kept, "body": kept["body"].replace("0", "1", 1)}))
    with pytest.raises(CheckpointError, match="or it was changed since"):
        Checkpoint.load(path, of, AUDITOR.address)
    path.write_text(json.dumps({**kept, "signature": "00" * 64}))
    with pytest.raises(CheckpointError, match="not signed by"):
        Checkpoint.load(path, of, AUDITOR.address)
    for bad in ("", "[]", "{}", '{"body": 1, "signature": "00"}', text[:-9]):
        path.write_text(bad)
        with pytest.raises(CheckpointError):
            Checkpoint.load(path, of, AUDITOR.address)
    path.write_text(text)
    other = replace(of, energy_ledger="0x" + "11" * 20)
    with pytest.raises(CheckpointError, match="of another deployment"):
        Checkpoint.load(path, other, AUDITOR.address)
    moved = halfway.load()
    moved.marks["payment"].block_hash = b"\1" * 32
    store = Store(f"sqlite:///{copy}", create=False)
    with pytest.raises(CheckpointError, match="has another block"):
        audit(of, halfway.town.world.chain, store, before=moved)
    moved.marks["payment"].block_hash = halfway.load().marks["payment"].block_hash
    moved.marks["payment"].state["energy"]["places"] = 5
    with pytest.raises(CheckpointError, match="damaged"):
        audit(of, halfway.town.world.chain, store, before=moved)
    store.close()


def test_the_command_keeps_a_checkpoint_and_goes_on(
    halfway: Halfway, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, kept = tmp_path / "deployment.json", tmp_path / "kept.json"
    halfway.town.world.deployment.save(path)
    arguments = ["audit", "--deployment", str(path), "--store", f"sqlite:///{copy}"]
    assert cli.main([*arguments, "--checkpoint", str(kept)]) == 1
    assert "--checkpoint needs --key" in capsys.readouterr().err
    arguments += ["--checkpoint", str(kept), "--key", "dev:15"]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trusted"] == {}
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "on trust from the checkpoint: " in told
    assert "of 5 meters and all logs up to block" in told
    assert cli.main([*arguments[:-1], "dev:14"]) == 1
    assert "was not signed by" in capsys.readouterr().err
