"""Follow what runs on a board: its lines as they come, and the end of a board that panics."""

import contextlib
import re
import time
from collections.abc import Callable

from mpremote.transport_serial import SerialTransport

SILENT_S = 180.0
"""So long may a step print nothing. One step of the file system may look at each block of a flash
of 2 MB (512), one module takes 160 reads and more of a stock ESP32 image; a worn flash takes 0.2 s
for each: 100 s."""
_LINES_MOST = 20
_DRAIN_S = 3.0
_PAUSE_S = 0.7  # an ESP32 restarts in less
PANIC = re.compile(
    rb"Guru Meditation Error|abort\(\) was called at|Backtrace: ?0x|assert failed: "
    rb"|\*\*\*ERROR\*\*\* A stack overflow|CORRUPT HEAP|Stack smashing protect failure"
)
# The ROM's banners (ESP32; ESP32-S3 and -C3), MicroPython's, and the first line of boot.py.
_START = re.compile(
    rb"ets [A-Z][a-z]{2} +\d+ \d{4} |ESP-ROM:esp|rst:0x[0-9a-f]+ \(|Brownout detector was"
    rb"|MicroPython v\d+\.|parwana: Ctrl-C or the button"
)


class BoardDied(Exception):
    """The board panicked or restarted; what it printed is in `Heard.died`."""


class Heard:
    """What was heard of a step: `said` last, `died` from the first line of a panic or restart on.

    `show` is called with each line, as soon as it is whole.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self, show: Callable[[str], None] | None = None) -> None:
        """Start a step: nothing has been heard of it."""
        self.died: list[str] = []
        self.panicked = False
        self._show = show
        self._whole = ""
        self._part = bytearray()
        self._secret = False
        self._at_s = time.monotonic()

    @property
    def said(self) -> str:
        """Return the last line, whole or not, "" if there is none."""
        part = b"" if self._secret else self._part
        return part.decode("utf8", "replace").strip() or self._whole

    @property
    def silent_s(self) -> float:
        """Return the seconds since something was heard, or `wait` was called."""
        return time.monotonic() - self._at_s

    @property
    def too_silent(self) -> bool:
        """Return whether that is longer than any step may be silent."""
        return self.silent_s >= SILENT_S

    def wait(self) -> None:
        """Count the silence from now: the board has something to do again, its prompt is past."""
        self._part.clear()
        self._at_s = time.monotonic()

    def take(self, data: bytes, secret: bool = False) -> None:
        """Take what was read; of what is secret only a death is kept. Raises BoardDied."""
        self._secret = secret
        if data:
            self._at_s = time.monotonic()
        for byte in data.replace(b"\x04", b""):
            self._part.append(byte)
            if byte == 0x0A:
                line, self._part = bytes(self._part).strip(), bytearray()
                if line:
                    self._take_line(line, secret)
        if self.died:
            raise BoardDied

    def _take_line(self, line: bytes, secret: bool) -> None:
        panic = PANIC.search(line)
        self.panicked = self.panicked or bool(panic)
        if self.died or panic or _START.search(line):
            if len(self.died) < _LINES_MOST:
                self.died.append(line.decode("utf8", "replace"))
        elif not secret:
            self._whole = line.decode("utf8", "replace")
            if self._show:
                self._show(self._whole)


class Line(SerialTransport):
    """mpremote's transport, which remembers what was `heard` while the raw REPL was there."""

    def __init__(self, device: str, timeout: float) -> None:
        self.heard = Heard()
        super().__init__(device, timeout=timeout)

    def read_until(
        self,
        min_num_bytes: int,
        ending: bytes,
        timeout: float | None = 10,
        data_consumer: Callable[[bytes], None] | None = None,
        timeout_overall: float | None = None,
    ) -> bytes:
        """Read as mpremote does. Raises BoardDied."""
        if timeout_overall is not None:
            timeout = None  # a soft reset on a slow flash is silent for longer than 10 s
        data: bytes = super().read_until(
            min_num_bytes, ending, timeout, data_consumer, timeout_overall
        )
        if self.in_raw_repl and data_consumer is None:
            self.heard.take(data)
        return data

    def follow_code(self, code: str, secret: bool = False) -> tuple[bytes, bytes]:
        """Run code; return what it printed and its traceback. Raises BoardDied, and mpremote's."""
        printed = bytearray()

        def take(data: bytes) -> None:
            printed.extend(data)
            self.heard.take(data, secret)

        self.heard.wait()
        self.exec_raw_no_follow(code)
        self.heard.wait()
        _, error = self.follow(SILENT_S, take)
        return bytes(printed).removesuffix(b"\x04"), bytes(error)

    def drain(self) -> None:
        """Hear out a board that broke off: what it prints, until it is silent for a moment."""
        ends_s = time.monotonic() + _DRAIN_S
        last_s = time.monotonic()
        while time.monotonic() < min(ends_s, last_s + _PAUSE_S):
            waiting = self.serial.inWaiting()
            if waiting:
                last_s = time.monotonic()
                with contextlib.suppress(BoardDied):
                    self.heard.take(self.serial.read(waiting), secret=True)
            else:
                time.sleep(0.02)
