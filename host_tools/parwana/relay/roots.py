"""Land daily roots: what the store holds of each day, for ever provable without it.

Once a day, `wait_s` after midnight, one transaction: the day that is over, and older days of which
frames came late. Source: docs/protocol.md, 7.1.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from parwana.chain import merkle
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.relay.waits import ROOT_WAIT_S
from parwana.store.reader import Store

_SETTLE_S = 60  # a transaction of another relay may still write what it received by now
log = logging.getLogger("parwana.landing")


class Roots:
    """Land the roots of one chain; `now` is the world's time.

    Relays of one store look at different times, up to a tenth of `wait_s` apart, by their keys:
    who comes later finds the very root in the log. Whose it is does not matter.
    """

    def __init__(
        self,
        chain: Chain,
        ledgers: Ledgers,
        store: Store,
        deployment: Deployment,
        now: Callable[[], float],
        wait_s: int = ROOT_WAIT_S,
    ) -> None:
        self._chain = chain
        self._energy = ledgers.energy
        self._store = store
        self._now = now
        self._offset_s = deployment.utc_offset_s
        self._domain = deployment.reading_domain
        self._me = chain.key.address if chain.key else ""
        self._wait_s = wait_s + int(self._me or "0", 16) % (wait_s // 10 + 1)
        self._logged: dict[int, set[tuple[bytes, int]]] = defaultdict(set)
        self._covered: dict[int, int] = {}  # day: leaves of a root that is known to be true
        self._mine: dict[int, int] = {}  # day: block of my last root of it
        self._next_block = deployment.from_block
        self._done = -1  # the last day that was looked for

    def land(self) -> int:
        """Land what is due, if it is time to; return how many days.

        Raises ChainError, StoreError.
        """
        now_s = int(self._now())
        over = merkle.day_of(now_s - self._wait_s + 1, self._offset_s) - 1
        if over <= self._done:
            return 0
        self._read_log()
        due_s = merkle.bounds_s(over, self._offset_s)[1] - 1 + self._wait_s
        newest = max(self._mine.values(), default=None)
        if newest is not None and self._chain.block_time_s(newest) >= due_s:
            self._done = over  # in an earlier life
            return 0
        days = self._due(over, now_s - _SETTLE_S)
        if days:
            self._chain.send(self._energy.functions.commit(merkle.UTILITY, days))
            self._read_log()
            log.info("roots of %d days, the last of day %d", len(days), max(d for d, _, _ in days))
        self._done = over
        return len(days)

    def _read_log(self) -> None:
        head = self._chain.head()
        event = self._energy.events.DailyRoot
        found = self._chain.logs(event, self._next_block, head, feeder=merkle.UTILITY)
        for entry in found:
            values: Any = entry["args"]
            self._logged[values.day].add((values.root, values.leaves))
            if values.committer == self._me:
                self._mine[values.day] = entry["blockNumber"]
                self._cover(values.day, values.leaves)
        self._next_block = head + 1

    def _cover(self, day: int, leaves: int) -> None:
        self._covered[day] = max(leaves, self._covered.get(day, 0))

    def _due(self, over: int, before_s: int) -> list[tuple[int, bytes, int]]:
        """Return (day, root, leaves) of the days to commit: the one that is over, then those that
        wait longest.
        """
        counts = self._store.days(self._offset_s, before_s)
        for row in self._store.pruned():  # what is left of such a day is not all of it
            counts.pop(merkle.day_of(row.from_s, self._offset_s), None)
        stale = [d for d, n in counts.items() if d <= over and n > self._covered.get(d, 0)]
        stale.sort(key=lambda day: (day != over, self._mine.get(day, 0), day))
        due: list[tuple[int, bytes, int]] = []
        for day in stale[: merkle.DAYS_MAX]:  # no more at a time: closings wait for this thread
            from_s, to_s = merkle.bounds_s(day, self._offset_s)
            rows = self._store.leaves(self._domain, from_s, to_s, before_s)
            root, leaves = merkle.root(row.digest for row in rows)
            if (root, leaves) in self._logged[day]:
                self._cover(day, leaves)
            elif leaves:
                due.append((day, root, leaves))
        return due
