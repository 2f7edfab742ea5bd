"""A small world for the tests of tasks: time that only the test moves, and what stands around.

Tasks run on it without an event loop: `sleep_ms` moves the time and goes on.
"""

import asyncio


class Ticks:
    """The module time, 10 s before its ticks wrap."""

    WRAP = 0x3FFFFFFF

    def __init__(self):
        self.now_ms = self.WRAP - 10000
        self.on_sleep = None

    def ticks_ms(self):
        return self.now_ms & self.WRAP

    def ticks_add(self, ticks, delta):
        return (ticks + delta) & self.WRAP

    def ticks_diff(self, later, earlier):
        return ((later - earlier + 0x20000000) & self.WRAP) - 0x20000000

    async def sleep_ms(self, ms):
        self.now_ms += ms
        if self.on_sleep:
            self.on_sleep()


class Clock:
    """What clock.Clock is to metering: `time_s`, which passes, and `trust` are the test's."""

    def __init__(self, ticks, time_s=1_800_000_000, trust=1):
        self._ticks = ticks
        self._from_ms = ticks.now_ms
        self.time_s = time_s
        self.trust = trust
        self._put_s = 0

    def put(self, time_s):
        """Set it: no time passes."""
        self._put_s += time_s - self.time_s
        self.time_s = time_s

    def ran(self):
        return self.time_s - self._put_s

    def now(self):
        return self.time_s, self.trust

    def resume(self, stamp_s):
        self.time_s = max(self.time_s, stamp_s)

    def not_before(self):
        return (self._ticks.now_ms - self._from_ms) // 1000


class Quiet:
    """A log that keeps its last lines."""

    def __init__(self):
        self.lines = []

    def info(self, text, *values):
        self.lines = self.lines[-9:] + [text % values if values else text]

    warn = info
    error = info


def drive(ticks, task):
    """Run a coroutine to its end with the time of `ticks`; return its value."""
    before = getattr(asyncio, "sleep_ms", None)
    asyncio.sleep_ms = ticks.sleep_ms
    try:
        while True:
            task.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        if before:
            asyncio.sleep_ms = before
        else:
            del asyncio.sleep_ms
