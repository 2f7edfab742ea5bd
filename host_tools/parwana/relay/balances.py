"""Balance feeders on the chain: when their closings are complete or too late, and better later."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from web3.logs import DISCARD

from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.chain.periods import Period
from parwana.relay.gathering import KIND_HOUSE, feeders_of

FEEDERS_MAX = 32  # a transaction
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
    ) -> None:
        self._chain = chain
        self._energy = ledgers.energy
        self._registry = ledgers.registry.functions
        self._periods = periods
        self._now = now
        self._deadline_s = deadline_s
        self._head = 0
        self._from_block = from_block
        self._balanced: set[tuple[int, int]] = set()  # (feeder, period), whoever did it
        # By feeder: of its periods that were balanced without some closings, how many
        self._missing: dict[int, dict[int, int]] = defaultdict(dict)
        self._next: dict[int, int] = {}  # period to balance, by feeder
        self._asked: dict[tuple[int, int], tuple[float, bool]] = {}  # when, whether it was late

    def land(self, rows: dict[bytes, Any], current: int) -> int:
        """Balance what is due of `rows`, by address, before period `current`; count it."""
        self._follow(rows)
        due: dict[int, list[int]] = {}
        for row in rows.values():
            if row.kind != KIND_HOUSE and row.in_service:
                for period in self._due(row.number, current):
                    due.setdefault(period, []).append(row.number)
        done = 0
        for period, feeders in sorted(due.items()):
            for start in range(0, len(feeders), FEEDERS_MAX):
                done += self._balance(feeders[start : start + FEEDERS_MAX], period)
        return done

    def _follow(self, rows: dict[bytes, Any]) -> None:
        """Read what was balanced and closed since the last look; at first only the former."""
        top = self._chain.head()
        if not self._head:
            event = self._energy.events.Reconciled()
            for entry in self._chain.logs(event, self._from_block, top):
                self._note(entry["args"])
        elif top > self._head:
            for _, found in self._chain.every([self._energy], self._head + 1, top):
                for entry in found:
                    self._read(entry, rows)
        self._head = top

    def _read(self, entry: Any, rows: dict[bytes, Any]) -> None:
        values = entry["args"]
        if entry["event"] == "Reconciled":
            self._note(values)
        elif entry["event"] == "Closed":
            for result in unpack_results(values["results"]):
                if isinstance(result, Closing) and result.meter in rows:
                    for feeder in feeders_of(rows[result.meter]):
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

    def _balance(self, feeders: list[int], period: int) -> int:
        functions = self._energy.functions
        many = len(feeders) > 1
        call = functions.reconcile_many if many else functions.reconcile
        function = call(feeders if many else feeders[0], period)
        try:
            # Where all are passed over there is nothing to send.
            if many and not self._chain.call(function):
                return 0
            receipt = self._chain.send(function)
        except Reverted as error:
            # Another relay was first, or the chain's clock is behind ours: look again later.
            names = " ".join(map(str, feeders))
            log.info("feeders %s, period %s: %s", names, self._periods.text(period), error)
            return 0
        finally:
            for feeder in feeders:
                self._asked.pop((feeder, period), None)
        found = self._energy.events.Reconciled().process_receipt(receipt, DISCARD)
        for entry in found:
            self._note(entry["args"])
        return len(found)
