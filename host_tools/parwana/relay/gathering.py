"""Say whose closings wait for whose: a feeder's go together, for a while, to spare gas."""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from parwana.chain.deployment import Period

KIND_HOUSE = 1
_TELL_S = 60  # after a period's end closings rain in: what lacks then is not worth a line
_NAMED = 5  # meters in a line
log = logging.getLogger("parwana.landing")


@dataclass(frozen=True)
class Wait:
    """A feeder whose closings of a period wait, until `until_s`, for those of `meters` (0x…)."""

    feeder: int
    period: int
    until_s: int
    meters: list[str]

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.until_s, UTC)
        return f"feeder {self.feeder} waits until {until:%Y-%m-%d %H:%M} UTC for " + (
            "1 closing" if len(self.meters) == 1 else f"{len(self.meters)} closings"
        )


class Gathering:
    """Hold a feeder's closings until its meters' are all there, for `gather_s` at most.

    A meter that did not close the period before is not waited for: it is off, and may stay so. A
    house on no feeder waits for nobody. `waits` is what waited at the last look.
    """

    def __init__(self, periods: Period, now: Callable[[], float], gather_s: int) -> None:
        self.waits: list[Wait] = []
        self._periods = periods
        self._now = now
        self._gather_s = gather_s
        self._told: dict[tuple[int, int], Wait] = {}

    def ready(
        self, rows: dict[bytes, Any], due: dict[bytes, int], found: dict[bytes, int]
    ) -> set[bytes]:
        """Return the meters of `found` (meter: period) whose closings are to be landed now.

        `due` is the next period of each meter that lacks one that is over.
        """
        members: dict[int, list[bytes]] = defaultdict(list)
        for meter in due:
            for feeder in feeders_of(rows[meter]) if rows[meter].in_service else ():
                members[feeder].append(meter)
        ready, waits = set(), {}
        for meter, period in found.items():
            until_s = self._periods.start(period + 1) + self._gather_s
            feeders = feeders_of(rows[meter])
            for feeder in feeders:
                if (feeder, period) not in waits:
                    lacking = [m for m in members[feeder] if _lacks(m, period, due, found)]
                    names = ["0x" + meter.hex() for meter in lacking]
                    waits[feeder, period] = Wait(feeder, period, until_s, names)
            held = feeders and all(waits[feeder, period].meters for feeder in feeders)
            if self._now() >= until_s or not held:
                ready.add(meter)
        now = self._now()
        self.waits = [wait for wait in waits.values() if wait.meters and now < wait.until_s]
        return ready

    def tell(self, rows: dict[bytes, Any]) -> None:
        """Log who is waited for, once and when it changes, and how it ended."""
        waits = {(wait.feeder, wait.period): wait for wait in self.waits}
        for place, wait in waits.items():
            end_s = self._periods.start(wait.period + 1)
            if self._told.get(place) != wait and self._now() >= end_s + _TELL_S:
                self._told[place] = wait
                log.warning("%s of period %s: %s", wait, self._of(wait), _named(wait, rows))
        for place in set(self._told) - set(waits):
            wait = self._told.pop(place)
            if self._now() < wait.until_s:
                log.info("feeder %d: all closings of period %s", wait.feeder, self._of(wait))
            else:
                text = "feeder %d: waited long enough for closings of period %s: %s"
                log.warning(text, wait.feeder, self._of(wait), _named(wait, rows))

    def _of(self, wait: Wait) -> str:
        return self._periods.text(wait.period)


def feeders_of(row: Any) -> tuple[int, ...]:
    """Return the feeders whose balance a meter's closing counts into."""
    own = () if row.kind == KIND_HOUSE else (row.number,)
    return (*own, row.feeder) if row.feeder else own


def _lacks(meter: bytes, period: int, due: dict[bytes, int], found: dict[bytes, int]) -> bool:
    return found[meter] < period if meter in found else due[meter] == period


def _named(wait: Wait, rows: dict[bytes, Any]) -> str:
    names = [f"{m} (point {rows[bytes.fromhex(m[2:])].number})" for m in wait.meters[:_NAMED]]
    more = len(wait.meters) - _NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
