"""SIGTERM and Ctrl-C, for programs that finish what they are at."""

import signal
import threading
from queue import SimpleQueue


def set_on_signals(stop: threading.Event) -> None:
    """Have SIGTERM and Ctrl-C set `stop`.

    Not by their handler: who waits for `stop` may hold the lock that setting it takes, just when
    the signal comes, and both would wait for ever. A SimpleQueue may be put to within anything.
    """
    asked: SimpleQueue[None] = SimpleQueue()

    def wait() -> None:
        asked.get()
        stop.set()

    threading.Thread(target=wait, name="ending", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: asked.put(None))
