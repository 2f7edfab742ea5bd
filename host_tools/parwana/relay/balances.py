"""Balance feeders on the chain: when their closings are complete or too late, and better later."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from web3.contract.contract import ContractFunction
from web3.logs import DISCARD

from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.chain.periods import Period
from parwana.relay.gathering import KIND_HOUSE, feeders_of
from parwana.relay.shared import Leases, Part
from parwana.world.progress import Told

FEEDERS_MAX = 32  # a transaction
_BALANCE = b"balance"
_ASK_S = 60  # what events do not tell, as a meter that was enrolled, is asked for again then
log = logging.getLogger("parwana.landing")


class Balances:
    """Know which periods of which feeders are balanced, from the log; balance what is due.

    A feeder's sums are asked for when a closing of it was landed, when its closings are too late,
    and every minute of a period that waits: not at every step.
    """

    def __init__(
        self,
        chain: Chain,
        ledgers: Ledgers,
        periods: Period,
        now: Callable[[], float],
        from_block: int,
        deadline_s: int,
        leases: Leases,
    ) -> None:
        self._chain = chain
        self._energy = ledgers.energy
        self._registry = ledgers.registry.functions
        self._periods = periods
        self._now = now
        self._deadline_s = deadline_s
        self._leases = leases
        self._rows: dict[bytes, Any] = {}
        self._read_log = False
        self._from_block = from_block
        self._balanced: set[tuple[int, int]] = set()  # (feeder, period), whoever did it
        # By feeder: of its periods that were balanced without some closings, how many
        self._missing: dict[int, dict[int, int]] = defaultdict(dict)
        self._next: dict[int, int] = {}  # period to balance, by feeder
        self._asked: dict[tuple[int, int], tuple[float, bool]] = {}  # when, whether it was late

    def due(self, rows: dict[bytes, Any], current: int, told: Told) -> Part:
        """Return what balances what is due of `rows`, by address, before period `current`."""
        self._rows = rows
        if not self._read_log:
            event = self._energy.events.Reconciled()
            for entry in self._chain.logs(event, self._from_block):
                self._note(entry["args"])
            self._read_log = True
        due = [
            (period, row.number)
            for row in rows.values()
            if row.kind != KIND_HOUSE and row.in_service
            for period in self._due(row.number, current)
        ]
        done = 0

        def take(batch: list[tuple[int, int]], receipt: Any) -> int:
            nonlocal done
            told("balances", done := done + len(batch), len(due))
            self._end(batch)
            period, feeders = batch[0][0], " ".join(str(feeder) for _, feeder in batch)
            if isinstance(receipt, Reverted):
                # Another relay was first, or the chain's clock is behind ours: look again later.
                log.info("feeders %s, period %s: %s", feeders, self._periods.text(period), receipt)
                return 0
            found = self._energy.events.Reconciled().process_receipt(receipt, DISCARD)
            for entry in found:
                self._note(entry["args"])
            return len(found)

        return Part(self._calls(sorted(due)), take)

    def take(self, entry: Any) -> None:
        """Take one log."""
        values = entry["args"]
        if entry["event"] == "Reconciled":
            self._note(values)
        elif entry["event"] == "Closed":
            for result in unpack_results(values["results"]):
                if isinstance(result, Closing) and result.meter in self._rows:
                    for feeder in feeders_of(self._rows[result.meter]):
                        self._asked.pop((feeder, result.period), None)
        elif entry["event"] == "Finished":
            self._asked.clear()  # rare, and it changes what is expected of several periods

    def _note(self, values: Any) -> None:
        feeder, period = values["feeder"], values["period"]
        self._balanced.add((feeder, period))
        if values["missing"]:
            self._missing[feeder][period] = values["missing"]
        else:
            self._missing[feeder].pop(period, None)

    def _due(self, feeder: int, current: int) -> Iterator[int]:
        """Yield the periods to balance now: those with new closings, and the next ones."""
        if feeder not in self._next:
            since_s = self._chain.call(self._registry.served_since(feeder))
            self._next[feeder] = self._periods.of(since_s)
        while (feeder, self._next[feeder]) in self._balanced:
            self._next[feeder] += 1
        for period in list(self._missing[feeder]):
            if self._is_due(feeder, period):
                yield period
        for period in range(self._next[feeder], current):
            if (feeder, period) in self._balanced:
                continue
            if not self._is_due(feeder, period):
                return
            yield period

    def _is_due(self, feeder: int, period: int) -> bool:
        now = self._now()
        late = now >= self._periods.start(period + 1) + self._deadline_s
        when, was_late = self._asked.get((feeder, period), (-_ASK_S, late))
        if now < when + _ASK_S and late == was_late:
            return False
        self._asked[feeder, period] = now, late
        sums = self._chain.call(self._energy.functions.sums(feeder, period))
        missing = sums.expected - sums.closed + (not sums.own_closed)
        before = self._missing[feeder].get(period)
        if before is not None and missing >= before:
            return False
        return not missing or late

    def _calls(
        self, due: list[tuple[int, int]]
    ) -> Iterator[tuple[list[tuple[int, int]], ContractFunction]]:
        """Give (period, feeder) to balance together, of one period, with what does it."""
        functions = self._energy.functions
        for period, same in groupby(due, lambda one: one[0]):
            batches = self._leases.batches(_BALANCE, same, FEEDERS_MAX, _work, self._lacks)
            for batch in batches:
                feeders = [feeder for _, feeder in batch]
                if len(feeders) == 1:
                    yield batch, functions.reconcile(feeders[0], period)
                    continue
                call = functions.reconcile_many(feeders, period)
                if self._chain.call(call):
                    yield batch, call
                else:
                    self._end(batch)  # all are passed over: there is nothing to send

    def _lacks(self, one: tuple[int, int]) -> bool:
        """Say whether nobody balanced a feeder's period, or it may be better now."""
        period, feeder = one
        return (feeder, period) not in self._balanced or period in self._missing[feeder]

    def _end(self, batch: list[tuple[int, int]]) -> None:
        for period, feeder in batch:
            self._asked.pop((feeder, period), None)
        self._leases.give_back(_BALANCE, [_work(one) for one in batch])


def _work(one: tuple[int, int]) -> bytes:
    return one[0].to_bytes(8, "big") + one[1].to_bytes(8, "big")
