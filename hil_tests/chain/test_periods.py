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
    st.sampled_from(["month", "days:1", "days:7", "days:366", "hours:1", "hours:6", "hours:24"]),
)
def test_a_period_holds_its_instants(time_s, offset_s, text):
    period = Period.parse(text, offset_s)
    number = period.of(time_s)
    assert period.start(number) <= time_s < period.start(number + 1)
    assert period.of(period.start(number)) == number
    assert period.of(period.start(number) - 1) == number - 1


def test_a_month_is_local():
    period = Period.parse("month", 19800)
    last = int(datetime(2026, 1, 31, 18, 29, 59, tzinfo=UTC).timestamp())
    assert (period.of(last), period.of(last + 1)) == (56 * 12, 56 * 12 + 1)


def test_hours_begin_with_the_local_day():
    period = Period.parse("hours:6", 19800)
    midnight_s = 20_000 * 86400 - 19800
    starts = [period.start(period.of(midnight_s) + number) - midnight_s for number in range(5)]
    assert starts == [0, 6 * 3600, 12 * 3600, 18 * 3600, 86400]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("month", "682 (2026-11)"),
        ("days:1", "20783 (2026-11-26)"),
        ("days:7", "2969 (2026-11-26 to 2026-12-02)"),
        ("hours:1", "498797 (2026-11-26 05:00 to 06:00)"),
        ("hours:12", "41566 (2026-11-26 00:00 to 12:00)"),
    ],
)
def test_a_period_is_told_with_its_local_dates(text, expected):
    period = Period.parse(text, 19800)
    assert period.text(period.of(1_795_651_200)) == expected  # 2026-11-26 00:00 UTC


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**64])
def test_a_number_that_is_no_period_is_told_all_the_same(number):
    for text in ("month", "days:366", "hours:12"):
        assert Period.parse(text, 50400).text(number).startswith(str(number))


@pytest.mark.parametrize("offset_s", [1, 60, 5, -901, 50401, 51300, -51300])
def test_a_wrong_offset_says_what_is_allowed(offset_s):
    with pytest.raises(PeriodError, match=r"--utc-offset .*steps of 900, -50400 to 50400"):
        Period.parse("month", offset_s)


@pytest.mark.parametrize(
    "text",
    [
        *("days:0", "days:", "days:367", "week", "days:1.5", "", "month:1", "days:1:1", "days:²"),
        *("hours:0", "hours:5", "hours:48", "hours:", "hours"),
    ],
)
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
