"""Billing periods against docs/protocol.md, section 7."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire
from parwana.chain.periods import Period, PeriodError, closed_period


@given(
    st.integers(86400 * 400, 2**32 - 1),
    st.sampled_from([0, 19800, -12600, 50400, -43200]),
    st.integers(0, 366),
)
def test_a_period_holds_its_instants(time_s, offset_s, days):
    period = Period("days" if days else "month", days, offset_s)
    number = period.of(time_s)
    assert period.start(number) <= time_s < period.start(number + 1)
    assert period.of(period.start(number)) == number
    assert period.of(period.start(number) - 1) == number - 1


def test_a_month_is_local():
    period = Period.parse("month", 19800)
    last = int(datetime(2026, 1, 31, 18, 29, 59, tzinfo=UTC).timestamp())
    assert (period.of(last), period.of(last + 1)) == (56 * 12, 56 * 12 + 1)


@pytest.mark.parametrize("text", ["days:0", "days:", "days:367", "week", "days:1.5", ""])
def test_a_wrong_period_says_what_to_write(text):
    with pytest.raises(PeriodError, match="write month, or days:1"):
        Period.parse(text, 0)


@pytest.mark.parametrize(
    ("periods", "time_s", "flags", "trust", "expected"),
    [
        (Period("days", 1, 0), 86400 * 5, wire.FLAG_CLOSING, 1, 4),
        (Period("days", 30, 0), 86400 * 60, wire.FLAG_CLOSING, 2, 1),
        (Period("days", 30, 0), 86400 * 61 - 1, wire.FLAG_CLOSING, 2, 1),
        (Period("days", 30, 0), 86400 * 61, wire.FLAG_CLOSING, 2, None),
        (Period("days", 30, 0), 86400 * 61, wire.FLAG_CLOSING | wire.FLAG_BOOT, 2, 1),
        (Period("days", 1, 0), 86400 * 5, wire.FLAG_CLOSING, 0, None),
        (Period("days", 1, 0), 86400 * 5, 0, 2, None),
        (Period("month", 0, 19800), 1_796_063_400, wire.FLAG_CLOSING, 1, 682),
        (Period("month", 0, 19800), 1_796_063_399, wire.FLAG_CLOSING, 1, None),
    ],
)
def test_which_period_a_reading_closes(
    periods: Period, time_s: int, flags: int, trust: int, expected: int | None
) -> None:
    frame = wire.pack_reading(flags, 1, time_s, 0, 0, 0, 0, 0, 0, 0, 0, trust)
    assert closed_period(frame, periods) == expected
    assert closed_period(wire.pack_event(1, 1, time_s, 0, clock_trust=trust), periods) is None
