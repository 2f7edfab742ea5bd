"""Show how far a run on a board is: what it does, and that it lives."""

import re
import time
from collections.abc import Callable

from rich.progress import Progress, TaskID

from parwana.meter.repl import Meter

_SELDOM_S = 10.0
_HASH = re.compile(" [0-9a-f]{64}$")
_SHOWN = 40  # characters of a line


class Seldom:
    """Pass on at most one line in ten seconds, and none in the first ten."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._at_s = time.monotonic()

    def __call__(self, line: str) -> None:
        now_s = time.monotonic()
        if now_s - self._at_s >= _SELDOM_S:
            self._at_s = now_s
            self._tell(line[:_SHOWN])


class Steps:
    """The steps of a run: a moving line on a terminal; elsewhere a line each, and a few between.

    What the board prints in a step is shown as it comes. A disabled `progress` shows nothing.
    """

    def __init__(self, meter: Meter, progress: Progress) -> None:
        self._meter = meter
        self._progress = progress
        self._moves = progress.console.is_terminal
        self._task: TaskID | None = None
        self._text = ""
        self._total = self._done = 0
        self._seldom = Seldom(self._print)

    def begin(self, text: str, total: int = 0) -> None:
        """Start a step; `total` is the number of bytes that it moves, 0 if unknown."""
        self._meter.begin(text, self._heard)
        self._text, self._total, self._done = text, total, 0
        self._seldom = Seldom(self._print)
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=total or None)
        if not self._moves and not self._progress.disable:
            self._progress.console.print(text, highlight=False, markup=False)

    def advance(self, path: str, size: int) -> None:
        """Tell that `size` more bytes of a file were moved."""
        self._done += size
        if self._task is not None:
            self._progress.update(self._task, advance=size)
        self._heard(f"{path}, {100 * self._done // max(1, self._total)} %")

    def _heard(self, line: str) -> None:
        line = _HASH.sub("", line)
        if not self._moves:
            self._seldom(line)
        elif self._task is not None:
            self._progress.update(self._task, description=f"{self._text}: {line[:_SHOWN]}")

    def _print(self, line: str) -> None:
        if not self._progress.disable:
            self._progress.console.print(f"{self._text}: {line}", highlight=False, markup=False)
