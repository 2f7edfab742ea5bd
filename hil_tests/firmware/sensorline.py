"""A serial line with PZEMs, byte by byte in the test's own time, and what can go wrong on it.

A fault turns one exchange into what arrives instead: a list of (ms after the byte before, bytes).
`FAULTS` has them by name: how many places it has, and what it does at one.
"""

import struct

from crc16 import crc16
from metering import Metering
from pzem004t import Pzem004T
from register import Register

import wire
from hil_tests.firmware.check import Dice
from hil_tests.firmware.world import Clock, Quiet, Ticks, drive

REPLY_MS = 60
LATE_MS = 700  # later than any poll waits
REPLY_SIZE = 25
REQUEST_SIZE = 8
POWER_DW = 36_000
STEP_WH = 1  # a second, of 3.6 kW


def with_crc(body):
    crc = crc16(body)
    return bytes(body) + bytes([crc & 0xFF, crc >> 8])


class Exchange:
    """A request, the true reply to it, the one before it, and another unit's."""

    def __init__(self, request, reply, before, other):
        self.request = request
        self.reply = reply
        self.before = before
        self.other = other


def _damaged(data, place, flip=0xA5):
    return data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]


def _late(reply, place):
    return [(0, reply[:place]), (LATE_MS, reply[place:])]


def _slow(reply, place):
    return [(0, reply[:place]), (200, reply[place:])]


def _noise(place):
    dice = Dice(place)
    return bytes(dice.roll(256) for _ in range(place + 1))


def _value(reply, register, value):
    body = bytearray(reply[:-2])
    body[3 + 2 * register] = value >> 8
    body[4 + 2 * register] = value & 0xFF
    return with_crc(body)


def _exception(x, place):
    """Reasons 0 to 7, whole; then reason 4, cut short."""
    if place < 8:
        return with_crc(bytes([x.reply[0], 0x84, place]))
    return with_crc(bytes([x.reply[0], 0x84, 4]))[: place - 7]


# What no poll may believe.
REFUSED = {
    "silence": (1, lambda *_: b""),
    "cut short": (REPLY_SIZE - 1, lambda x, p: x.reply[: p + 1]),
    "damaged": (REPLY_SIZE, lambda x, p: _damaged(x.reply, p)),
    "a bit": (8 * REPLY_SIZE, lambda x, p: _damaged(x.reply, p // 8, 1 << p % 8)),
    "lost": (REPLY_SIZE, lambda x, p: x.reply[:p] + x.reply[p + 1 :]),
    "late from there on": (REPLY_SIZE, lambda x, p: _late(x.reply, p)),
    "another unit's": (1, lambda x, _: x.other),
    "another unit's, cut short": (REPLY_SIZE - 1, lambda x, p: x.other[: p + 1]),
    "beginning as another unit's": (1, lambda x, _: _damaged(x.reply, 0, x.reply[0] ^ x.other[0])),
    "echo alone": (REQUEST_SIZE, lambda x, p: x.request[: p + 1]),
    "noise alone": (3 * REPLY_SIZE, lambda _, p: _noise(p)),
    "the request damaged": (REQUEST_SIZE, None),
    "exception": (12, _exception),
    "no voltage that can be": (1, lambda x, _: _value(x.reply, 0, 0xFFFF)),
    "no current that can be": (1, lambda x, _: _value(x.reply, 2, 0xFFFF)),
    "no power that can be": (1, lambda x, _: _value(x.reply, 4, 0xFFFF)),
    "no frequency that can be": (1, lambda x, _: _value(x.reply, 7, 0xFFFF)),
    "no power factor that can be": (1, lambda x, _: _value(x.reply, 8, 101)),
}
# Around a reply that is whole; the poll finds it.
FOUND = {
    "slow from there on": (REPLY_SIZE, lambda x, p: _slow(x.reply, p)),
    "the end of an old one before it": (REPLY_SIZE, lambda x, p: x.before[-p - 1 :] + x.reply),
    "the beginning of one before it": (REPLY_SIZE - 1, lambda x, p: x.reply[: p + 1] + x.reply),
    "another unit's end before it": (REPLY_SIZE, lambda x, p: x.other[-p - 1 :] + x.reply),
    "echo before it": (REQUEST_SIZE, lambda x, p: x.request[: p + 1] + x.reply),
    "noise before it": (3 * REPLY_SIZE, lambda x, p: _noise(p) + x.reply),
    # No longer than until another unit answers: what collides with that is lost on any wire.
    "noise after it": (2 * REPLY_SIZE, lambda x, p: x.reply + _noise(p)),
}
# The reply may be found or not; never one that no sensor gave.
EITHER = {
    "twice": (REPLY_SIZE, lambda x, p: x.reply[: p + 1] + x.reply[p:]),
    "a byte more": (REPLY_SIZE + 1, lambda x, p: x.reply[:p] + b"\x04" + x.reply[p:]),
    "an old one to there": (REPLY_SIZE - 1, lambda x, p: x.before[: p + 1] + x.reply[p + 1 :]),
    "another unit's to there": (REPLY_SIZE - 1, lambda x, p: x.other[: p + 1] + x.reply[p + 1 :]),
    "another unit's from there on": (
        REPLY_SIZE - 1,
        lambda x, p: x.reply[: p + 1] + x.other[p + 1 :],
    ),
}
FAULTS = {}
FAULTS.update(REFUSED)
FAULTS.update(FOUND)
FAULTS.update(EITHER)


class Unit:
    """A sensor: what it counted, and a `lie` (wh) -> wh about it, if it tells one."""

    def __init__(self, unit_id, wh):
        self.unit_id = unit_id
        self.wh = wh
        self.lie = None
        self.replies = set()
        self.before = self.reply()

    def reply(self):
        wh = self.lie(self.wh) if self.lie else self.wh
        values = [2300 + self.unit_id]
        for value in (16_000 + self.unit_id, POWER_DW, wh):
            values += [value & 0xFFFF, value >> 16]
        reply = with_crc(bytes([self.unit_id, 4, 20]) + struct.pack(">10H", *values, 500, 98, 0))
        self.replies.add(reply)
        return reply


class Line:
    """The UART at the meter's end. `fault` (name, place) spoils what unit 1 is asked and says."""

    def __init__(self, ticks, units):
        self._ticks = ticks
        self.units = units
        self._stranger = units[1] if len(units) > 1 else Unit(9, 77)
        self.fault = None
        self._coming = []  # (ms, byte), in order

    def write(self, request):
        request = bytes(request)
        faulty = self.fault and request[0] == self.units[0].unit_id
        if faulty and FAULTS[self.fault[0]][1] is None:
            request = _damaged(request, self.fault[1])
        if crc16(request[:-2]) != request[-2] | request[-1] << 8:
            return len(request)
        for unit in self.units:
            if unit.unit_id == request[0]:
                reply = unit.reply()
                parts = [(0, reply)]
                if faulty:
                    x = Exchange(request, reply, unit.before, self._stranger.reply())
                    parts = FAULTS[self.fault[0]][1](x, self.fault[1])
                unit.before = reply
                self._send([(0, parts)] if isinstance(parts, bytes) else parts)
        return len(request)

    def _send(self, parts):
        ms = self._ticks.now_ms + REPLY_MS
        for pause_ms, data in parts:
            ms += pause_ms
            for byte in data:
                ms += 1  # 9600 baud
                self._coming.append((ms, byte))
        self._coming.sort(key=lambda pair: pair[0])

    def readinto(self, buffer):
        got = 0
        while got < len(buffer) and self._coming and self._coming[0][0] <= self._ticks.now_ms:
            buffer[got] = self._coming.pop(0)[1]
            got += 1
        return got or None


class Recorder:
    """What metering asks of a recorder, around the real register."""

    left_s = closing_day = reading_s = 0

    def __init__(self, units):
        self.register = Register(None, [(unit.unit_id, 1) for unit in units])
        self.events = []

    def record(self, code, a=0, b=0, c=0):
        self.events.append((code, a, b, c))

    def record_all(self, events):
        self.events.extend(events)

    def reading(self, *_):
        pass


class Config:
    interval_s = closing_s = 86_400
    poll_ms = 1000
    utc_offset_s = 0


class Supply:
    control_state = wire.CONTROL_CONNECTED


class Contactor:
    closed = True


class Meter:
    """A real Metering, its drivers and register over a Line; `poll()` is one second."""

    def __init__(self, count=1, wh=5_000):
        self.ticks = Ticks()
        self.clock = Clock(self.ticks)
        self.units = [Unit(unit_id, wh + 1000 * unit_id) for unit_id in range(1, count + 1)]
        self.line = Line(self.ticks, self.units)
        self.recorder = Recorder(self.units)
        self.got = []
        sensors = [self._sensor(unit) for unit in self.units]
        self.metering = Metering(
            Config(), sensors, self.recorder, self.clock, Supply(), Contactor(), None, None,
            self.ticks, Quiet(),
        )  # fmt: skip
        self.missed = [0] * count

    def _sensor(self, unit):
        meter = self

        class Watched(Pzem004T):
            """Keeps what it believed."""

            def receive(self):
                snapshot = Pzem004T.receive(self)
                if snapshot:
                    meter.got.append((unit.unit_id, bytes(self._reply)))
                return snapshot

        return Watched(self.line, unit.unit_id, 1, self.ticks.ticks_ms)

    @property
    def events(self):
        return self.recorder.events

    @property
    def energy_wh(self):
        return self.recorder.register.energy_wh

    def poll(self):
        """Let a second pass in which each unit counts STEP_WH, and poll them all."""
        before_wh = self.energy_wh
        began_ms = self.ticks.now_ms
        for unit in self.units:
            unit.wh += STEP_WH
        self.got = []
        drive(self.ticks, self.metering.poll())
        spent_ms = self.ticks.now_ms - began_ms
        self.ticks.now_ms += max(0, 1000 - spent_ms)
        self.clock.time_s += max(1, spent_ms // 1000)
        assert self.energy_wh >= before_wh, "the register went back"
        heard = [unit_id for unit_id, _ in self.got]
        for i in range(len(self.units)):
            unit = self.units[i]
            self.missed[i] = 0 if unit.unit_id in heard else self.missed[i] + 1
        return heard

    def believed_only_what_was_said(self):
        """Tell whether each reply believed is one that its very unit gave."""
        said = {unit.unit_id: unit.replies for unit in self.units}
        return all(reply in said[unit_id] for unit_id, reply in self.got)
