"""What a board printed: to a file, and to whoever waits for a word."""

import re
import threading
import time
from pathlib import Path

_KEPT = 1 << 17


class ConsoleLog:
    """A log file of the console, and the last 128 KB of it in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._text = b""
        self._seen = 0  # how much of `_text` lies before the end of the last match
        self._changed = threading.Condition()

    def add(self, data: bytes) -> None:
        """Take what the board printed."""
        self._file.write(data)
        with self._changed:
            self._text += data
            excess = len(self._text) - _KEPT
            if excess > 0:
                self._text = self._text[excess:]
                self._seen = max(0, self._seen - excess)
            self._changed.notify_all()

    def note(self, text: str) -> None:
        """Write a line of the bench's own to the file."""
        self._file.write(f"\r\n[bench: {text}]\r\n".encode())

    def wait(self, text: str, timeout_s: float) -> str:
        """Wait for `text` after the last match; return what came up to its end.

        Raises TimeoutError.
        """
        return self._wait(re.escape(text.encode()), text, timeout_s)[0]

    def match(self, pattern: str, timeout_s: float) -> re.Match[bytes]:
        """Wait for a regular expression after the last match. Raises TimeoutError."""
        return self._wait(pattern.encode(), pattern, timeout_s)[1]

    def _wait(self, pattern: bytes, wanted: str, timeout_s: float) -> tuple[str, re.Match[bytes]]:
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not (found := re.search(pattern, self._text[self._seen :])):
                if not self._changed.wait(deadline_s - time.monotonic()):
                    raise TimeoutError(
                        f"the board did not print {wanted!r} within {timeout_s:g} s; "
                        f"it printed {self._tail()!r}; log: {self.path}"
                    )
            start, self._seen = self._seen, self._seen + found.end()
            return self._text[start : self._seen].decode(errors="replace"), found

    def tail(self) -> str:
        """Return the end of what came after the last match."""
        with self._changed:
            return self._tail()

    def _tail(self) -> str:
        return self._text[self._seen :][-400:].decode(errors="replace")

    def skip(self) -> None:
        """Have `wait` look only at what comes from now on."""
        with self._changed:
            self._seen = len(self._text)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
