"""A meter behind any device string of mpremote: its console while it runs, its REPL while not."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import serial
from mpremote.transport_serial import SerialTransport

import wire
from boards.virtual.consolelog import ConsoleLog
from parwana import REPO
from parwana.image import firmware
from parwana.meter.repl import START_S, Meter, MeterError, open_port, paste
from parwana.world import programs

_IDLE_S = 0.01
_REOPEN_S = 0.5
_FLASH_S = 600
_CTRL_C = b"\x03"


class SerialMeter:
    """One meter. A thread listens to its console and writes all of it to a log.

    Only one speaks at a time: while the REPL or flash.sh has the port, the thread waits. A port
    that goes away (a board powered through its own USB) is opened again when it is back.
    """

    def __init__(self, port: str, log: Path) -> None:
        self.port = port
        self.version = firmware.version()
        self.listeners: list[Callable[[str], None]] = []
        self._transport: SerialTransport | None = self._open()
        self._log = ConsoleLog(log)
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._line = b""
        self._lost_s = 0.0
        self._thread = threading.Thread(target=self._listen, name=f"console {port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port."""
        self._closing.set()
        self._thread.join(10)
        with self._lock:
            self._drop()
            self._log.close()

    # --- the console ---

    @property
    def log_path(self) -> Path:
        """Where the console's log is."""
        return self._log.path

    def log_to(self, path: Path) -> None:
        """Begin another log."""
        path.unlink(missing_ok=True)
        with self._lock:
            old, self._log = self._log, ConsoleLog(path)
            old.close()

    def note(self, text: str) -> None:
        """Write a line of the bench's own into the log."""
        self._log.note(text)

    def skip(self) -> None:
        """Have the waits look only at what is printed from now on."""
        self._log.skip()

    def wait_for(self, pattern: str, timeout_s: float = 20) -> re.Match[bytes]:
        """Wait until a regular expression is printed after the last match.

        Raises TimeoutError, which shows what came instead and where the log is.
        """
        return self._log.match(pattern, timeout_s)

    def wait_for_event(self, code: int, timeout_s: float = 20) -> tuple[int, int, int]:
        """Wait until the meter tells of an event; return its values a, b, c."""
        found = self.wait_for(rf"event {code}[:,] (\d+), (\d+), (\d+)\r", timeout_s)
        a, b, c = (int(value) for value in found.groups())
        return a, b, c

    def wait_for_refusal(self, timeout_s: float = 20) -> int:
        """Wait until the meter refuses a bundle; return the reason (docs/protocol.md 1.4)."""
        return int(self.wait_for(r"control: bundle refused, reason (\d+)", timeout_s)[1])

    def wait_for_time(self, timeout_s: float = 20) -> None:
        """Wait until the meter took a signed time."""
        self.wait_for("clock set by signed time", timeout_s)

    def wait_for_reading(self, timeout_s: float) -> tuple[int, int, int]:
        """Wait until the meter tells of a reading; return its time, energy in Wh and flags."""
        found = self.wait_for(r"reading at (\d+): (\d+) Wh, flags ([0-9a-f]{4})\r", timeout_s)
        return int(found[1]), int(found[2]), int(found[3], 16)

    def status(self, timeout_s: float = 20) -> dict[str, int | None]:
        """Return the next line of status as {name: value}."""
        self.skip()
        found = self.wait_for(r"status ([^\r\n]+)\r", timeout_s)
        pairs = (pair.split("=") for pair in found[1].decode().split())
        return {name: None if value == "None" else int(value) for name, value in pairs}

    def tail(self) -> str:
        """Return what the console said last, and where its log is, for an error message."""
        return f"the console said {self._log.tail()!r}; log: {self.log_path}"

    def type(self, data: bytes) -> None:
        """Send bytes as a person at the console does. Raises MeterError."""
        with self._lock, self._reaching() as transport:
            transport.serial.write(data)

    def paste(self, bundle: bytes) -> None:
        """Hand a bundle to the running meter, as a line of text. Raises MeterError."""
        with self._lock, self._reaching() as transport:
            paste(transport.serial, wire.pack_text(bundle).encode() + b"\r")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type(_CTRL_C)

    # --- what stops the firmware ---

    @contextlib.contextmanager
    def repl(self) -> Iterator[Meter]:
        """Stop the firmware and lend the raw REPL; nothing runs afterwards. Raises MeterError."""
        with self._lock, self._reaching() as transport:
            port = transport.serial
            heard = _Heard(port)
            transport.serial = heard
            try:
                meter = Meter(transport, self.port)
                meter.stop()
                self._log.add(bytes(heard.kept))
                transport.serial = port  # the dialogue is not logged: there are secrets in it
                self.note("raw REPL")
                yield meter
            finally:
                transport.serial = port

    @contextlib.contextmanager
    def service(self) -> Iterator[Meter]:
        """Stop the firmware and lend the raw REPL; restart the board and wait for it."""
        with self.repl() as meter:
            yield meter
            self.skip()
            meter.reset()
        self.wait_for_start()

    def reset(self) -> None:
        """Restart the board through its REPL and wait until the firmware starts."""
        with self.service():
            pass

    def wait_for_start(self) -> None:
        """Wait until the firmware says that it starts."""
        self.wait_for(rf"parwana {re.escape(self.version)}\r", START_S)

    def load_permit(self, bundle: bytes) -> None:
        """Hand over a bundle without any network, and restart. Raises MeterError."""
        with self.service() as meter:
            meter.replace("/permit.new", bundle)

    def flash(self) -> dict[str, Any]:
        """Run flash.sh; return its result. Raises ProgramError."""
        with self._lock:
            self._drop()
            self.note("flash.sh")
            command: list[str | Path] = [REPO / "flash.sh", "--port", self.port, "--json"]
            try:
                said = programs.run("flash.sh", command, _FLASH_S)
            finally:
                self._transport = self._open()
        return dict(json.loads(said.splitlines()[-1]))

    # --- the port ---

    def _open(self) -> SerialTransport:
        transport, _ = open_port(self.port)
        return transport

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport:
            with contextlib.suppress(OSError, serial.SerialException):
                transport.close()

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[SerialTransport]:
        if self._transport is None:
            self._transport = self._open()
        try:
            yield self._transport
        except (OSError, serial.SerialException) as error:
            self._drop()
            raise MeterError(f"{self.port}: the connection broke ({error})") from None

    def _listen(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                data = self._take()
                if data:
                    self._log.add(data)
            if data:
                self._hear(data)
            else:
                self._closing.wait(_IDLE_S)

    def _take(self) -> bytes:
        try:
            if self._transport is None:
                if time.monotonic() - self._lost_s < _REOPEN_S:
                    return b""
                self._lost_s = time.monotonic()
                self._transport = self._open()
                self.note("the port is back")
            return _waiting(self._transport.serial)
        except MeterError:
            return b""
        except (OSError, serial.SerialException):
            self._drop()
            self._lost_s = time.monotonic()
            self.note("the port is gone")
            return b""

    def _hear(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            for listener in self.listeners:
                listener(line.decode("utf8", "replace"))


class _Heard:
    """A port that keeps what is read from it."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.kept = bytearray()

    def read(self, size: int = 1) -> bytes:
        data = bytes(self._port.read(size))
        self.kept += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _waiting(port: Any) -> bytes:
    """Return what has arrived; a socket tells only that there is something."""
    data = b""
    while len(data) < 4096 and (count := port.in_waiting):
        data += port.read(count)
    return data
