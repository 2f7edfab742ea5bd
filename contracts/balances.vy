# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Balances
@license MIT
@notice What each feeder was supplied and what was sold under it, period by period.
"""

from interfaces import IMeterRegistry
import calendar
import tolerances

uses: calendar
uses: tolerances


event Reconciled:
    feeder: indexed(uint48)
    period: indexed(uint256)
    supplied_wh: uint256
    sold_wh: uint256
    missing: uint256
    spanning: uint256
    alarm: indexed(uint256)


struct Sums:
    supplied_wh: uint256    # by the feeder's own meter
    sold_wh: uint256        # by the meters under it
    closed: uint256         # of those, how many closed the period
    expected: uint256       # how many were in service at its end
    spanning: uint256       # closings in the sums that cover earlier periods, too
    own_closed: bool        # the feeder's own meter closed the period


MAX_FEEDERS: constant(uint256) = 64

ALARM_NONE: constant(uint256) = 0
ALARM_THEFT: constant(uint256) = 1          # supplied more than sold
ALARM_OVERBILLING: constant(uint256) = 2    # sold more than supplied
# no like with like: the feeder's own closing is missing, a closing covers several periods, or a
# meter came or went within the period
ALARM_INCOMPARABLE: constant(uint256) = 3
_WAITING: constant(uint256) = 4             # none yet: closings are missing

_U11: constant(uint256) = 2**11 - 1
_U24: constant(uint256) = 2**24 - 1
_U32: constant(uint256) = 2**32 - 1
_U72: constant(uint256) = 2**72 - 1

# offsets into a feeder's slot for one period; what the registry says of a period is taken once,
# after its end, when it cannot change any more:
# sold_wh 98 | supplied_wh 72 | closed 24 | spanning 24 | expected 24 | tolerance_bp 11 | flags
SOLD: constant(uint256) = 158
SUPPLIED: constant(uint256) = 86
CLOSED: constant(uint256) = 62
SPANNING: constant(uint256) = 38
_EXPECTED: constant(uint256) = 14
_TOLERANCE: constant(uint256) = 3
_STEADY: constant(uint256) = 4      # a feeder with as many points at the period's start as at its end
_KNOWN: constant(uint256) = 2       # expected, tolerance_bp and steady are there
_OWN: constant(uint256) = 1

registry: public(immutable(IMeterRegistry))
closing_deadline_s: public(immutable(uint256))

# feeder << 32 | period
_feeders: HashMap[uint256, uint256]


@deploy
def __init__(_registry: address, _closing_deadline_s: uint256):
    """
    @notice Start with no sums.
    @param _registry 20-byte address of the MeterRegistry.
    @param _closing_deadline_s 32 bytes: how long after its end a period waits for closings.
    """
    registry = IMeterRegistry(_registry)
    closing_deadline_s = _closing_deadline_s


@external
def reconcile(_feeder: uint48, _period: uint256) -> uint256:
    """
    @notice Compare what a feeder was supplied with what was sold under it, and log it. Refused
            while a closing is missing, until the deadline; then it reports how many are. May be
            repeated: the last log tells what stands.
    @dev The sums stand as they are; `missing` and `spanning` say what they lack and what they hold
         of other periods. A period in which the feeder or a child was enrolled raises no alarm:
         its meters did not measure the same hours.
    @param _feeder 6-byte number of the feeder.
    @param _period 32-byte period that is over.
    @return the alarm: 0 none, 1 supplied more, 2 sold more, 3 the sums do not compare.
    """
    state: uint256 = self._balance(_feeder, _period)
    assert state != 0, "no such feeder then"
    alarm: uint256 = self._report(_feeder, _period, state)
    assert alarm != _WAITING, "closings missing, wait"
    return alarm


@external
def reconcile_many(_feeders: DynArray[uint48, MAX_FEEDERS], _period: uint256) -> uint256:
    """
    @notice Reconcile many feeders, and pass over those that `reconcile` would refuse.
    @param _feeders up to 64 6-byte numbers.
    @param _period 32-byte period that is over.
    @return how many were reconciled.
    """
    done: uint256 = 0
    for feeder: uint48 in _feeders:
        state: uint256 = self._balance(feeder, _period)
        if state != 0 and self._report(feeder, _period, state) != _WAITING:
            done += 1
    return done


@view
@external
def sums(_feeder: uint48, _period: uint256) -> Sums:
    """
    @notice Read what was landed so far for a feeder and a period.
    @param _feeder 6-byte number of the feeder.
    @param _period 32-byte number of the period.
    """
    assert _period <= _U32, "no such period"
    state: uint256 = self._feeders[(convert(_feeder, uint256) << 32) | _period]
    return Sums(
        supplied_wh=(state >> SUPPLIED) & _U72,
        sold_wh=state >> SOLD,
        closed=(state >> CLOSED) & _U24,
        expected=staticcall registry.children_at(_feeder, calendar._start_of(_period + 1)),
        spanning=(state >> SPANNING) & _U24,
        own_closed=state & _OWN != 0,
    )


@external
def set_tolerance(_feeder: uint48, _tolerance_bp: uint256):
    """
    @notice Set a feeder's tolerance from the next period on; the running one keeps its own.
    @param _feeder 6-byte number of the feeder.
    @param _tolerance_bp 32 bytes: 1/10000 of what is supplied, at most 2000.
    """
    assert msg.sender == staticcall registry.utility(), "not the utility"
    tolerances._set(_feeder, _tolerance_bp, calendar._period_of(block.timestamp))


@internal
def _add(_key: uint256, _sums: uint256):
    """
    @notice Add closings to a feeder's slot of a period.
    """
    if _sums != 0:
        self._feeders[_key] += _sums


@internal
def _add_own(_feeder: uint256, _period: uint256, _end_s: uint256, _sums: uint256):
    """
    @notice Add the closing of a feeder's own meter, and what the balance is going to need.
    """
    key: uint256 = (_feeder << 32) | _period
    state: uint256 = self._feeders[key]
    if state & _KNOWN == 0:
        state |= self._terms(convert(_feeder, uint48), _period, _end_s)
    self._feeders[key] = (state + _sums) | _OWN


@view
@internal
def _terms(_feeder: uint48, _period: uint256, _end_s: uint256) -> uint256:
    """
    @notice Return what a feeder is reconciled by, as bits of its slot, from the end of the period
            on; 0 if it was no feeder in service then.
    """
    in_service: bool = False
    steady: bool = False
    expected: uint256 = 0
    in_service, steady, expected = staticcall registry.feeder_between(
        _feeder, calendar._start_of(_period), _end_s
    )
    if not in_service:
        return 0
    terms: uint256 = (expected & _U24) << _EXPECTED | _KNOWN
    terms |= tolerances._tolerance_bp(_feeder, _period) << _TOLERANCE
    if steady:
        terms |= _STEADY
    return terms


@view
@internal
def _balance(_feeder: uint48, _period: uint256) -> uint256:
    """
    @notice Return a feeder's slot of a period that is over, with what it is reconciled by; 0 if
            it was no feeder in service then.
    """
    assert _period <= _U32, "no such period"
    state: uint256 = self._feeders[(convert(_feeder, uint256) << 32) | _period]
    if state & _KNOWN == 0:
        end_s: uint256 = calendar._start_of(_period + 1)
        assert block.timestamp >= end_s, "period not over"
        terms: uint256 = self._terms(_feeder, _period, end_s)
        if terms == 0:
            return 0
        state |= terms
    return state


@internal
def _report(_feeder: uint48, _period: uint256, _state: uint256) -> uint256:
    """
    @notice Log a balance, unless it waits for closings.
    @return the alarm, or _WAITING.
    """
    # only points that were in service at the end of the period have closed it: closed <= expected
    missing: uint256 = unsafe_sub((_state >> _EXPECTED) & _U24, (_state >> CLOSED) & _U24)
    if _state & _OWN == 0:
        missing += 1
    if missing != 0 and block.timestamp < calendar._start_of(_period + 1) + closing_deadline_s:
        return _WAITING
    supplied_wh: uint256 = (_state >> SUPPLIED) & _U72
    sold_wh: uint256 = _state >> SOLD
    spanning: uint256 = (_state >> SPANNING) & _U24
    allowed_wh: uint256 = supplied_wh * ((_state >> _TOLERANCE) & _U11) // 10000
    alarm: uint256 = ALARM_NONE
    if _state & (_OWN | _STEADY) != _OWN | _STEADY or spanning != 0:
        alarm = ALARM_INCOMPARABLE
    elif supplied_wh > sold_wh + allowed_wh:
        alarm = ALARM_THEFT
    elif sold_wh > supplied_wh + allowed_wh:
        alarm = ALARM_OVERBILLING
    log Reconciled(
        feeder=_feeder,
        period=_period,
        supplied_wh=supplied_wh,
        sold_wh=sold_wh,
        missing=missing,
        spanning=spanning,
        alarm=alarm,
    )
    return alarm
