"""The bench's side of a virtual board: what a person at a bench can do to it, and see of it."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from boards.virtual.consolelog import ConsoleLog
from boards.virtual.devkit import BoardError, Devkit, Parts
from boards.virtual.inside import registers as reg
from boards.virtual.lines import Contactor, Wiring
from boards.virtual.ntp import NtpServer
from boards.virtual.registerfile import RegisterFile
from boards.virtual.serialport import SerialPort
from parwana.world import runtime, secretfiles
from parwana.world.clock import WorldClock

__all__ = ["FLASH_SIZE", "HEAP", "BoardError", "FlashOperations", "VirtualBoard", "Wiring"]

FLASH_SIZE = 512 * 4096
HEAP = "201k"
"""MicroPython's heap. What stands in for an ESP32's built-in modules takes its share of it, the
rest is what an ESP32 has: 165 KB free at the prompt."""


class FlashOperations(NamedTuple):
    """How often a flash was read, written and erased."""

    reads: int
    writes: int
    erases: int


class VirtualBoard:
    """An ESP32 devkit as a process. Its state lies in `folder`; use it as a context manager.

    `clock` runs its RTC and its NTP server. One thread serves its cables; all methods may be
    called from any thread. `on_contactor` is called with the contactor's new state, from the
    board's thread. `micropython` runs in it, `runtime.micropython()` unless given.
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
        micropython: Path | None = None,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or WorldClock()
        self.wiring = wiring or Wiring()
        self.log_path = self.folder / "console.log"
        micropython = micropython or runtime.micropython()
        flash = _flash_image(self.folder / "flash.img")
        self._on_contactor = on_contactor
        self._regs = RegisterFile(self.folder / "registers")
        self._contactor = Contactor(
            self.wiring, self.folder / "contactor", self.clock.now, self._contactor_moved
        )
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
        self._kit = Devkit(
            Parts(
                micropython,
                heap,
                flash,
                self._regs,
                self._contactor,
                self._log,
                self._serial,
                self._uart,
                self._ntp,
                self.clock,
            )  # fmt: skip
        )
        self._sense()

    @property
    def resets(self) -> list[tuple[float, str]]:
        """Every start of the board: (world time, cause)."""
        return list(self._kit.resets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the power and take the cables away."""
        self._kit.close()

    @property
    def powered(self) -> bool:
        """Whether the board has power."""
        return self._kit.powered

    def power_on(self) -> None:
        """Give it power: the RTC starts at 2000-01-01. Raises BoardError if it has power."""
        self._kit.do(self._kit.power_on)

    def power_off(self) -> None:
        """Cut the power, wherever the program is."""
        self._kit.do(lambda: self._kit.power_off("power off"))

    def reset(self) -> None:
        """Push the reset button: reads as a power-on, but the RTC runs on. Raises BoardError."""
        self._kit.do(lambda: self._kit.restart(reg.PWRON_RESET))

    def skip(self, world_s: float) -> None:
        """Set its RTC forward."""
        before_ns = self._regs.get("rtc_world_ns")
        self._regs.set("rtc_world_ns", before_ns + round(world_s * 1e9))

    def cut_power_at_flash_write(self, n: int) -> None:
        """Cut the power in the middle of the nth flash write or erase from now; 0: do not."""
        self._regs.set("cut_at", n)

    def slow_flash(self, erase_ms: float, write_ms: float, read_ms: float = 0) -> None:
        """Have each erase of a block of flash, each write and each read take that much longer.

        littlefs writes and reads 128 bytes at a time, as with MicroPython's image for an ESP32.
        """
        self._regs.set("erase_us", round(1000 * erase_ms))
        self._regs.set("write_us", round(1000 * write_ms))
        self._regs.set("read_us", round(1000 * read_ms))

    @property
    def flash_operations(self) -> FlashOperations:
        """What the flash did since power on."""
        return FlashOperations(*self._regs.flash_operations)

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
        self._kit.do(lambda: self._kit.drive(pin, reg.FLOATING if level is None else level))

    @property
    def network_up(self) -> bool:
        """Whether the access point answers; may be set."""
        return bool(self._regs[reg.NETWORK])

    @network_up.setter
    def network_up(self, up: bool) -> None:
        if up != self.network_up:
            self._regs[reg.NETWORK] = up
            self._kit.do(lambda: self._kit.tell(reg.MESSAGE_NETWORK, int(up)))

    @property
    def ntp(self) -> NtpServer:
        """The NTP server of its network."""
        return self._ntp

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

    @property
    def name_port(self) -> int:
        """The port of the loopback that its name server has; 0: the machine's own; may be set."""
        return self._regs.get("name_port")

    @name_port.setter
    def name_port(self, port: int) -> None:
        self._regs.set("name_port", port)

    def wait_console(self, text: str, timeout: float = 10.0) -> str:
        """Wait until `text` is printed after the last match; return what came up to its end.

        Raises TimeoutError, which shows what came instead.
        """
        return self._log.wait(text, timeout)

    def skip_console(self) -> None:
        """Have `wait_console` look only at what is printed from now on."""
        self._log.skip()

    def _contactor_moved(self, closed: bool) -> None:
        self._sense()
        if self._on_contactor:
            self._on_contactor(closed)

    def _sense(self) -> None:
        """Show the board its auxiliary contact."""
        if self.wiring.sense is not None:
            self.drive(self.wiring.sense, None if not self._contactor.closed else 0)


def _flash_image(path: Path) -> Path:
    """Return `path`, an image of the flash; make an empty one if there is none."""
    if not path.exists():
        secretfiles.replace(path, b"\xff" * FLASH_SIZE)  # it will hold a meter's key
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
