"""Signers replaced: by m of the old ones, on the chain, in the file, at the meters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests.chainkit import SIGNERS, Utility
from hil_tests.rights.conftest import Run
from hil_tests.services import SignedMeter
from hil_tests.town import Town
from parwana.audit.command import audit
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.permits.bundle import PermitError
from parwana.permits.signer import PermitSigner, TimeSigner
from parwana.rights import trust
from parwana.store.reader import Store

NEW = dev_key(8)
LINE = ("signers", "rotate", "--index", "0", "--to", NEW.public_key.hex(), "--yes")
SHOW = ("signers", "show", "--json")


@pytest.fixture
def town(world: Utility, store: Store) -> Town:
    return Town(world, store)


def rotated(world: Utility, run: Run) -> Any:
    """Rotate signer 0 and apply it; return what the last command said."""
    for signer in ("dev:1", "dev:2"):
        done = run(*LINE, "--key", signer)
        assert done.code == 0, done
    world.clock.time_s += 7 * DAY_S + 600
    world.node.mine()
    return run("signers", "apply", "--key", "dev:7", "--json").json


def test_m_signers_announce_it_and_after_the_notice_it_is_applied(
    world: Utility, town: Town, run: Run, tmp_path: Path
) -> None:
    first = run(*LINE, "--key", "dev:1", "--json").json
    assert (first["signatures"], first["announced"], first["ready"]) == (1, False, 0)
    assert world.chain.call(world.ledgers.payment.functions.trust_serial()) == 0
    second = run(*LINE, "--key", "dev:2", "--json").json
    assert second == {
        "serial": first["serial"],
        "signatures": 2,
        "announced": True,
        "effective_at_s": world.chain.block_time_s() + 7 * DAY_S,
        "meters": 5,
        "ready": 5,
    }
    shown = run(*SHOW).json
    assert shown["signers"][0]["next"] == NEW.address
    assert {row["state"] for row in shown["change"]["meters"]} == {"not handed to relays"}
    early = run("signers", "apply", "--key", "dev:7")
    assert early.code == 1
    assert "counts from 20" in early.err
    world.clock.time_s += 7 * DAY_S + 600
    world.node.mine()
    assert "add --key FILE" in run("signers", "apply").err
    done = run("signers", "apply", "--key", "dev:7", "--json").json
    assert done == {
        "index": 0,
        "signer": NEW.address,
        "serial": first["serial"],
        "file_changed": True,
        "lack_signatures": 0,
    }
    keys = [NEW.public_key, *(dev_key(n).public_key for n in SIGNERS[1:])]
    assert Deployment.load(tmp_path / "deployment.json").signers == keys
    again = run("signers", "apply", "--json").json
    assert again["file_changed"] is False
    assert len(town.store.trust()) == 5, "once"


def test_each_meter_gets_a_bundle_that_it_believes_and_no_other_meters(
    world: Utility, town: Town, run: Run
) -> None:
    rotated(world, run)
    old = [dev_key(n).public_key for n in SIGNERS]
    for row in town.store.trust():
        bundle = wire.parse_bundle(row.bundle)
        assert bundle.public_key == NEW.public_key
        digest = wire.digest(world.deployment.permit_domain(row.meter.hex()), bundle.frame)
        signed = {i: trust._made_by(digest, signature) for i, signature in bundle.signatures}
        assert signed == {i: bytes.fromhex(dev_key(SIGNERS[i]).address[2:]) for i in (0, 1)}
    assert world.deployment.signers == old


def test_the_table_rests_on_what_meters_signed(world: Utility, town: Town, run: Run) -> None:
    serial = rotated(world, run)["serial"]
    now_s = int(world.clock.now())
    one, two, three, four = town.houses
    town.event(one, wire.EVENT_SIGNER_CHANGED, now_s, 0, serial)
    town.event(two, wire.EVENT_SIGNER_CHANGED, now_s, 0, serial - 1)
    forger = SignedMeter(666, four.domain)
    frame, signature = forger.event(wire.EVENT_SIGNER_CHANGED, 1, now_s, 0, 0, serial)
    town.keep(four, (frame, signature))  # a row that somebody put into the store
    with town.store.transaction() as tx:
        tx.tell()
        tx.trusts({three.address: [(serial, False)]})
    change = run(*SHOW).json["change"]
    rows = {row["number"]: (row["state"], row["taken_s"]) for row in change["meters"]}
    assert rows == {
        101: ("taken", now_s),
        102: ("told", 0),
        103: ("says it has it", 0),
        104: ("told", 0),
        900: ("told", 0),
    }
    assert change["taken"] == 1
    said = run("signers", "show").out
    assert "1 of 5 meters have taken it" in said
    assert "0x" + one.address.hex() not in said
    assert "0x" + one.address.hex() in run("signers", "show", "--all").out


def test_meters_enrolled_before_it_is_in_force_are_signed_for_later(
    world: Utility, town: Town, run: Run
) -> None:
    for signer in ("dev:1", "dev:2"):
        run(*LINE, "--key", signer)
    late = SignedMeter(105, town.feeder.domain)
    town.enrol(late, 105, 1, 900)
    town.follow()
    world.clock.time_s += 7 * DAY_S + 600
    world.node.mine()
    assert run("signers", "apply", "--key", "dev:7", "--json").json["lack_signatures"] == 1
    after = SignedMeter(106, town.feeder.domain)
    town.enrol(after, 106, 1, 900)
    town.follow()
    for signer in ("dev:2", "dev:3"):
        done = run(*LINE, "--key", signer)
        assert "in force already" in done.out, done
    assert run("signers", "apply", "--json").json["lack_signatures"] == 0
    assert {row.meter for row in town.store.trust()} >= {late.address, after.address}


def test_a_meter_enrolled_since_needs_nothing(world: Utility, town: Town, run: Run) -> None:
    rotated(world, run)
    world.clock.time_s += 600
    town.enrol(SignedMeter(105, town.feeder.domain), 105, 1, 900)
    town.follow()
    rows = {row["number"]: row["state"] for row in run(*SHOW).json["change"]["meters"]}
    assert rows[105] == "enrolled since"
    assert "0 of 5 meters" in run("signers", "show").out


def test_wrong_keys_places_and_times_are_refused(world: Utility, town: Town, run: Run) -> None:
    head = world.chain.head()
    new = NEW.public_key.hex()

    def refused(index: int, to: str, key: str) -> str:
        done = run("signers", "rotate", "--index", index, "--to", to, "--key", key, "--yes")
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        return done.err

    assert "no permit signer" in refused(0, new, "dev:8")
    assert "there are signers 0 to 2" in refused(3, new, "dev:1")
    assert "--to 00" in refused(0, "00" * 64, "dev:1")
    assert "is signer 1 already" in refused(0, dev_key(2).public_key.hex(), "dev:1")
    assert "is signer 0 already" in refused(0, dev_key(1).public_key.hex(), "dev:1")
    assert "no signer was announced" in run("signers", "apply", "--key", "dev:7").err
    assert (world.chain.head(), town.store.signed(trust.SCOPE + trust.NOBODY)) == (head, [])
    for signer in ("dev:1", "dev:2"):
        assert run(*LINE, "--key", signer).code == 0
    other = dev_key(9).public_key.hex()
    assert "signer 0 is being replaced" in refused(1, other, "dev:1")


def test_the_announced_one_can_be_replaced_before_it_counts(
    world: Utility, town: Town, run: Run
) -> None:
    for signer in ("dev:1", "dev:2"):
        run(*LINE, "--key", signer)
    world.clock.time_s += 600
    better = ("signers", "rotate", "--index", "0", "--to", dev_key(9).public_key.hex(), "--yes")
    for signer in ("dev:1", "dev:3"):
        assert run(*better, "--key", signer).code == 0
    world.clock.time_s += 7 * DAY_S + 600
    world.node.mine()
    assert run("signers", "apply", "--key", "dev:7", "--json").json["signer"] == dev_key(9).address
    bundles = [wire.parse_bundle(row.bundle) for row in town.store.trust()]
    assert {bundle.public_key for bundle in bundles} == {dev_key(9).public_key}


HARMS: list[dict[str, int]] = [
    {"issued_at_s": 30 * DAY_S},  # would end the permits of every meter
    {"issued_at_s": -30 * DAY_S},
    {"serial": 10**8},  # would bar the changes of three years
    {"index": 1},
    {"key": 9},
    {"signer": 666},
]


def test_a_signer_takes_up_no_harmful_frame(world: Utility, town: Town, run: Run) -> None:
    now_s = int(world.clock.now())
    for seconds, harm in enumerate(HARMS):
        issued_s = now_s - 600 + seconds + harm.get("issued_at_s", 0)
        prefix = wire.key_prefix(dev_key(harm.get("key", 8)).public_key)
        index, serial = harm.get("index", 0), issued_s + harm.get("serial", 0)
        frame = wire.pack_signer(index, serial, issued_s, prefix)
        author = SignedMeter(harm["signer"]).key if "signer" in harm else dev_key(1)
        trust.Change(world.deployment, town.store, frame, []).sign({0: author}, [], now_s)
    begun = run(*LINE, "--key", "dev:2", "--json").json
    assert now_s <= begun["serial"] < now_s + 600
    assert (begun["signatures"], begun["announced"]) == (1, False)
    frame = wire.pack_signer(0, now_s + 9, now_s + 9, wire.key_prefix(NEW.public_key))
    trust.Change(world.deployment, town.store, frame, []).sign({0: dev_key(1)}, [], now_s + 9)
    assert run(*LINE, "--key", "dev:3", "--json").json["serial"] == now_s + 9, "an honest one"


def test_a_signer_of_the_old_file_stops_and_says_why(world: Utility, town: Town, run: Run) -> None:
    stale = world.deployment
    house = world.enrol(1001)
    keys = [dev_key(1), dev_key(2)]
    old = PermitSigner(stale, town.store, keys, lambda: Chain.of(stale, keys[0]))
    old.step()
    rotated(world, run)
    world.close_period()
    world.pay(house)
    world.node.mine(2)
    assert "signature wrong" in old.step().failure
    with pytest.raises(PermitError, match="parwana signers apply"):
        old.step()


def test_a_meter_without_a_network_gets_it_as_text(
    world: Utility, town: Town, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "change.txt"
    line = ("signers", "carry", "--out", out, "--number")
    assert "lacks no change" in run(*line, "101").err
    rotated(world, run)
    assert "1 of 1 that it lacks" in run(*line, "101").out
    [row] = [row for row in town.store.trust() if row.meter == town.houses[0].address]
    assert wire.parse_text(out.read_bytes().rstrip()) == row.bundle
    with town.store.transaction() as tx:
        tx.trusts({row.meter: [(row.serial, True)]})
    assert "lacks no change" in run(*line, "101").err


def test_what_the_old_one_signed_is_no_finding(world: Utility, town: Town, run: Run) -> None:
    def sign_time(number: int, made: Deployment) -> None:
        keys = [dev_key(number)]
        TimeSigner(made, town.store, keys, world.clock.now, 900, lambda _: None).step()

    for number in SIGNERS:
        sign_time(number, world.deployment)
    rotated(world, run)
    public = [NEW.public_key.hex(), *world.deployment.permit_signers[1:]]
    made = replace(world.deployment, permit_signers=public)
    sign_time(8, made)

    def wrong() -> list[str]:
        report = audit(made, world.chain, town.store)
        assert report.counts["signer_signatures"] >= 4
        return [one.where for one in report.findings if one.kind == "stored_signature"]

    assert wrong() == []
    frame = wire.pack_time(5, 5)
    digest = wire.digest(made.time_domain, frame)
    with town.store.transaction() as tx:
        tx.add_signature(b"time", frame, digest, 1, dev_key(1).sign(digest), 5)
    assert wrong() == ["signer 1, made at 5"], "the old one of another place is nobody there"
