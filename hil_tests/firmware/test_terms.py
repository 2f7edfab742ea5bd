"""Test terms: the end of one permit, its no-cut hours, and when another makes it needless."""

import terms

import wire
from hil_tests.firmware.signers import DAY_S, T0, permit

ENERGY_WH = 10**7


def made(**fields):
    return wire.parse(permit(1, **fields))


def test_end():
    assert terms.end_s(made(days=3)) == T0 + 3 * DAY_S
    assert terms.end_s(made(days=3, grace_days=255)) == T0 + 258 * DAY_S
    assert terms.end_s(made(valid_until_s=0xFFFFFFFE, grace_days=1)) == 0xFFFFFFFF


def test_ended():
    both = made(days=3, energy_limit_wh=ENERGY_WH)
    end_s = T0 + 3 * DAY_S
    for not_before_s, energy_wh, reason in (
        (0, 0, 0),
        (end_s, ENERGY_WH - 1, 0),
        (end_s, ENERGY_WH, wire.REASON_ENERGY_LIMIT),
        (end_s + 1, 0, wire.REASON_EXPIRED),
        (end_s + 1, ENERGY_WH, wire.REASON_EXPIRED),
    ):
        assert terms.ended(both, not_before_s, energy_wh) == reason
    assert terms.ended(made(), T0, 10**15) == 0


def free_hours(permit_made, day=0):
    """Return the hours of a local day (0: a Monday) in which no cut is allowed."""
    start_s = T0 + 19800 + day * DAY_S
    assert start_s % DAY_S == 0
    found = []
    for hour in range(24):
        first = terms.no_cut(permit_made, start_s + hour * 3600)
        assert terms.no_cut(permit_made, start_s + hour * 3600 + 3599) == first
        if first:
            found.append(hour)
    return found


def test_no_cut_hours():
    for start, stop, hours in (
        (0, 0, []),
        (7, 7, []),
        (9, 11, [9, 10]),
        (22, 2, [0, 1, 22, 23]),
        (23, 0, [23]),
        (0, 1, [0]),
        (1, 0, list(range(1, 24))),
    ):
        assert free_hours(made(no_cut_from_h=start, no_cut_to_h=stop)) == hours


def test_no_cut_weekdays():
    for mask in (0x00, 0x01, 0x40, 0x60, 0x15, 0x7F):
        days = [day for day in range(7) if free_hours(made(no_cut_weekdays=mask), day)]
        assert days == [day for day in range(7) if mask >> day & 1]
    both = made(no_cut_weekdays=0x02, no_cut_from_h=3, no_cut_to_h=4)
    assert free_hours(both, 0) == [3]
    assert free_hours(both, 1) == list(range(24))


def test_limits():
    for limit, other, answer in (
        (0, 0, True),
        (0, 5, True),
        (5, 0, False),
        (5, 5, True),
        (6, 5, True),
        (4, 5, False),
    ):
        assert terms.at_least(limit, other) == answer


def test_covers():
    old = {"days": 30, "power_limit_dw": 5000, "energy_limit_wh": ENERGY_WH}
    hours = {"no_cut_from_h": 20, "no_cut_to_h": 8, "no_cut_weekdays": 1}
    button = wire.PERMIT_BUTTON
    protected = wire.PERMIT_PROTECTED
    for new, plus, answer in (
        ({}, {}, True),
        ({"days": 31}, {}, True),
        ({"days": 29}, {}, False),
        ({"days": 29, "grace_days": 1}, {}, True),
        ({"power_limit_dw": 0}, {}, True),
        ({"power_limit_dw": 4999}, {}, False),
        ({"energy_limit_wh": 0}, {}, True),
        ({"energy_limit_wh": ENERGY_WH - 1}, {}, False),
        ({"flags": button}, {}, False),
        ({}, {"flags": button}, True),
        ({"flags": button}, {"flags": button}, True),
        ({"flags": protected}, {}, True),
        ({}, {"flags": protected}, False),
        ({"flags": protected}, {"flags": protected}, True),
        ({"flags": wire.PERMIT_COMMISSIONING}, {}, True),
        (hours, {}, True),
        ({}, hours, False),
        (hours, hours, True),
        ({"no_cut_from_h": 19, "no_cut_to_h": 8, "no_cut_weekdays": 1}, hours, False),
    ):
        before = dict(old)
        before.update(plus)
        after = dict(old)
        after.update(new)
        assert terms.covers(made(**after), made(**before)) == answer, (new, plus)
