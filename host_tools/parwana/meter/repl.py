"""Talk to a meter through its serial console: run code, copy files, restart it."""

import ast
import base64
import contextlib
import io
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import serial
from mpremote.transport import TransportError, TransportExecError

import wire
from parwana.meter import ports
from parwana.meter.follow import PANIC, BoardDied, Line
from parwana.meter.snippets import HASHES, READ

START_S = 1500.0  # to the end of a start: 5,000 operations of the flash at 0.2 s, and its proof
RUNS = "parwana: the meter runs"
RESET_S = 20.0  # for a person to reset a board that does not answer
_ANSWER_S = 5.0
_STOP_S = 10.0
_TRY_S = 1.5
_SOFT_RESET_S = 240.0  # mounts, runs boot.py: 500 operations of the flash
_WINDOW_S = 0.2  # boot.py listens for half a second
_PULSE_S = 0.1
_CHUNK = 2048
_HEX = 64
_PASTE = 64
_PASTE_S = 0.06
_REPLY_S = 3.0  # doubled each time: a slow flash keeps a permit waiting
# struct's: mpremote unpacks what it read of a window's size, however short.
_BROKEN = (TransportError, serial.SerialException, OSError, ValueError, struct.error)


class MeterError(Exception):
    """The meter cannot be reached, or refuses; the message says what to do next."""


class BoardSilent(MeterError):
    """It has said nothing for longer than any step may take."""


class Meter:
    """A meter in its raw REPL, where no firmware runs.

    `left`: what stands on it should a step break off; for the errors of `step`.
    """

    def __init__(self, transport: Line, port: str) -> None:
        self.port = port
        self.left = ""
        self._step = ""
        self._transport = transport

    def begin(self, step: str, show: Callable[[str], None] | None = None) -> None:
        """Start a step, named in errors; `show` is called with each line that the board prints."""
        self._step = step
        self._transport.heard.begin(show)

    def stop(self, wait_s: float = 0, tell: Callable[[str], None] | None = None) -> None:
        """Interrupt what runs and enter the raw REPL.

        A program that takes no Ctrl-C is met at its next start, when a board listens for a moment
        before it runs anything: `wait_s` is how long to wait for a reset, by its lines or by a
        hand, which `tell` is asked for. Raises MeterError.
        """
        if self._stopped(_STOP_S, _TRY_S):  # one just starting may miss the first
            return
        if wait_s:
            if tell:
                tell(f"{self.port} does not answer: press the board's reset button now")
            self._pull_reset()
            if self._stopped(wait_s, _WINDOW_S):
                return
        raise MeterError(
            f"{self.port}: no MicroPython answers; check the cable and the port, press the "
            "board's reset button, and try again"
        )

    def _stopped(self, timeout_s: float, try_s: float) -> bool:
        self._transport.in_raw_repl = False
        deadline_s = time.monotonic() + timeout_s
        with self._reached(), contextlib.redirect_stdout(io.StringIO()):
            self._transport.serial.timeout = try_s  # from a pty, mpremote reads without a look
            while time.monotonic() < deadline_s:
                with contextlib.suppress(TransportError):
                    # The soft reset takes long on a slow board, and is not to be interrupted.
                    self._transport.enter_raw_repl(soft_reset=False, timeout_overall=try_s)
                    self._transport.serial.timeout = _ANSWER_S
                    self._transport.in_raw_repl = False
                    self._transport.enter_raw_repl(timeout_overall=_SOFT_RESET_S)
                    return True
                self._transport.serial.timeout = try_s
        return False

    def _pull_reset(self) -> None:
        """Reset the board by RTS, where the adapter's is wired to EN, as on a devkit."""
        with contextlib.suppress(OSError, serial.SerialException):
            port = self._transport.serial
            port.dtr, port.rts = False, True
            time.sleep(_PULSE_S)
            port.rts = False

    def run(self, code: str, secret: bool = False) -> str:
        """Run code on the meter; return what it printed, which if secret is shown nowhere.

        It may take any time, but be silent for `follow.SILENT_S` at most. Raises MeterError.
        """
        with self._reached():
            printed, error = self._transport.follow_code(code, secret)
            if error:
                raise TransportExecError(printed, error.decode("utf8", "replace"))
            return str(printed, "utf8", "replace").replace("\r\n", "\n")

    def ask(self, expression: str) -> Any:
        """Return the value of an expression on the meter. Raises MeterError."""
        printed = self.run(f"print(repr({expression}))")
        with self._reached():
            return ast.literal_eval(printed.strip())

    def hashes(self, *paths: str) -> dict[str, str]:
        """Return {file: SHA-256 in hex} of the files named, and of all in folders named."""
        calls = [f"show({path!r})\nwalk({path!r})" for path in paths]
        lines = self.run(HASHES + "\n".join(calls)).splitlines()
        found = (line.rpartition(" ") for line in lines)
        return {name: digest for name, _, digest in found if len(digest) == _HEX}

    def read(self, path: str) -> bytes | None:
        """Return a file's content, None if there is no such file. Raises MeterError."""
        pieces = self.run(READ.format(path=path), secret=True).split()
        if pieces == ["none!"]:
            return None
        with self._reached():
            return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)

    def write(self, path: str, data: bytes, progress: Callable[[int], None] | None = None) -> None:
        """Write a file. `progress` is called with the bytes of each step. Raises MeterError."""
        self.run(
            f"import binascii\nf = open({path!r}, 'wb')\nw = f.write\nd = binascii.a2b_base64"
        )
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            self.run(f"w(d({base64.b64encode(chunk)!r}))")
            if progress:
                progress(len(chunk))
        self.run("f.close()")

    def replace(self, path: str, data: bytes) -> None:
        """Replace a file whole or not at all. Raises MeterError."""
        self.write(path + ".new", data)
        self.run(f"import os\nos.rename({path + '.new'!r}, {path!r})")

    def make_folders(self, folders: list[str]) -> None:
        """Make folders that are not there; a parent stands before its children."""
        self.run(
            f"import os\nfor folder in {folders!r}:\n print(folder)\n"
            " try: os.mkdir(folder)\n except OSError as e:\n  if e.errno != 17: raise"
        )

    def resume(self) -> None:
        """Let the firmware run on, by a soft reset. Raises MeterError."""
        with self._reached():
            self._transport.exit_raw_repl()
            self._transport.serial.write(b"\x04")

    def reset(self) -> None:
        """Restart the board. Raises MeterError."""
        with self._reached():
            self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
            self._transport.in_raw_repl = False

    def wait_for(self, text: str, timeout_s: float) -> str:
        """Return what the meter prints until `text` has come. Raises MeterError."""
        found, printed = self.hear(re.escape(text.encode()), timeout_s)
        if found is None:
            raise MeterError(
                f"{self.port}: the meter did not print {text!r} within {timeout_s:.0f} s; "
                f"it printed {printed[-300:]!r}"
            )
        return printed

    def hand_over(self, bundle: bytes, timeout_s: float) -> str | None:
        """Paste a bundle as text into the console of a meter that runs; return its answer.

        The answer is one of docs/protocol.md section 8, None if none comes. A meter that is not
        there yet, or misses some of it, is given it again; a prompt is not. Raises MeterError.
        """
        line = wire.pack_text(bundle).encode() + b"\r"
        deadline_s = time.monotonic() + timeout_s
        reply_s = _REPLY_S
        while time.monotonic() < deadline_s:
            with self._reached():
                paste(self._transport.serial, line)
            found, _ = self.hear(rb"permit: ([^\r\n]+)\r|>>> ", reply_s)
            reply_s *= 2
            if found and found[1] is None:
                return None
            if found and not found[1].startswith(b"damaged"):
                return found[1].decode("ascii", "replace")
        return None

    def hear(self, pattern: bytes, timeout_s: float) -> tuple[re.Match[bytes] | None, str]:
        """Wait for a pattern; return its match, None if it does not come, and all that came."""
        heard = b""
        deadline_s = time.monotonic() + timeout_s
        while not (found := re.search(pattern, heard)) and time.monotonic() < deadline_s:
            with self._reached():
                waiting = self._transport.serial.inWaiting()
                if waiting:
                    heard += self._transport.serial.read(waiting)
                else:
                    time.sleep(0.02)
                if panic := PANIC.search(heard):
                    self._transport.heard.take(heard[panic.start() :] + b"\n")
        return found, heard.decode("utf8", "replace")

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except TransportExecError as error:
            lines = [line for line in error.error_output.splitlines() if line.strip()]
            last = lines[-1] if lines else "an error without words"
            if "ENOSPC" in last or "28" in last.split():
                last = "the flash is full; remove files from the meter (mpremote fs rm)"
            raise MeterError(self._told(f"the meter said: {last}")) from None
        except (BoardDied, *_BROKEN) as error:
            kind = BoardSilent if self._silent(error) else MeterError
            raise kind(self._told(self._trouble(error), self._step)) from None

    def _silent(self, error: Exception) -> bool:
        return isinstance(error, TransportError) and self._transport.heard.too_silent

    def _told(self, text: str, step: str = "") -> str:
        return ": ".join(filter(None, (self.port, step, text))) + (self.left and f"; {self.left}")

    def _trouble(self, error: Exception) -> str:
        """Return what ended a step: a death, a silence, a broken connection; and what to do."""
        heard = self._transport.heard
        said = f"last heard: {heard.said!r}" if heard.said else "nothing was heard of this step"
        silent = self._silent(error)
        if not silent and not isinstance(error, OSError):  # else no port is there to hear
            with contextlib.suppress(BoardDied, *_BROKEN):
                self._transport.drain()
        if heard.died:
            how, do = (
                ("panicked", "run this again; if it comes back, report these lines")
                if heard.panicked
                else ("restarted", "check its power supply, and run this again")
            )
            return f"the board {how} ({said}), and printed: {' | '.join(heard.died)}: {do}"
        if silent:
            return (
                f"the board is silent for {heard.silent_s:.0f} s ({said}): check its power and "
                "its cable, press its reset button, and run this again"
            )
        if isinstance(error, TransportError | struct.error):
            return (
                f"the board does not answer ({error}; {said}): check its power and its cable, "
                "press its reset button, and run this again"
            )
        return f"the connection broke ({error}; {said}): check the cable and run this again"


def paste(port: Any, data: bytes) -> None:
    """Type `data` into a running meter: an ESP32 keeps 260 bytes, and a slow one reads slowly."""
    for start in range(0, len(data), _PASTE):
        port.write(data[start : start + _PASTE])
        time.sleep(_PASTE_S)


@contextlib.contextmanager
def connect(
    port: str, wait_s: float = 0, tell: Callable[[str], None] | None = None
) -> Iterator[Meter]:
    """Stop what a meter runs and yield it; when done, the port is free again.

    `port` is a device, "auto", "id:SERIAL", or a URL of pyserial; for the others see
    `Meter.stop`. Raises MeterError.
    """
    with attach(port) as meter:
        meter.stop(wait_s, tell)
        yield meter


@contextlib.contextmanager
def attach(port: str) -> Iterator[Meter]:
    """Yield a meter that runs on, until it is stopped. Raises MeterError."""
    transport, device = open_port(port)
    try:
        yield Meter(transport, device)
    finally:
        with contextlib.suppress(OSError, serial.SerialException):
            transport.close()


def open_port(port: str) -> tuple[Line, str]:
    """Open a port as `connect` does; return mpremote's transport and the device's name.

    What runs on the meter runs on. Raises MeterError.
    """
    try:
        device = ports.resolve(port)
    except ports.PortError as error:
        raise MeterError(str(error)) from None
    # mpremote waits for a pty without polling if the name shows that it is one.
    real = device if "://" in device else os.path.realpath(device)
    try:
        transport = Line(real, timeout=_ANSWER_S)
    except (TransportError, OSError, ValueError) as error:
        raise MeterError(ports.why_closed(device, error)) from None
    if not device.startswith("rfc2217:"):  # pyserial has none there
        transport.serial.write_timeout = _ANSWER_S
    return transport, device
