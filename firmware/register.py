"""Keep the meter's own register of energy over sensors that wrap, get reset, and get swapped.

A count that goes on plausibly, at 23 kW or less, is believed at once. Any other is a jump: it is
held back until the sensor has counted on from its new level for a minute, and only then believed
to be where the sensor stands now. A single mad answer is followed by a return, and changes
nothing. What a jump upwards would have added is never added: event 6 alone tells its amount. It
tells of one downwards, with no amount, once the sensor is back where it was.

Where the sensor went, once the minute is over:

to                                              event  added
a little past 9,999,999 Wh, which follow 0          3  the steps to the wrap and after it
1 kWh or less, reachable from 0                     4  what the sensor has counted since 0
any other level, lower or higher                    5  what the sensor has counted since the jump

A sensor goes on counting while the meter alone is off. Over a restart it is believed to have had
`restart_s` for that, and what goes beyond is a jump; but its step is added after all (event 25)
once it is proven that the meter was off for long enough. A swapped sensor has to fit, too.
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
    one that is not in `saved`. `restart_s` is how long the state may have gone unsaved, and a
    restart may take. Energies are behind the CT ratio, a whole number, as
    pzem004t.Snapshot has them. `steps_held` counts the jumps upwards, and the returns from below,
    since the start, told by an event or not: event 6 is told at most once a minute for each
    sensor. Raises RegisterError.
    """

    def __init__(self, saved, sensors, restart_s=1200):
        self.energy_wh = 0
        self.steps_held = 0
        self._units = {unit_id: _Unit(ct_ratio, restart_s) for unit_id, ct_ratio in sensors}
        if saved is not None:
            self._load(saved)

    def update(self, unit_id, sensor_wh, elapsed_s, off_s=0):
        """Take what a sensor shows now. Returns a list of events (code, a, b, c), often empty.

        `elapsed_s` is how long the meter ran since the last update of this sensor, or since it
        started; None if unknown, which is taken for `restart_s`. `off_s` is how long it was off
        before it started, as far as that is proven: it may come to be known later. Neither may
        rest on a time that can be forged. Save after an update that returned events, or a step
        held back goes unnoticed when the power fails within its minute.
        """
        unit = self._units[unit_id]
        added_wh, held, event = unit.update(sensor_wh, elapsed_s, off_s)
        self.energy_wh += added_wh
        self.steps_held += held
        return [(event[0], unit_id, event[1], event[2])] if event else []

    def save(self):
        """Return the state: 9 bytes and 26 for each sensor."""
        saved = struct.pack(_HEAD, _VERSION, self.energy_wh)
        for unit_id, unit in self._units.items():
            state = last_wh = level_wh = seen_wh = 0
            if unit.believed is not None:
                state = _KNOWN
                last_wh = unit.believed.wh
            if unit.jumped is not None:
                state |= _JUMPED
                level_wh = unit.level_wh
                seen_wh = unit.jumped.wh
            saved += struct.pack(_UNIT, unit_id, state, last_wh, level_wh, seen_wh)
        return saved

    def _load(self, saved):
        if saved[:1] != bytes([_VERSION]) or (len(saved) - _HEAD_SIZE) % _UNIT_SIZE:
            raise RegisterError("the saved register is not of version %d" % _VERSION)
        self.energy_wh = struct.unpack_from(_HEAD, saved)[1]
        if self.energy_wh >> 60 == 15:
            raise RegisterError("the saved register is none: no meter counts so far")
        for at in range(_HEAD_SIZE, len(saved), _UNIT_SIZE):
            unit_id, state, last_wh, level_wh, seen_wh = struct.unpack_from(_UNIT, saved, at)
            if seen_wh < level_wh:
                raise RegisterError("the saved register is none: a count fell")
            if unit_id in self._units and state & _KNOWN:
                self._units[unit_id].restart(last_wh)
                if state & _JUMPED:
                    self._units[unit_id].restart_jumped(level_wh, seen_wh)


class _Unit:
    """One sensor: the count last believed, and the one it jumped to, if it did."""

    def __init__(self, ct_ratio, restart_s):
        self._ct_ratio = ct_ratio
        self._restart_ws = SENSOR_POWER_MAX_W * restart_s
        self.believed = None  # None before the first count
        self.jumped = None
        self.level_wh = 0  # just after the jump
        self._off_wh = 0  # a step over the restart that is not added, yet
        self._restarted = False  # and no count believed since
        self._jump_room_ws = 0  # what could have been counted until the jump
        self._settled_s = 0
        self._told_s = _SETTLE_S

    def restart(self, last_wh):
        """Go on from what was saved."""
        self.believed = _Count(last_wh, self._ct_ratio, self._restart_ws)
        self._restarted = True

    def restart_jumped(self, level_wh, seen_wh):
        """Go on in a jump that was saved: it happened before the restart, not over it."""
        self.jump(level_wh, seen_wh, self._restart_ws)
        self.jumped.room_ws = self._restart_ws
        self._restarted = False

    def update(self, sensor_wh, elapsed_s, off_s):
        """Return (energy to add, steps held back, event or None)."""
        if self.believed is None:
            self.believed = _Count(sensor_wh, self._ct_ratio)
            return 0, 0, None
        self._wait(self.believed, elapsed_s)
        self._told_s += elapsed_s or 0
        returns = self.believed.reaches(sensor_wh)
        if self.jumped is not None:
            self._wait(self.jumped, elapsed_s)
            # With time, a return from below becomes plausible, and so does a jump upwards: the
            # one is a return indeed, the other must not be believed for having waited.
            if self.jumped.reaches(sensor_wh) and not (
                returns and self.level_wh < self.believed.wh
            ):
                self.jumped.move(sensor_wh)
                return self._settle(elapsed_s or 0)
        if returns:
            fell = self.jumped is not None and self.level_wh < self.believed.wh
            self.jumped = None
            self._restarted = False
            held, event = self._tell(0) if fell else (0, None)
            added_wh, proven = self._prove(self.believed.move(sensor_wh), off_s)
            return added_wh, held, proven or event
        self.jump(sensor_wh, sensor_wh, self.believed.room_ws)
        step_wh = sensor_wh - self.believed.wh
        # One downwards is told when it is known what it was.
        held, event = self._tell(step_wh) if step_wh >= 0 else (0, None)
        return 0, held, event

    def _tell(self, step_wh):
        """Return (steps held back, event or None) of a jump upwards; 0: of a return from below."""
        if self._told_s < _SETTLE_S:
            return 1, None
        self._told_s = 0
        return 1, (wire.EVENT_STEP_HELD, step_wh, self.believed.waited_s)

    def jump(self, level_wh, seen_wh, room_ws):
        """Hold back `level_wh`, a jump; the sensor shows `seen_wh` by now."""
        self.jumped = _Count(seen_wh, self._ct_ratio)
        self.level_wh = level_wh
        self._jump_room_ws = room_ws
        self._settled_s = 0

    def _prove(self, added_wh, off_s):
        """Add the step over the restart, too, if `off_s` suffices for it."""
        room_ws = self._restart_ws + SENSOR_POWER_MAX_W * off_s
        if not self._off_wh or not _fits(self._off_wh, room_ws, self._ct_ratio):
            return added_wh, None
        step_wh, self._off_wh = self._off_wh, 0
        return added_wh + step_wh, (wire.EVENT_STEP_COUNTED, step_wh, off_s)

    def _wait(self, count, elapsed_s):
        if elapsed_s is None:
            count.room_ws = max(count.room_ws, self._restart_ws)
        else:
            count.wait(elapsed_s)

    def _settle(self, elapsed_s):
        self._settled_s += elapsed_s
        if self._settled_s < _SETTLE_S:
            return 0, 0, None
        before_wh, level_wh = self.believed.wh, self.level_wh
        wrapped_wh = SENSOR_MODULUS_WH * self._ct_ratio - before_wh + level_wh
        code = wire.EVENT_REGISTER_SWAP
        added_wh = self.jumped.wh - level_wh
        if level_wh < before_wh:
            if self._counted(wrapped_wh, _WRAP_MAX_WH):
                code = wire.EVENT_REGISTER_WRAP
                added_wh += wrapped_wh
            elif self._counted(level_wh, _RESET_MAX_WH):
                code = wire.EVENT_REGISTER_RESET
                added_wh += level_wh
        self._off_wh = 0
        if self._restarted and code == wire.EVENT_REGISTER_SWAP:
            if level_wh > before_wh:
                self._off_wh = level_wh - before_wh
            elif wrapped_wh <= _WRAP_MAX_WH * self._ct_ratio:
                self._off_wh = wrapped_wh
        self._restarted = False
        self.believed, self.jumped = self.jumped, None
        return added_wh, 0, (code, before_wh, level_wh)

    def _counted(self, step_wh, most_wh):
        """Tell whether the sensor can have counted `step_wh` until the jump."""
        in_time = _fits(step_wh, self._jump_room_ws, self._ct_ratio)
        return in_time and step_wh <= most_wh * self._ct_ratio


class _Count:
    """A count that goes on: `wh`, and the room for more, which time gives and steps take.

    What a step leaves of the room is there for the next one, so that a sensor which answers with
    an old count once is not held to have jumped the next time.
    """

    def __init__(self, wh, ct_ratio, room_ws=SENSOR_POWER_MAX_W * _MARGIN_S):
        self.wh = wh
        self.waited_s = 0
        self.room_ws = room_ws  # watt-seconds before the CT
        self._ct_ratio = ct_ratio

    def wait(self, elapsed_s):
        """Let time pass."""
        self.waited_s += elapsed_s
        self.room_ws += SENSOR_POWER_MAX_W * elapsed_s

    def reaches(self, wh):
        """Tell whether the count can stand at `wh` by now."""
        return _fits(wh - self.wh, self.room_ws, self._ct_ratio)

    def move(self, wh):
        """Go to `wh`, which it reaches. Returns the step."""
        step_wh = wh - self.wh
        most_ws = SENSOR_POWER_MAX_W * max(_MARGIN_S, self.waited_s)
        self.room_ws = min(self.room_ws - 3600 * step_wh // self._ct_ratio, most_ws)
        self.wh = wh
        self.waited_s = 0
        return step_wh


def _fits(step_wh, room_ws, ct_ratio):
    """Tell whether a step from 0 fits the room; the sensor's own rounding is 1 Wh."""
    return step_wh >= 0 and 3600 * (step_wh - ct_ratio) <= room_ws * ct_ratio
