"""Land on the chain what the store proves: closings, bills, balances, daily roots, and who
contradicts himself.

Everything here is open to anyone and repeatable: several relays may land at once. Those of one
store share the work by leases in it; of others, the contracts skip what is there already.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_utils import to_checksum_address

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.relay.balances import Balances
from parwana.relay.bills import Bills
from parwana.relay.closer import Closer
from parwana.relay.gathering import Gathering, Wait
from parwana.relay.roots import Roots
from parwana.relay.shared import Heard, Leases, Part, send
from parwana.relay.waits import GATHER_S, ROOT_WAIT_S
from parwana.store.reader import Store
from parwana.world.progress import Told, untold

_REPORT = b"report"
_SENT = "close", "finish", "reconcile", "reconcile_many", "commit", "report_equivocation"
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
    heard: Heard
    leases: Leases
    closer: Closer
    bills: Bills
    balances: Balances
    roots: Roots
    head: tuple[int, bytes] = (0, b"")
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
        told: Told = untold,
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
        self._tell = told
        self._broken = True  # what an earlier step or run sent may be on its way still
        self.progress: dict[str, tuple[int, int]] = {}  # of a step: what, how many, of how many

    @property
    def waits(self) -> list[Wait]:
        """Return whom closings waited for at the last step."""
        return self._gathering.waits

    def step(self) -> Landed:
        """Land all that can be landed now. Raises ChainError, StoreError."""
        known = self._current()
        try:
            landed = self._land(known)
            self._broken = False
            return landed
        finally:
            self.progress = {}
            known.after = _top(known.chain)

    def _told(self, what: str, done: int, total: int) -> None:
        self.progress = {**self.progress, what: (done, total)}
        self._tell(what, done, total)

    def _land(self, known: _Known) -> Landed:
        period = self._periods.of(int(self._now()))
        rows = {row.meter: row for row in self._store.meters() if row.number is not None}
        known.closer.learn(rows)
        rows = {meter: row for meter, row in rows.items() if meter in known.closer.last}
        known.heard.follow()
        landed = Landed(known.closer.land(rows, period, self._told))
        landed.closings += self._finish(known, rows)
        known.heard.follow()
        balances = bills = Part()
        if self._balances:
            balances = known.balances.due(rows, period, self._told)
        if self._bills:
            bills = known.bills.due(rows, known.closer.last, self._told)
        send(known.chain, balances, bills)
        send(known.chain, alone := known.bills.alone(known.closer.last))
        landed.balances, landed.bills = balances.landed, bills.landed + alone.landed
        if self._balances:
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
            known = self._look(chain)
        elif self._broken:
            self._hear(known.chain, known.ledgers)
        self._broken = True
        known.head = known.after = _top(known.chain)
        self._known = known
        return known

    def _look(self, chain: Chain) -> _Known:
        """Begin to know a chain, once what was sent to it is mined."""
        ledgers = chain.ledgers(self._deployment)
        self._hear(chain, ledgers)
        of = self._deployment
        heard = Heard(chain, ledgers.energy, ledgers.payment if self._bills else None)
        leases = Leases(chain, ledgers.energy, self._store, heard)
        made = chain, ledgers, self._store, self._periods, self._now, self._gathering
        closer = Closer(*made, leases)
        bills = Bills(chain, ledgers, leases)
        where = of.from_block, closer.deadline_s, leases
        balances = Balances(chain, ledgers, self._periods, self._now, *where)
        roots = Roots(chain, ledgers, self._store, of, self._now, self._root_wait_s)
        heard.takers, heard.billed = [closer.take, balances.take], bills.billed
        return _Known(chain, ledgers, heard, leases, closer, bills, balances, roots)

    def _hear(self, chain: Chain, ledgers: Ledgers) -> None:
        """Wait for what was sent and not heard of: what is due then is not sent again."""
        energy, payment = ledgers.energy.functions, ledgers.payment.functions
        sent = [energy[name] for name in _SENT] + [payment.settle, payment.settle_many]
        if number := chain.finish(sent):
            log.info("%d transactions that were sent before are mined", number)

    def _finish(self, known: _Known, rows: dict[bytes, Any]) -> int:
        """Land the last readings of meters that left service."""
        finished, functions = 0, known.ledgers.registry.functions
        for meter in (meter for meter, row in rows.items() if not row.in_service):
            if not known.retired.get(meter):  # 0: this chain does not say so yet
                place = known.chain.call(functions.meter(to_checksum_address(meter)))
                known.retired[meter] = place.retired_at_s
            finished += known.closer.finish(meter, known.retired[meter])
        return finished

    def _report(self, known: _Known, rows: dict[bytes, Any]) -> None:
        """Show the chain, once for each meter, two frames of one sequence."""
        functions = known.ledgers.energy.functions
        for meter, pair in self._store.contradictions().items():
            if meter in known.reported or meter not in rows:
                continue
            if not known.leases.take(_REPORT, [meter]):
                continue
            if not known.chain.call(functions.equivocated(to_checksum_address(meter))):
                proof = [part for f in pair for part in (f.frame, f.signature)]
                log.warning("%s signed two frames of sequence %d", meter.hex(), pair[0].sequence)
                known.chain.send(functions.report_equivocation(*proof))
            known.leases.give_back(_REPORT, [meter])
            known.reported.add(meter)
