"""What stands around a meter: the house, its sensor and contactor, the board's clock, the broker.

Time passes where somebody sleeps. Nothing of it needs power, but the clock.
"""

import struct

from crc16 import crc16

from hil_tests.firmware.signers import T0

BASE_WH = 12345  # what the sensor had counted before
POWER_ON, RESET, WATCHDOG = 1, 2, 3
RTC_AT_POWER_ON_S = 946684800

STILL, ANYHOW, TO_OPEN, TO_CLOSE = range(4)  # how the contactor may move

FIELDS = (
    "now_ms", "used", "driven", "rtc_s", "next", "serial", "trust", "held", "moving", "slots",
    "configs", "bundle", "since",
)  # fmt: skip


class Thing:
    """Whatever else a meter has: a button, an LED, a link, a keyboard, a watchdog."""

    up = True

    def value(self, _level=0):
        return 0

    def read(self):
        return None


class _Time:
    """The module time where boot.py looks for it."""

    def __init__(self, house):
        self.sleep_ms = house.sleep
        self.ticks_ms = house.ticks_ms


class _Contactor:
    def __init__(self, house):
        self._house = house

    @property
    def closed(self):
        return self._house.closed

    def set(self, closed):
        self._house.closed = self._house.driven = closed
        self._house.moves += 1


class _Uart:
    """The bus with the house's sensor: it answers at once."""

    def __init__(self, house):
        self._house = house
        self._answer = b""

    def write(self, _request):
        house = self._house
        power_dw = 10 * house.power_w if house.closed else 0
        energy_wh = house.sensor_wh()
        body = struct.pack(
            ">3B10H", 1, 4, 20, 2300, power_dw // 2, 0, power_dw, 0, energy_wh & 0xFFFF,
            energy_wh >> 16, 500, 100, 0,
        )  # fmt: skip
        self._answer = body + struct.pack("<H", crc16(body))

    def readinto(self, buffer):
        answer, self._answer = self._answer, b""
        buffer[: len(answer)] = answer
        return len(answer)


class House:
    """All that a power cut leaves alone, the board's clock, and what the meter has promised."""

    def __init__(self):
        self.now_ms = 0  # since T0
        self.used = 0  # W x ms
        self.closed = False  # the contactor
        self.driven = False  # where the meter moved it last
        self.rtc_s = 0  # what the RTC is behind by
        self.next = 1  # every frame before it is durable
        self.serial = 0  # of the permit accepted
        self.trust = 0  # serial of the change of signers accepted
        self.held = 1  # what the relay lacks
        self.moving = STILL
        self.since = (1, False)  # `next` and `driven` of when that was so
        self.slots = "a"  # that may run
        self.configs = ()  # checksums of those that may be read
        self.images = {}  # what each slot may hold
        self.bundle = None  # retained by the broker
        self.frames = {}  # as stored, by sequence
        self._begin()

    def _begin(self):
        self.power_w = 800
        self.online = True
        self.moves = self._drawn = 0
        self.meter = None
        self.contactor = _Contactor(self)
        self.uart = _Uart(self)
        self.button = self.led = self.link = self.keyboard = self.watchdog = Thing()
        self.mains = self.tamper = None
        self.time = _Time(self)
        self.power_on(POWER_ON)

    def note(self):
        """Return what is so now, for `as_of`."""
        if self.meter:
            self.meter.promise()
        return tuple([getattr(self, name) for name in FIELDS])

    def move(self, moving):
        """Expect the contactor to move so from now on."""
        if self.meter:
            self.meter.promise()
        self.moving = moving
        self.since = self.next, self.driven

    @staticmethod
    def moving_at(note):
        """Return whether the contactor may be on its way then."""
        return note[FIELDS.index("moving")]

    def as_of(self, note):
        """Return another house, as this one was then."""
        house = House()
        for i in range(len(FIELDS)):
            setattr(house, FIELDS[i], note[i])
        house.frames = dict(self.frames)
        house.images = self.images
        house._begin()
        return house

    # The board

    def power_on(self, cause):
        self.cause = cause
        self.booted_ms = self.now_ms
        if cause == POWER_ON:
            self.rtc_s = T0 + self.now_ms // 1000 - RTC_AT_POWER_ON_S

    def time_s(self):
        return T0 + self.now_ms // 1000

    def wall(self):
        return self.time_s() - self.rtc_s

    def set_wall(self, time_s):
        self.rtc_s = self.time_s() - time_s

    def reset_cause(self):
        return self.cause

    def reset(self):
        raise AssertionError("the meter restarts itself")

    def random(self, size):
        self._drawn += 1
        return bytes([self._drawn]) * size

    # Time

    def sleep(self, ms):
        self.now_ms += ms
        if self.closed:
            self.used += ms * self.power_w

    async def sleep_ms(self, ms):
        self.sleep(ms)

    def ticks_ms(self):
        return (self.now_ms - self.booted_ms) & 0x3FFFFFFF

    def ticks_add(self, ticks, delta):
        return (ticks + delta) & 0x3FFFFFFF

    def ticks_diff(self, later, earlier):
        return ((later - earlier + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def sensor_wh(self):
        return BASE_WH + self.used // 3600000
