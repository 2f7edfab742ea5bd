"""When an ended permit may cut: against the calendar of the standard library, at each hour."""

from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from itertools import product
from typing import Any

import pytest
import terms

import wire

signers: Any = import_module("hil_tests.firmware.signers")
DAY_S, OFFSET_S, T0 = 86_400, 19_800, signers.T0

OFFSETS_S = (0, OFFSET_S, -50_400, 50_400, -12_600)
CROSSING = (22, 6)  # around midnight


def forbids(start_h: int, stop_h: int, weekdays: int, time_s: int, offset_s: int) -> bool:
    """Tell whether the window holds at an instant, as docs/protocol.md 1 has it."""
    local = datetime.fromtimestamp(time_s, UTC).astimezone(timezone(timedelta(seconds=offset_s)))
    if weekdays & 1 << local.weekday():
        return True
    hours = [(start_h + i) % 24 for i in range((stop_h - start_h) % 24)]
    return local.hour in hours


@pytest.mark.parametrize("offset_s", OFFSETS_S)
def test_each_window_at_each_hour(offset_s: int, long: bool) -> None:
    """All 24 x 24 windows over a week, a second before each hour and at it."""
    windows = list(product(range(24), range(24))) if long else [
        *product((0, 1, 6, 12, 22, 23), (0, 1, 6, 12, 22, 23))
    ]  # fmt: skip
    for start_h, stop_h in windows:
        terms_of = wire.parse(signers.permit(1, no_cut_from_h=start_h, no_cut_to_h=stop_h))
        for hour in range(0, 24 * 7, 5):
            for time_s in (T0 + 3600 * hour - 1, T0 + 3600 * hour):
                assert terms.no_cut(terms_of, time_s + offset_s) is forbids(
                    start_h, stop_h, 0, time_s, offset_s
                ), (start_h, stop_h, time_s)


@pytest.mark.parametrize("offset_s", OFFSETS_S)
def test_each_mask_of_weekdays_at_each_midnight(offset_s: int) -> None:
    """All 128 masks, beside a window around midnight, over ten days."""
    for weekdays in range(128):
        terms_of = wire.parse(
            signers.permit(
                1, no_cut_weekdays=weekdays, no_cut_from_h=CROSSING[0], no_cut_to_h=CROSSING[1]
            )
        )
        for day, second in product(range(10), (-1, 0, 6 * 3600 - 1, 6 * 3600, 22 * 3600)):
            time_s = T0 + day * DAY_S + second
            assert terms.no_cut(terms_of, time_s + offset_s) is forbids(
                *CROSSING, weekdays, time_s, offset_s
            )


EDGES_S = (T0, 951_782_400, 4_107_542_400, 2**31, 2**32 - 3 * DAY_S)  # 2000-02-29, 2100-03-01


@pytest.mark.parametrize("end_s", EDGES_S)
@pytest.mark.parametrize("grace_days", [0, 1, 255])
def test_a_permit_at_every_edge(end_s: int, grace_days: int) -> None:
    """It is cut the second after its end, its grace and its window; a protected one is not."""
    last_s = min(end_s + grace_days * DAY_S, 2**32 - 1)
    for flags, window in product((0, wire.PERMIT_PROTECTED), ((0, 0), CROSSING)):
        holder = signers.trusting(signers.Flash())
        frame = signers.permit(
            1, flags=flags, issued_at_s=end_s - 1, valid_until_s=end_s, grace_days=grace_days,
            no_cut_from_h=window[0], no_cut_to_h=window[1],
        )  # fmt: skip
        holder.accept(signers.bundle(frame), end_s - 1, 0)
        assert holder.grant(last_s, 0).running
        time_s = last_s + 1
        for _ in range(30):  # hours
            grant = holder.grant(time_s, 0)
            kept = bool(flags) or forbids(*window, 0, time_s, OFFSET_S)
            assert grant.running is kept, (time_s - last_s, flags, window)
            assert kept or grant.reason == wire.REASON_EXPIRED
            if not kept:
                break
            time_s += 3600 - (time_s + OFFSET_S) % 3600  # the next local hour
        assert bool(flags) is holder.grant(time_s, 0).running
        assert not holder.grant(0, 0).running or flags  # over is over, whatever the clock says
