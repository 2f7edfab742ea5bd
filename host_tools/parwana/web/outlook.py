"""What pages show of the whole utility: read in the background, served as it is."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from parwana.audit.balance import balances
from parwana.chain.currency import Currency, currency_of
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError
from parwana.chain.node import Chain, Ledgers
from parwana.fleet.rows import Row, read
from parwana.store.reader import Store, StoreError
from parwana.web.again import Again
from parwana.web.book import Book
from parwana.world.clock import WorldClock
from parwana.world.logs import Trouble

log = logging.getLogger("parwana.web")


@dataclass(frozen=True)
class View:
    """The meters, and what each feeder's periods balanced; `at_s`: when they were read."""

    at_s: int
    rows: list[Row]
    kinds: dict[int, str] = field(default_factory=dict)
    balances: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def houses(self, feeder: int) -> int:
        """Return how many houses in service are below a feeder, 0 for what is none."""
        if feeder not in self.kinds:
            return 0
        below = [row for row in self.rows if row.in_service and row.feeder == feeder]
        return sum(1 if row.kind == "house" else self.houses(row.number) for row in below)

    def last_balance(self, feeder: int) -> dict[str, Any] | None:
        """Return a feeder's last balance that was logged, if any."""
        found = [row for row in self.balances.get(feeder, ()) if row["reconciled"]]
        return found[-1] if found else None


class Outlook:
    """Keep `view`, the newest View of a deployment, and its Book, up to date.

    `every_s` is real seconds; what takes long is read less often.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        book: Book,
        connect: Callable[[Deployment], Chain],
        clock: WorldClock,
        silent_s: int,
        every_s: float,
    ) -> None:
        self._deployment, self._store, self.book = deployment, store, book
        self._energy = (
            Book(book.path.parent, deployment.on_energy_chain) if deployment.energy else book
        )
        self._connect, self._clock = connect, clock
        self._silent_s = silent_s
        self._chains: dict[str, tuple[Chain, Ledgers]] = {}
        self._again = [Again(step, every_s, rest=4) for step in (self.follow, self.look)]
        self.view = View(0, [])
        self.currency = Currency("units", 0)
        self.token = ""  # what is billed in: its address, zero for the coin; "" as yet unknown
        self.troubles = {name: Trouble(log, name) for name in ("chain", "store")}

    def start(self) -> None:
        """Follow and read in threads of their own."""
        for one in self._again:
            one.start()

    def ledgers(self, *, energy: bool = False) -> tuple[Chain, Ledgers, Deployment]:
        """Return the payment, or the energy, chain's contracts. Raises ChainError."""
        made = self._deployment.on_energy_chain if energy else self._deployment
        name = f"{made.chain_id}"
        if name not in self._chains:
            chain = self._connect(made)
            self._chains[name] = chain, chain.ledgers(made)
        return *self._chains[name], made

    def follow(self) -> None:
        """Bring the book up to the chain's head."""
        try:
            chain, ledgers, made = self.ledgers()
            if not self.token:
                self.currency = currency_of(chain, ledgers, made)
                self.token = str(chain.call(ledgers.payment.functions.token()))
            self.book.follow(chain, ledgers)
        except ChainError as error:
            self.troubles["chain"].failed(str(error))
        else:
            self.troubles["chain"].over()

    def look(self) -> None:
        """Read meters and balances; what cannot be read stays as it was."""
        now_s = int(self._clock.now())
        rows, kinds, found = self.view.rows, self.view.kinds, self.view.balances
        try:
            rows = read(self._store, now_s, self._silent_s)
            self.troubles["store"].over()
        except StoreError as error:
            self.troubles["store"].failed(str(error))
        try:
            chain, ledgers, made = self.ledgers(energy=True)
            if made is not self._deployment:
                self._energy.follow(chain, ledgers)
            if self._energy.place():
                kinds, found = self._balances(chain, ledgers, made)
        except ChainError as error:
            self.troubles["chain"].failed(str(error))
        self.view = View(now_s, rows, kinds, found)

    def _balances(
        self, chain: Chain, ledgers: Ledgers, made: Deployment
    ) -> tuple[dict[int, str], dict[int, list[dict[str, Any]]]]:
        """Return the feeders' kinds and balances; only what is not settled is asked for."""
        book, found = self._energy, {}
        kinds, told = book.feeders(), book.reconciled()
        for feeder in sorted(kinds):
            settled = book.settled(feeder)
            logs = told.get(feeder, [])
            rows = balances(chain, ledgers, made, feeder, logs, settled)
            book.settle(feeder, [row for row in rows if row["period"] not in settled])
            found[feeder] = rows
        return kinds, found
