"""Run `parwana audit` again and again, as a process of its own, and keep what it found."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parwana.web.again import Again
from parwana.web.asking import AskError, answer
from parwana.world.clock import WorldClock
from parwana.world.logs import Trouble

log = logging.getLogger("parwana.web")


@dataclass(frozen=True)
class Audited:
    """What the last audit looked at and found; `at_s` 0: none has ended yet."""

    at_s: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)


class Auditor:
    """Audit every so many real seconds, 0: never. `last` is what the last one found."""

    def __init__(
        self, deployment: Path, more: list[str], every_s: float, clock: WorldClock
    ) -> None:
        self._words = ["audit", "--deployment", str(deployment), *more]
        self._every_s, self._clock = every_s, clock
        self._again = Again(self.audit, every_s)
        self._trouble = Trouble(log, "audit")
        self.last = Audited()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        if self._every_s:
            self._again.start()

    def stop(self) -> None:
        """End, also an audit that runs."""
        self._again.stop()

    def audit(self) -> None:
        """Audit once; what goes wrong is told, and the last result stays."""
        now_s = int(self._clock.now())
        try:
            told = answer(self._words, self._again.ending)
        except AskError as error:
            self._trouble.failed(str(error))
            return
        if told:
            self.last = Audited(now_s, told["counts"], told["findings"])
            self._trouble.over()
