"""Land on the chain what the store proves: closings, bills, balances, daily roots, and who
contradicts himself.

Everything here is open to anyone and repeatable: several relays may land at once, the contracts
skip what is there already.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_utils import to_checksum_address
from web3.logs import DISCARD

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.relay.balances import Balances
from parwana.relay.closer import Closer
from parwana.relay.gathering import KIND_HOUSE, Gathering, Wait
from parwana.relay.roots import Roots
from parwana.relay.waits import GATHER_S, ROOT_WAIT_S
from parwana.store.reader import Store

HOUSES_MAX = 64  # a transaction
log = logging.getLogger("parwana.landing")


@dataclass
class Landed:
    """How much one step landed."""

    closings: int = 0
    bills: int = 0
    balances: int = 0
    roots: int = 0


@dataclass
class _Known:
    """What is known of one chain; a reorganisation makes all of it doubtful."""

    chain: Chain
    ledgers: Ledgers
    closer: Closer
    balances: Balances
    roots: Roots
    head: tuple[int, bytes] = (0, b"")
    billed: dict[bytes, int] = field(default_factory=dict)  # the last period, by house
    retired: dict[bytes, int] = field(default_factory=dict)  # when, by meter
    reported: set[bytes] = field(default_factory=set)  # meters shown to contradict themselves
    after: tuple[int, bytes] = (0, b"")  # the head at the end of a step: others land, too

    def holds(self) -> bool:
        """Say whether what was seen and what we sent is still there."""
        if self.chain.block_hash(self.head[0]) != self.head[1]:
            return False
        number, known = self.after
        return self.chain.block_hash(number) in (b"", known) and self.chain.holds()


def _top(chain: Chain) -> tuple[int, bytes]:
    number = chain.head()
    return number, chain.block_hash(number)


class Landing:
    """Land step by step; `now` is the world's time, `connect` gives a chain with a paying key.

    Of a deployment on two chains each has a Landing of its own: closings go to both, bills to the
    payment chain; balances, roots and contradictions (`balances`) to the energy chain, for which
    `deployment` is `on_energy_chain`.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        connect: Callable[[], Chain],
        now: Callable[[], float],
        gather_s: int = GATHER_S,
        root_wait_s: int = ROOT_WAIT_S,
        *,
        bills: bool = True,
        balances: bool = True,
    ) -> None:
        self._deployment = deployment
        self._bills, self._balances = bills, balances
        self._periods = deployment.periods
        self._store = store
        self._connect = connect
        self._now = now
        self._gathering = Gathering(self._periods, now, gather_s)
        self._root_wait_s = root_wait_s
        self._known: _Known | None = None

    @property
    def waits(self) -> list[Wait]:
        """Return whom closings waited for at the last step."""
        return self._gathering.waits

    def step(self) -> Landed:
        """Land all that can be landed now. Raises ChainError, StoreError."""
        known = self._current()
        try:
            return self._land(known)
        finally:
            known.after = _top(known.chain)

    def _land(self, known: _Known) -> Landed:
        period = self._periods.of(int(self._now()))
        rows = {row.meter: row for row in self._store.meters() if row.number is not None}
        rows = {meter: row for meter, row in rows.items() if known.closer.knows(meter)}
        landed = Landed(known.closer.land(rows, period))
        landed.closings += self._finish(known, rows)
        if self._bills:
            landed.bills = self._settle(known, rows)
        if self._balances:
            landed.balances = known.balances.land(rows, period)
            self._report(known, rows)
            landed.roots = known.roots.land()
        return landed

    def _current(self) -> _Known:
        """Return what is known of the chain, from the start again if the chain was reorganised."""
        known = self._known
        if known is not None and not known.holds():
            log.warning("the chain was reorganised; looking again at all that was landed")
            known = None
        if known is None:
            chain = known.chain if known else self._connect()
            ledgers = chain.ledgers(self._deployment)
            closer = Closer(chain, ledgers, self._store, self._periods, self._now, self._gathering)
            of = self._deployment
            where = of.from_block, closer.deadline_s
            balances = Balances(chain, ledgers, self._periods, self._now, *where)
            roots = Roots(chain, ledgers, self._store, of, self._now, self._root_wait_s)
            known = _Known(chain, ledgers, closer, balances, roots)
        known.head = known.after = _top(known.chain)
        self._known = known
        return known

    def _finish(self, known: _Known, rows: dict[bytes, Any]) -> int:
        """Land the last readings of meters that left service."""
        finished, functions = 0, known.ledgers.registry.functions
        for meter in (meter for meter, row in rows.items() if not row.in_service):
            if not known.retired.get(meter):  # 0: this chain does not say so yet
                place = known.chain.call(functions.meter(to_checksum_address(meter)))
                known.retired[meter] = place.retired_at_s
            finished += known.closer.finish(meter, known.retired[meter])
        return finished

    def _settle(self, known: _Known, rows: dict[bytes, Any]) -> int:
        """Bill the houses whose last closing is not billed."""
        houses, functions = [], known.ledgers.payment.functions
        for meter, row in rows.items():
            last = known.closer.last[meter]
            if row.kind != KIND_HOUSE or known.billed.get(meter, -1) >= last:
                continue
            address = to_checksum_address(meter)
            closed_s = known.chain.call(known.ledgers.energy.functions.closing(address)).time_s
            if closed_s and known.chain.call(functions.account(address)).period < last:
                houses.append(meter)
            else:
                known.billed[meter] = last
        bills = 0
        for start in range(0, len(houses), HOUSES_MAX):
            meters = houses[start : start + HOUSES_MAX]
            batch = [to_checksum_address(meter) for meter in meters]
            try:
                bills += self._bill(known, functions.settle_many(batch))
            except Reverted:
                # One house must not keep the others from their bills.
                bills += sum(self._bill_one(known, house) for house in batch)
            known.billed.update((meter, known.closer.last[meter]) for meter in meters)
        return bills

    def _bill_one(self, known: _Known, house: str) -> int:
        try:
            return self._bill(known, known.ledgers.payment.functions.settle(house))
        except Reverted as error:
            log.warning("bill of %s: %s", house, error)
            return 0

    def _bill(self, known: _Known, function: Any) -> int:
        receipt = known.chain.send(function)
        return len(known.ledgers.payment.events.Billed().process_receipt(receipt, DISCARD))

    def _report(self, known: _Known, rows: dict[bytes, Any]) -> None:
        """Show the chain, once for each meter, two frames of one sequence."""
        functions = known.ledgers.energy.functions
        for meter, pair in self._store.contradictions().items():
            if meter in known.reported or meter not in rows:
                continue
            if not known.chain.call(functions.equivocated(to_checksum_address(meter))):
                proof = [part for f in pair for part in (f.frame, f.signature)]
                log.warning("%s signed two frames of sequence %d", meter.hex(), pair[0].sequence)
                known.chain.send(functions.report_equivocation(*proof))
            known.reported.add(meter)
