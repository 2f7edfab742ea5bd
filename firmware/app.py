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
_TRIAL_MORE_S = 600
_FULL = 28  # ENOSPC
_TICKS_MASK = 0x3FFFFFFF  # ticks wrap at 2**30 on 32-bit boards, at a multiple of it elsewhere


def tell(error):
    """Print an error that nobody expected, and what to do about it if a person can."""
    if hasattr(sys, "print_exception"):
        sys.print_exception(error)
    if isinstance(error, OSError) and error.errno == _FULL:
        print("parwana: the flash is full; remove foreign files: mpremote fs ls")


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
            tell(error)
        failed = True
        gc.collect()
        if (ticks.ticks_ms() - started) & _TICKS_MASK > _SETTLED_MS:  # it may be days
            backoff_ms = 1000
        await asyncio.sleep_ms(backoff_ms)
        backoff_ms = min(2 * backoff_ms, _BACKOFF_MOST_MS)


class App:
    """Own the tasks; feed the watchdog while measuring and control go on."""

    def __init__(self, config, watchdog, recorder, journal, clock, metering, control, uplink,
                 timesync, handover, supply, update, slot_path, console, ticks, log):  # fmt: skip
        self._status_ms = config.status_s * 1000
        self._watchdog = watchdog
        self._recorder = recorder
        self._journal = journal
        self._clock = clock
        self._metering = metering
        self._control = control
        self._uplink = uplink
        self._timesync = timesync
        self._handover = handover
        self._supply = supply
        self._update = update
        self._trial_ms = (2 * config.interval_s + _TRIAL_MORE_S) * 1000
        self._slot_path = slot_path
        self._ticks = ticks
        self._log = log
        self._looked_ms = ticks.ticks_ms()
        self._recent = []  # when tasks were restarted
        self.last = console.last  # the last lines of the log
        self.restarts = 0

    def start(self):
        """Start the tasks, each under supervision."""
        for name, task in (
            ("metering", self._metering),
            ("control", self._control),
            ("uplink", self._uplink),
            ("timesync", self._timesync),
            ("handover", self._handover),
        ):
            asyncio.create_task(supervise(name, task.run, self._restarted, self._ticks, self._log))

    async def run(self):
        """Start the tasks and watch over them for ever."""
        self.start()
        born = started = told = self._ticks.ticks_ms()
        confirmed = False
        while True:
            await asyncio.sleep_ms(1000)
            now = self._ticks.ticks_ms()
            if self.healthy() and not self._overdue(now, born):
                self._watchdog.feed()
                due = not confirmed and self._ticks.ticks_diff(now, started) > _CONFIRM_MS
                if due and self.proves():
                    confirmed = slot.confirm(self._slot_path, self._recorder.made_room)
                    started = now
                    if confirmed:
                        self._update.proved()
            if self._ticks.ticks_diff(now, told) >= self._status_ms:
                told = now
                gc.collect()
                self._log.info(
                    "status next=%(next)d oldest=%(oldest)d pointer=%(pointer)s "
                    "readings=%(readings)d events=%(events)d energy_wh=%(energy_wh)d "
                    "control=%(control)d restarts=%(restarts)d late_ms=%(late_ms)d "
                    "heap_free=%(heap_free)d" % self.status()
                )

    def healthy(self):
        """Return whether measuring and control go on and tasks do not fail in a row."""
        now = self._ticks.ticks_ms()
        recent = self._recent
        while recent and self._ticks.ticks_diff(now, recent[0]) > _SETTLED_MS:
            recent.pop(0)
        if len(recent) > _RESTARTS_MOST:
            return False
        looked, self._looked_ms = self._looked_ms, now
        diff = self._ticks.ticks_diff
        for task in (self._metering, self._control):
            # A slow flash keeps all waiting, for longer than that: it has had its turn since.
            if diff(now, task.ticked_ms) > _ALIVE_MS and diff(task.ticked_ms, looked) <= 0:
                return False
        return True

    def proves(self):
        """Return whether a version on trial shows, now, all that a meter is for."""
        return not self._update.trial or (
            self._recorder.readings > 0
            and self._metering.power_dw is not None
            and self._control.follows
            and self._uplink.pointer == self._journal.next  # a relay asked past the reading
        )

    def _overdue(self, now, born):
        """Return whether a trial took too long: unfed, the watchdog has boot.py go back."""
        return self._update.trial and self._ticks.ticks_diff(now, born) > self._trial_ms

    def status(self):
        """Return what there is to know, as a dict; also for the service console."""
        recorder, metering, uplink = self._recorder, self._metering, self._uplink
        return {
            "next": self._journal.next,
            "oldest": self._journal.oldest,
            "pointer": uplink.pointer,
            "connected": uplink.connected,
            "boots": recorder.boots,
            "readings": recorder.readings,
            "events": recorder.events,
            "energy_wh": metering.energy_wh,
            "power_dw": metering.power_dw,
            "failures": metering.failures,
            "late_ms": metering.late_ms,
            "control": self._supply.control_state,
            "time": self._clock.now(),
            "restarts": self.restarts,
            "heap_free": gc.mem_free() if hasattr(gc, "mem_free") else 0,
        }

    def _restarted(self, name):
        self.restarts += 1
        self._recent.append(self._ticks.ticks_ms())
        self._recorder.record(wire.EVENT_TASK_RESTARTED, crc16(name.encode()), self.restarts)
