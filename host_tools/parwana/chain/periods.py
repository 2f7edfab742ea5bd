"""Billing periods: which one holds an instant, which one a reading closes."""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import wire

DAY_S = 86400
OFFSETS_S = range(-14 * 3600, 14 * 3600 + 1, 900)
OFFSET = "seconds in steps of 900, -50400 to 50400, as 19800 for UTC+5:30"
_UNITS_S = {"days": DAY_S, "hours": 3600}


class PeriodError(ValueError):
    """What was written is no period; the text says what to write."""


@dataclass(frozen=True)
class Period:
    """Billing periods: local calendar months, N days, or N hours of those that divide a day.

    `count` is N, 0 for months. Source: docs/protocol.md section 7.
    """

    kind: str
    count: int
    utc_offset_s: int

    @property
    def length_s(self) -> int:
        """Return a period's length in seconds, 0 for calendar months."""
        return self.count * _UNITS_S.get(self.kind, 0)

    def of(self, time_s: int) -> int:
        """Return the number of the period that holds an instant."""
        local = time_s + self.utc_offset_s
        if self.length_s:
            return local // self.length_s
        date = datetime.fromtimestamp(local, UTC)
        return 12 * (date.year - 1970) + date.month - 1

    def start(self, period: int) -> int:
        """Return the first instant of a period, Unix seconds."""
        if self.length_s:
            return period * self.length_s - self.utc_offset_s
        first = datetime(1970 + period // 12, period % 12 + 1, 1, tzinfo=UTC)
        return int(first.timestamp()) - self.utc_offset_s

    def text(self, period: int) -> str:
        """Return a period's number and local dates, as `20645 (2026-07-11)`, for people."""
        dates = ""
        with suppress(ValueError, OverflowError, OSError):  # a number that is no period's
            first, last = (
                datetime.fromtimestamp(self.start(number) + self.utc_offset_s, UTC)
                for number in (period, period + 1)
            )
            if self.kind == "month":
                dates = f" ({first:%Y-%m})"
            elif self.kind == "hours":
                dates = f" ({first:%Y-%m-%d %H:%M} to {last:%H:%M})"
            elif self.count == 1:
                dates = f" ({first:%Y-%m-%d})"
            else:
                dates = f" ({first:%Y-%m-%d} to {last - timedelta(days=1):%Y-%m-%d})"
        return f"{period}{dates}"

    def named(self, text: str) -> int:
        """Return the period of a number, of a month (2027-01) or of a local date (2027-01-15).

        Raises PeriodError.
        """
        if text.isdecimal() and int(text) < 2**32:
            return int(text)
        with suppress(ValueError, OverflowError):
            day = text + "-01" if re.fullmatch(r"\d{4}-\d{2}", text) else text
            local = datetime.fromisoformat(day).replace(tzinfo=UTC)
            return self.of(int(local.timestamp()) - self.utc_offset_s)
        raise PeriodError(
            f"{text}: write a date like 2027-01-15, a month like 2027-01, or a number"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what the deployment file keeps, without the offset."""
        return {"kind": self.kind} | ({self.kind: self.count} if self.count else {})

    @classmethod
    def parse(cls, text: str, utc_offset_s: int) -> "Period":
        """Read `month`, `days:N` or `hours:N`. Raises PeriodError."""
        kind, _, number = text.partition(":")
        count = int(number) if re.fullmatch(r"[0-9]{1,3}", number) else 0
        if text != "month" and not counts(kind, count):
            raise PeriodError(
                f"--period {text}: write month, or days:1 to days:366; "
                "on a development chain also hours:1, :2, :3, :4, :6, :8 or :12"
            )
        if utc_offset_s not in OFFSETS_S:
            raise PeriodError(f"--utc-offset {utc_offset_s}: write {OFFSET}")
        return cls(kind, count, utc_offset_s)


def counts(kind: str, count: Any) -> bool:
    """Say whether periods of `count` of a kind are possible."""
    if type(count) is not int or kind not in _UNITS_S:
        return False
    return 1 <= count <= 366 if kind == "days" else 0 < count <= 24 and 24 % count == 0


def closed_period(frame: bytes, periods: Period) -> int | None:
    """Return the period that a frame closes, None if it is no closing. Source: section 7."""
    fields = wire.parse(frame)
    if not isinstance(fields, wire.Reading) or not fields.flags & wire.FLAG_CLOSING:
        return None
    current = periods.of(fields.time_s)
    in_window = fields.time_s < periods.start(current) + DAY_S
    if fields.clock_trust == wire.TRUST_NONE or not (in_window or fields.flags & wire.FLAG_BOOT):
        return None
    return current - 1
