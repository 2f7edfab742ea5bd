"""Run `parwana losses` for each feeder again and again, and keep where it says to look first."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parwana.chain.periods import DAY_S
from parwana.web.again import Again
from parwana.web.asking import AskError, answer
from parwana.world.clock import WorldClock

_LEARN_S = 60 * DAY_S  # so much before its window `parwana losses` learns from


@dataclass(frozen=True)
class Searched:
    """What was said of a feeder at `at_s`: a verdict (losses/verdict.py), or `why` there is none.

    Of whom it suspects it is as sure as `parwana losses` demands; no page names anybody else.
    """

    at_s: int
    why: str = ""
    verdict: dict[str, Any] | None = None

    @property
    def loss(self) -> float | None:
        """Return which share of the feeder's power lines and meters account for, if known."""
        told = self.verdict
        return told["loss_w"] / told["feeder_w"] if told and told["feeder_w"] > 0 else None

    def covers(self, from_s: int, to_s: int) -> bool:
        """Tell whether a span of time is partly one that was learnt from, or judged."""
        told = self.verdict
        return told is not None and told["from_s"] - _LEARN_S < to_s and from_s < told["to_s"]


class Searcher:
    """Search every so many real seconds, 0: never. `found` is by feeder."""

    def __init__(
        self,
        deployment: Path,
        more: list[str],
        feeders: Callable[[], Collection[int]],
        every_s: float,
        clock: WorldClock,
    ) -> None:
        self._more = ["--deployment", str(deployment), *more]
        self._feeders, self._every_s, self._clock = feeders, every_s, clock
        self._again = Again(self.search, every_s, rest=4)
        self.found: dict[int, Searched] = {}

    def start(self) -> None:
        """Begin, in a thread of its own."""
        if self._every_s:
            self._again.start()

    def stop(self) -> None:
        """End, also a search that runs."""
        self._again.stop()

    def search(self) -> None:
        """Search each feeder once; what a feeder lacks for it is kept, too."""
        while not self._feeders() and not self._again.ending.wait(1):
            pass
        for feeder in sorted(self._feeders()):
            now_s = int(self._clock.now())
            try:
                verdict = answer(["losses", str(feeder), *self._more], self._again.ending)
            except AskError as error:
                self.found[feeder] = Searched(now_s, why=str(error))
                continue
            if verdict is None:
                return
            self.found[feeder] = Searched(now_s, verdict=verdict)
