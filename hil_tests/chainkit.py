"""A utility on a development chain, in this process, for tests of what talks to the chain."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import wire
from hil_tests.services import reading
from parwana.chain import deploy, keys
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key, dev_key
from parwana.chain.node import Chain, Ledgers
from parwana.chain.periods import DAY_S, Period
from parwana.chain.terms import DEFAULT_TARIFF, Terms
from parwana.devchain.server import DevChain

START_S = 1_800_000_000
SIGNERS = (1, 2, 3)
HOUSE_WH = 5000
_deployed: dict[str, tuple[bytes, Deployment]] = {}  # by terms: a chain's state, what is on it


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time_s = START_S

    def now(self) -> float:
        """Return Unix time."""
        return self.time_s


def terms(**changes: Any) -> Terms:
    """Return terms of one-day periods, 2 of 3 signers."""
    values: dict[str, Any] = {
        "utility_id": "test",
        "period": Period("days", 1, 19800),
        "signers": [dev_key(n).public_key for n in SIGNERS],
        "threshold": 2,
        "tariff": DEFAULT_TARIFF,
        "payment_window_s": 2 * DAY_S,
        "escrow_window_s": DAY_S,
        "rotation_delay_s": 7 * DAY_S,
        "notice_periods": 1,
        "closing_deadline_s": DAY_S,
        "tolerance_bp": 300,
        **changes,
    }
    return Terms(**values)


@dataclass
class Utility:
    """A chain with contracts, whose time stands still until `clock.time_s` is moved."""

    node: DevChain
    clock: HandClock
    deployment: Deployment
    chain: Chain
    ledgers: Ledgers
    houses: list[Key] = field(default_factory=list)

    def enrol(self, seed: int, sanctioned_load_dw: int = 50_000) -> Key:
        """Enrol a house; its number is its seed."""
        key = Key(seed.to_bytes(32, "big"))
        entry = (key.address, seed, 1, 0, 0, sanctioned_load_dw)
        self.chain.send(self.ledgers.registry.functions.enrol(entry))
        self.houses.append(key)
        return key

    def close_period(self, wh: int = HOUSE_WH) -> int:
        """End the running period, land every house's closing; return the period's number."""
        periods = self.deployment.periods
        period = periods.of(self.clock.time_s)
        self.clock.time_s = periods.start(period + 1) + 60
        self.node.mine()
        data = b"".join(self.closing(house, self.clock.time_s, wh) for house in self.houses)
        self.chain.send(self.ledgers.energy.functions.close(data))
        return period

    def closing(self, house: Key, time_s: int, wh: int) -> bytes:
        """Return a signed closing: `wh` more than the one before."""
        last = self.chain.call(self.ledgers.energy.functions.closing(house.address))
        frame = reading(time_s & 0xFFFFFF, time_s, last[1] + wh, wire.FLAG_CLOSING)
        return frame + house.sign(wire.digest(self.deployment.reading_domain, frame))

    def owe(self, house: Key) -> int:
        """Settle a house and return what it owes."""
        self.chain.send(self.ledgers.payment.functions.settle(house.address))
        return int(self.chain.call(self.ledgers.payment.functions.account(house.address))[3])

    def pay(self, house: Key, payer: int = 20) -> Any:
        """Lock what a house owes, from a development key; return the receipt."""
        due = self.owe(house)
        chain = Chain.of(self.deployment, dev_key(payer))
        function = chain.ledgers(self.deployment).payment.functions.pay(house.address, due)
        return chain.send(function, value=due)


@contextmanager
def utility(store: str, **changes: Any) -> Iterator[Utility]:
    """Run a development chain with fresh contracts; `changes` are those of `terms`."""
    clock, agreed = HandClock(), terms(**changes)
    known = _deployed.get(repr(agreed))
    memory = os.environ.get("PARWANA_STATE")
    with TemporaryDirectory(dir=memory) as folder, pytest.MonkeyPatch.context() as patched:
        # Chains of the same terms begin with the same block: none may see what another was sent.
        patched.setenv("PARWANA_STATE", f"{folder}/state")
        state = Path(folder) / "chain"
        if known:
            state.write_bytes(known[0])
        with DevChain(clock=clock, block_interval_s=600, state=state) as node:
            chain = Chain(node.url, keys.dev_key(0))
            if known:
                made = replace(known[1], rpc=node.url, store=store)
            else:
                made = deploy.deploy(chain, agreed, "mqtt://127.0.0.1:1", store, lambda _: None)
                _deployed[repr(agreed)] = state.read_bytes(), made
            yield Utility(node, clock, made, chain, chain.ledgers(made))
