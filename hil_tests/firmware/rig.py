"""Put control together with stand-ins for what it touches."""

from clock import Clock
from control import Control, keeper, restore
from permits import Permits
from supply import Supply

from hil_tests.firmware.signers import CHAIN_ID, LEDGER, METER, OFFSET_S, PUBLIC_KEYS


class Line:
    """A button or an LED."""

    def __init__(self):
        self.level = 0
        self.seen = ""

    def value(self, level=None):
        if level is None:
            return self.level
        self.level = level
        self.seen = self.seen[-19:] + str(level)
        return None


class Silence:
    """A log that nobody reads."""

    def info(self, text, *values):
        assert text % values if values else text

    warn = error = info


class Offers:
    """Stand for an Update that takes any offer."""

    def __init__(self, done):
        self.done = done

    def check(self, offer):
        pass

    def take(self, offer):
        self.done.append(("update", offer.serial))


class Rig:
    """A meter's control with all that it touches; `done` lists what happened, in order."""

    def __init__(self, folder, closed=False, ticks=5000):
        self.folder = folder
        self.ticks = ticks
        self.closed = closed
        self.load_dw = 100
        self.bridged = False
        self.period_ms = 1000  # of the samples of power
        self.energy_wh = 0
        self.done = []
        self.broken = None
        self.room = None
        self.button = Line()
        self.led = Line()
        self.update = Offers(self.done)
        self.start()

    @property
    def power_dw(self):
        """What the sensor shows: nothing behind an open contactor, None while it is silent."""
        return 0 if self.load_dw and not (self.closed or self.bridged) else self.load_dw

    @property
    def samples(self):
        return self.ticks // self.period_ms

    # The contactor and the events

    def set(self, closed):
        self.done.append(("contactor", closed))
        self.closed = closed

    def made_room(self, error):
        """Stand for a recorder whose journal has nothing to give, unless a test has it."""
        return self.room is not None and self.room(error)

    def record(self, code, a, b, c):
        if self.broken == "events":
            raise OSError(28)
        for value in (a, b, c):
            assert 0 <= value <= 0xFFFFFFFF
        self.done.append((code, a, b, c))

    def start(self):
        """Start, or restart, from what is on flash."""
        folder = self.folder
        self.rtc = 0
        self.clock = Clock(
            lambda: self.rtc, self.set_rtc, lambda: self.ticks, restore(folder + "/clock.rec")
        )
        self.permits = Permits(
            2,
            PUBLIC_KEYS[:4],
            CHAIN_ID,
            LEDGER,
            METER,
            OFFSET_S,
            keeper(folder + "/permits.rec", self.made_room),
            restore(folder + "/permits.rec"),
            self.update.check,
        )
        self.supply = Supply(restore(folder + "/control.rec"), self.closed)
        self.control = Control(
            self,
            self.button,
            self.led,
            self.clock,
            self.permits,
            self.supply,
            self,
            self,
            folder,
            lambda: self.ticks,
            Silence(),
            self.update,
            folder + "/permit.new",
        )
        self.control.start()

    def set_rtc(self, time_s):
        self.rtc = time_s

    def run(self, ms):
        for _ in range(ms // 100):
            self.ticks = (self.ticks + 100) & 0x3FFFFFFF
            self.control.tick()
        return self

    def take(self):
        """Return what happened since the last call."""
        done = self.done
        self.done = self.update.done = []
        return done

    def press(self):
        self.button.level = 1
        self.run(300)
        self.button.level = 0
        self.run(300)
