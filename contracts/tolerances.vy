# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Tolerances
@license MIT
@notice How much a feeder's sums may differ, from a period on; the running one keeps its own.
"""

event ToleranceSet:
    feeder: indexed(uint48)
    tolerance_bp: uint256
    from_period: uint256


MAX_TOLERANCE_BP: constant(uint256) = 2000

# how many changes of one feeder's
MAX_CHANGES: constant(uint256) = 1024

_U16: constant(uint256) = 2**16 - 1

default_tolerance_bp: public(immutable(uint256))

# from_period 240 | tolerance_bp from then 16
_tolerances: HashMap[uint48, DynArray[uint256, MAX_CHANGES]]


@deploy
def __init__(_tolerance_bp: uint256):
    """
    @notice Start with one tolerance for all feeders.
    @param _tolerance_bp 32 bytes: 1/10000 of what is supplied, at most 2000.
    """
    assert _tolerance_bp <= MAX_TOLERANCE_BP, "tolerance above 2000"
    default_tolerance_bp = _tolerance_bp


@view
@external
def tolerance_bp(_feeder: uint48, _period: uint256) -> uint256:
    """
    @notice Read the allowed difference of a feeder in 1/10000 of what was supplied.
    @param _feeder 6-byte number of the feeder.
    @param _period 32-byte number of the period.
    """
    return self._tolerance_bp(_feeder, _period)


@internal
def _set(_feeder: uint48, _tolerance_bp: uint256, _period: uint256):
    """
    @notice Set a feeder's tolerance from the period after `_period` on.
    """
    assert _tolerance_bp <= MAX_TOLERANCE_BP, "tolerance above 2000"
    from_period: uint256 = _period + 1
    last: uint256 = len(self._tolerances[_feeder])
    change: uint256 = (from_period << 16) | _tolerance_bp
    if last != 0 and self._tolerances[_feeder][last - 1] >> 16 == from_period:
        self._tolerances[_feeder][last - 1] = change
    else:
        self._tolerances[_feeder].append(change)
    log ToleranceSet(feeder=_feeder, tolerance_bp=_tolerance_bp, from_period=from_period)


@view
@internal
def _tolerance_bp(_feeder: uint48, _period: uint256) -> uint256:
    changes: uint256 = len(self._tolerances[_feeder])
    for i: uint256 in range(changes, bound=MAX_CHANGES):
        change: uint256 = self._tolerances[_feeder][changes - 1 - i]
        if change >> 16 <= _period:
            return change & _U16
    return default_tolerance_bp
