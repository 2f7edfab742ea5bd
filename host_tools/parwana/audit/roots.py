"""Recompute daily roots: what was committed, against what the store holds."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from parwana.audit.findings import Report
from parwana.chain import merkle
from parwana.chain.deployment import Deployment
from parwana.store.reader import Store
from parwana.world.progress import Told, untold

EVER_S = 2**62


class Day:
    """A day's frames in a store; `held` is how many there are."""

    def __init__(self, store: Store, deployment: Deployment, day: int, held: int) -> None:
        self.held = held
        self._store = store
        self._domain = deployment.reading_domain
        self._bounds_s = merkle.bounds_s(day, deployment.utc_offset_s)

    def _rows(self, before_s: int) -> Iterator[Any]:
        return self._store.leaves(self._domain, *self._bounds_s, before_s)

    @cached_property
    def _received(self) -> list[int]:
        return sorted(row.received_s for row in self._rows(EVER_S))

    def _before_s(self, leaves: int) -> int | None:
        """Return until when (exclusively) the first `leaves` frames had arrived, None if that
        cannot be told.
        """
        if leaves >= self.held:
            return EVER_S if leaves == self.held else None
        received = self._received
        return None if received[leaves - 1] == received[leaves] else received[leaves]

    def root(self, leaves: int) -> bytes:
        """Return the root over the first `leaves` frames that arrived, b"" if it is unknown."""
        before_s = self._before_s(leaves)
        if before_s is None:
            return b""
        return merkle.root(row.digest for row in self._rows(before_s))[0]

    def leaves(self, leaves: int) -> list[tuple[bytes, int, bytes]]:
        """Return (meter, sequence, digest) of the first `leaves` frames, in the root's order."""
        before_s = self._before_s(leaves)
        assert before_s is not None
        return [(row.meter, row.sequence, row.digest) for row in self._rows(before_s)]

    def received(self, leaves: int, until_s: int) -> int:
        """Return how many frames arrived after the first `leaves`, yet not after `until_s`."""
        return sum(received_s <= until_s for received_s in self._received[leaves:])


@dataclass
class RootAudit:
    """Take the logs, then compare; `known` are committers, with 0x, besides who landed closings.

    Of each known committer and day the root with the most leaves counts. What another committed
    is told and decides nothing: anyone may. A day that an earlier audit found wholly covered
    (`compared`: how many frames it had) is compared again if it has another number, or root.
    """

    KEPT: ClassVar = ("known", "compared", "_logged")

    store: Store
    deployment: Deployment
    report: Report
    known: set[str] = field(default_factory=set)
    compared: dict[int, int] = field(default_factory=dict)
    _logged: dict[int, dict[str, tuple[int, bytes]]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def take(self, name: str, values: Any) -> None:
        """Take one log; others than Closed and DailyRoot are ignored."""
        if name == "Closed":
            if values.relay not in self.known:
                self.known.add(values.relay)
                for day, logged in self._logged.items():
                    if values.relay in logged:
                        self.compared.pop(day, None)
        elif name == "DailyRoot" and values.feeder == merkle.UTILITY:
            self.report.count("daily_roots")
            self.compared.pop(values.day, None)
            before = self._logged[values.day].get(values.committer, (0, b""))
            if values.leaves >= before[0]:
                self._logged[values.day][values.committer] = values.leaves, values.root

    def finish(self, now_s: int, told: Told = untold) -> None:
        """Name roots that the store contradicts, and days that lack one by `now_s`."""
        strangers = {who for roots in self._logged.values() for who in roots} - self.known
        for stranger in sorted(strangers):
            days = [day for day, roots in self._logged.items() if stranger in roots]
            where = f"{len(days)} days, the last of them {max(days)}"
            self.report.add("committer", "", where, "one who landed closings", stranger)
        offset_s = self.deployment.utc_offset_s
        held = self.store.days(offset_s, EVER_S)
        pruned = {merkle.day_of(row.from_s, offset_s): row for row in self.store.pruned()}
        for day, row in pruned.items():
            self._compare_pruned(day, row)
        days = sorted({*held, *self._logged} - set(pruned))
        for i, day in enumerate(days, 1):
            told("days' roots", i, len(days))
            if self.compared.get(day) == held.get(day, 0):
                continue
            self._compare(day, held.get(day, 0), now_s - merkle.LATENESS_S)

    def _compare_pruned(self, day: int, row: Any) -> None:
        """See that all that the store held of a day was under a root, before it removed some."""
        roots = self._logged.get(day, {}).items()
        if (row.leaves, bytes(row.root)) in [root for who, root in roots if who in self.known]:
            self.report.count("frames_under_roots", row.leaves)
            return
        expected = f"{bytes(row.root).hex()} over {row.leaves} frames, of which some were removed"
        self.report.add("root", "", f"day {day}", expected, "no such root")

    def _compare(self, day: int, held: int, due_s: int) -> None:
        frames = Day(self.store, self.deployment, day, held)
        over = merkle.bounds_s(day, self.deployment.utc_offset_s)[1] <= due_s
        where, covered, wrong, early = f"day {day}", 0, False, False
        for committer, (leaves, root) in self._logged.get(day, {}).items():
            if committer not in self.known:
                continue
            true = frames.root(leaves)
            if true == root:
                covered = max(covered, leaves)
            elif leaves >= held:
                expected = f"{true.hex()} over {held} frames" if true else f"{held} frames at most"
                logged = f"{root.hex()} over {leaves}, by {committer}"
                self.report.add("root", "", where, expected, logged)
                wrong = True
            else:
                early = True  # of a store that received in another order: the next root decides
        self.report.count("frames_under_roots", covered)
        if covered == held and not wrong:
            self.compared[day] = held
        late = frames.received(covered, due_s) if over and covered < held else 0
        if late and not wrong:
            what = "root" if early else "no_root"
            lacks = (
                f"none of {late} of {held}, which are there for {merkle.LATENESS_S} s or longer"
            )
            self.report.add(what, "", where, f"a root over {held} frames", lacks)
