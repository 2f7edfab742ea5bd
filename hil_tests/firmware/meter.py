"""A meter as main puts it together, on a littlefs, and what must hold of it (MicroPython).

boot.py and everything that main imports are the real ones.
"""

import gc
import os
import sys
from binascii import crc32

import vfs

from hil_tests.firmware.house import BASE_WH, POWER_ON, Thing
from hil_tests.firmware.world import drive

STEP_MS = 20000
HOUR_MS = 3600000
_RECORD_SIZE = 43  # of the journal


class _Machine:
    """The module machine, as boot.py uses it."""

    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = range(1, 6)

    class Pin:
        IN = PULL_UP = 0

        def __init__(self, *_):
            pass

        def value(self):
            return 1

    class WDT:
        def __init__(self, timeout):
            pass


def silent(*_):
    pass


def load_firmware(segment_records):
    """Import main, and read boot.py, before the flash is the only file system.

    The journal begins a new segment after that many records.
    """
    sys.modules["umqtt"] = sys.modules["umqtt.simple"] = sys.modules["board"] = Thing()
    Thing.simple = None
    global main, config, identity, records, slot, wire, Console, boot
    import config
    import identity
    import log
    import main
    import records
    import recovery  # noqa: F401
    import slot

    import wire

    Console = log.Console
    root = __file__.rsplit("/", 1)[0] + "/../.."
    with open(root + "/firmware/boot.py") as file:
        boot = compile(file.read(), "boot.py", "exec")
    sys.modules["machine"] = _Machine()
    slot.print = silent
    real = main.Journal
    main.Journal = lambda folder, capacity: real(folder, capacity, segment_records)
    vfs.umount("/")
    gc.threshold(-1)  # main's suits a small heap


class service:
    """Have a flash mounted as MicroPython itself does: the meter does not run."""

    def __init__(self, device):
        self._device = device

    def __enter__(self):
        vfs.mount(vfs.VfsLfs2(self._device), "/")

    def __exit__(self, *_):
        vfs.umount("/")


class Meter:
    """A meter from power on to `close`. Raises AssertionError for what must not be."""

    def __init__(self, house, device, cause=POWER_ON):
        self.house = house
        house.power_on(cause)
        vfs.mount(vfs.VfsLfs2(device), "/")
        try:
            self._start(device)
        except BaseException:
            vfs.umount("/")
            raise

    def _start(self, device):
        house = self.house
        device.reads = device.writes = 0
        self.slot = self._boot(device)
        operations = device.reads + device.writes
        self._check_slot()
        device.reads = device.writes = 0
        main.time, main.board = house.time, house
        settings = config.load("/config.json")
        assert settings.crc32 in house.configs, "another configuration"
        key = identity.load_or_create("/identity.key", house.random)
        console = Console("error", self._hear, house.ticks_ms)
        main.time = house
        self._errors = []
        self._known = house.next
        self._energy_wh = self._reading_s = 0
        self._confirmed = self._heard = False
        self._capacity = settings.journal_frames
        self.codes = []  # of the events since power on
        app = main.build(settings, house, key, console)
        self.journal = app._journal
        self.permits = app._control._permits
        self.backlog = app._uplink._backlog
        self.app = app
        app._timesync._resolve = app._timesync._network_time = self._answer_time
        app._control.start()
        self._poll()
        self.start_operations = operations + device.reads + device.writes
        house.meter = self

    def _boot(self, device):
        """Run boot.py as it is; return the slot that it chose."""
        modules = sys.modules
        clock = modules.get("time")
        modules["time"] = self.house.time
        modules["flashbdev"] = flashbdev = Thing()
        flashbdev.bdev = device
        _Machine.reset_cause = lambda _: self.house.cause
        names = {"__name__": "__main__", "print": silent}
        try:
            exec(boot, names)
        finally:
            if clock:
                modules["time"] = clock
            else:
                del modules["time"]
        chosen = names["_slot"]
        assert not names["SERVICE"], "boot.py ends at the console"
        sys.path[:] = ["/" + chosen, "/" + chosen + "/lib", ".frozen"]
        return chosen

    def _check_slot(self):
        assert self.slot in self.house.slots, "slot %s runs" % self.slot
        with open("/%s.fw" % self.slot, "rb") as file:
            assert file.read() in self.house.images[self.slot], "slot %s is not whole" % self.slot

    def _hear(self, line):
        self._errors.append(line)

    async def _answer_time(self, _):
        return self.house.time_s()

    def promise(self):
        """Tell the house what the meter has promised by now."""
        house = self.house
        house.next = self.journal.next
        house.serial = self.permits.serial
        house.trust = self.permits.trust_serial

    def close(self):
        """End it without a trace on the flash."""
        self.promise()
        self.house.meter = None
        self.journal.close()
        vfs.umount("/")

    # What it lives through

    def run(self, ms, step_ms=STEP_MS):
        """Live for so long."""
        end_ms = self.house.now_ms + ms
        while self.house.now_ms < end_ms:
            self.house.sleep(max(0, min(step_ms, end_ms - self.house.now_ms) - 310))
            self._poll()
            self._speak()
            self.look()

    def until(self, hours):
        """Live on to that hour of the day."""
        self.run(int(hours * HOUR_MS) - self.house.now_ms)

    def give(self, data):
        """Hand it a bundle as a broker does that retains it."""
        self.house.bundle = data
        assert self.app._control.bundle(data)

    def _poll(self):
        house = self.house
        drive(house, self.app._metering.poll())
        for _ in range(3):
            house.sleep(100)
            self.app._control.tick()
        if not self._confirmed and house.ticks_ms() > 16000:
            self._confirmed = slot.confirm("/slot", self.app._recorder.made_room)

    def _speak(self):
        """Be on the network: hear the time and the retained permit, send what the relay lacks."""
        house, backlog = self.house, self.backlog
        if not house.online:
            self._heard = False
            return
        if not self._heard:
            self._heard = True
            backlog.go_to(None)
            drive(house, self.app._timesync._synchronise())
            if house.bundle:
                self.app._control.bundle(house.bundle)
            backlog.want(max(1, house.held - 3))  # it may have forgotten some
        while not backlog.empty:
            message = backlog.step()
            if message:
                self._receive(wire.parse_message(message)[1])
                backlog.want(house.held)

    def _receive(self, signed):
        house = self.house
        self.look()
        first = wire.parse(signed[0][0]).sequence
        # In order, but for what the journal had to let go.
        assert first <= max(house.held, self.journal.oldest), "frames left out"
        for frame, _ in signed:
            assert house.frames[first][:39] == frame[1:], "another frame %d" % first
            first += 1
        house.held = max(house.held, first)

    # What must always be

    def look(self):
        """Check the frames that came since the last look, and keep them."""
        for sequence in range(self._known, self.journal.next):
            frame = self.journal.read(sequence)
            parsed = wire.parse(frame)
            assert parsed.energy_wh >= self._energy_wh, "the register went back"
            self._energy_wh = parsed.energy_wh
            if frame[1] == wire.KIND_READING:
                assert parsed.time_s > self._reading_s, "an interval was closed twice"
                self._reading_s = parsed.time_s
            else:
                self.codes.append(parsed.code)
                assert parsed.code not in (wire.EVENT_STATE_LOST, wire.EVENT_STEP_HELD)
            self.house.frames[sequence] = stored(frame)
        self._known = self.journal.next

    def check(self, promised, serial, trust):
        """Check what lies on the flash against what was promised."""
        journal = self.journal
        assert journal.next >= promised, "durable frames are lost"
        assert journal.next - journal.oldest >= min(promised - 1, self._capacity)
        firsts = journal._firsts
        for folder, held in (("/journal/full", firsts[:-1]), ("/journal", firsts[-1:])):
            names = [int(name) for name in os.listdir(folder) if name.isdigit()]
            assert sorted(names) == held, "a file is not where it is looked for"
        index = records.load("/journal/full/index")
        assert index == b"".join([first.to_bytes(4, "big") for first in firsts]), "the index"
        for i in range(len(firsts)):
            first = firsts[i]
            newest = first == firsts[-1]
            with open(("/journal/%d" if newest else "/journal/full/%d") % first, "rb") as file:
                held = file.read()
            last = min(first + len(held) // _RECORD_SIZE, promised)
            assert last in (promised, (firsts[i + 1 :] or [0])[0]), "frames are missing"
            frames = self.house.frames
            expected = b"".join([frames[sequence] for sequence in range(first, last)])
            assert held[: len(expected)] == expected, "durable frames have changed"
        self._follow(promised - 1)
        assert self.permits.serial >= serial, "a permit is lost"
        assert self.permits.trust_serial >= trust, "a change of signers is lost"
        self.look()
        assert not self._errors, self._errors

    def _follow(self, last):
        """Take register and reading of before: nothing may be behind them."""
        for sequence in range(last, max(0, last - 40), -1):
            parsed = wire.parse(b"\1" + self.house.frames[sequence][:39])
            self._energy_wh = max(self._energy_wh, parsed.energy_wh)
            if isinstance(parsed, wire.Reading):
                self._reading_s = parsed.time_s
                return

    def check_register(self):
        """Check that all the house used is counted, and once."""
        register = self.app._recorder.register
        assert 0 <= self.house.sensor_wh() - BASE_WH - register.energy_wh <= 1, "energy"


def stored(frame):
    """Return a frame as the journal keeps it."""
    return frame[1:] + crc32(frame[1:]).to_bytes(4, "big")
