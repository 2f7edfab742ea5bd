"""Do something again and again, in a thread of its own, until told to end."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("parwana.web")
_JOIN_S = 20


class Again:
    """Call `step` every so many real seconds, and after `rest` times as long as it took."""

    def __init__(self, step: Callable[[], object], every_s: float, rest: float = 0) -> None:
        self._step, self._every_s, self._rest = step, every_s, rest
        self.ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a step that runs is waited for, for a while."""
        self.ending.set()
        if self._thread.ident:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self.ending.is_set():
            began_s = time.monotonic()
            try:
                self._step()
            except Exception:  # a bug: told, and no reason to look no more
                log.exception("a look failed; it is made again")
            took_s = time.monotonic() - began_s
            self.ending.wait(max(self._every_s, self._rest * took_s))
