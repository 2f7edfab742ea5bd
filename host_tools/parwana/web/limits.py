"""How often somebody may try."""

import threading
import time
from collections.abc import Callable

_KEPT = 10_000


class Limiter:
    """Let each key try `burst` times at once, and one more every `every_s`."""

    def __init__(
        self, burst: int, every_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._every_s, self._now = burst, every_s, now
        self._free_s: dict[str, float] = {}  # when all tries of a key are free again
        self._lock = threading.Lock()

    def take(self, key: str) -> bool:
        """Say whether a key may try now, and count it."""
        with self._lock:
            now_s = self._now()
            free_s = max(now_s, self._free_s.get(key, now_s))
            if free_s - now_s > (self._burst - 1) * self._every_s:
                return False
            if len(self._free_s) >= _KEPT:
                self._free_s = {k: at for k, at in self._free_s.items() if at > now_s}
            if len(self._free_s) >= _KEPT:
                return False  # a flood of keys: nobody more until some are free
            self._free_s[key] = free_s + self._every_s
            return True
