"""Print one line for each thing worth knowing, and keep the last ones for the service console.

Secrets are never handed to it: callers log names, numbers and error messages only.
"""

import time

_LEVELS = ("info", "warn", "error")
_KEPT = 8
_MOST = 160


def _difference(later, earlier):
    return later - earlier


class Console:
    """Where the logs end: the least level that counts and a ring of the last 8 lines.

    `write` takes a line, `ticks_ms` returns milliseconds, wrapping as MicroPython's do.
    """

    def __init__(self, level="info", write=print, ticks_ms=None):
        self._least = _LEVELS.index(level)
        self._write = write
        self._ticks_ms = ticks_ms or time.ticks_ms
        self._ticks_diff = getattr(time, "ticks_diff", _difference)
        self._last_ms = self._ticks_ms()
        self._uptime_ms = 0
        self._ring = [None] * _KEPT
        self._at = 0

    def line(self, level, name, text):
        """Print and keep `text`, cut to 160 characters, as one line; `level` is 0 to 2."""
        now = self._ticks_ms()
        self._uptime_ms += self._ticks_diff(now, self._last_ms)
        self._last_ms = now
        if level < self._least:
            return
        # What came over the network must not be able to forge a line.
        text = "".join(c if " " <= c <= "~" else "?" for c in text[:_MOST])
        text = "%d.%03d %s %s: %s" % (
            self._uptime_ms // 1000,
            self._uptime_ms % 1000,
            _LEVELS[level],
            name,
            text,
        )
        self._ring[self._at] = text
        self._at = (self._at + 1) % _KEPT
        self._write(text)

    def last(self):
        """Return the lines that are kept, oldest first."""
        return [line for line in self._ring[self._at :] + self._ring[: self._at] if line]


class Log:
    """The console under one name. `text % values` is the line."""

    def __init__(self, name, console=None):
        self._name = name
        self._console = console or Console()

    def info(self, text, *values):
        self._console.line(0, self._name, text % values if values else text)

    def warn(self, text, *values):
        self._console.line(1, self._name, text % values if values else text)

    def error(self, text, *values):
        self._console.line(2, self._name, text % values if values else text)
