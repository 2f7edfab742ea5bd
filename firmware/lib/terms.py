"""Read the terms of one permit (wire.Permit): when it ends, and what it grants beside another."""

import wire

_DAY_S = 86400


def end_s(permit):
    """Return the last second (Unix) that the permit covers, grace included; it fits 4 bytes."""
    return min(permit.valid_until_s + _DAY_S * permit.grace_days, 0xFFFFFFFF)


def ended(permit, not_before_s, energy_wh):
    """Return 0 while the permit runs, else how it ended: wire.REASON_EXPIRED or _ENERGY_LIMIT."""
    if not_before_s > end_s(permit):
        return wire.REASON_EXPIRED
    if permit.energy_limit_wh and energy_wh >= permit.energy_limit_wh:
        return wire.REASON_ENERGY_LIMIT
    return 0


def no_cut(permit, local_s):
    """Tell whether the permit forbids a cut at a local time (Unix seconds + utc_offset_s)."""
    weekday = (local_s // _DAY_S + 3) % 7  # 1970-01-01 was a Thursday, 0 is Monday
    if permit.no_cut_weekdays >> weekday & 1:
        return True
    hour = local_s % _DAY_S // 3600
    start = permit.no_cut_from_h
    stop = permit.no_cut_to_h
    if start <= stop:
        return start <= hour < stop
    return hour >= start or hour < stop


def at_least(limit, other):
    """Tell whether a limit grants more than another, or as much; 0 is none."""
    return limit == 0 or 0 < other <= limit


def covers(new, old):
    """Tell whether `new` grants all that `old` does, so that `old` need not be held."""
    windows = (old.no_cut_from_h, old.no_cut_to_h, old.no_cut_weekdays)
    return (
        end_s(new) >= end_s(old)
        and at_least(new.power_limit_dw, old.power_limit_dw)
        and at_least(new.energy_limit_wh, old.energy_limit_wh)
        and new.flags & wire.PERMIT_PROTECTED >= old.flags & wire.PERMIT_PROTECTED
        and new.flags & wire.PERMIT_BUTTON <= old.flags & wire.PERMIT_BUTTON
        and windows in ((0, 0, 0), (new.no_cut_from_h, new.no_cut_to_h, new.no_cut_weekdays))
    )
