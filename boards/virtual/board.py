"""The bench's side of a virtual board: its power, its cables and its clock."""

import os
import queue
import selectors
import socket
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from boards.virtual.consolelog import ConsoleLog
from boards.virtual.inside import registers as reg
from boards.virtual.lines import Contactor, Wiring
from boards.virtual.ntp import NtpServer
from boards.virtual.process import EXITS, Process
from boards.virtual.registerfile import RegisterFile
from boards.virtual.serialport import SerialPort
from parwana import runtime
from parwana.clock import WorldClock

FLASH_SIZE = 512 * 4096
HEAP = "201k"
"""MicroPython's heap. What stands in for an ESP32's built-in modules takes its share of it, the
rest is what an ESP32 has: 165 KB free at the prompt."""

_TICK_S = 0.05
_QUICK_S = 0.002
_COMMAND_TIMEOUT_S = 30
_INTERRUPT_S = 0.5
_CAUSES = {
    reg.PWRON_RESET: "power on",
    reg.HARD_RESET: "reset",
    reg.WDT_RESET: "watchdog",
    reg.SOFT_RESET: "soft reset",
}


class BoardError(Exception):
    """The board cannot do what the bench asks."""


class VirtualBoard:
    """An ESP32 devkit as a process. Its state lies in `folder`; use it as a context manager.

    `clock` runs its RTC and its NTP server. One thread serves its cables; all methods may be
    called from any thread. `resets` lists (world time, cause); `on_contactor` is called with the
    contactor's new state, from the board's thread.
    """

    def __init__(
        self,
        folder: Path,
        clock: WorldClock | None = None,
        *,
        heap: str = HEAP,
        wiring: Wiring | None = None,
        ssid: str = "parwana",
        password: str = "parwana-bench",
        on_contactor: Callable[[bool], None] | None = None,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or WorldClock()
        self.wiring = wiring or Wiring()
        self.log_path = self.folder / "console.log"
        self.resets: list[tuple[float, str]] = []
        self._heap = heap
        self._micropython = runtime.micropython()
        self._process: Process | None = None
        self._interrupt_s: float | None = None
        self._fed = (0, 0)
        self._fed_s = 0.0
        self._flash = _flash_image(self.folder / "flash.img")
        self._regs = RegisterFile(self.folder / "registers")
        self._on_contactor = on_contactor
        self._contactor = Contactor(
            self.wiring, self.folder / "contactor", self.clock.now, self._contactor_moved
        )
        self._sense()
        self._log = ConsoleLog(self.log_path)
        self._serial = SerialPort(self.folder / "serial")
        self._uart = SerialPort(self.folder / "uart2")
        self._ntp = NtpServer(self.clock.now)
        self._regs.set("ntp_port", self._ntp.port)
        self._regs[reg.NETWORK] = 1
        self._regs.set_text(reg.SSID, ssid)
        self._regs.set_text(reg.PASSWORD, password)
        self._regs.set_text(reg.NAME_SERVER, _name_server())
        chip = zlib.crc32(os.fsencode(self.folder.name)).to_bytes(4, "big")
        self._regs.set_bytes(reg.UNIQUE_ID, b"\x02\x00" + chip)
        self._commands: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]
        self._commands = queue.SimpleQueue()
        self._wake_r, self._wake_w = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ, self._obey)
        self._selector.register(self._ntp.socket, selectors.EVENT_READ, self._ntp.answer)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="virtual board", daemon=True)
        self._thread.start()

    # --- the bench's controls ---

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the power and take the cables away."""
        if self._thread.is_alive():
            self._do(self._stop)
            self._thread.join(_COMMAND_TIMEOUT_S)

    @property
    def powered(self) -> bool:
        """Whether the board has power."""
        return self._process is not None

    def power_on(self) -> None:
        """Give it power: the RTC starts at 2000-01-01. Raises BoardError if it has power."""
        self._do(self._power_on)

    def power_off(self) -> None:
        """Cut the power, wherever the program is."""
        self._do(lambda: self._power_off("power off"))

    def reset(self) -> None:
        """Push the reset button: reads as a power-on, but the RTC runs on. Raises BoardError."""
        self._do(lambda: self._restart(reg.PWRON_RESET))

    def cut_power_at_flash_write(self, n: int) -> None:
        """Cut the power in the middle of the nth flash write or erase from now; 0: do not."""
        self._regs.set("cut_at", n)

    @property
    def flash_writes(self) -> int:
        """Flash writes and erases since power on."""
        return self._regs.get("flash_operations")

    @property
    def serial_port(self) -> str:
        """The port on which mpremote finds the board."""
        return str(self._serial.link)

    @property
    def uart_port(self) -> str:
        """The port at the far end of UART 2."""
        return str(self._uart.link)

    @property
    def contactor(self) -> bool:
        """Whether the contactor is closed."""
        return self._contactor.closed

    @property
    def contactor_changes(self) -> list[tuple[float, bool]]:
        """Every change of the contactor: (world time, closed)."""
        return list(self._contactor.changes)

    def pin(self, name: str | int) -> int | None:
        """Return the level that the board drives on a pin, None if it drives none."""
        level = self._regs[reg.OUT + self.wiring.pin(name)]
        return None if level == reg.FLOATING else level

    def press(self, name: str | int = "button") -> None:
        """Pull a line low."""
        self.drive(name, 0)

    def release(self, name: str | int = "button") -> None:
        """Let a line go; a pull-up takes it."""
        self.drive(name, None)

    def drive(self, name: str | int, level: int | None) -> None:
        """Drive a line to `level`, or let it float (None)."""
        pin = self.wiring.pin(name)
        self._do(lambda: self._drive(pin, reg.FLOATING if level is None else level))

    @property
    def network_up(self) -> bool:
        """Whether the access point answers; may be set."""
        return bool(self._regs[reg.NETWORK])

    @network_up.setter
    def network_up(self, up: bool) -> None:
        if up != self.network_up:
            self._regs[reg.NETWORK] = up
            self._do(lambda: self._tell(reg.MESSAGE_NETWORK, int(up)))

    @property
    def ntp_offset_s(self) -> float:
        """What the NTP server adds to the truth; may be set."""
        return self._ntp.offset_s

    @ntp_offset_s.setter
    def ntp_offset_s(self, offset_s: float) -> None:
        self._ntp.offset_s = offset_s

    @property
    def ntp_silent(self) -> bool:
        """Whether the NTP server answers nobody; may be set."""
        return self._ntp.silent

    @ntp_silent.setter
    def ntp_silent(self, silent: bool) -> None:
        self._ntp.silent = silent

    def wait_console(self, text: str, timeout: float = 10.0) -> str:
        """Wait until `text` is printed after the last match; return what came up to its end.

        Raises TimeoutError, which shows what came instead.
        """
        return self._log.wait(text, timeout)

    def skip_console(self) -> None:
        """Have `wait_console` look only at what is printed from now on."""
        self._log.skip()

    # --- the thread that serves the cables ---

    def _do(self, work: Callable[[], Any]) -> Any:
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
        for port in (self._serial, self._uart, self._ntp, self._wake_r, self._wake_w, self._log):
            port.close()
        self._selector.close()

    def _stop(self) -> None:
        self._power_off("power off")
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
        if fed != self._fed or not self._process:
            self._fed, self._fed_s = fed, now_s
        elif timeout_ms and (now_s - self._fed_s) * 1000 > timeout_ms:
            self._restart(reg.WDT_RESET)

    # --- power and reset ---

    def _power_on(self) -> None:
        if self._process:
            raise BoardError("the board has power already; power_off() first")
        for name in ("cut_at", "flash_operations", "memory_size"):
            self._regs.set(name, 0)
        self._regs.start_clock(time.time(), self.clock.factor)
        self._uart.discard()
        self._begin(reg.PWRON_RESET)

    def _power_off(self, why: str) -> None:
        if self._process:
            self._end()
            self._let_go(held_too=True)
            self._log.note(why)

    def _restart(self, cause: int, raw: bool = False) -> None:
        if not self._process:
            raise BoardError("the board has no power; power_on() first")
        self._end()
        if cause != reg.SOFT_RESET:
            self._let_go(held_too=False)
        self._begin(cause, raw)

    def _begin(self, cause: int, raw: bool = False) -> None:
        self._regs[reg.CAUSE] = cause
        self._regs[reg.RUNNING] = 0
        if cause != reg.SOFT_RESET:
            self._regs.set("watchdog_ms", 0)
            self._serial.read()  # what was sent meanwhile is lost
        self._log.note(_CAUSES[cause])
        self.resets.append((self.clock.now(), _CAUSES[cause]))
        self._process = Process(
            self._micropython, self._heap, self._flash, self._regs.path, self._uart.fd, raw
        )
        self._fed_s = time.monotonic()
        read = selectors.EVENT_READ
        self._selector.register(self._process.console, read, self._from_program)
        self._selector.register(self._process.events, read, self._from_pins)

    def _end(self) -> None:
        """End the process; take what it still said."""
        process = self._running()
        process.kill()
        self._from_pins()
        while printed := process.printed():
            self._show(printed)
        self._process = None
        self._interrupt_s = None
        self._selector.unregister(process.console)
        self._selector.unregister(process.events)
        process.close()

    def _ended(self) -> None:
        """Go on after the process has ended by itself."""
        code = self._running().wait()
        if code == reg.EXIT_CUT:
            self._power_off("power cut in a flash write")
            return
        if code not in EXITS:
            self._log.note(f"crash, exit code {code}")
        self._restart(EXITS.get(code, reg.HARD_RESET), raw=code == reg.EXIT_SOFT_RAW)

    def _running(self) -> Process:
        if self._process is None:
            raise BoardError("the board has no power; power_on() first")
        return self._process

    # --- console ---

    def _from_program(self) -> None:
        printed = self._running().printed()
        if printed:
            self._show(printed)
        elif printed is not None:
            self._ended()

    def _show(self, printed: bytes) -> None:
        printed = printed.replace(b"\n", b"\r\n")
        self._log.add(printed)
        self._serial.write(printed)

    def _from_console(self) -> None:
        data = self._serial.read()
        while data and self._process:
            typed, interrupt, data = data.partition(b"\x03")
            if interrupt and not (self._regs[reg.RUNNING] and self._process.takes_interrupts):
                typed, interrupt = typed + interrupt, b""
            if typed:
                self._process.type(typed)
            if interrupt and self._interrupt_s is None:
                self._interrupt_s = time.monotonic()

    def _try_interrupt(self, waited_s: float) -> None:
        """Interrupt the program where it sleeps, or anywhere after half a second.

        The unix port raises KeyboardInterrupt at once, were it in the middle of a flash write; an
        ESP32 never does. A program that sleeps is in no such place.
        """
        if not self._process or not self._regs[reg.RUNNING]:
            self._interrupt_s = None
        elif self._process.sleeps or waited_s > _INTERRUPT_S:
            self._interrupt_s = None
            self._process.interrupt()

    # --- pins ---

    def _from_pins(self) -> None:
        for pin, level in self._running().told():
            self._contactor.drive(pin, level)

    def _tell(self, code: int, level: int) -> None:
        if self._process:
            self._process.tell(code, level)

    def _drive(self, pin: int, level: int) -> None:
        before = self._regs.level(pin)
        self._regs[reg.LINE + pin] = level
        if self._regs.level(pin) != before:
            self._tell(pin, self._regs.level(pin))

    def _let_go(self, held_too: bool) -> None:
        for pin in self._regs.float_pins(held_too):
            self._contactor.drive(pin, reg.FLOATING)

    def _contactor_moved(self, closed: bool) -> None:
        self._sense()
        if self._on_contactor:
            self._on_contactor(closed)

    def _sense(self) -> None:
        if self.wiring.sense is not None:
            self._drive(self.wiring.sense, 0 if self._contactor.closed else reg.FLOATING)


def _flash_image(path: Path) -> Path:
    """Return `path`, an image of the flash; make an empty one if there is none."""
    if not path.exists():
        aside = path.with_suffix(".new")
        aside.write_bytes(b"\xff" * FLASH_SIZE)
        aside.replace(path)
    elif path.stat().st_size != FLASH_SIZE:
        raise BoardError(f"{path} is not an image of {FLASH_SIZE} bytes; delete it")
    return path


def _name_server() -> str:
    """Return the machine's own DNS server (IPv4)."""
    path = Path("/etc/resolv.conf")
    for line in path.read_text().splitlines() if path.exists() else []:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1]:
            return words[1]
    return "127.0.0.1"
