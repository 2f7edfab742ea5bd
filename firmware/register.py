"""Keep the meter's own register of energy over sensors that wrap, get reset, and get swapped.

A count that goes on plausibly from the last one is believed at once. Any other is a jump: it is
held back until the sensor has counted on from its new level for a minute, and only then believed
to be where the sensor stands now. A single mad answer is followed by a return, and changes
nothing. What a jump upwards would have added is never added: event 6 alone tells its amount.

Where the sensor went, once the minute is over:

to                                              event  added
a little past 9,999,999 Wh, which follow 0          3  the steps to the wrap and after it
1 kWh or less, reachable from 0                     4  what the sensor has counted since 0
any other level, lower or higher                    5  what the sensor has counted since the jump
"""

import struct

import wire

SENSOR_MODULUS_WH = 10_000_000  # 9999.99 kWh
SENSOR_POWER_MAX_W = 23_000
_SETTLE_S = 60
# Sensors refresh about once a second and polls are late at times.
_MARGIN_S = 10
_RESET_MAX_WH = 1_000
_WRAP_MAX_WH = 100_000

_VERSION = 1
_HEAD = ">BQ"
_HEAD_SIZE = 9
_UNIT = ">BBQQQ"
_UNIT_SIZE = 26
_KNOWN = 1
_JUMPED = 2


class RegisterError(ValueError):
    """A saved state that this firmware does not understand. Start without, and tell by event."""


class Register:
    """Sum the energy of `sensors` (unit id, CT ratio); `energy_wh` never decreases.

    `saved` is what `save()` gave, or None: a sensor begins at what it first shows then, as does
    one that is not in `saved`. Energies are behind the CT ratio, a whole number, as
    pzem004t.Snapshot has them. `steps_held` counts the jumps upwards since the start, told by an
    event or not: event 6 is told at most once a minute for each sensor. Raises RegisterError.
    """

    def __init__(self, saved, sensors):
        self.energy_wh = 0
        self.steps_held = 0
        self._units = {unit_id: _Unit(ct_ratio) for unit_id, ct_ratio in sensors}
        if saved is not None:
            self._load(saved)

    def update(self, unit_id, sensor_wh, elapsed_s):
        """Take what a sensor shows now. Returns a list of events (code, a, b, c), often empty.

        `elapsed_s` is the time since the last update of this sensor, None if unknown, as after an
        outage: a step upwards is then believed, since nobody knows how long the sensor had for
        it. Save after an update that returned events, or a step held back goes unnoticed when
        the power fails within its minute.
        """
        unit = self._units[unit_id]
        added_wh, held, event = unit.update(sensor_wh, elapsed_s)
        self.energy_wh += added_wh
        self.steps_held += held
        return [(event[0], unit_id, event[1], event[2])] if event else []

    def save(self):
        """Return the state: 9 bytes and 26 for each sensor."""
        saved = struct.pack(_HEAD, _VERSION, self.energy_wh)
        for unit_id, unit in self._units.items():
            known = 0 if unit.last_wh is None else _KNOWN
            jumped = 0 if unit.level_wh is None else _JUMPED
            counts = (unit.last_wh or 0, unit.level_wh or 0, unit.seen_wh)
            saved += struct.pack(_UNIT, unit_id, known | jumped, *counts)
        return saved

    def _load(self, saved):
        if saved[:1] != bytes([_VERSION]) or (len(saved) - _HEAD_SIZE) % _UNIT_SIZE:
            raise RegisterError("the saved register is not of version %d" % _VERSION)
        self.energy_wh = struct.unpack_from(_HEAD, saved)[1]
        for at in range(_HEAD_SIZE, len(saved), _UNIT_SIZE):
            unit_id, state, last_wh, level_wh, seen_wh = struct.unpack_from(_UNIT, saved, at)
            if unit_id in self._units and state & _KNOWN:
                unit = self._units[unit_id]
                unit.last_wh = last_wh
                if state & _JUMPED:
                    unit.level_wh = level_wh
                    unit.seen_wh = seen_wh
                    unit.jump_s = None


class _Unit:
    """One sensor: the count last believed, and the level it jumped to, if it did."""

    def __init__(self, ct_ratio):
        self._ct_ratio = ct_ratio
        self.last_wh = None  # believed; None before the first
        self.age_s = 0  # since it was, None if unknown
        self.level_wh = None  # just after the jump; None without one
        self.seen_wh = 0  # last seen after the jump
        self.jump_s = None  # age_s at the jump
        self._settled_s = 0
        self._told_s = _SETTLE_S

    def update(self, sensor_wh, elapsed_s):
        """Return (energy to add, steps held back, event or None)."""
        if self.last_wh is None:
            self._believe(sensor_wh)
            return 0, 0, None
        self.age_s = None if elapsed_s is None or self.age_s is None else self.age_s + elapsed_s
        self._told_s += elapsed_s or 0
        goes_on = self.level_wh is not None and self._fits(sensor_wh - self.seen_wh, elapsed_s)
        returns = self._fits(sensor_wh - self.last_wh, self.age_s)
        # With time, a return from below becomes plausible, and so does a jump upwards: the one
        # is a return indeed, the other must not be believed for having waited.
        if goes_on and (self.level_wh > self.last_wh or not returns):
            return self._settle(sensor_wh, elapsed_s or 0)
        if returns:
            return self._believe(sensor_wh), 0, None
        self.level_wh = self.seen_wh = sensor_wh
        self.jump_s = self.age_s
        self._settled_s = 0
        step_wh = sensor_wh - self.last_wh
        if step_wh < 0:
            return 0, 0, None
        if self._told_s < _SETTLE_S:
            return 0, 1, None
        self._told_s = 0
        return 0, 1, (wire.EVENT_STEP_HELD, step_wh, self.jump_s)

    def _settle(self, sensor_wh, elapsed_s):
        self.seen_wh = sensor_wh
        self._settled_s += elapsed_s
        if self._settled_s < _SETTLE_S:
            return 0, 0, None
        before_wh, level_wh = self.last_wh, self.level_wh
        wrapped_wh = SENSOR_MODULUS_WH * self._ct_ratio - before_wh + level_wh
        code = wire.EVENT_REGISTER_SWAP
        added_wh = sensor_wh - level_wh
        if level_wh < before_wh:
            if self._reachable(wrapped_wh, _WRAP_MAX_WH):
                code = wire.EVENT_REGISTER_WRAP
                added_wh += wrapped_wh
            elif self._reachable(level_wh, _RESET_MAX_WH):
                code = wire.EVENT_REGISTER_RESET
                added_wh += level_wh
        self._believe(sensor_wh)
        return added_wh, 0, (code, before_wh, level_wh)

    def _believe(self, sensor_wh):
        added_wh = sensor_wh - (self.last_wh or 0)
        self.last_wh = sensor_wh
        self.level_wh = None
        self.seen_wh = 0
        self.age_s = 0
        return added_wh

    def _reachable(self, step_wh, most_wh):
        return step_wh <= most_wh * self._ct_ratio and self._fits(step_wh, self.jump_s)

    def _fits(self, step_wh, time_s):
        """Tell whether the sensor can have counted `step_wh` in that time, None for any."""
        if step_wh < 0 or time_s is None:
            return step_wh >= 0
        most_wh = SENSOR_POWER_MAX_W * (time_s + _MARGIN_S) // 3600 + 1
        return step_wh <= most_wh * self._ct_ratio
