# pragma version 0.4.3
# pragma evm-version cancun
"""
@title HostileEnergy
@license MIT
@notice An energy ledger that needs no signature of any meter.
"""

from interfaces import IMeterRegistry
from interfaces import IEnergyLedger

implements: IEnergyLedger

registry_: address
closings: HashMap[address, IEnergyLedger.Closing]


@deploy
def __init__(_registry: address):
    self.registry_ = _registry


@external
def say(_meter: address, _closing: IEnergyLedger.Closing):
    self.closings[_meter] = _closing


@view
@external
def registry() -> IMeterRegistry:
    return IMeterRegistry(self.registry_)


@view
@external
def closing(_meter: address) -> IEnergyLedger.Closing:
    return self.closings[_meter]


@view
@external
def period_s() -> uint256:
    return 0


@view
@external
def utc_offset_s() -> int256:
    return 19800
