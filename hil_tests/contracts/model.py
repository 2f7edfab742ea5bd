"""What the contracts must compute, written the plain way."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tariff:
    """Prices from a period on; slabs are (upper bound in Wh of one period, price per kWh)."""

    from_period: int
    slabs: list[tuple[int, int]]
    fixed_charge: int


def price_slabs(slabs: list[tuple[int, int]], energy_wh: int, periods: int) -> int:
    """Return thousandths: each Wh at the price of the slab that it falls into."""
    cost = low = 0
    for i, (upto_wh, price) in enumerate(slabs):
        high = energy_wh if i == len(slabs) - 1 else min(energy_wh, upto_wh * periods)
        cost += (high - low) * price
        low = high
    return cost


def bill(tariffs: list[Tariff], energy_wh: int, last: int, periods: int) -> int:
    """Return the bill for `energy_wh` over the periods last + 1 … last + periods.

    Energy is shared out evenly where the tariff changed, from the newest tariff back; the rest
    goes to the oldest. With no period it is priced as one, without the fixed charge.
    """
    first = last + min(periods, 1)
    end = first + max(periods, 1)
    cost, rest_wh = 0, energy_wh
    for tariff in reversed(tariffs):
        if tariff.from_period >= end:
            continue
        start = max(tariff.from_period, first)
        part_wh = rest_wh * (end - start) // (end - first)
        cost += price_slabs(tariff.slabs, part_wh, end - start)
        cost += tariff.fixed_charge * (end - start) * 1000 * min(periods, 1)
        rest_wh -= part_wh
        end = start
        if end == first:
            break
    return cost // 1000
