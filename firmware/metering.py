"""Measure: poll the sensors, keep the register, close intervals.

Polls follow the ticks, intervals the clock. A reading is recorded, durably, before anyone hears
of it. What a sensor does not answer is never taken for zero.
"""

import asyncio

import wire
from pzem004t import REFRESH_MS, SensorError

_STEP_MS = 10
_SILENT_POLLS = 5
_OUTAGE_DV = 800
_EVENTS_MOST = 4  # of one code in an interval; a flapping contact must not fill the journal


class _Channel:
    """One sensor: when it last answered, and its sums over the interval."""

    def __init__(self, sensor, ran_s, ticks_ms):
        self.sensor = sensor
        self.ran_s = ran_s
        self.ticks_ms = ticks_ms
        self.missed = 0
        self.silent = False
        self.snapshot = None
        self.clear()

    def clear(self):
        self.samples = 0
        self.power_dw = 0
        self.current_ma = 0
        self.voltage_dv = 0
        self.frequency_dhz = 0
        self.power_factor_pct = 0

    def add(self, s):
        self.samples += 1
        self.power_dw += s.power_dw
        self.current_ma += s.current_ma
        self.voltage_dv += s.voltage_dv
        self.frequency_dhz += s.frequency_dhz
        self.power_factor_pct += s.power_factor_pct


class Metering:
    """Poll `sensors` (pzem004t.Pzem004T) and record readings and events with `recorder`.

    `supply` tells what the reading says of it; `mains` and `tamper` are lines with `value()`, or
    None; `ticks` is the module time: ticks_ms, ticks_diff, ticks_add.
    """

    def __init__(self, config, sensors, recorder, clock, supply, contactor, mains, tamper, ticks,
                 log):  # fmt: skip
        self._interval_s = config.interval_s
        self._poll_ms = config.poll_ms
        self._closing_s = config.closing_s
        self._utc_offset_s = config.utc_offset_s
        self._recorder = recorder
        self._clock = clock
        self._supply = supply
        self._contactor = contactor
        self._mains = mains
        self._tamper = tamper
        self._ticks = ticks
        self._log = log
        self.ticked_ms = ticks.ticks_ms()
        self._began_s = clock.ran()
        self._channels = [_Channel(sensor, self._began_s, self.ticked_ms) for sensor in sensors]
        self._flags = wire.FLAG_BOOT
        self._power_max_dw = 0
        self._voltage_min_dv = None
        self._interval = None
        self._trusted = False
        self._spent = {}
        self._tampered = False
        self._out_since_s = None
        self._power_dw = None
        self._sampled_ms = 0
        self.samples = 0  # of power_dw
        self.period_ms = max(config.poll_ms, REFRESH_MS)  # between two of them
        self.polls = 0
        self.failures = 0
        self.late_ms = 0  # the longest that anything made a poll wait

    @property
    def energy_wh(self):
        """The cumulative import register."""
        return self._recorder.register.energy_wh

    @property
    def power_dw(self):
        """The power of all sensors; None unless all answered the last poll, or if it is old."""
        age_ms = self._ticks.ticks_diff(self._ticks.ticks_ms(), self._sampled_ms)
        return self._power_dw if age_ms <= 2 * self.period_ms else None

    async def run(self):
        """Poll for ever."""
        due = self._ticks.ticks_ms()
        while True:
            started = self._ticks.ticks_ms()
            self.late_ms = max(self.late_ms, self._ticks.ticks_diff(started, due))
            due = self._ticks.ticks_add(started, self._poll_ms)
            await self.poll()
            spent = self._ticks.ticks_diff(self._ticks.ticks_ms(), started)
            await asyncio.sleep_ms(max(1, self._poll_ms - spent))

    async def poll(self):
        """Ask every sensor once, then close the interval if it is over."""
        power_dw = 0
        for channel in self._channels:
            snapshot = await self._ask(channel)
            if snapshot is None:
                power_dw = None
                self._miss(channel)
            else:
                self._take(channel, snapshot)
                if power_dw is not None:
                    power_dw += snapshot.power_dw
        self._power_dw = power_dw
        self._sampled_ms = self._ticks.ticks_ms()
        self.samples += 1
        if power_dw is not None:
            self._power_max_dw = max(self._power_max_dw, power_dw)
        self._look()
        self._close()
        self.polls += 1
        self.ticked_ms = self._ticks.ticks_ms()

    async def _ask(self, channel):
        """Return the sensor's Snapshot, None when it does not answer well in its time."""
        sensor = channel.sensor
        try:
            sensor.request()
            while True:
                await asyncio.sleep_ms(_STEP_MS)
                snapshot = sensor.receive()
                if snapshot:
                    return snapshot
        except SensorError as error:
            self.failures += 1
            if not channel.silent:  # else the console shows nothing else
                self._log.info("%s", error)
        return None

    def _take(self, channel, snapshot):
        """Put an answer into the register and the sums."""
        ran_s = self._clock.ran()
        ticks_ms = self._ticks.ticks_ms()
        unit_id = channel.sensor.unit_id
        # A rehearsal's clock runs faster than the ticks; one that was put loses part of a second.
        passed_ms = self._ticks.ticks_diff(ticks_ms, channel.ticks_ms)
        elapsed_s = 1 + max(passed_ms // 1000, ran_s - channel.ran_s)
        if channel.silent:
            channel.silent = False
            self._event(wire.EVENT_SENSOR_BACK, unit_id, ran_s - channel.ran_s)
        channel.missed = 0
        channel.ran_s = ran_s
        channel.ticks_ms = ticks_ms
        channel.snapshot = snapshot
        channel.add(snapshot)
        voltage_dv = snapshot.voltage_dv
        if self._voltage_min_dv is None or voltage_dv < self._voltage_min_dv:
            self._voltage_min_dv = voltage_dv
        register = self._recorder.register
        held = register.steps_held
        events = register.update(unit_id, snapshot.energy_wh, elapsed_s, self._off_s(ran_s))
        if register.steps_held != held:
            self._flags |= wire.FLAG_STEP_HELD
        if events:
            for event in events:
                if event[0] != wire.EVENT_STEP_HELD:
                    self._flags |= wire.FLAG_REGISTER_EVENT
                self._log.warn("register event %d: %d, %d, %d", *event)
            self._recorder.record_all(events)

    def _off_s(self, ran_s):
        """Return for how long the meter was off, at least, before it started.

        From the last signed time that it stamped to what was signed since, less what it ran: a
        time that nobody signed proves nothing at either end.
        """
        left_s = self._recorder.left_s
        if not left_s:
            return 0
        return max(0, self._clock.not_before() - left_s - (ran_s - self._began_s))

    def _miss(self, channel):
        channel.missed += 1
        if channel.missed < _SILENT_POLLS:
            return
        self._flags |= wire.FLAG_SENSOR_SILENT
        if not channel.silent:
            channel.silent = True
            channel.snapshot = None
            quiet_s = self._clock.ran() - channel.ran_s
            self._event(wire.EVENT_SENSOR_SILENT, channel.sensor.unit_id, quiet_s)

    def _look(self):
        """Watch the mains and the cover."""
        out = bool(self._mains and not self._mains.value())
        for channel in self._channels:
            if channel.snapshot and channel.snapshot.voltage_dv < _OUTAGE_DV:
                out = True
        if out:
            self._flags |= wire.FLAG_MAINS_OUTAGE
        if out and self._out_since_s is None:
            self._out_since_s = self._clock.ran()
            self._event(wire.EVENT_MAINS_OUTAGE)
        elif not out and self._out_since_s is not None:
            out_s = self._clock.ran() - self._out_since_s
            self._out_since_s = None
            self._event(wire.EVENT_MAINS_BACK, out_s)
        if self._tamper:
            tampered = bool(self._tamper.value())
            if tampered:
                self._flags |= wire.FLAG_TAMPER
            if tampered != self._tampered:
                self._tampered = tampered
                self._event(wire.EVENT_TAMPER, int(tampered))

    def _event(self, code, a=0, b=0, c=0):
        self._spent[code] = self._spent.get(code, 0) + 1
        if self._spent[code] > _EVENTS_MOST:
            self._log.warn("event %d (%d, %d) not recorded: too many", code, a, b)
            return
        self._recorder.record(code, a, b, c)
        self._log.info("event %d: %d, %d, %d", code, a, b, c)

    def _close(self):
        """Record a reading if the clock entered another interval."""
        now_s, trust = self._clock.now()
        interval = (now_s + self._utc_offset_s) // self._interval_s
        trusted = trust > wire.TRUST_NONE
        # The clock's first setting is a jump, not the passing of time: it ends no interval.
        jumped = self._interval is None or (trusted and not self._trusted) or (
            interval < self._interval
        )  # fmt: skip
        self._trusted = trusted
        if jumped or interval == self._interval:
            self._interval = interval
            return
        time_s = interval * self._interval_s - self._utc_offset_s
        if time_s == self._recorder.reading_s:
            self._interval = interval
            return  # the clock was put back across a boundary and came to it again
        values = self._values()
        flags = self._flags | self._supply_flags()
        if not trusted:
            flags |= wire.FLAG_CLOCK_UNTRUSTED
        day = (time_s + self._utc_offset_s) // self._closing_s
        if trusted and day + 1 != self._recorder.closing_day:
            flags |= wire.FLAG_CLOSING
        self._recorder.reading(flags, time_s, trust, day, values)
        self._interval = interval  # not before: what was not recorded is tried again
        self._log.info(
            "reading at %d: %d Wh, flags %04x", time_s, self._recorder.register.energy_wh, flags
        )
        self._clear()

    def _values(self):
        """Return what a reading says after energy_wh, without the clock trust."""
        channels = [channel for channel in self._channels if channel.samples]
        if len(channels) < len(self._channels):
            self._flags |= wire.FLAG_SENSOR_SILENT
        if not channels:
            return 0, 0, 0, 0, 0, 0, 0
        power_dw = sum(channel.power_dw // channel.samples for channel in channels)
        count = sum(channel.samples for channel in channels)
        return (
            power_dw,
            max(power_dw, self._power_max_dw),
            sum(channel.current_ma // channel.samples for channel in channels),
            sum(channel.voltage_dv for channel in channels) // count,
            self._voltage_min_dv,
            sum(channel.frequency_dhz for channel in channels) // count,
            sum(channel.power_factor_pct for channel in channels) // count,
        )

    def _supply_flags(self):
        flags = self._supply.control_state << wire.CONTROL_SHIFT
        closed = self._contactor.closed
        if closed is None:  # nobody can tell: it is where it was driven to last
            closed = self._supply.control_state == wire.CONTROL_CONNECTED
        if closed:
            flags |= wire.FLAG_OUTPUT_CLOSED
        return flags

    def _clear(self):
        self._flags = 0
        self._power_max_dw = 0
        self._voltage_min_dv = None
        self._spent = {}
        for channel in self._channels:
            channel.clear()
            if channel.silent:
                self._flags = wire.FLAG_SENSOR_SILENT
