"""A serial port that a program outside opens: a pty under a stable name."""

import os
import select
import termios
import time
import tty
from pathlib import Path

_BACKLOG = 1 << 20
_STUCK_S = 2.0


class SerialPort:
    """A pty whose far end is `link`; `fd` is the near end, non-blocking and raw."""

    def __init__(self, link: Path) -> None:
        self.fd, far = os.openpty()
        tty.setraw(far)
        self.path = os.ttyname(far)
        os.close(far)
        os.set_blocking(self.fd, False)
        link.unlink(missing_ok=True)
        link.symlink_to(self.path)
        self.link = link
        self._poll = select.poll()
        self._poll.register(self.fd, 0)
        self._backlog = bytearray()
        self._moved_s = time.monotonic()

    @property
    def attached(self) -> bool:
        """Whether somebody has the port open."""
        return not self._poll.poll(0)

    @property
    def backlog(self) -> int:
        """Bytes that wait to be taken by whoever has the port open."""
        return len(self._backlog)

    def write(self, data: bytes) -> None:
        """Send `data`; it is lost when nobody has the port open, or takes nothing for 2 s."""
        if not self.attached:
            self._backlog.clear()
            return
        if not self._backlog:
            self._moved_s = time.monotonic()
        if len(self._backlog) < _BACKLOG:
            self._backlog += data
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        while self._backlog:
            try:
                sent = os.write(self.fd, self._backlog)
            except BlockingIOError:
                if time.monotonic() - self._moved_s > _STUCK_S:
                    self._backlog.clear()
                return
            except OSError:  # closed at the far end meanwhile
                self._backlog.clear()
                return
            self._moved_s = time.monotonic()
            del self._backlog[:sent]

    def read(self) -> bytes:
        """Return what came, b"" if nothing."""
        try:
            return os.read(self.fd, 65536)
        except OSError:  # nothing there, or nobody has it open
            return b""

    def discard(self) -> None:
        """Forget what came and what nobody took."""
        self._backlog.clear()
        while self.read():
            pass
        far = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        termios.tcflush(far, termios.TCIOFLUSH)
        os.close(far)

    def close(self) -> None:
        """Unplug it."""
        if self.link.is_symlink() and os.readlink(self.link) == self.path:
            self.link.unlink()
        os.close(self.fd)
