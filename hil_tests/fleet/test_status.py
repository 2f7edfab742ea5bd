"""One screen and an exit code: each part at work, away, or waiting."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.relay.test_service import publish
from hil_tests.rights.conftest import Run
from hil_tests.services import Broker
from hil_tests.town import FEEDER, Town
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.fleet import parts
from parwana.permits.signer import PermitSigner, TimeSigner
from parwana.store.reader import Store

Look = Callable[..., dict[str, tuple[str, str]]]


def sign_time(world: Utility, store: Store, *numbers: int) -> None:
    """Sign the world's time as running signers do."""
    for number in numbers:
        key = [dev_key(number)]
        TimeSigner(world.deployment, store, key, world.clock.now, 900, lambda _p: None).step()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BROKER_S", 1.0)


@pytest.fixture
def town(world: Utility, store: Store, broker: Broker, tmp_path: Path) -> Town:
    """Lend a town where all is well: meters heard, signers at work, the last period balanced."""
    made = Town(world, store)
    made.settle_in()
    made.go_to(made.periods.start(made.first + 1) + 60)
    for meter in (made.feeder, *made.houses):
        made.close(meter, made.first, 7700 if meter is made.feeder else 2000)
    made.landing().step()
    sign_time(world, store, 1, 2, 3)
    world.node.mine(3)
    made.follow()
    dataclasses.replace(world.deployment, broker=broker.url).save(
        tmp_path / "deployment.json", force=True
    )
    return made


@pytest.fixture
def look(run: Run) -> Look:
    """Run the command; return the worst line of each part, as (state, text)."""

    def looked(*more: object, code: int) -> dict[str, tuple[str, str]]:
        done = run("status", "--json", *more)
        assert done.code == code, [x for x in done.json["lines"] if x["state"] != "ok"]
        assert done.json["ok"] == (code == 0)
        order = ("ok", "waits", "wrong")
        found: dict[str, tuple[str, str]] = {}
        for line in done.json["lines"]:
            known = found.get(line["part"], ("ok", ""))
            if order.index(line["state"]) >= order.index(known[0]):
                found[line["part"]] = line["state"], line["text"]
        return found

    return looked


def later(world: Utility, seconds: int) -> None:
    world.clock.time_s += seconds
    world.node.mine(3)


def test_all_is_well(town: Town, look: Look, run: Run) -> None:
    parts = look(code=0)
    assert {state for state, _ in parts.values()} == {"ok"}
    wanted = {"chain", "broker", "store", "meters", "relay", "closings", "utility"}
    assert set(parts) == wanted | {f"signer {i}" for i in range(3)}
    assert "5 in service, 0 silent" in parts["meters"][1]
    assert (
        f"feeder {FEEDER}, period {town.periods.text(town.first)}: balanced"
        in (parts["closings"][1])
    )
    done = run("status")
    assert done.code == 0
    assert done.out.endswith("nothing wrong, nothing waits\n")


@pytest.mark.usefixtures("town")
def test_a_part_that_is_away_is_a_line_and_hides_no_other(
    world: Utility, look: Look, tmp_path: Path
) -> None:
    def wrong(*more: object) -> dict[str, tuple[str, str]]:
        parts = look(*more, code=3)
        [name] = [name for name, (state, _) in parts.items() if state == "wrong"]
        assert name == away
        return parts

    away = "chain"
    parts = wrong("--rpc", "http://127.0.0.1:1")
    assert "does not answer" in parts["chain"][1]
    assert set(parts) == {"chain", "broker", "store", "meters"}
    away = "store"
    parts = wrong("--store", f"sqlite:///{tmp_path}/none.db")
    assert "there is no store" in parts["store"][1]
    assert set(parts) == {"chain", "broker", "store", "utility"}
    away = "broker"
    made = dataclasses.replace(world.deployment, broker="mqtt://me:sesame@127.0.0.1:1")
    made.save(tmp_path / "deployment.json", force=True)
    parts = wrong()
    assert "127.0.0.1:1" in parts["broker"][1]
    assert "sesame" not in parts["broker"][1]
    assert {"relay", "closings", "signer 0"} <= set(parts)


@pytest.mark.long
def test_no_relay_follows_the_chain(world: Utility, town: Town, look: Look, run: Run) -> None:
    later(world, 3 * 3600)
    sign_time(world, town.store, 1, 2, 3)
    parts = look(code=3)
    wrong = {name for name, (state, _) in parts.items() if state == "wrong"}
    assert wrong == {"relay", "meters"}
    assert "5 silent" in parts["meters"][1]
    assert "is a relay running?" in parts["meters"][1]
    assert "2 wrong" in run("status").out


@pytest.mark.usefixtures("world")
def test_a_utility_that_nobody_serves_yet(look: Look, store: Store) -> None:
    assert store.meters() == []
    parts = look(code=3)
    assert "parwana relay" in parts["relay"][1]
    assert parts["signer 0"][0] == "wrong"
    assert "has signed nothing yet" in parts["signer 0"][1]


@pytest.mark.long
def test_a_chain_that_stands_still(world: Utility, look: Look, town: Town) -> None:
    world.clock.time_s += 2 * 3600
    sign_time(world, town.store, 1, 2, 3)
    assert look(code=3)["chain"][0] == "wrong"
    assert look("--late", 3 * 3600, "--silent-after", DAY_S, code=0)["chain"][0] == "ok"


def test_a_signer_is_away(world: Utility, town: Town, look: Look) -> None:
    later(world, 3600 + 900)
    town.follow()
    sign_time(world, town.store, 1, 3)
    parts = look(code=3)
    assert [name for name, (state, _) in parts.items() if state == "wrong"] == ["signer 1"]
    assert "signs nothing" in parts["signer 1"][1]


def test_a_payment_waits_for_its_permit(
    world: Utility, town: Town, look: Look, store: Store
) -> None:
    payer = Chain.of(world.deployment, dev_key(20))
    functions = payer.ledgers(world.deployment).payment.functions
    house = town.houses[0].key.address
    due = world.chain.call(functions.account(house)).due
    payer.send(functions.pay(house, due), value=due)
    state, text = look(code=0)["payment"]
    assert state == "waits"
    assert "ETH for number 101: waits for its permit" in text
    later(world, 2 * 3600)
    town.follow()
    sign_time(world, store, 1, 2, 3)
    assert look("--silent-after", DAY_S, code=3)["payment"][0] == "wrong"
    later(world, DAY_S)
    assert "refundable" in look(code=3)["payment"][1]
    world.chain.send(functions.refund(101))
    assert "payment" not in look(code=3)


def test_a_claimed_payment_waits_no_more_and_its_permit_for_the_meter(
    world: Utility, town: Town, look: Look, store: Store
) -> None:
    payer = Chain.of(world.deployment, dev_key(20))
    functions = payer.ledgers(world.deployment).payment.functions
    house = town.houses[0].key.address
    due = world.chain.call(functions.account(house)).due
    payer.send(functions.pay(house, due), value=due)
    world.node.mine(2)
    keys = [dev_key(1), dev_key(2)]
    PermitSigner(world.deployment, store, keys, lambda: Chain.of(world.deployment, keys[0])).step()
    town.follow()
    parts = look(code=0)
    assert "payment" not in parts
    assert parts["permit"][0] == "waits"
    assert "not heard since" in parts["permit"][1]
    assert " 0 ETH" not in parts["utility"][1]
    later(world, 2 * 3600)
    town.follow()
    sign_time(world, store, 1, 2, 3)
    town.read(town.houses[0], world.clock.time_s, 3000)
    assert look("--silent-after", DAY_S, code=3)["permit"][0] == "wrong"


def test_a_period_that_is_not_balanced(world: Utility, town: Town, look: Look) -> None:
    period = town.first + 1
    town.go_to(town.periods.start(period + 1) + 60)
    town.close(town.feeder, period, 13_700)
    for meter in town.houses[1:]:
        town.close(meter, period, 4000)
    town.landing(gather_s=0).step()
    world.node.mine(3)
    town.follow()
    sign_time(world, town.store, 1, 2, 3)
    state, text = look(code=0)["closings"]
    assert (state, text.endswith("1 closings missing")) == ("waits", True)
    town.close(town.houses[0], period, 4000)
    world.clock.time_s += 3600
    town.landing().step()
    world.node.mine(3)
    assert look("--late", 2 * 3600, code=3)["closings"] == (
        "wrong",
        f"feeder {FEEDER}, period {town.periods.text(period)}: over-billing",
    )


def test_rotations_offers_and_changes_are_told(
    world: Utility, town: Town, look: Look, run: Run
) -> None:
    line = ("signers", "rotate", "--index", "0", "--to", dev_key(8).public_key.hex(), "--yes")
    for signer in ("dev:1", "dev:2"):
        assert run(*line, "--key", signer).code == 0
    offer = ("utility", "offer", "--to", dev_key(6).address, "--key", "dev:0", "--yes")
    assert run(*offer).code == 0
    with town.store.transaction() as tx:
        frame = wire.pack_ledger(5, 1_800_000_000, 31337, bytes(20))
        tx.add_trust(town.houses[0].address, 5, wire.pack_bundle(frame, [(0, bytes(64))]))
    parts = look(code=0)
    assert parts["signer 0"][0] == "waits"
    assert dev_key(8).address in parts["signer 0"][1]
    assert parts["utility"] == (
        "waits",
        f"offered to {dev_key(6).address}, which has not accepted",
    )
    assert parts["trust"][0] == "waits"
    later(world, 7 * DAY_S + 2 * 3600)
    assert "parwana signers apply" in look(code=3)["signer 0"][1]
    functions = world.ledgers.payment.functions
    world.chain.send(functions.apply_rotation(0))
    assert "the deployment file names another" in look(code=3)["signer 0"][1]


def test_what_cannot_be_told_is_exit_code_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deployment.json").write_text("{}")
    done: Any = run("status", "--json")
    assert done.code == 1
    assert done.json["ok"] is False


@pytest.mark.long
def test_a_permit_that_no_meter_lacks_is_no_line(world: Utility, town: Town, look: Look) -> None:
    bundle = publish(world, town.houses[0])
    town.follow()
    assert look(code=0)["permit"][0] == "waits"
    serial = wire.parse(bundle[:40])[1]
    town.event(town.houses[0], wire.EVENT_PERMIT_ACCEPTED, world.clock.time_s, serial)
    with town.store.transaction() as tx:
        tx.heard([{"meter": town.houses[0].address, "permit_serial": serial}])
    assert "permit" not in look(code=0)
