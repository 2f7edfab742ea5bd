"""The bench's side of a virtual board: its power, its cables and its clock."""

import contextlib
import mmap
import os
import queue
import selectors
import signal
import socket
import struct
import subprocess
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
from boards.virtual.serialport import SerialPort
from parwana import runtime
from parwana.clock import WorldClock

FLASH_SIZE = 512 * 4096
HEAP = "201k"
"""MicroPython's heap. What stands in for an ESP32's built-in modules takes its share of it, the
rest is what an ESP32 has: 165 KB free at the prompt."""

_INSIDE = Path(__file__).parent / "inside"
_TICK_S = 0.05
_COMMAND_TIMEOUT_S = 30
_INTERRUPT_S = 0.5
_RTC_START_S = 946684800.0  # 2000-01-01
_FORMATS = {"u16": "=H", "u32": "=I", "f64": "=d"}
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
    contactor's new state.
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
        self._process: subprocess.Popen[bytes] | None = None
        self._cables: list[socket.socket] = []
        self._interrupt_s: float | None = None
        self._fed = (0, 0)
        self._fed_s = 0.0
        self._make_flash()
        self._regs = self._map_registers(ssid, password)
        self._contactor = Contactor(
            self.wiring, self.folder / "contactor", self.clock.now, self._contactor_moved
        )
        self._on_contactor = on_contactor
        self._sense()
        self._log = ConsoleLog(self.log_path)
        self._serial = SerialPort(self.folder / "serial")
        self._uart = SerialPort(self.folder / "uart2")
        self._ntp = NtpServer(self.clock.now)
        self._set("ntp_port", self._ntp.port)
        self._commands: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]
        self._commands = queue.SimpleQueue()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
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
        self._do(self._power_off)

    def reset(self) -> None:
        """Push the reset button: reads as a power-on, but the RTC runs on. Raises BoardError."""
        self._do(lambda: self._restart(reg.PWRON_RESET))

    def cut_power_at_flash_write(self, n: int) -> None:
        """Cut the power in the middle of the nth flash write or erase from now; 0: do not."""
        self._set("cut_at", n)

    @property
    def flash_writes(self) -> int:
        """Flash writes and erases since power on."""
        return self._get("flash_operations")

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
        before = self._level(pin)
        self._regs[reg.LINE + pin] = reg.FLOATING if level is None else level
        after = self._level(pin)
        if before != after:
            self._do(lambda: self._tell(pin, after))

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
        """Have `work` done by the board's thread, whose life its process shares."""
        if threading.current_thread() is self._thread:
            return work()
        if not self._thread.is_alive():
            raise BoardError("this board was closed; make a new VirtualBoard on its folder")
        done: Future[Any] = Future()
        self._commands.put((done, work))
        self._wake_w.send(b"\0")
        return done.result(_COMMAND_TIMEOUT_S)

    def _obey(self) -> None:
        self._wake_r.recv(4096)
        while not self._commands.empty():
            done, work = self._commands.get()
            try:
                done.set_result(work())
            except Exception as error:  # it is raised where it was asked for
                done.set_exception(error)

    def _serve(self) -> None:
        while not self._closing:
            self._listen()
            quick = self._interrupt_s is not None or self._serial.backlog
            for key, _ in self._selector.select(0.002 if quick else _TICK_S):
                if self._selector.get_map().get(key.fd) is key:  # not replaced by a reset
                    key.data()
            self._serial.flush()
            self._watch()
        self._selector.close()
        for port in (self._serial, self._uart, self._ntp, self._wake_r, self._wake_w, self._log):
            port.close()

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

    def _stop(self) -> None:
        self._power_off()
        self._closing = True

    def _watch(self) -> None:
        now_s = time.monotonic()
        if self._interrupt_s is not None:
            self._try_interrupt(now_s)
        timeout_ms = self._get("watchdog_ms")
        fed = (self._regs[reg.FED], timeout_ms)
        if fed != self._fed or not self._process:
            self._fed, self._fed_s = fed, now_s
        elif timeout_ms and (now_s - self._fed_s) * 1000 > timeout_ms:
            self._restart(reg.WDT_RESET)

    # --- power and reset ---

    def _power_on(self) -> None:
        if self._process:
            raise BoardError("the board has power already; power_off() first")
        for offset, size in ((reg.OUT, reg.PINS), (reg.PULLED, reg.PINS)):
            self._regs[offset : offset + size] = bytes([reg.FLOATING]) * size
        self._regs[reg.HELD : reg.HELD + reg.PINS] = bytes(reg.PINS)
        for name in ("cut_at", "flash_operations", "memory_size"):
            self._set(name, 0)
        self._set("rtc_real_s", time.time())
        self._set("rtc_world_s", _RTC_START_S)
        self._set("factor", self.clock.factor)
        self._begin(reg.PWRON_RESET)

    def _power_off(self) -> None:
        if self._process:
            self._end()
            self._float_pins(held_too=True)
            self._log.note("power off")

    def _restart(self, cause: int, raw: bool = False) -> None:
        if not self._process:
            raise BoardError("the board has no power; power_on() first")
        self._end()
        if cause != reg.SOFT_RESET:
            self._float_pins(held_too=False)
        self._begin(cause, raw)

    def _begin(self, cause: int, raw: bool = False) -> None:
        """Start the process that is the running board."""
        self._regs[reg.CAUSE] = cause
        self._regs[reg.RUNNING] = 0
        if cause != reg.SOFT_RESET:
            self._set("watchdog_ms", 0)
            self._serial.read()
        if cause == reg.PWRON_RESET:
            self._uart.discard()
        self._log.note(_CAUSES[cause])
        self.resets.append((self.clock.now(), _CAUSES[cause]))
        console, inner_console = socket.socketpair()
        events, inner_events = socket.socketpair()
        descriptors = (inner_events.fileno(), self._uart.fd)
        inner_events.setblocking(False)
        with inner_console, inner_events:
            self._process = subprocess.Popen(
                [str(self._micropython), "-X", f"heapsize={self._heap}", "start.py"]
                + [str(self.folder / "flash.img"), str(self.folder / "registers")]
                + [str(descriptor) for descriptor in descriptors]
                + ["r" if raw else "f"],
                cwd=_INSIDE,
                stdin=inner_console,
                stdout=inner_console,
                stderr=inner_console,
                pass_fds=descriptors,
                start_new_session=True,
            )
        for cable, handler in ((console, self._from_program), (events, self._from_pins)):
            cable.setblocking(False)
            self._selector.register(cable, selectors.EVENT_READ, handler)
        self._cables = [console, events]
        self._fed_s = time.monotonic()

    def _end(self) -> int:
        """End the process, by force if it runs; return its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        self._interrupt_s = None
        process.kill()
        code = process.wait(_COMMAND_TIMEOUT_S)
        while self._read_cables():
            pass
        for cable in self._cables:
            self._selector.unregister(cable)
            cable.close()
        self._cables = []
        return code

    def _read_cables(self) -> bool:
        return self._from_program(ended=True) or self._from_pins()

    def _ended(self) -> None:
        """Go on after the process has ended by itself."""
        process = self._process
        assert process is not None
        try:
            code = process.wait(_COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        if code == reg.EXIT_CUT:
            self._end()
            self._float_pins(held_too=True)
            self._log.note("power cut in a flash write")
        elif code in (reg.EXIT_SOFT, reg.EXIT_SOFT_RAW):
            self._restart(reg.SOFT_RESET, raw=code == reg.EXIT_SOFT_RAW)
        else:
            if code != reg.EXIT_RESET:
                self._log.note(f"crash, exit code {code}")
            self._restart(reg.HARD_RESET)

    # --- cables ---

    def _from_program(self, ended: bool = False) -> bool:
        try:
            data = self._cables[0].recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            data = data.replace(b"\n", b"\r\n")
            self._log.add(data)
            self._serial.write(data)
        elif not ended:
            self._ended()
        return bool(data)

    def _from_console(self) -> None:
        data = self._serial.read()
        while data and self._process:
            typed, interrupt, data = data.partition(b"\x03")
            if interrupt and not self._interruptible():
                typed, interrupt = typed + interrupt, b""
            if typed:
                with contextlib.suppress(OSError):  # full, as the board's buffer may be, or gone
                    self._cables[0].send(typed)
            if interrupt and self._interrupt_s is None:
                self._interrupt_s = time.monotonic()

    def _interruptible(self) -> bool:
        """Return whether the program wants Ctrl-C as an interrupt: `micropython.kbd_intr`."""
        if not self._regs[reg.RUNNING]:
            return False
        caught = self._proc("status").partition("SigCgt:")[2].split()
        return bool(caught) and bool(int(caught[0], 16) >> (signal.SIGINT - 1) & 1)

    def _try_interrupt(self, now_s: float) -> None:
        """Interrupt the program where it waits.

        The unix port raises KeyboardInterrupt at once, were it in the middle of a flash write; an
        ESP32 never does. A program that waits is in no such place.
        """
        assert self._interrupt_s is not None
        if not self._process or not self._regs[reg.RUNNING]:
            self._interrupt_s = None
            return
        waits = self._proc("stat").rpartition(")")[2].split()[:1] == ["S"]
        if waits or now_s - self._interrupt_s > _INTERRUPT_S:
            self._interrupt_s = None
            self._process.send_signal(signal.SIGINT)

    def _proc(self, name: str) -> str:
        assert self._process is not None
        try:
            return Path(f"/proc/{self._process.pid}/{name}").read_text()
        except OSError:
            return ""

    def _from_pins(self) -> bool:
        try:
            data = self._cables[1].recv(4096)
        except OSError:
            return False
        for pin, level in zip(data[::2], data[1::2], strict=False):
            self._contactor.drive(pin, level)
        return bool(data)

    def _tell(self, code: int, level: int) -> None:
        if self._process:
            try:
                self._cables[1].send(bytes((code, level)))
            except OSError:
                return
            self._process.send_signal(signal.SIGURG)

    # --- pins ---

    def _level(self, pin: int) -> int:
        for offset in (reg.OUT, reg.LINE, reg.PULLED):
            if self._regs[offset + pin] != reg.FLOATING:
                return self._regs[offset + pin]
        return 0

    def _float_pins(self, held_too: bool) -> None:
        for pin in range(reg.PINS):
            if held_too or not self._regs[reg.HELD + pin]:
                self._regs[reg.PULLED + pin] = reg.FLOATING
                if self._regs[reg.OUT + pin] != reg.FLOATING:
                    self._regs[reg.OUT + pin] = reg.FLOATING
                    self._contactor.drive(pin, reg.FLOATING)

    def _contactor_moved(self, closed: bool) -> None:
        self._sense()
        if self._on_contactor:
            self._on_contactor(closed)

    def _sense(self) -> None:
        if self.wiring.sense is not None:
            level = 0 if self._contactor.closed else reg.FLOATING
            self._regs[reg.LINE + self.wiring.sense] = level

    # --- files and registers ---

    def _get(self, word: str) -> int:
        kind, offset = reg.WORDS[word]
        return int(struct.unpack_from(_FORMATS[kind], self._regs, offset)[0])

    def _set(self, word: str, value: float) -> None:
        kind, offset = reg.WORDS[word]
        struct.pack_into(_FORMATS[kind], self._regs, offset, value)

    def _make_flash(self) -> None:
        path = self.folder / "flash.img"
        if not path.exists():
            aside = path.with_suffix(".new")
            aside.write_bytes(b"\xff" * FLASH_SIZE)
            aside.replace(path)
        elif path.stat().st_size != FLASH_SIZE:
            raise BoardError(f"{path} is not an image of {FLASH_SIZE} bytes; delete it")

    def _map_registers(self, ssid: str, password: str) -> mmap.mmap:
        path = self.folder / "registers"
        path.write_bytes(bytes(reg.SIZE))
        with path.open("r+b") as file:
            regs = mmap.mmap(file.fileno(), reg.SIZE)
        for offset in (reg.OUT, reg.LINE, reg.PULLED):
            regs[offset : offset + reg.PINS] = bytes([reg.FLOATING]) * reg.PINS
        regs[reg.NETWORK] = 1
        serial = zlib.crc32(os.fsencode(self.folder.name))
        regs[reg.UNIQUE_ID : reg.UNIQUE_ID + 6] = b"\x02\x00" + serial.to_bytes(4, "big")
        texts = ((reg.SSID, ssid), (reg.PASSWORD, password), (reg.NAME_SERVER, _name_server()))
        for offset, text in texts:
            data = text.encode()
            regs[offset : offset + 1 + len(data)] = bytes([len(data)]) + data
        return regs


def _name_server() -> str:
    """Return the machine's own DNS server (IPv4)."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1]:
            return words[1]
    return "127.0.0.1"
