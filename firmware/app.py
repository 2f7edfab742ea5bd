"""Run the tasks, catch what stops them, feed the watchdog while measuring and control go on."""

import asyncio
import gc
import sys

import slot
import wire
from crc16 import crc16

_ALIVE_MS = 15000
_SETTLED_MS = 600000
_BACKOFF_MOST_MS = 60000
_RESTARTS_MOST = 5
_CONFIRM_MS = 15000


async def supervise(name, run, restarted, ticks, log):
    """Run a task for ever: log what stops it, tell `restarted(name)`, back off, start it again.

    The only catcher of errors that nobody expected.
    """
    backoff_ms = 1000
    failed = False
    while True:
        started = ticks.ticks_ms()
        try:
            if failed:
                restarted(name)
            await run()
            log.error("%s ended", name)
        except Exception as error:
            log.error("%s stopped: %r", name, error)
            if hasattr(sys, "print_exception"):
                sys.print_exception(error)
        failed = True
        gc.collect()
        if ticks.ticks_diff(ticks.ticks_ms(), started) > _SETTLED_MS:
            backoff_ms = 1000
        await asyncio.sleep_ms(backoff_ms)
        backoff_ms = min(2 * backoff_ms, _BACKOFF_MOST_MS)


class App:
    """Own the tasks: `tasks` is a list of (name, object with `async run()`).

    `vital` are those whose `ticked_ms` must move on for the watchdog to be fed.
    """

    def __init__(self, tasks, vital, watchdog, recorder, journal, slot_path, status_s, ticks, log):
        self._tasks = tasks
        self._vital = vital
        self._watchdog = watchdog
        self._recorder = recorder
        self._journal = journal
        self._slot_path = slot_path
        self._status_ms = status_s * 1000
        self._ticks = ticks
        self._log = log
        self._recent = []  # when tasks were restarted, the last _SETTLED_MS only
        self.restarts = 0
        self.more = {}  # what else status() tells: name -> function

    async def run(self):
        """Start the tasks and watch over them for ever."""
        for name, task in self._tasks:
            asyncio.create_task(supervise(name, task.run, self._restarted, self._ticks, self._log))
        started = self._ticks.ticks_ms()
        told = started
        confirmed = False
        while True:
            await asyncio.sleep_ms(1000)
            now = self._ticks.ticks_ms()
            if self.healthy():
                self._watchdog.feed()
                if not confirmed and self._ticks.ticks_diff(now, started) > _CONFIRM_MS:
                    slot.confirm(self._slot_path)
                    confirmed = True
            if self._ticks.ticks_diff(now, told) >= self._status_ms:
                told = now
                gc.collect()
                self._log.info("status %s", self.status())

    def healthy(self):
        """Return whether measuring and control go on and tasks are not failing in a row."""
        now = self._ticks.ticks_ms()
        recent = self._recent
        while recent and self._ticks.ticks_diff(now, recent[0]) > _SETTLED_MS:
            recent.pop(0)
        if len(recent) > _RESTARTS_MOST:
            return False
        return all(self._ticks.ticks_diff(now, task.ticked_ms) < _ALIVE_MS for task in self._vital)

    def status(self):
        """Return what there is to know, as a dict; also for the service console."""
        status = {
            "next": self._journal.next,
            "oldest": self._journal.oldest,
            "boots": self._recorder.boots,
            "readings": self._recorder.readings,
            "events": self._recorder.events,
            "restarts": self.restarts,
            "heap_free": gc.mem_free() if hasattr(gc, "mem_free") else 0,
        }
        for name in self.more:
            status[name] = self.more[name]()
        return status

    def _restarted(self, name):
        self.restarts += 1
        self._recent.append(self._ticks.ticks_ms())
        self._recorder.record(wire.EVENT_TASK_RESTARTED, crc16(name.encode()), self.restarts)
