"""Meters moved to another PaymentLedger: by m signers, to one that can serve them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests.chainkit import SIGNERS, Utility, terms
from hil_tests.rights.conftest import Run
from hil_tests.services import SignedMeter
from hil_tests.town import FEEDER, Town
from parwana.chain import deploy
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.rights import trust
from parwana.store.reader import Store

TO = "town-2.json"


@pytest.fixture
def town(world: Utility, store: Store) -> Town:
    return Town(world, store)


def other(world: Utility, tmp_path: Path, **changes: Any) -> Deployment:
    """Deploy contracts beside those of `world`; write their file."""
    url = f"sqlite:///{tmp_path}/store-2.db"
    made = deploy.deploy(world.chain, terms(**changes), "mqtt://127.0.0.1:1", url, lambda _: None)
    made.save(tmp_path / TO, force=True)
    return made


def enrol_all(world: Utility, town: Town, made: Deployment) -> None:
    functions = world.chain.ledgers(made).registry.functions
    for number, meter in ((FEEDER, town.feeder), *enumerate(town.houses, 101)):
        kind, above = (2, 0) if meter is town.feeder else (1, FEEDER)
        load = 50_000 if kind == 1 else 0
        world.chain.send(functions.enrol((meter.key.address, number, kind, above, 0, load)))


def test_m_signers_move_all_meters_and_both_stores_tell_them(
    world: Utility, town: Town, run: Run, tmp_path: Path
) -> None:
    made = other(world, tmp_path)
    enrol_all(world, town, made)
    line = ("ledger", "move", "--to", tmp_path / TO, "--json", "--key")
    first = run(*line, "dev:1").json
    assert (first["signatures"], first["handed_to_relays"]) == (1, False)
    assert town.store.trust() == []
    assert "no move was handed" in run("ledger", "show").out
    second = run(*line, "dev:3").json
    assert (second["signatures"], second["handed_to_relays"]) == (2, True)
    assert second["serial"] == first["serial"]
    rows = town.store.trust()
    assert len(rows) == 5
    there = Store(made.store, create=False)
    assert [row.bundle for row in there.trust()] == [row.bundle for row in rows]
    there.close()
    for row in rows:
        bundle = wire.parse_bundle(row.bundle)
        fields = wire.parse(bundle.frame)
        assert fields.chain_id == world.deployment.chain_id  # type: ignore[union-attr]
        assert fields.ledger.hex() == made.payment_ledger[2:].lower()  # type: ignore[union-attr]
        digest = wire.digest(world.deployment.permit_domain(row.meter.hex()), bundle.frame)
        signed = {i: trust._made_by(digest, signature) for i, signature in bundle.signatures}
        assert signed == {i: bytes.fromhex(dev_key(SIGNERS[i]).address[2:]) for i in (0, 2)}
    now_s = int(world.clock.now())
    event = (wire.EVENT_LEDGER_CHANGED, now_s, first["serial"], 31337)
    town.event(town.houses[0], *event)
    shown = run("ledger", "show", "--json").json
    assert shown["payment_ledger"] == made.payment_ledger
    assert shown["change"]["taken"] == 1
    assert "1 of 5 meters have taken it" in run("ledger", "show").out


def test_a_meter_enrolled_meanwhile_is_signed_for_by_the_same_line(
    world: Utility, town: Town, run: Run, tmp_path: Path
) -> None:
    made = other(world, tmp_path)
    enrol_all(world, town, made)
    line = ("ledger", "move", "--to", tmp_path / TO, "--yes", "--key")
    for signer in ("dev:1", "dev:2"):
        assert run(*line, signer).code == 0
    late = SignedMeter(105, town.feeder.domain)
    town.enrol(late, 105, 1, FEEDER)
    town.follow()
    assert f"0x{late.address.hex()}" in run(*line, "dev:1").err.lower()
    registry = world.chain.ledgers(made).registry.functions
    world.chain.send(registry.enrol((late.key.address, 105, 1, FEEDER, 0, 50_000)))
    for signer in ("dev:1", "dev:2"):
        assert run(*line, signer).code == 0
    [bundle] = [row.bundle for row in town.store.trust() if row.meter == late.address]
    assert {row.serial for row in town.store.trust()} == {wire.parse(bundle[:40])[0]}


def test_a_move_that_would_leave_meters_without_permits_is_refused(
    world: Utility, town: Town, run: Run, tmp_path: Path
) -> None:
    def refused(key: str = "dev:1", to: str = TO) -> str:
        done = run("ledger", "move", "--to", tmp_path / to, "--yes", "--key", key)
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        return done.err

    assert "does not exist" in refused(to="nowhere.json")
    assert "same PaymentLedger" in refused(to="deployment.json")
    other(world, tmp_path, threshold=1)
    assert "another threshold" in refused()
    turned = [dev_key(n).public_key for n in (2, 1, 3)]
    other(world, tmp_path, signers=turned)
    assert "other signers" in refused()
    other(world, tmp_path, utility_id="else")
    assert "'else'" in refused()
    made = other(world, tmp_path)
    assert "is not enrolled in its MeterRegistry" in refused()
    enrol_all(world, town, made)
    assert "no permit signer" in refused("dev:8")
    replace(made, payment_ledger="0x" + "12" * 20).save(tmp_path / TO, force=True)
    assert "no such contract" in refused()
    made.save(tmp_path / TO, force=True)
    rotate = ("signers", "rotate", "--index", "0", "--to", dev_key(8).public_key.hex(), "--yes")
    for signer in ("dev:1", "dev:2"):
        assert run(*rotate, "--key", signer).code == 0
    assert "signer 0 is being replaced" in refused()
    assert town.store.trust() == []
