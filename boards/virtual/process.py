"""The process that is a running board, from one power-on or reset to the next."""

import contextlib
import signal
import socket
import subprocess
from pathlib import Path

from boards.virtual.inside import registers as reg

_INSIDE = Path(__file__).parent / "inside"
_TIMEOUT_S = 30


class Process:
    """MicroPython with a board around it, and the two cables into it: console and events."""

    def __init__(
        self, micropython: Path, heap: str, flash: Path, registers: Path, uart: int, raw: bool
    ) -> None:
        self.console, console = socket.socketpair()
        self.events, events = socket.socketpair()
        self.console.setblocking(False)
        self.events.setblocking(False)
        events.setblocking(False)
        with console, events:
            self._process = subprocess.Popen(
                [str(micropython), "-X", f"heapsize={heap}", "start.py", str(flash)]
                + [str(registers), str(events.fileno()), str(uart), "r" if raw else "f"],
                cwd=_INSIDE,
                stdin=console.fileno(),
                stdout=console.fileno(),
                stderr=console.fileno(),
                pass_fds=(events.fileno(), uart),
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it wherever it is."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self._process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_TIMEOUT_S)

    def close(self) -> None:
        """Take the cables away."""
        self.console.close()
        self.events.close()

    def type(self, data: bytes) -> None:
        """Give its console input; what does not fit is lost."""
        with contextlib.suppress(OSError):
            self.console.send(data)

    def tell(self, code: int, level: int) -> None:
        """Send a message of `registers` and ring for it."""
        with contextlib.suppress(OSError):
            self.events.send(bytes((code, level)))
            self._process.send_signal(signal.SIGURG)

    def printed(self) -> bytes | None:
        """Return what it printed: b"" when it has ended, None when nothing is there."""
        return _receive(self.console)

    def told(self) -> list[tuple[int, int]]:
        """Return the messages that it sent."""
        data = _receive(self.events) or b""
        return list(zip(data[::2], data[1::2], strict=False))

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in it."""
        self._process.send_signal(signal.SIGINT)

    @property
    def takes_interrupts(self) -> bool:
        """Whether it has a handler for interrupts: see `micropython.kbd_intr`."""
        caught = self._proc("status").partition("SigCgt:")[2].split()
        return bool(caught) and bool(int(caught[0], 16) >> (signal.SIGINT - 1) & 1)

    @property
    def sleeps(self) -> bool:
        """Whether it waits in a system call."""
        return self._proc("stat").rpartition(")")[2].split()[:1] == ["S"]

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self._process.pid}/{name}").read_text()
        except OSError:
            return ""


def _receive(cable: socket.socket) -> bytes | None:
    try:
        return cable.recv(1 << 16)
    except BlockingIOError:
        return None
    except OSError:
        return b""


EXITS = {
    reg.EXIT_SOFT: reg.SOFT_RESET,
    reg.EXIT_SOFT_RAW: reg.SOFT_RESET,
    reg.EXIT_RESET: reg.HARD_RESET,
}
"""What follows an exit code; any other is a crash."""
