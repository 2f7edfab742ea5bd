"""The thread that is a virtual board's surroundings: power, reset, watchdog and cables."""

import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.virtual.consolelog import ConsoleLog
from boards.virtual.inside import registers as reg
from boards.virtual.lines import Contactor
from boards.virtual.ntp import NtpServer
from boards.virtual.process import EXITS, Process
from boards.virtual.registerfile import RegisterFile
from boards.virtual.serialport import SerialPort
from parwana.world.clock import WorldClock

_TICK_S = 0.05
_QUICK_S = 0.002
_COMMAND_TIMEOUT_S = 30
_BUSY_S = 0.5
_STUBBORN_S = 3.0
_CAUSES = {
    reg.PWRON_RESET: "power on",
    reg.HARD_RESET: "reset",
    reg.WDT_RESET: "watchdog",
    reg.SOFT_RESET: "soft reset",
}


class BoardError(Exception):
    """The board cannot do what the bench asks."""


@dataclass
class Parts:
    """What a devkit is put together from."""

    micropython: Path
    heap: str
    flash: Path
    registers: RegisterFile
    contactor: Contactor
    log: ConsoleLog
    serial: SerialPort
    uart: SerialPort
    ntp: NtpServer
    clock: WorldClock


class Devkit:
    """A devkit with its cables plugged in; `do` has its thread do something."""

    def __init__(self, parts: Parts) -> None:
        self.process: Process | None = None
        self.powered = False  # in a reset as well, between one process and the next
        self.resets: list[tuple[float, str]] = []
        self._parts = parts
        self._regs = parts.registers
        self._serial = parts.serial
        self._interrupt_s: float | None = None
        self._typed = b""
        self._operations = (0, 0, 0)
        self._fed = (0, 0)
        self._fed_s = 0.0
        self._commands: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]
        self._commands = queue.SimpleQueue()
        self._wake_r, self._wake_w = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ, self._obey)
        self._selector.register(parts.ntp.socket, selectors.EVENT_READ, parts.ntp.answer)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="virtual board", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut the power and take the cables away."""
        if self._thread.is_alive():
            self.do(self._stop)
            self._thread.join(_COMMAND_TIMEOUT_S)

    def do(self, work: Callable[[], Any]) -> Any:
        """Have `work` done by the board's thread, with which its process would die."""
        if threading.current_thread() is self._thread:
            return work()
        if not self._thread.is_alive():
            raise BoardError("this board was closed; make a new VirtualBoard on its folder")
        done: Future[Any] = Future()
        self._commands.put((done, work))
        self._wake_w.send(b"\0")
        return done.result(_COMMAND_TIMEOUT_S)

    def _obey(self) -> None:
        self._wake_r.recv(1)
        done, work = self._commands.get()
        try:
            done.set_result(work())
        except Exception as error:  # it is raised where it was asked for
            done.set_exception(error)

    def _serve(self) -> None:
        while not self._closing:
            self._listen()
            quick = self._interrupt_s is not None or self._serial.backlog
            for key, _ in self._selector.select(_QUICK_S if quick else _TICK_S):
                if self._selector.get_map().get(key.fd) is key:  # not replaced by a reset
                    key.data()
            self._serial.flush()
            self._watch()
        parts = self._parts
        for port in (parts.serial, parts.uart, parts.ntp, self._wake_r, self._wake_w, parts.log):
            port.close()
        self._selector.close()

    def _stop(self) -> None:
        self.power_off("power off")
        self._closing = True

    def _listen(self) -> None:
        """Select the console's port only while it is open: a closed one is always ready."""
        listening = self._serial.fd in self._selector.get_map()
        if self._serial.attached and not listening:
            self._selector.register(self._serial.fd, selectors.EVENT_READ, self._from_console)
        elif not self._serial.attached:
            self._from_console()
            if listening:
                self._selector.unregister(self._serial.fd)
                self._serial.discard()

    def _watch(self) -> None:
        now_s = time.monotonic()
        if self._interrupt_s is not None:
            self._try_interrupt(now_s - self._interrupt_s)
        timeout_ms = self._regs.get("watchdog_ms")
        fed = (self._regs[reg.FED], timeout_ms)
        if fed != self._fed or not self.process:
            self._fed, self._fed_s = fed, now_s
        elif timeout_ms and (now_s - self._fed_s) * 1000 > timeout_ms:
            self.restart(reg.WDT_RESET)

    # --- power and reset ---

    def power_on(self) -> None:
        if self.process:
            raise BoardError("the board has power already; power_off() first")
        for name in ("cut_at", "flash_reads", "flash_writes", "flash_erases", "memory_size"):
            self._regs.set(name, 0)
        self._regs.start_clock(time.time_ns(), self._parts.clock.factor)
        self._parts.uart.discard()
        self._begin(reg.PWRON_RESET)
        self.powered = True

    def power_off(self, why: str) -> None:
        if self.process:
            self._end()
            self._let_go(held_too=True)
            self._parts.log.note(why)
            self.powered = False

    def restart(self, cause: int, raw: bool = False) -> None:
        if not self.process:
            raise BoardError("the board has no power; power_on() first")
        self._end()
        if cause != reg.SOFT_RESET:
            self._let_go(held_too=False)
        self._begin(cause, raw)

    def _begin(self, cause: int, raw: bool = False) -> None:
        self._regs[reg.CAUSE] = cause
        self._regs[reg.RUNNING] = 0
        self._regs[reg.FLASH_BUSY] = 0
        if cause != reg.SOFT_RESET:
            self._regs.set("watchdog_ms", 0)
            self._serial.read()  # what was sent meanwhile is lost
            self._typed = b""
        self._parts.log.note(_CAUSES[cause])
        self.resets.append((self._parts.clock.now(), _CAUSES[cause]))
        parts = self._parts
        self.process = Process(
            parts.micropython, parts.heap, parts.flash, self._regs.path, parts.uart.fd, raw
        )
        self._fed_s = time.monotonic()
        read = selectors.EVENT_READ
        self._selector.register(self.process.console, read, self._from_program)
        self._selector.register(self.process.events, read, self._from_pins)

    def _end(self) -> None:
        """End the process; take what it still said."""
        process = self._running()
        process.kill()
        self._from_pins()
        while printed := process.printed():
            self._show(printed)
        self.process = None
        self._interrupt_s = None
        self._selector.unregister(process.console)
        self._selector.unregister(process.events)
        process.close()

    def _ended(self) -> None:
        """Go on after the process has ended by itself."""
        code = self._running().wait()
        if code == reg.EXIT_CUT:
            self.power_off("power cut in a flash write")
            return
        if code not in EXITS:
            self._parts.log.note(f"crash, exit code {code}")
        self.restart(EXITS.get(code, reg.HARD_RESET), raw=code == reg.EXIT_SOFT_RAW)

    def _running(self) -> Process:
        if self.process is None:
            raise BoardError("the board has no power; power_on() first")
        return self.process

    # --- console ---

    def _from_program(self) -> None:
        printed = self._running().printed()
        if printed:
            self._show(printed)
        elif printed is not None:
            self._ended()

    def _show(self, printed: bytes) -> None:
        printed = printed.replace(b"\n", b"\r\n")
        self._parts.log.add(printed)
        self._serial.write(printed)

    def _from_console(self) -> None:
        """Pass on what was typed, up to a Ctrl-C until it has interrupted the program."""
        self._typed += self._serial.read()
        while self._typed and self.process and self._interrupt_s is None:
            typed, interrupt, self._typed = self._typed.partition(b"\x03")
            if interrupt and not (self._regs[reg.RUNNING] and self.process.takes_interrupts):
                typed, interrupt = typed + interrupt, b""
            if typed:
                self.process.type(typed)
            if interrupt:
                self._interrupt_s = time.monotonic()

    def _try_interrupt(self, waited_s: float) -> None:
        """Interrupt the program where it sleeps or, after half a second, where flash is idle.

        The unix port raises KeyboardInterrupt at once, were it in the middle of littlefs; an
        ESP32 never does.
        """
        before, self._operations = self._operations, self._regs.flash_operations
        if not self.process or not self._regs[reg.RUNNING]:
            self._interrupt_s = None
            self._from_console()
        elif (
            (self.process.sleeps and not self._regs[reg.FLASH_BUSY])
            or (waited_s > _BUSY_S and before == self._operations)
            or waited_s > _STUBBORN_S
        ):
            self._interrupt_s = None
            self.process.interrupt()
            self._from_console()

    # --- pins ---

    def _from_pins(self) -> None:
        for pin, level in self._running().told():
            self._parts.contactor.drive(pin, level)

    def tell(self, code: int, level: int) -> None:
        if self.process:
            self.process.tell(code, level)

    def drive(self, pin: int, level: int) -> None:
        before = self._regs.level(pin)
        self._regs[reg.LINE + pin] = level
        if self._regs.level(pin) != before:
            self.tell(pin, self._regs.level(pin))

    def _let_go(self, held_too: bool) -> None:
        for pin in self._regs.float_pins(held_too):
            self._parts.contactor.drive(pin, reg.FLOATING)
