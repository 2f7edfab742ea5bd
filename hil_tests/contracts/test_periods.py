"""EnergyLedger: period_of, start_of against Python's calendar; the constructor."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hil_tests.contracts.evm import Contract, Reverted
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    HOUR_S,
    UTC_OFFSET_S,
    UTILITY_ID,
    World,
)


def ledger(world: World, **changed: Any) -> Contract:
    arguments = {
        "registry": world.registry.address,
        "utility_id": UTILITY_ID,
        "period_s": 0,
        "utc_offset_s": UTC_OFFSET_S,
        "closing_deadline_s": DEADLINE_S,
        "tolerance_bp": 500,
    }
    assert not changed.keys() - arguments.keys()
    return world.deploy("EnergyLedger", *{**arguments, **changed}.values())


def month_of(time_s: int, utc_offset_s: int) -> int:
    local = datetime.fromtimestamp(time_s, UTC) + timedelta(seconds=utc_offset_s)
    return 12 * (local.year - 1970) + local.month - 1


def start_of_month(period: int, utc_offset_s: int) -> int:
    local = datetime(1970 + period // 12, period % 12 + 1, 1, tzinfo=UTC)
    return int(local.timestamp()) - utc_offset_s


@pytest.mark.parametrize("utc_offset_s", [0, 19_800, -34_200, 50_400, -50_400])
def test_months_of_136_years(world: World, utc_offset_s: int, long: bool) -> None:
    contract = ledger(world, utc_offset_s=utc_offset_s)
    # every month of 60 years (four, if not --long), then some to the end of 32-bit Unix time: 2100
    # is no leap year
    years = (30, 90 if long else 34) if utc_offset_s == 19_800 else (0, 1)
    every = range(max(1, 12 * years[0]), 12 * years[1])
    for period in [*every, *range(12, 12 * 136, 29), 12 * 130 + 1, 12 * 430 + 1, 12 * 430 + 2]:
        start = start_of_month(period, utc_offset_s)
        assert contract.start_of(period) == start
        for time_s in (start - 1, start, start + 86_400 * 27):
            assert contract.period_of(time_s) == month_of(time_s, utc_offset_s)


def test_every_day_of_four_years(world: World) -> None:
    start = start_of_month(12 * 58, UTC_OFFSET_S)
    for time_s in range(start, start + 4 * 366 * DAY_S, DAY_S):
        assert world.energy.period_of(time_s) == month_of(time_s, UTC_OFFSET_S)


@pytest.mark.parametrize(
    "period_s",
    [*(days * DAY_S for days in (1, 3, 7, 30, 366)), *(h * HOUR_S for h in (1, 2, 3, 6, 12))],
)
@pytest.mark.parametrize("utc_offset_s", [0, 19_800, -12_600])
def test_periods_of_days_and_hours(world: World, period_s: int, utc_offset_s: int) -> None:
    contract = ledger(world, period_s=period_s, utc_offset_s=utc_offset_s)
    for time_s in (1_768_458_600, 1_768_458_600 + 12_345_678, 4_294_967_295):
        period = (time_s + utc_offset_s) // period_s
        assert contract.period_of(time_s) == period
        assert contract.start_of(period) == period * period_s - utc_offset_s
        assert contract.period_of(contract.start_of(period)) == period
        assert contract.period_of(contract.start_of(period) - 1) == period - 1


def test_what_is_read_back(world: World) -> None:
    contract = ledger(world, period_s=3 * DAY_S, utc_offset_s=-900)
    assert contract.registry() == world.registry.address
    assert contract.period_s() == 3 * DAY_S
    assert contract.utc_offset_s() == -900
    assert contract.closing_deadline_s() == DEADLINE_S
    assert contract.default_tolerance_bp() == 500


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"registry": "0x" + "11" * 20}, "registry is no contract"),
        ({"utility_id": ""}, "utility id is empty"),
        ({"period_s": 367 * DAY_S}, "period above 366 days"),
        ({"period_s": 1}, "period not whole days"),
        ({"period_s": HOUR_S // 2}, "period not whole days"),
        ({"period_s": 5 * HOUR_S}, "period not whole days"),
        ({"period_s": 36 * HOUR_S}, "period not whole days"),
        ({"period_s": DAY_S + 1}, "period not whole days"),
        ({"utc_offset_s": 50_400 + 900}, "utc offset"),
        ({"utc_offset_s": -50_400 - 900}, "utc offset"),
        ({"utc_offset_s": 60}, "utc offset"),
        ({"utc_offset_s": -60}, "utc offset"),
        ({"closing_deadline_s": 366 * DAY_S + 1}, "deadline above 366 days"),
        ({"tolerance_bp": 2001}, "tolerance above 2000"),
    ],
)
def test_constructor_refuses(world: World, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reverted, match=reason):
        ledger(world, **changed)
