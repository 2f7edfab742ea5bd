"""Who sends is killed before any line of it; the next run goes on as if it had not been.

`deploy`, `relay`, `pay` and two signers are the real commands at a real node, anvil. Each is
killed (SIGKILL) before a line of what signs, writes down, sends and waits; what it left is taken
up by the same command, which is killed, too (with --long), at a place chosen by chance, and by
another, which is not. In the end chain and store must be as if nobody had ever been killed: no
call is lost, none is made twice, none forgotten in what the key spent.
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_checksum_address

from hil_tests import anvil
from hil_tests.hostilekit import FINAL_BLOCKS, Base
from hil_tests.kills import Ended, Killable, Place
from hil_tests.reliability import record
from parwana import cli
from parwana.chain import outbox
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.store.reader import Store
from parwana.world.clock import VARIABLE, WorldClock
from parwana.world.runtime import RuntimeMissing

SENDING = tuple(f"parwana.chain.{name}" for name in ("sender", "desk", "outbox", "limits"))
KEYS = (0, 1, 2, 8, 9)
SAMPLED = 1  # places of each command, in the short form


@dataclass(frozen=True)
class Stage:
    """A command: its words, the modules that it is killed in, what it says if all was done."""

    words: tuple[str, ...]
    modules: tuple[str, ...] = ()
    done: str = "nothing says so"
    before: Callable[[anvil.Anvil], None] = lambda _: None


def _mine(node: anvil.Anvil) -> None:
    node.mine(FINAL_BLOCKS + 1)


def stages(base: Base) -> dict[str, Stage]:
    """Return what a utility does, in its order. FILE, OUT: files of a case."""
    house = base.town.houses[0].key.address
    land = Stage(
        ("relay", "--deployment", "FILE", "--key", "dev:9", "--once"),
        ("parwana.relay.landing", "parwana.relay.follower", "parwana.store.writer"),
    )
    sign = ("permits", "run", "--deployment", "FILE", "--once", "--time-step", "0", "--key")
    signing = ("parwana.permits.signer", "parwana.store.writer")
    signers = [part for n in (1, 2, 3) for part in ("--signer", dev_key(n).public_key.hex())]
    return {
        "relay": land,
        "pay": Stage(
            ("pay", "--deployment", "FILE", "--meter", house, "--key", "dev:8"),
            ("parwana.pay",),
            "a payment waits for its permit already",
        ),
        "signer 0": Stage((*sign, "dev:1"), signing, before=_mine),
        "signer 1": Stage((*sign, "dev:2"), signing),
        "relay, after it": land,
        "deploy": Stage(
            (
                *("deploy", "--rpc", base.node.url, "--key", "dev:0", "--utility-id", "test"),
                *("--threshold", "2", "--finality", str(FINAL_BLOCKS), "--out", "OUT", *signers),
            ),
            ("parwana.chain.steps", "parwana.chain.deploy", "parwana.chain.deployment"),
            "--force",
        ),
    }


class Machine:
    """A computer's folder and its node, both of which go back to before a command as one."""

    def __init__(self, base: Base, folder: Path) -> None:
        self.base, self.folder = base, folder
        self.now, self._kept = folder / "now", folder / "kept"
        self.now.mkdir(parents=True)
        base.restore(self.now).close()
        self.made = replace(base.world.deployment, store=f"sqlite:///{self.now}/store.db")
        self.made.save(self.now / "deployment.json")
        self._snapshot = ""
        self.keep()

    def keep(self) -> None:
        """Let this be what `back` goes back to."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.now, self._kept)
        self._snapshot = self.base.node.ask("evm_snapshot")

    def back(self) -> None:
        """Forget what happened since."""
        shutil.rmtree(self.now)
        shutil.copytree(self._kept, self.now)
        assert self.base.node.ask("evm_revert", self._snapshot)
        self._snapshot = self.base.node.ask("evm_snapshot")

    def run(self, stage: Stage, at: Place | None = None) -> Ended:
        """Run a command on it."""
        places = {"FILE": self.now / "deployment.json", "OUT": self.now / "out"}
        words = [str(places.get(word, word)) for word in stage.words]
        clock = WorldClock(self.base.world.clock.now(), time.time(), 1.0)
        env = {VARIABLE: str(clock), outbox.VARIABLE: str(self.now / "state")}
        program = Killable(cli.main, [words], [*SENDING, *stage.modules], self.now)
        return program.run(env, self.folder / "ended", at)

    def facts(self) -> dict[str, Any]:
        """Return all that lasts, but for times of blocks: they are the node's."""
        chain = Chain(self.base.node.url, finality=FINAL_BLOCKS)
        ledgers = chain.ledgers(self.made)
        contracts = (ledgers.registry, ledgers.energy, ledgers.payment)
        logs = [
            (log["event"], sorted((k, v) for k, v in log["args"].items() if k != "deadline_s"))
            for _, found in chain.every(contracts, self.made.from_block, chain.head())
            for log in found
        ]
        store = Store(self.made.store)
        rows = [*store.permits(), *store.meters(), *store.quarantined()]
        signed = [(row.digest, row.signer_index) for row in store.signed(self._scope)]
        store.close()
        spent = {path.parent.name: _spent(path) for path in self.now.rglob("spent")}
        out = self.now / "out"
        addresses = [to_checksum_address(dev_key(n).address) for n in KEYS]
        return {
            "logs": logs,
            "transactions": {a: chain.w3.eth.get_transaction_count(a) for a in addresses},
            "waiting": self.base.node.ask("txpool_status"),
            "escrow": chain.balance(self.made.payment_ledger),
            "store": [tuple(row) for row in rows],
            "signed": signed,
            "counted as spent": spent,
            "out": out.read_bytes() if out.exists() else b"",
        }

    @property
    def _scope(self) -> bytes:
        return b"permit" + self.base.town.houses[0].address


def _spent(path: Path) -> list[str]:
    """Return the nonces that count."""
    return [nonce for nonce, wei in json.loads(path.read_text())["wei"].items() if wei]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    try:
        anvil.program()
    except RuntimeMissing as missing:
        pytest.skip(str(missing))
    base = Base(tmp_path / "base")
    (tmp_path / "base").mkdir()
    yield Machine(base, tmp_path / "machine")
    base.close()


def test_whoever_is_killed_at_any_line_loses_and_repeats_nothing(
    machine: Machine, long: bool
) -> None:
    chance = random.Random(9)
    figures = dict.fromkeys(("places", "killed", "killed again"), 0)
    for name, stage in stages(machine.base).items():
        stage.before(machine.base.node)
        machine.keep()
        whole = machine.run(stage)
        assert whole.code == 0, f"{name}: {whole.said}"
        wanted = machine.facts()
        print(f"{name}: {len(whole.places)} places", flush=True)
        chosen = whole.places if long else chance.sample(whole.places, SAMPLED)
        for place in chosen:
            machine.back()
            again = [chance.choice(whole.places)] if long else []
            runs = [machine.run(stage, at) for at in (place, *again, None)]
            where = f"{name}, killed at {place}: {[run.said for run in runs]}"
            assert runs[-1].code == 0 or stage.done in runs[-1].said, where
            assert machine.facts() == wanted, where
            figures["places"] += 1
            figures["killed"] += runs[0].code == -9
            figures["killed again"] += runs[1].code == -9
    record("killed senders" if long else "killed senders, sampled", **figures)
    print(figures)
    assert figures["killed"] > 0.9 * figures["places"]
