"""Proofs: made from a store, checked without one, and every way in which a file can lie."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests import anvil
from hil_tests.audit.test_roots import later
from hil_tests.chainkit import terms
from hil_tests.services import SignedMeter
from hil_tests.town import Town
from parwana import cli
from parwana.audit.proof import Proof, ProofError
from parwana.audit.prove import prove
from parwana.chain import deploy, merkle
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay.roots import Roots
from parwana.store.reader import Store, signed_frame

FORGER = 18


def make(town: Town, meter: SignedMeter, sequence: int, store: Store | None = None) -> Proof:
    of = store or town.store
    return prove(town.world.deployment, town.world.chain, of, meter.address, sequence)


@pytest.fixture
def proof(rooted: Town) -> Proof:
    return make(rooted, rooted.houses[0], 1)


@pytest.fixture
def files(rooted: Town, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Give (deployment, proof) files in a folder that is the current one."""
    before = Path.cwd()
    os.chdir(tmp_path)
    deployment = tmp_path / "deployment.json"
    rooted.world.deployment.save(deployment)
    yield deployment, tmp_path / "proof.json"
    os.chdir(before)


def test_every_frame_that_a_root_covers_can_be_proven(rooted: Town) -> None:
    for meter in (rooted.feeder, *rooted.houses):
        for frame in rooted.store.frames(meter.address):
            made = make(rooted, meter, frame.sequence)
            said = made.offline() + made.on_chain(rooted.world.chain)
            assert f"sequence {frame.sequence}, for " in said[0]
            assert f"under root {made.root}" in said[1]
            assert f"has the meter as point {101 if meter is rooted.houses[0] else ''}" in said[2]


def test_the_root_with_the_most_leaves_is_taken(rooted: Town, proof: Proof) -> None:
    assert (proof.day, proof.leaves) == (rooted.first, 10)
    late = make(rooted, rooted.houses[1], 1)
    assert (late.day, late.leaves) == (rooted.first, 10)


def test_an_earlier_root_proves_while_late_frames_wait(rooted: Town, spoilt: Path) -> None:
    store = Store(f"sqlite:///{spoilt}")
    house = rooted.houses[2]
    time_s = rooted.periods.start(rooted.first) + 900
    with store.transaction() as tx:
        frame = house.stored(5, time_s=time_s, energy_wh=9000)
        tx.add_frames(house.address, [frame], int(rooted.world.clock.now()))
    made = make(rooted, rooted.houses[0], 1, store)
    made.offline()
    assert made.leaves == 10
    with pytest.raises(ProofError, match=r"no root on the chain covers frame 5 of .* yet"):
        make(rooted, house, 5, store)
    with pytest.raises(ProofError, match="the store has no frame 7 of meter"):
        make(rooted, house, 7, store)
    with store.transaction() as tx:
        frame = house.stored(6)
        timeless = house.sign(frame.frame[:8] + bytes(4) + frame.frame[12:])
        tx.add_frames(house.address, [signed_frame(house.address, *timeless)], 9)
        tx.connection.exec_driver_sql("UPDATE frames SET time_s = -99999 WHERE sequence = 6")
    with pytest.raises(ProofError, match="frame 6 is of before 1970"):
        make(rooted, house, 6, store)
    store.close()


def test_the_command_proves_and_anyone_checks(
    rooted: Town, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    deployment, path = files
    asked = ["prove", "--deployment", str(deployment), "--number", "103", "--sequence", "2"]
    assert cli.main([*asked, "--out", str(path)]) == 0
    assert "proven: it logged the root in block" in capsys.readouterr().out
    checked = ["prove", "--check", str(path), "--deployment", str(deployment), "--json"]
    assert cli.main(checked) == 0
    known = json.loads(capsys.readouterr().out)
    assert [len(known["proven"]), len(known["not_proven"])] == [4, 1]
    replace(rooted.world.deployment, energy_ledger="0x" + "11" * 20).save(deployment, force=True)
    assert cli.main(checked) == 1
    assert "energy_ledger: 0x" in capsys.readouterr().err
    deployment.unlink()
    assert cli.main(["prove", "--check", str(path)]) == 0
    told = capsys.readouterr().out
    assert f"proven: meter 0x{rooted.houses[2].address.hex()} of utility test signed" in told
    assert "not proven: that the root is on a chain" in told
    assert "not proven: that the meter is enrolled" in told
    rpc = ["--rpc", rooted.world.node.url]
    assert cli.main(["prove", "--check", str(path), *rpc, "--json"]) == 0
    told_json = json.loads(capsys.readouterr().out)
    assert told_json["ok"] is True
    assert len(told_json["proven"]) == 4
    assert [line.split(":")[0] for line in told_json["not_proven"]] == [
        "that this EnergyLedger is your utility's",
        "what is on the chain, further than the node at --rpc is believed",
    ]


def test_the_command_names_what_it_lacks(
    rooted: Town, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    deployment, path = files
    for arguments, words in (
        (["--sequence", "1"], "give --check FILE, or --deployment"),
        (["--deployment", str(deployment), "--sequence", "1"], "give --meter or --number"),
        (["--deployment", str(deployment), "--number", "9", "--sequence", "1"], "never enrolled"),
        (["--check", str(path)], "No such file"),
    ):
        assert cli.main(["prove", *arguments]) == 1
        assert words in capsys.readouterr().err
    meter = rooted.houses[0].address.hex()
    made = ["prove", "--deployment", str(deployment), "--meter", meter, "--sequence", "1"]
    assert cli.main(made) == 0
    assert Path(f"proof-{meter}-1.json").is_file()


WRONG_FILES: list[tuple[str, Any]] = [
    ("no JSON", b"\xff\xfe"),
    ("too long", b" " * 70_000),
    ("deep", b"[" * 60_000),
    ("a list", b"[]"),
    ("another format", {"format": "parwana-proof/2"}),
    ("a key too many", {"more": 1}),
    ("a key too few", {"root": None}),
]


@pytest.mark.parametrize(
    "wrong", [w for _, w in WRONG_FILES], ids=[name for name, _ in WRONG_FILES]
)
def test_what_is_no_proof_is_refused(proof: Proof, tmp_path: Path, wrong: Any) -> None:
    path = tmp_path / "wrong.json"
    values = asdict(proof)
    if isinstance(wrong, dict):
        values |= wrong
        values = {name: value for name, value in values.items() if value is not None}
        wrong = json.dumps(values).encode()
    path.write_bytes(wrong)
    with pytest.raises(ProofError, match=r"is no proof|missing or unknown: (more|root)"):
        Proof.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frame", "0x00"),
        ("signature", None),
        ("meter", "0x" + "g" * 40),
        ("root", "00" * 32),
        ("index", True),
        ("index", "0"),
        ("leaves", 2**40),
        ("day", 1.5),
        ("chain_id", None),
        ("path", "0x" + "00" * 32),
        ("path", ["0x" + "00" * 31]),
        ("path", ["0x" + "00" * 32] * 33),
        ("path", [[]]),
        ("utility_id", "Test"),
        ("utility_id", 5),
    ],
)
def test_a_value_of_the_wrong_form_is_named(proof: Proof, name: str, value: Any) -> None:
    with pytest.raises(ProofError, match=f"^{name}: must be "):
        replace(proof, **{name: value})


def signed(meter: SignedMeter, **values: int) -> dict[str, Any]:
    frame, signature = meter.reading(1, **values)
    return {"frame": "0x" + frame.hex(), "signature": "0x" + signature.hex()}


def test_what_does_not_follow_is_refused_without_a_chain(rooted: Town, proof: Proof) -> None:
    house, other = rooted.houses[:2]
    time_s = proof.fields.time_s
    permit = wire.pack_permit(0, 1, 1, 1, 1, 0)
    with_frame = replace(proof, frame="0x" + permit.hex())
    cases: list[tuple[Proof, str]] = [
        (replace(proof, frame="0x" + "00" * 40), "frame: "),
        (with_frame, "frame: kind 3 is no meter's"),
        (replace(proof, frame=proof.frame[:-2] + "00"), "signature: made by "),
        (replace(proof, signature="0x" + "ff" * 64), "s is high|out of range"),
        (replace(proof, meter="0x" + other.address.hex()), "signature: made by "),
        (replace(proof, utility_id="other"), "signature: made by "),
        # signed by the meter, but not under this root
        (replace(proof, **signed(house, time_s=time_s, energy_wh=1)), "path: it does not lead"),
        (
            replace(proof, **signed(house, time_s=time_s + 86_400, energy_wh=1)),
            "day: the frame is",
        ),
        (replace(proof, day=proof.day + 1), f"day: the frame is of day {proof.day}"),
        (replace(proof, utc_offset_s=-43_200), "day: the frame is"),
        (replace(proof, index=proof.index ^ 1), "path: it does not lead"),
        (replace(proof, leaves=proof.leaves + 1), "path: it does not lead"),
        (replace(proof, leaves=1), "path: it does not lead"),
        (replace(proof, path=proof.path[:-1]), "path: it does not lead"),
        (replace(proof, path=[*proof.path, proof.root]), "path: it does not lead"),
        (replace(proof, root="0x" + "11" * 32), "path: it does not lead"),
    ]
    for forged, words in cases:
        with pytest.raises(ProofError, match=words):
            forged.offline()


def test_a_tree_of_ones_own_proves_nothing_on_the_chain(rooted: Town, proof: Proof) -> None:
    """A true signature under a root that nobody logged: only the chain can tell."""
    digest = wire.digest(wire.reading_domain("test"), bytes.fromhex(proof.frame[2:]))
    alone: dict[str, Any] = {
        "index": 0,
        "leaves": 1,
        "path": [],
        "root": "0x" + merkle.root([digest])[0].hex(),
    }
    forged = replace(proof, **alone)
    forged.offline()
    with pytest.raises(ProofError, match="did not log this root"):
        forged.on_chain(rooted.world.chain)
    with pytest.raises(ProofError, match="the chain has no 0x1111"):
        replace(forged, transaction="0x" + "11" * 32).on_chain(rooted.world.chain)


def test_a_root_of_another_day_feeder_committer_or_ledger_is_none(
    rooted: Town, proof: Proof
) -> None:
    world = rooted.world
    chain = Chain.of(world.deployment, dev_key(FORGER))
    root = bytes.fromhex(proof.root[2:])

    def commit(ledger: Any, feeder: int, day: int) -> str:
        sent = chain.send(ledger.functions.commit(feeder, [(day, root, proof.leaves)]))
        return "0x" + bytes(sent["transactionHash"]).hex()

    me: dict[str, Any] = {"committer": dev_key(FORGER).address}
    with later(rooted, 60):
        mine = chain.ledgers(world.deployment).energy
        for feeder, day in ((0, proof.day + 1), (900, proof.day)):
            of_other = replace(proof, transaction=commit(mine, feeder, day), **me)
            with pytest.raises(ProofError, match="did not log this root for this day"):
                of_other.on_chain(chain)
        good = replace(proof, transaction=commit(mine, 0, proof.day), **me)
        assert len(good.on_chain(chain)) == 2
        with pytest.raises(ProofError, match="did not log this root"):
            replace(good, committer=proof.committer).on_chain(chain)
        utility = Chain(world.node.url, dev_key(FORGER + 1))
        urls = world.deployment.broker, world.deployment.store
        other = deploy.deploy(utility, terms(), *urls, lambda _: None)
        there = chain.ledgers(other).energy
        elsewhere = replace(proof, transaction=commit(there, 0, proof.day), **me)
        with pytest.raises(ProofError, match="did not log this root"):
            elsewhere.on_chain(chain)
        with pytest.raises(ProofError, match="was never enrolled at the ledger's registry"):
            replace(elsewhere, energy_ledger=other.energy_ledger).on_chain(chain)


def test_another_chain_ledger_utility_or_offset_is_told(rooted: Town, proof: Proof) -> None:
    deployment, chain = rooted.world.deployment, rooted.world.chain
    for change, words in (
        ({"chain_id": 1}, "chain_id: the node's chain is 31337, not 1"),
        ({"energy_ledger": "0x" + "11" * 20}, "there is no contract at 0x1111"),
        ({"utility_id": "other"}, "the ledger is not of utility other"),
        ({"utc_offset_s": 0}, "utc_offset_s: not the ledger's"),
        ({"meter": "0x" + "11" * 20}, "was never enrolled"),
    ):
        with pytest.raises(ProofError, match=words):
            replace(proof, **change).on_chain(chain)
    with pytest.raises(ProofError, match="is no EnergyLedger"):
        replace(proof, energy_ledger=deployment.registry).on_chain(chain)


def test_letter_case_of_addresses_and_hashes_does_not_matter(rooted: Town, proof: Proof) -> None:
    upper = {
        name: "0x" + getattr(proof, name)[2:].upper()
        for name in ("meter", "energy_ledger", "committer", "transaction", "root", "frame")
    }
    changed = replace(proof, **upper)
    assert len(changed.offline() + changed.on_chain(rooted.world.chain)) == 4


def test_a_node_that_we_did_not_write_says_the_same(tmp_path: Path) -> None:
    try:
        anvil.program()
    except anvil.RuntimeMissing as missing:
        pytest.skip(str(missing))
    store = Store(f"sqlite:///{tmp_path}/store.db")
    with (tmp_path / "log").open("w") as log:
        node = anvil.Anvil(log)
        try:
            utility, relay = Chain(node.url, dev_key(0)), Chain(node.url, dev_key(9))
            urls = "mqtt://127.0.0.1:1", f"sqlite:///{tmp_path}/store.db"
            made = deploy.deploy(utility, terms(), *urls, lambda _: None)
            house = SignedMeter(5, made.reading_domain)
            ledgers = relay.ledgers(made)
            registry = utility.ledgers(made).registry.functions
            utility.send(registry.enrol((house.key.address, 5, 1, 0, 0, 50_000)))
            now_s = int(time.time())
            with store.transaction() as tx:
                frames = [house.stored(n, time_s=now_s - 86_400 + n) for n in (1, 2, 3)]
                tx.add_frames(house.address, frames, now_s - 3600)
            assert Roots(relay, ledgers, store, made, lambda: now_s + 1, wait_s=0).land() == 1
            proof = prove(made, Chain(node.url), store, house.address, 2)
            assert "as point 5" in proof.on_chain(Chain(node.url))[0]
            with pytest.raises(ProofError, match="did not log this root"):
                replace(proof, day=proof.day + 1).on_chain(Chain(node.url))
        finally:
            node.stop()
            store.close()
