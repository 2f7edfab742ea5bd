# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Accounts
@license MIT
@notice What each house owes: bills of what its meters signed, by the tariff of each period.
@dev Accounts belong to metering points.
"""

from interfaces import IMeterRegistry
from interfaces import IEnergyLedger
import calendar
import tariffs

uses: calendar
uses: tariffs


event Billed:
    meter: indexed(address)
    number: indexed(uint48)
    period: indexed(uint256)
    periods: uint256
    energy_wh: uint256
    amount: uint256
    due: uint256


event Carried:
    # energy of a replaced meter, billed with the next period of its point
    meter: indexed(address)
    number: indexed(uint48)
    energy_wh: uint256


MAX_METERS: constant(uint256) = 64

U24: constant(uint256) = 2**24 - 1
U32: constant(uint256) = 2**32 - 1
U72: constant(uint256) = 2**72 - 1
U96: constant(uint256) = 2**96 - 1

# offsets into an account's slot; what is locked is what was due for a period, until when:
# due 96 | carried_wh 72 | period 24 | locked period 24 | deadline_s 32 | flags
DUE: constant(uint256) = 160
CARRIED: constant(uint256) = 88
PERIOD: constant(uint256) = 64
FOR_PERIOD: constant(uint256) = 40
DEADLINE: constant(uint256) = 8
LOCKED: constant(uint256) = 2
_OPENED: constant(uint256) = 1

registry: public(immutable(IMeterRegistry))
energy_ledger: public(immutable(IEnergyLedger))

accounts: HashMap[uint48, uint256]
# billed_wh 64 | known 1
_meters: HashMap[address, uint256]


@deploy
def __init__(_registry: address, _energy_ledger: address):
    """
    @notice Start without accounts.
    @param _registry 20-byte address of the MeterRegistry.
    @param _energy_ledger 20-byte address of the EnergyLedger.
    """
    assert _registry.is_contract, "registry is no contract"
    assert _energy_ledger.is_contract, "energy ledger is no contract"
    registry = IMeterRegistry(_registry)
    energy_ledger = IEnergyLedger(_energy_ledger)
    asked: IMeterRegistry = staticcall energy_ledger.registry()
    assert asked.address == _registry, "energy ledger of another registry"


@nonreentrant
@external
def settle(_meter: address) -> uint256:
    """
    @notice Bill a house for all periods that its meter closed since the last bill.
    @param _meter 20-byte address of the meter.
    @return the amount billed now, 0 if there is nothing new.
    """
    return self._settle(_meter)


@nonreentrant
@external
def settle_many(_meters: DynArray[address, MAX_METERS]):
    """
    @notice Settle many houses.
    @param _meters up to 64 20-byte addresses.
    """
    for meter: address in _meters:
        self._settle(meter)


@internal
def _settle(_meter: address) -> uint256:
    place: IMeterRegistry.Place = staticcall registry.place(_meter)
    assert place.kind == 1, "not a house"
    number: uint48 = place.number
    account: uint256 = self.accounts[number]
    if account == 0:
        since_s: uint256 = convert(staticcall registry.served_since(number), uint256)
        account = ((calendar._period_of(since_s) - 1) << PERIOD) | _OPENED
    closing: IEnergyLedger.Closing = staticcall energy_ledger.closing(_meter)
    carried_wh: uint256 = (account >> CARRIED) & U72
    energy_wh: uint256 = carried_wh + self._take(_meter, closing.energy_wh)
    if place.replaces:
        previous: address = (staticcall registry.meter(_meter)).previous
        energy_wh += self._take(previous, (staticcall energy_ledger.closing(previous)).energy_wh)

    ended: bool = place.retired_at_s != 0
    replaced: bool = ended and staticcall registry.meter_of(number) != _meter
    last: uint256 = (account >> PERIOD) & U24
    periods: uint256 = 0
    if not replaced and closing.time_s != 0:
        periods = convert(closing.period, uint256) - last
    if replaced or (periods == 0 and (not ended or energy_wh == 0)):
        if energy_wh != carried_wh:
            assert energy_wh <= U72, "carried above 2**72"
            self.accounts[number] = (account & ~(U72 << CARRIED)) | (energy_wh << CARRIED)
            log Carried(meter=_meter, number=number, energy_wh=energy_wh)
        return 0

    amount: uint256 = tariffs._price(energy_wh, last, periods)
    period: uint256 = last + periods
    assert period <= U24, "no such period"
    account = self._with_due(
        account & ~(U72 << CARRIED | U24 << PERIOD), (account >> DUE) + amount
    )
    self.accounts[number] = account | (period << PERIOD)
    log Billed(
        meter=_meter,
        number=number,
        period=period,
        periods=periods,
        energy_wh=energy_wh,
        amount=amount,
        due=account >> DUE,
    )
    return amount


@internal
def _take(_meter: address, _energy_wh: uint64) -> uint256:
    """
    @notice Return what a meter closed beyond what was taken before, and mark it taken.
    """
    state: uint256 = self._meters[_meter]
    billed_wh: uint256 = state >> 1
    if state == 0:
        billed_wh = convert((staticcall registry.meter(_meter)).initial_wh, uint256)
    energy_wh: uint256 = convert(_energy_wh, uint256)
    if energy_wh != billed_wh or state == 0:
        self._meters[_meter] = (energy_wh << 1) | 1
    return energy_wh - billed_wh


@view
@internal
def _serving(_meter: address) -> IMeterRegistry.Place:
    """
    @notice Read the place of a meter that serves its point, be it the last one of a retired point.
    """
    place: IMeterRegistry.Place = staticcall registry.place(_meter)
    assert place.kind != 0, "meter not enrolled"
    if place.retired_at_s != 0:
        assert staticcall registry.meter_of(place.number) == _meter, "meter replaced"
    return place


@view
@internal
def _number(_meter: address) -> uint48:
    place: IMeterRegistry.Place = staticcall registry.place(_meter)
    assert place.kind != 0, "meter not enrolled"
    return place.number


@pure
@internal
def _with_due(_account: uint256, _due: uint256) -> uint256:
    # nobody has more, and a refund or the other bills of a batch must not wait for who owes it
    return (_account & ~(U96 << DUE)) | (min(_due, U96) << DUE)
