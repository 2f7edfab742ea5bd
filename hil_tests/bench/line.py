"""Lines: the modem lines of a USB-serial adapter, or no wire at all and the meter's own words."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from hil_tests.bench.meter import SerialMeter
from hil_tests.bench.protocols import BenchError, Line

INPUTS = ("cts", "dsr", "cd", "ri")
OUTPUTS = ("rts", "dtr")
_POLL_S = 0.02


class Watched(Line):
    """What lines have in common: the position, when it changed, and who follows it."""

    watched = True
    has_button = False

    def __init__(self, follow: Callable[[bool], None]) -> None:
        self.changes: list[tuple[float, bool]] = []
        self._follow = follow
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def moved(self, closed: bool) -> None:
        """Note where the contactor is."""
        if closed != self._closed:
            self._closed = closed
            self.changes.append((time.monotonic(), closed))
            self._follow(closed)

    def press(self) -> None:
        raise BenchError("line: no button is wired; see [line] button in docs/bench.md")

    def release(self) -> None:
        """Nobody holds it."""

    def close(self) -> None:
        """Nothing was opened."""


class ModemLine(Watched):
    """The contact on an input of a serial port, the button on an output of it.

    `contact` is one of INPUTS, `button` one of OUTPUTS or "". A line that is on (low at a TTL
    adapter's pin) means closed, or pressed; "!cts" turns it round.
    """

    def __init__(
        self, port: Any, contact: str, button: str, follow: Callable[[bool], None]
    ) -> None:
        super().__init__(follow)
        self._port = port
        self._contact = contact.removeprefix("!")
        self._open_level = contact.startswith("!")
        self._button = button
        self.has_button = bool(button)
        self._closed = self._look()
        follow(self._closed)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="line", daemon=True)
        self._thread.start()

    def press(self) -> None:
        if not self._button:
            super().press()
        setattr(self._port, self._button, True)

    def release(self) -> None:
        if self._button:
            setattr(self._port, self._button, False)

    def close(self) -> None:
        self._closing.set()
        self._thread.join(5)

    def _look(self) -> bool:
        try:
            return bool(getattr(self._port, self._contact)) != self._open_level
        except OSError as error:
            raise BenchError(
                f"line: {self._port.port} tells no {self._contact} ({error}); "
                'use an adapter with modem lines, or driver = "console"'
            ) from None

    def _watch(self) -> None:
        while not self._closing.wait(_POLL_S):
            try:
                self.moved(self._look())
            except BenchError:  # the adapter was pulled; whoever waits will say so
                continue


class ConsoleLine(Watched):
    """No wire: the position is what the meter says of it on its console."""

    watched = False

    def __init__(self, meter: SerialMeter, follow: Callable[[bool], None]) -> None:
        super().__init__(follow)
        meter.listeners.append(self._hear)

    def _hear(self, line: str) -> None:
        event = re.search(r"supply: event (9|10), ", line)
        control = re.search(r" status .* control=(\d)", line)
        if event:
            self.moved(event[1] == "10")
        elif control:
            self.moved(control[1] == "1")
