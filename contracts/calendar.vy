# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Calendar
@license MIT
@notice Number the periods of local time: calendar months, whole days, or equal parts of a day.
"""

DAY_S: constant(uint256) = 86400
HOUR_S: constant(uint256) = 3600

period_s: public(immutable(uint256))
utc_offset_s: public(immutable(int256))


@deploy
def __init__(_period_s: uint256, _utc_offset_s: int256):
    """
    @notice Choose the period and the clock.
    @param _period_s 32 bytes: length of a period, whole days or whole hours that divide a day;
           0 = a calendar month.
    @param _utc_offset_s 32 bytes, signed: local time minus UTC, a multiple of 900.
    """
    assert _period_s <= 366 * DAY_S, "period above 366 days"
    assert _period_s % DAY_S == 0 or (
        _period_s % HOUR_S == 0 and DAY_S % _period_s == 0
    ), "period not whole days or a part of one"
    assert abs(_utc_offset_s) <= 50400 and _utc_offset_s % 900 == 0, "utc offset"
    period_s = _period_s
    utc_offset_s = _utc_offset_s


@view
@external
def period_of(_time_s: uint256) -> uint256:
    """
    @notice Return the number of the period that holds an instant, 0 before there was one.
    @param _time_s 32-byte Unix time.
    """
    return self._period_of(_time_s)


@view
@external
def start_of(_period: uint256) -> uint256:
    """
    @notice Return the first instant of a period in Unix time, 0 of one that began earlier.
    @param _period 32-byte number of the period.
    """
    return self._start_of(_period)


@view
@internal
def _period_of(_time_s: uint256) -> uint256:
    local_s: uint256 = self._above_zero(convert(_time_s, int256) + utc_offset_s)
    if period_s != 0:
        return local_s // period_s
    # Proleptic Gregorian, counted from 1 March of year 0 so that the leap day ends a year:
    # 400 years are 146097 days, 5 months from March are 153 days.
    # Source: Hinnant, chrono-compatible low-level date algorithms, days_from_civil and back
    days: uint256 = local_s // DAY_S + 719468
    era: uint256 = days // 146097
    day: uint256 = days % 146097
    year: uint256 = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month: uint256 = (5 * day + 2) // 153
    return 12 * (400 * era + year) + month + 2 - 12 * 1970


@view
@internal
def _start_of(_period: uint256) -> uint256:
    local_s: uint256 = _period * period_s
    if period_s == 0:
        months: uint256 = _period + 12 * 1970 - 2
        year: uint256 = months // 12
        days: uint256 = (153 * (months % 12) + 2) // 5 + 365 * year + year // 4 - year // 100
        local_s = (days + year // 400 - 719468) * DAY_S
    return self._above_zero(convert(local_s, int256) - utc_offset_s)


@pure
@internal
def _above_zero(_time_s: int256) -> uint256:
    return convert(max(_time_s, 0), uint256)
