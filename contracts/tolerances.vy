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

_U16: constant(uint256) = 2**16 - 1
_U32: constant(uint256) = 2**32 - 1

default_tolerance_bp: public(immutable(uint256))

# set 1 | from_period 32 | tolerance_bp from then 16 | tolerance_bp before 16
_tolerances: HashMap[uint48, uint256]


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
    before: uint256 = self._tolerance_bp(_feeder, _period)
    self._tolerances[_feeder] = 1 << 64 | (_period + 1) << 32 | _tolerance_bp << 16 | before
    log ToleranceSet(feeder=_feeder, tolerance_bp=_tolerance_bp, from_period=_period + 1)


@view
@internal
def _tolerance_bp(_feeder: uint48, _period: uint256) -> uint256:
    set: uint256 = self._tolerances[_feeder]
    if set == 0:
        return default_tolerance_bp
    if _period >= (set >> 32) & _U32:
        return (set >> 16) & _U16
    return set & _U16
