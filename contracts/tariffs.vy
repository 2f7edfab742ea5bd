# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Tariffs
@license MIT
@notice Prices by slabs, from a period on; the past keeps its own.
"""

event TariffAnnounced:
    index: indexed(uint256)
    from_period: uint256
    slabs: DynArray[Slab, MAX_SLABS]
    fixed_charge: uint256


struct Slab:
    upto_wh: uint64             # of one period's energy
    price_per_kwh: uint96       # in the currency's smallest unit


struct Tariff:
    from_period: uint256
    slabs: DynArray[Slab, MAX_SLABS]
    fixed_charge: uint256       # for each period


MAX_SLABS: constant(uint256) = 6
# how many tariffs a settlement can look back over: 85 years of monthly changes
MAX_TARIFFS_BACK: constant(uint256) = 1024
# how many may be announced for later periods: each bill looks back over them
MAX_WAITING: constant(uint256) = 12

_U8: constant(uint256) = 2**8 - 1
_U32: constant(uint256) = 2**32 - 1
_U96: constant(uint256) = 2**96 - 1
_COUNT: constant(uint256) = 136

# from_period 32 | slabs 8 | fixed_charge 96
_tariffs: HashMap[uint256, uint256]
# count 32 | the last one of them
_last: uint256
# tariff << 8 | slab -> upto_wh 64 | price_per_kwh 96
_slabs: HashMap[uint256, uint256]


@view
@external
def tariff_count() -> uint256:
    """
    @notice Count the tariffs, past and announced.
    """
    return self._last >> _COUNT


@view
@external
def tariff(_index: uint256) -> Tariff:
    """
    @notice Read a tariff.
    @param _index 32 bytes: from 0, below `tariff_count`.
    """
    assert _index < self._last >> _COUNT, "no such tariff"
    header: uint256 = self._tariffs[_index]
    slabs: DynArray[Slab, MAX_SLABS] = []
    for i: uint256 in range((header >> 96) & _U8, bound=MAX_SLABS):
        slab: uint256 = self._slabs[(_index << 8) | i]
        slabs.append(
            Slab(
                upto_wh=convert(slab >> 96, uint64),
                price_per_kwh=convert(slab & _U96, uint96),
            )
        )
    return Tariff(from_period=header >> 104, slabs=slabs, fixed_charge=header & _U96)


@view
@internal
def _price(_energy_wh: uint256, _last: uint256, _periods: uint256) -> uint256:
    """
    @notice Price the energy of the periods after `_last`, rounded down once at the end.
    @dev Slabs are wider by the number of periods. Where the tariff changed in between, the energy
         is shared out evenly over the periods: the register does not tell when it was used. What
         a retired meter metered after its last bill is priced as a period without fixed charge.
    """
    first: uint256 = _last + min(_periods, 1)
    end: uint256 = max(_last + _periods, first) + 1
    energy_wh: uint256 = _energy_wh
    cost: uint256 = 0
    header: uint256 = self._last
    index: uint256 = header >> _COUNT
    for back: uint256 in range(MAX_TARIFFS_BACK):
        index -= 1
        if back != 0:
            header = self._tariffs[index]
        start: uint256 = (header >> 104) & _U32
        if start >= end:
            continue
        start = max(start, first)
        part_wh: uint256 = energy_wh * (end - start) // (end - first)
        cost += self._price_slabs(index, (header >> 96) & _U8, part_wh, end - start)
        if _periods != 0:
            cost += (header & _U96) * (end - start) * 1000
        energy_wh -= part_wh
        end = start
        if end == first:
            break
    assert end == first, "tariff too far back"
    return cost // 1000


@view
@internal
def _price_slabs(
    _tariff: uint256, _slab_count: uint256, _energy_wh: uint256, _periods: uint256
) -> uint256:
    """
    @notice Price energy by slabs, in thousandths of the currency's smallest unit.
    """
    cost: uint256 = 0
    low: uint256 = 0
    for i: uint256 in range(_slab_count, bound=MAX_SLABS):
        slab: uint256 = self._slabs[(_tariff << 8) | i]
        high: uint256 = _energy_wh
        if i + 1 < _slab_count:
            high = min(_energy_wh, (slab >> 96) * _periods)
        cost += (high - low) * (slab & _U96)
        low = high
        if low == _energy_wh:
            break
    return cost


@view
@internal
def _check_next(_from_period: uint256, _period: uint256):
    """
    @notice Refuse a tariff that does not follow the last one, or that would be one too many.
    @dev `_period` is the running one.
    """
    header: uint256 = self._last
    assert _from_period > (header >> 104) & _U32, "not after the last tariff"
    count: uint256 = header >> _COUNT
    if count > MAX_WAITING:
        first_waiting: uint256 = self._tariffs[count - MAX_WAITING] >> 104
        assert first_waiting <= _period, "12 tariffs wait, announce later"


@internal
def _add(
    _from_period: uint256, _slabs: DynArray[Slab, MAX_SLABS], _fixed_charge: uint96
):
    index: uint256 = self._last >> _COUNT
    count: uint256 = len(_slabs)
    assert count != 0, "no slab"
    below: uint64 = 0
    i: uint256 = 0
    for slab: Slab in _slabs:
        assert slab.upto_wh > below, "slabs not rising"
        below = slab.upto_wh
        self._slabs[(index << 8) | i] = (
            (convert(slab.upto_wh, uint256) << 96) | convert(slab.price_per_kwh, uint256)
        )
        i += 1
    assert below == max_value(uint64), "last slab not open"
    fixed_charge: uint256 = convert(_fixed_charge, uint256)
    header: uint256 = (_from_period << 104) | (count << 96) | fixed_charge
    self._tariffs[index] = header
    self._last = ((index + 1) << _COUNT) | header
    log TariffAnnounced(
        index=index, from_period=_from_period, slabs=_slabs, fixed_charge=fixed_charge
    )
