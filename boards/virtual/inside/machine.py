"""`machine` as an ESP32 has it (MicroPython 1.24), as far as Parwana and its tests use it."""

# ruff: noqa: F401  these names are this module's interface

import io
import time
from umachine import Signal, idle, mem8, mem16, mem32, time_pulse_us

import chip
import registers
from registers import DEEPSLEEP_RESET, HARD_RESET, PWRON_RESET, SOFT_RESET, WDT_RESET

_uart_descriptor = -1


def reset():
    chip.halt(registers.EXIT_RESET)


def soft_reset():
    raise SystemExit


def reset_cause():
    return chip.regs[registers.CAUSE]


def unique_id():
    return bytes(chip.regs[registers.UNIQUE_ID : registers.UNIQUE_ID + 6])


def freq(hz=None):
    return 160000000


def disable_irq():
    return 0


def enable_irq(state):
    pass


class Pin:
    IN, OUT, OPEN_DRAIN = 1, 3, 7
    PULL_DOWN, PULL_UP = 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2
    DRIVE_0, DRIVE_1, DRIVE_2, DRIVE_3 = 0, 1, 2, 3
    _made = {}

    def __new__(cls, id, *arguments, **options):
        if not (
            isinstance(id, int) and 0 <= id < registers.PINS and id not in (20, 24, 28, 29, 30, 31)
        ):
            raise ValueError("invalid pin")
        if id not in cls._made:
            cls._made[id] = object.__new__(cls)
            cls._made[id]._id = id
            cls._made[id]._handler = None
        return cls._made[id]

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        self._set(mode, pull, value, hold)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        self._set(mode, pull, value, hold)

    def _set(self, mode, pull, value, hold):
        regs, id = chip.regs, self._id
        if mode in (Pin.OUT, Pin.OPEN_DRAIN) and id >= 34:
            raise ValueError("pin can only be input")
        if hold is not None or mode != -1:
            regs[registers.HELD + id] = 0
        if pull != -1 and id < 34:  # the others have no resistor: their line floats
            level = registers.FLOATING if pull is None else int(pull == Pin.PULL_UP)
            regs[registers.PULLED + id] = level
        if mode == Pin.IN:
            self._drive(registers.FLOATING)
        elif mode != -1:
            level = regs[registers.OUT + id]
            self._drive(int(bool(value)) if value is not None else level & 1 & -(level < 2))
        elif value is not None:
            self.value(value)
        if hold:
            regs[registers.HELD + id] = 1

    def _drive(self, level):
        if chip.regs[registers.OUT + self._id] != level:
            chip.regs[registers.OUT + self._id] = level
            chip.tell(self._id, level)

    def value(self, level=None):
        regs, id = chip.regs, self._id
        if level is not None:
            if regs[registers.OUT + id] != registers.FLOATING and not regs[registers.HELD + id]:
                self._drive(1 if level else 0)
            return None
        for offset in (registers.OUT, registers.LINE, registers.PULLED):
            if regs[offset + id] != registers.FLOATING:
                return regs[offset + id]
        return 0

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def toggle(self):
        self.value(1 - self.value())

    def irq(self, handler=None, trigger=3, *, wake=None, hard=False):
        self._handler = handler
        self._trigger = trigger

    def __repr__(self):
        return "Pin(%d)" % self._id


def _on_message(code, level):
    pin = Pin._made.get(code)
    if pin and pin._handler and pin._trigger & (Pin.IRQ_RISING if level else Pin.IRQ_FALLING):
        pin._handler(pin)


class UART(io.IOBase):
    """UART 2, the one that is wired. Reads return None when nothing came within `timeout` ms."""

    INV_TX, INV_RX, RTS, CTS = 32, 4, 64, 16

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, **options):
        if id != 2:
            raise ValueError("UART(%s) is not wired on this board" % id)
        self._timeout = 0
        self.init(baudrate, bits, parity, stop, **options)

    def init(
        self,
        baudrate=115200,
        bits=8,
        parity=None,
        stop=1,
        *,
        tx=None,
        rx=None,
        timeout=0,
        timeout_char=0,
        txbuf=256,
        rxbuf=256,
        flow=0,
        invert=0,
        rts=None,
        cts=None,
    ):
        self._timeout = timeout

    def deinit(self):
        pass

    def any(self):
        return chip.available(_uart_descriptor)

    def _wait(self):
        start = time.ticks_ms()
        while not self.any():
            if time.ticks_diff(time.ticks_ms(), start) >= self._timeout:
                return False
            time.sleep_ms(1)
        return True

    def readinto(self, buffer, size=None):
        size = len(buffer) if size is None else min(size, len(buffer))
        view = memoryview(buffer)
        got = 0
        while got < size and self._wait():
            got += chip.read_into(_uart_descriptor, view[got:size], size - got)
        return got or None

    def read(self, size=-1):
        if size < 0:
            size = self.any() if self._wait() else 0
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer) or 0]) or None

    def readline(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self.read(1)
            if byte is None:
                break
            line += byte
        return line or None

    def write(self, data):
        chip.write(_uart_descriptor, data, len(data))
        return len(data)

    def flush(self):
        pass

    def txdone(self):
        return True

    def ioctl(self, request, flags):
        if request != 3:  # MP_STREAM_POLL
            return -1
        return flags & ((1 if self.any() else 0) | 4)


class RTC:
    def datetime(self, parts=None):
        if parts is None:
            now_ns = time.time_ns()
            year, month, day, hour, minute, second, weekday, _ = time.gmtime(now_ns // 10**9)
            return year, month, day, weekday, hour, minute, second, now_ns // 1000 % 10**6
        year, month, day, _, hour, minute, second, subsecond_us = parts
        seconds = time.mktime((year, month, day, hour, minute, second, 0, 0))
        time.set_rtc((seconds * 1000000 + subsecond_us) * 1000)
        return None

    init = datetime

    def memory(self, data=None):
        start = registers.RTC_MEMORY
        if data is None:
            return bytes(chip.regs[start : start + chip.words.memory_size])
        if len(data) > 2048:
            raise ValueError("buffer too long")
        chip.words.memory_size = len(data)
        chip.regs[start : start + len(data)] = data
        return None


class WDT:
    """Once made it cannot be stopped; making it again changes the time-out and feeds it."""

    def __init__(self, id=0, timeout=5000):
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        chip.words.watchdog_ms = timeout
        self.feed()

    def feed(self):
        chip.regs[registers.FED] = chip.regs[registers.FED] + 1 & 255


class Timer:
    ONE_SHOT, PERIODIC = 0, 1
    _running = {}

    def __init__(self, id, **options):
        if not 0 <= id <= 3:
            raise ValueError("invalid Timer number")
        self._id = id
        if options:
            self.init(**options)

    def init(self, *, mode=1, freq=-1, period=-1, callback=None, hard=False):
        self._period_us = 1000000 // freq if freq > 0 else period * 1000
        self._periodic = mode == Timer.PERIODIC
        self._callback = callback
        self._due_us = time.ticks_add(time.ticks_us(), self._period_us)
        Timer._running[self._id] = self
        _ring()

    def deinit(self):
        Timer._running.pop(self._id, None)
        _ring()


def _ring():
    """Call what is due, then set the alarm for what is due next."""
    for timer in list(Timer._running.values()):
        if time.ticks_diff(time.ticks_us(), timer._due_us) < 0:
            continue
        if timer._periodic:
            timer._due_us = time.ticks_add(timer._due_us, timer._period_us)
        else:
            Timer._running.pop(timer._id, None)
        if timer._callback:
            timer._callback(timer)
    now = time.ticks_us()
    waits = [max(100, time.ticks_diff(t._due_us, now)) for t in Timer._running.values()]
    chip.alarm(_ring, min(waits, default=0))
