"""Billing periods: which one holds an instant, which one a reading closes."""

from dataclasses import dataclass
from datetime import UTC, datetime

import wire

DAY_S = 86400


class PeriodError(ValueError):
    """What was written is no period; the text says what to write."""


@dataclass(frozen=True)
class Period:
    """Billing periods: N days, or local calendar months. Source: docs/protocol.md section 7."""

    kind: str
    days: int
    utc_offset_s: int

    def of(self, time_s: int) -> int:
        """Return the number of the period that holds an instant."""
        local = time_s + self.utc_offset_s
        if self.kind == "days":
            return local // (DAY_S * self.days)
        date = datetime.fromtimestamp(local, UTC)
        return 12 * (date.year - 1970) + date.month - 1

    def start(self, period: int) -> int:
        """Return the first instant of a period, Unix seconds."""
        if self.kind == "days":
            return period * DAY_S * self.days - self.utc_offset_s
        first = datetime(1970 + period // 12, period % 12 + 1, 1, tzinfo=UTC)
        return int(first.timestamp()) - self.utc_offset_s

    @classmethod
    def parse(cls, text: str, utc_offset_s: int) -> "Period":
        """Read `month` or `days:N`. Raises PeriodError."""
        if text == "month":
            return cls("month", 0, utc_offset_s)
        days = text.removeprefix("days:")
        if days == text or not days.isdecimal() or not 1 <= int(days) <= 366:
            raise PeriodError(f"period {text!r}: write month, or days:1 to days:366")
        return cls("days", int(days), utc_offset_s)


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
