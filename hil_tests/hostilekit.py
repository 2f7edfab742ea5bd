"""A utility on an anvil that forgets: a month is over, its programs have yet to do their part."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_checksum_address

from hil_tests import anvil
from hil_tests.chainkit import SIGNERS, START_S, HandClock, Utility, terms
from hil_tests.town import FEEDER, Town
from parwana.audit.command import audit
from parwana.chain import deploy, outbox
from parwana.chain.errors import ChainError
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.pay import Payer, PayError
from parwana.permits.signer import PermitSigner
from parwana.relay.follower import Follower
from parwana.relay.landing import Landing
from parwana.store.reader import Store

FINAL_BLOCKS = 12
PAYER, RELAY = dev_key(8), dev_key(9)
ROUNDS = 12
CASES = 3
STEPS = ("land", "pay", "wait", "sign 0", "sign 1", "follow")


class Moved:
    """An anvil whose time a test moves: mining goes there, and far enough to be final."""

    def __init__(self, node: anvil.Anvil, clock: HandClock) -> None:
        self.node, self.url, self._clock = node, node.url, clock

    def mine(self, blocks: int = FINAL_BLOCKS + 2) -> None:
        if self._clock.time_s > self.node.rpc.block("latest").time_s:
            self.node.ask("evm_setNextBlockTimestamp", hex(self._clock.time_s))
        self.node.mine(blocks)


class Base:
    """A town whose last month is over, to which each case goes back.

    anvil forgets states of blocks when it has made some hundred, those that were gone back from
    included, and cannot reorganise to them then: after CASES it is begun anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun = self._cases = 0
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def _begin(self) -> None:
        self.close()
        self._begun, self._cases = self._begun + 1, 0
        folder = self._folder / str(self._begun)
        folder.mkdir()
        log = self._stack.enter_context((folder / "log").open("w"))
        self.node = anvil.Anvil(log, "--timestamp", str(START_S - 1000))
        self._stack.callback(self.node.stop)
        self.file = folder / "store.db"
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(outbox.VARIABLE, str(folder / "state"))
            self._live()
        self.snapshot = self.node.ask("evm_snapshot")

    def _live(self) -> None:
        node, clock, url = self.node, HandClock(), f"sqlite:///{self.file}"
        chain = Chain(node.url, dev_key(0), finality=FINAL_BLOCKS)
        made = deploy.deploy(chain, terms(), "mqtt://127.0.0.1:1", url, lambda _: None)
        moved: Any = Moved(node, clock)
        self.world = Utility(moved, clock, made, chain, chain.ledgers(made))
        store = Store(url)
        self.town = Town(self.world, store)
        self.town.settle_in()
        for meter in (self.town.feeder, *self.town.houses):
            self.town.close(meter, self.town.first, 20_400 if meter is self.town.feeder else 5000)
        self.town.go_to(self.town.periods.start(self.town.first + 1) + 7 * 3600)
        store.close()

    def restore(self, folder: Path) -> Store:
        """Go back to the end of the month; return a copy of its store."""
        self._cases += 1
        if not self._begun or self._cases > CASES:
            self._begin()
        else:
            self.node.ask("evm_revert", self.snapshot)
            self.snapshot = self.node.ask("evm_snapshot")
        self.node.mine(FINAL_BLOCKS)  # a reorganisation does not go back behind the snapshot
        copy = folder / "store.db"
        shutil.copy(self.file, copy)
        return Store(f"sqlite:///{copy}")


class Life:
    """The programs of a utility: each with its own connection, begun anew by `restart`."""

    def __init__(self, base: Base, store: Store, url: str | None = None) -> None:
        self.base, self.store = base, store
        self.made = base.world.deployment
        self.url = url or base.node.url
        self.house = base.town.houses[0].key.address
        self.delivered: list[bytes] = []
        self.said: list[str] = []
        self.before = self.true(lambda c, _: c.balance(PAYER.address))
        self.restart()

    def connect(self, key: Any) -> Callable[[], Chain]:
        return lambda: Chain(
            self.url, key, chain_id=self.made.chain_id, finality=FINAL_BLOCKS, timeout_s=2
        )

    def restart(self) -> None:
        """Begin all programs anew, as after kill -9."""
        now = self.base.world.clock.now
        self.landing = Landing(self.made, self.store, self.connect(RELAY), now, 0)
        self.follower = Follower(
            self.made, self.store, self.connect(None), lambda _m, b: self.delivered.append(b)
        )
        self.signers = [
            PermitSigner(self.made, self.store, [dev_key(n)], self.connect(dev_key(n)))
            for n in SIGNERS[:2]
        ]

    def do(self, step: str) -> None:
        """Do one step, which may fail as a chain makes it fail."""
        name, _, number = step.partition(" ")
        if name == "land":
            self.landing.step()
        elif name == "pay":
            self.pay()
        elif name == "wait":
            self.base.node.mine(FINAL_BLOCKS + 1)
        elif name == "sign":
            self.signers[int(number)].step()
        else:
            self.follower.step()
        self.nothing_is_given_away()

    def pay(self) -> None:
        """Pay as a household does that looks first whether it has paid."""
        chain = self.connect(PAYER)()
        payer = Payer(self.made, chain, self.house)
        bill = payer.bill()
        if bill.due and not bill.locked:
            with suppress(PayError):  # nothing is due: the bill was reorganised away meanwhile
                payer.pay()

    def true(self, ask: Callable[[Chain, Any], Any]) -> Any:
        """Return what the chain itself says."""
        chain = Chain(self.base.node.url, finality=FINAL_BLOCKS)
        return ask(chain, chain.ledgers(self.made))

    def nothing_is_given_away(self) -> None:
        """Check that who signed a permit had seen its payment final."""
        signed = self.store.signed(b"permit" + bytes.fromhex(self.house[2:]))

        def locked(chain: Chain, ledgers: Any) -> int:
            final = chain.finalized_block()
            return len(chain.logs(ledgers.payment.events.Locked, self.made.from_block, final))

        permits = {row.frame for row in signed} | {bundle[:40] for bundle in self.delivered}
        assert not permits or len(permits) <= self.true(locked)

    def left(self) -> list[str]:
        """Return what is not done."""

        def state(chain: Chain, ledgers: Any) -> list[str]:
            account = chain.call(ledgers.payment.functions.account(self.house))
            events, first = ledgers.energy.events.Reconciled, self.made.from_block
            last = self.base.town.first
            balanced = [x["args"]["period"] for x in chain.logs(events, first, feeder=FEEDER)]
            lock = chain.call(ledgers.payment.functions.locked(self.house))
            wanted = {
                f"bill {account.period}, not {last}": account.period == last,
                f"due {account.due}": not account.due,
                f"locked {lock.amount}": not lock.amount,
                f"payments {account.payments}": account.payments,
                f"balanced {balanced}, not {last}": last in balanced,
                "not delivered": bool(self.delivered),
            }
            return [text for text, good in wanted.items() if not good]

        return list(self.true(state))

    def live(self, trouble: Callable[[int, str], None] = lambda _i, _s: None) -> None:
        """Go on step by step, round by round, until all is done; `trouble` comes after a step."""
        for turn in range(ROUNDS):
            for step in STEPS:
                try:
                    self.do(step)
                except ChainError as error:  # as services do: say it, and try again
                    self.said.append(f"{step}: {error}")
                trouble(turn, step)
            if not self.left():
                break
        self.settled()

    def settled(self) -> None:
        """Check what is to be true at the end of it all."""
        self.base.node.mine(FINAL_BLOCKS + 2)
        self.do("follow")
        assert self.left() == [], self.said

        def end(chain: Chain, ledgers: Any) -> None:
            functions, events = ledgers.payment.functions, ledgers.payment.events
            bills = chain.logs(events.Billed, self.made.from_block, meter=self.house)
            assert [log["args"]["period"] for log in bills][-1] == self.base.town.first
            assert len({log["args"]["period"] for log in bills}) == len(bills)
            due = sum(log["args"]["amount"] for log in bills)
            paid = [log["args"]["amount"] for log in chain.logs(events.Paid, self.made.from_block)]
            assert sum(paid) == due
            assert chain.balance(self.made.payment_ledger) == due, "escrow, till it is withdrawn"
            assert chain.call(functions.credits(dev_key(0).address)) == due
            sent = chain.w3.eth.get_transaction_count(to_checksum_address(PAYER.address))
            assert sent == len(paid), "no transaction without effect"
            lost = self.before - chain.balance(PAYER.address)
            assert due < lost < due + 10**16, "once, and gas"
            permits = chain.logs(events.PermitPublished, self.made.from_block)
            given = [log["args"]["frame"] + log["args"]["signatures"] for log in permits]
            assert len(given) == len(paid)
            assert given[-1] in self.delivered
            report = audit(self.made, chain, self.store)
            assert [str(finding) for finding in report.findings] == []

        self.true(end)
