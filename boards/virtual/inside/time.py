"""`time` as an ESP32 has it: whole seconds from 2000, by an RTC that may run faster than ticks."""

# ruff: noqa: F401  these names are this module's interface

import utime
from utime import sleep, sleep_ms, sleep_us, ticks_add, ticks_cpu, ticks_diff, ticks_ms, ticks_us

import chip

START_S = 946684800


def _world_ns():
    # In integers: a single float has no room for a second of today.
    words = chip.words
    passed_ns = (utime.time_ns() - words.rtc_real_ns) * words.factor_milli // 1000
    return words.rtc_world_ns + passed_ns


def set_rtc(ns):
    """Set the RTC to nanoseconds since 2000."""
    chip.words.rtc_real_ns = utime.time_ns()
    chip.words.rtc_world_ns = ns + START_S * 1000000000


def time():
    return _world_ns() // 1000000000 - START_S


def time_ns():
    return _world_ns() - START_S * 1000000000


def gmtime(seconds=None):
    # By hand: the unix port's ends in 2038, an ESP32's, of 32 bits from 2000 on, in 2068.
    seconds = time() if seconds is None else int(seconds)
    if not -(1 << 31) <= seconds < 1 << 31:
        raise OverflowError("overflow converting long int to machine word")
    days, second = divmod(seconds, 86400)
    # Source: H. Hinnant, chrono-Compatible Low-Level Date Algorithms, civil_from_days
    era, day = divmod(days - 60, 146097)  # a year begins in March
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month = (month + 2) % 12 + 1
    year += 2000 + 400 * era + (month < 3)
    yearday = (seconds - mktime((year, 1, 1, 0, 0, 0))) // 86400 + 1
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return year, month, day, hour, minute, second, (days + 5) % 7, yearday


localtime = gmtime


def mktime(parts):
    year, month, day, hour, minute, second = parts[:6]
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    shifted = year - (month < 3)
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 1 - 730425
    return days * 86400 + hour * 3600 + minute * 60 + second
