"""Look at chain, store and parts in a process of its own: no page waits for what reads all meters.

What it saw comes in small pieces, as what has changed; the pages' process only puts it in place.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from parwana.fleet.rows import Row
from parwana.web.outlook import Outlook, View
from parwana.web.watch import Watch
from parwana.world.logs import Trouble

log = logging.getLogger("parwana.web")
_PIECE = 200  # meters: about a millisecond to take
_TELL_S = 0.2
_AGAIN_S = 5.0
_END_S = 5.0
_NICE = 10  # pages come first

Message = tuple[str, Any]


class Told:
    """Know what was told, and give what is new since."""

    def __init__(self) -> None:
        self._view = View(0, [])
        self._rest: dict[str, Any] = {}

    def news(self, outlook: Outlook, watch: Watch) -> Iterator[Message]:
        """Give what has changed, as `Aside` takes it."""
        rest = {
            "money": (outlook.currency, outlook.token),
            "troubles": {name: one.text for name, one in outlook.troubles.items()},
            "desk": watch.desk,
        }
        yield from ((name, value) for name, value in rest.items() if self._rest.get(name) != value)
        before, view = self._view, outlook.view
        self._rest, self._view = rest, view
        if view is before:
            return
        size = min(len(view.rows), len(before.rows))
        changed = [
            (i, row) for i, row in enumerate(view.rows) if i >= size or row != before.rows[i]
        ]
        for start in range(0, len(changed) or 1, _PIECE):
            yield "rows", (len(view.rows), changed[start : start + _PIECE])
        for feeder, balances in view.balances.items():
            if balances != before.balances.get(feeder):
                yield "balances", (feeder, balances)
        yield "view", (view.at_s, view.kinds)


def tell(pipe: Connection, outlook: Outlook, watch: Watch) -> None:
    """Tell what two that look have seen, until nobody listens any more."""
    os.nice(_NICE)
    outlook.start()
    watch.start()
    told = Told()
    try:
        while not pipe.poll(_TELL_S):  # nothing is ever said to it: its end can be read
            for message in told.news(outlook, watch):
                pipe.send(message)
    except OSError:
        return


class Aside:
    """Have `main(*arguments, pipe)` look in a process, and keep what it saw in two that do not."""

    def __init__(
        self, main: Callable[..., None], arguments: tuple[Any, ...], outlook: Outlook, watch: Watch
    ) -> None:
        self._main, self._arguments = main, arguments
        self._outlook, self._watch = outlook, watch
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._pipe: Connection | None = None
        self._trouble = outlook.troubles["looks"] = Trouble(log, "looks")
        self._rows: list[Row] = []
        self._balances: dict[int, list[dict[str, Any]]] = {}

    def start(self) -> None:
        """Begin; a process that ended is begun anew."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ending.set()
        self._thread.join(2 * _END_S)

    def _run(self) -> None:
        context = get_context("spawn")
        # The process has this thread's mask: it ends when nobody listens, not before.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while not self._ending.is_set():
            ours, theirs = context.Pipe()
            process = context.Process(
                target=self._main, args=(*self._arguments, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self._rows, self._balances = [], {}
            try:
                self._listen(ours)
            except (EOFError, OSError):
                self._trouble.failed("the process that looks has ended; it is started again")
            ours.close()
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()
            self._ending.wait(_AGAIN_S)

    def _listen(self, pipe: Connection) -> None:
        while not self._ending.is_set():
            if pipe.poll(_TELL_S):
                self.take(*pipe.recv())

    def take(self, name: str, value: Any) -> None:
        """Put in place what was seen."""
        outlook, watch = self._outlook, self._watch
        if name == "rows":
            size, changed = value
            del self._rows[size:]
            self._rows += [row for i, row in changed if i >= len(self._rows)]
            for i, row in changed:
                self._rows[i] = row
        elif name == "balances":
            self._balances[value[0]] = value[1]
        elif name == "view":
            self._trouble.over()
            at_s, kinds = value
            outlook.view = View(at_s, list(self._rows), kinds, dict(self._balances))
        elif name == "money":
            outlook.currency, outlook.token = value
        elif name == "troubles":
            for trouble, text in value.items():
                outlook.troubles[trouble].text = text
        elif name == "desk":
            watch.desk = value
