"""Log in one format, tell a trouble once and its end once, and never a password."""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

NEWS = {"news": True}  # `extra` of a line that is news each time, though it reads the same
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIRST_S, _MOST_S = 60.0, 3600.0  # until the same trouble is told again
_TEXTS = 64  # that are kept apart
_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s/]+@")
_URL = re.compile(r"https?://\S+")
_KEY = re.compile(r"(?<=/)[\w-]{20,}|(?<=\?)\S+")
_VARIES = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{16,}|\d+(\.\d+)?")


class Level(StrEnum):
    """What --log-level takes."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Form(StrEnum):
    """What --log takes."""

    TEXT = "text"
    JSON = "json"


def start(level: Level = Level.INFO, form: Form = Form.TEXT) -> None:
    """Send what this project logs, from `level` up, to stderr; others' warnings too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form is Form.JSON else _Format())
    handler.addFilter(_Once())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("parwana").setLevel(level.upper())


def redacted(text: str) -> str:
    """Return `text` without the passwords and the API keys of the URLs in it."""
    return _URL.sub(lambda url: _KEY.sub("…", url[0]), _PASSWORD.sub(r"\1…@", text))


class _Format(logging.Formatter):
    """UTC in ISO 8601, level, name, text."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return when it was, to the millisecond."""
        del datefmt
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return time.replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, with its traceback if it has one."""
        return redacted(super().format(record))


class _Json(_Format):
    """A JSON object a line, with the same fields; a traceback is one of them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        said = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "name": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        # Before it is JSON: what hides a password must see the text as it is.
        return json.dumps({name: redacted(value) for name, value in said.items()})


class _Repeats:
    """Know which text is news: at once, then after 1, 2, 4 ... 60 minutes of it."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[int, float, float]] = {}  # untold, last told, interval

    def clear(self) -> None:
        """Take everything for news again."""
        self._known.clear()

    def news(self, key: object, now_s: float) -> str | None:
        """Return what to add to the line: "" or how often it came; None: it is no news."""
        untold, told_s, interval_s = self._known.get(key, (0, float("-inf"), 0.0))
        if now_s - told_s > 2 * interval_s:
            if len(self._known) >= _TEXTS:
                self._known.clear()
            self._known[key] = 0, now_s, _FIRST_S
            return f" ({untold} times more before)" if untold else ""
        untold += 1
        if now_s - told_s < interval_s:
            self._known[key] = untold, told_s, interval_s
            return None
        self._known[key] = 0, now_s, min(_MOST_S, 2 * interval_s)
        return f" ({untold} times in {span(now_s - told_s)})"


class _Once(logging.Filter):
    """Let a line through that is news: nothing is repeated that did not change."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._repeats = _Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to log it; a line that was held back says how often."""
        if hasattr(record, "news"):
            return True
        text = record.getMessage()
        with self._lock:
            more = self._repeats.news((record.name, text), time.monotonic())
        if more:
            record.msg, record.args = text + more, None
        return more is not None


class Trouble:
    """Tell what keeps failing once, then at growing intervals; and when it works, after how long.

    What fails and recovers by turns is one trouble, too, until it has worked for a minute. Texts
    that differ in numbers alone are the same one. May be used by several threads.
    """

    def __init__(
        self, log: logging.Logger, name: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._name, self._now = log, name, now
        self._lock = threading.Lock()
        self.text = ""  # what fails now
        self._since_s: float | None = None
        self._over_s = float("-inf")
        self._told = False  # and so its end is worth a line
        self._times = 0
        self._repeats = _Repeats()

    def failed(
        self, text: str, level: int = logging.WARNING, *, bug: BaseException | None = None
    ) -> None:
        """Note a failure; tell it if it is news, with the traceback of a `bug`."""
        with self._lock:
            now_s = self._now()
            self.text = redacted(text)
            if self._since_s is None:
                self._since_s, self._told, self._times = now_s, False, 0
                if now_s - self._over_s > _FIRST_S:
                    self._repeats.clear()
            self._times += 1
            more = self._repeats.news(_VARIES.sub("#", text), now_s)
            if more is None:
                return
            self._told = True
        level = logging.ERROR if bug else level
        values = (self._name, text, more)
        self._log.log(level, "%s: %s%s", *values, exc_info=bug, extra=NEWS)

    def over(self) -> None:
        """Note that it works; tell it if that is news."""
        with self._lock:
            if self._since_s is None:
                return
            self.text = ""
            since_s, self._since_s, self._over_s = self._since_s, None, self._now()
            if not self._told:
                return
            away_s, times = self._over_s - since_s, self._times
        failures = "1 failure" if times == 1 else f"{times} failures"
        text = f"works again after {span(away_s)}, {failures}"
        self._log.info("%s: %s", self._name, text, extra=NEWS)


def span(seconds: float) -> str:
    """Return a span of time as a person says it: 4 s, 12 min, 3 h 20 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
