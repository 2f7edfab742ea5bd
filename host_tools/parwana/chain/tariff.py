"""Compute a bill as docs/contracts.md says, independently of the contract that charges it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tariff:
    """Prices from a period on: slabs of (upper bound in Wh, price a kWh) and a charge a period."""

    from_period: int
    slabs: list[tuple[int, int]]
    fixed_charge: int

    def cost(self, energy_wh: int, periods: int) -> int:
        """Return the price of energy used in `periods`, in thousandths of the smallest unit."""
        total, below = 0, 0
        for upto_wh, price in self.slabs:
            within = max(0, min(energy_wh, upto_wh * periods) - below)
            total += within * price
            below += within
        return total


def bill(tariffs: list[Tariff], energy_wh: int, last: int, periods: int) -> int:
    """Return the amount for the energy of the `periods` after period `last`, rounded down once.

    `tariffs` are all that were announced, in order. Where one begins in between, the energy is
    shared out evenly over the periods, later ones first. `periods` 0 bills the rest of a retired
    meter: as one period, without fixed charge.
    """
    first = last + min(periods, 1)
    left_wh, cost, stop = energy_wh, 0, first + max(periods, 1)
    for tariff in reversed(tariffs):
        start = max(tariff.from_period, first)
        if start >= stop:
            continue
        part_wh = left_wh * (stop - start) // (stop - first)
        cost += tariff.cost(part_wh, stop - start)
        if periods:
            cost += tariff.fixed_charge * (stop - start) * 1000
        left_wh -= part_wh
        stop = start
    return cost // 1000
