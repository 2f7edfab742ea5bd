"""Read a tariff, compute a bill as docs/contracts.md says, independently of the contract."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPEN_END_WH = 2**64 - 1
_SLABS_MOST = 6
_PRICE_MOST = 2**96 - 1
_FORM = (
    '{"slabs": [{"upto_wh": 100000, "price_per_kwh": 1}, {"upto_wh": null, "price_per_kwh": 2}], '
    '"fixed_charge": 3}, whole numbers in the smallest unit of the currency'
)


class TariffError(ValueError):
    """A file is no tariff that the contract takes; the text names what to change."""


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


def read_tariff(path: Path, from_period: int = 0) -> Tariff:
    """Read slabs and fixed charge from a JSON file; the last slab's `upto_wh` is null.

    Raises TariffError for what the contract would refuse, and for what it would not understand.
    """

    def refuse(text: str) -> TariffError:
        return TariffError(f"{path}: {text}")

    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise refuse(str(error.strerror)) from None
    except (ValueError, RecursionError):
        raise refuse(f"no JSON; write {_FORM}") from None
    slabs = found.get("slabs") if isinstance(found, dict) else None
    if not isinstance(slabs, list) or not all(isinstance(slab, dict) for slab in slabs):
        raise refuse(f"write {_FORM}")
    wrong = set(found) - {"slabs", "fixed_charge"}
    wrong |= {name for slab in slabs for name in slab} - {"upto_wh", "price_per_kwh"}
    if wrong:
        raise refuse(f"unknown key {sorted(wrong)[0]!r}; write {_FORM}")
    if not 1 <= len(slabs) <= _SLABS_MOST:
        raise refuse(f"{len(slabs)} slabs; there are 1 to {_SLABS_MOST}")
    read, below = [], 0
    for i, slab in enumerate(slabs):
        upto_wh: Any = slab.get("upto_wh", 0)
        if upto_wh is None:
            upto_wh = OPEN_END_WH
        if type(upto_wh) is not int or not below < upto_wh <= OPEN_END_WH:
            raise refuse(
                f"slab {i + 1}: upto_wh is {slab.get('upto_wh')!r}; write a whole number of Wh "
                f"above {below}, where the slab before it ends, or null in the last slab"
            )
        price = _price(slab.get("price_per_kwh"), f"slab {i + 1}: price_per_kwh", refuse)
        read.append((upto_wh, price))
        below = upto_wh
    if below != OPEN_END_WH:
        raise refuse(
            f"nothing has a price above {below} Wh; end with a slab whose upto_wh is null"
        )
    return Tariff(from_period, read, _price(found.get("fixed_charge"), "fixed_charge", refuse))


def _price(value: Any, name: str, refuse: Callable[[str], TariffError]) -> int:
    if type(value) is not int or not 0 <= value <= _PRICE_MOST:
        raise refuse(
            f"{name} is {value!r}; write a whole number in the smallest unit of the currency"
        )
    return value
