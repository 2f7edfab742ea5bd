# pragma version 0.4.3
# pragma evm-version cancun
"""
@title EnergyLedger
@license MIT
@notice What the meters signed at the end of each period, and whether each feeder adds up.
@dev Nobody is trusted but the meters' keys: every function but `set_tolerance` is open to anyone.
     Bytes, digests and periods are those of docs/protocol.md.
"""

from interfaces import IMeterRegistry
from interfaces import IEnergyLedger
import calendar
import merkle
import signature
import tolerances

implements: IEnergyLedger
initializes: calendar
initializes: tolerances
exports: (
    calendar.period_s,
    calendar.utc_offset_s,
    calendar.period_of,
    calendar.start_of,
    merkle.commit,
    merkle.verify_leaf,
    tolerances.default_tolerance_bp,
    tolerances.tolerance_bp,
)


# events

event Closed:
    # A batch. closings: meter 160 | period 32 | energy_wh 64; skipped: index 248 | reason 8.
    relay: indexed(address)
    closings: DynArray[uint256, MAX_CLOSINGS]
    skipped: DynArray[uint256, MAX_CLOSINGS]


event Finished:
    meter: indexed(address)
    period: uint256
    energy_wh: uint256


event Reconciled:
    feeder: indexed(uint48)
    period: indexed(uint256)
    supplied_wh: uint256
    sold_wh: uint256
    missing: uint256
    spanning: uint256
    alarm: indexed(uint256)


event Equivocation:
    # The proof itself: anyone can check it again.
    meter: indexed(address)
    sequence: uint256
    frame_a: Bytes[FRAME]
    signature_a: Bytes[SIGNATURE]
    frame_b: Bytes[FRAME]
    signature_b: Bytes[SIGNATURE]


# structs

struct Sums:
    supplied_wh: uint256    # by the feeder's own meter
    sold_wh: uint256        # by the meters under it
    closed: uint256         # of those, how many closed the period
    expected: uint256       # how many were in service at its end
    spanning: uint256       # closings in the sums that cover earlier periods, too
    own_closed: bool        # the feeder's own meter closed the period
    reconciled: bool
    alarm: uint256          # as reconciled


# constants

FRAME: constant(uint256) = 40
SIGNATURE: constant(uint256) = 64
ITEM: constant(uint256) = FRAME + SIGNATURE
MAX_CLOSINGS: constant(uint256) = 128

DAY_S: constant(uint256) = 86400
# how far a meter's clock may be ahead of the chain's
AHEAD_S: constant(uint256) = 3600

KIND_READING: constant(uint256) = 1
KIND_EVENT: constant(uint256) = 2
FLAG_CLOSING: constant(uint256) = 1
FLAG_BOOT: constant(uint256) = 2

SKIPPED_NO_CLOSING: constant(uint256) = 1   # no reading with flag closing, a clock and its window
SKIPPED_AHEAD: constant(uint256) = 2        # signed for a time that has not come
SKIPPED_UNKNOWN: constant(uint256) = 3      # the signature is nobody's who is enrolled
SKIPPED_CLOSED: constant(uint256) = 4       # this or a later period is closed already
SKIPPED_BACKWARD: constant(uint256) = 5     # the register is below the last closing's
SKIPPED_RETIRED: constant(uint256) = 6      # read after the meter was retired or replaced

ALARM_NONE: constant(uint256) = 0
ALARM_THEFT: constant(uint256) = 1          # supplied more than sold
ALARM_OVERBILLING: constant(uint256) = 2    # sold more than supplied
# no like with like: the feeder's own closing is missing, a closing covers several periods, or a
# meter came or went within the period
ALARM_INCOMPARABLE: constant(uint256) = 3

_U16: constant(uint256) = 2**16 - 1
_U24: constant(uint256) = 2**24 - 1
_U32: constant(uint256) = 2**32 - 1
_U48: constant(uint256) = 2**48 - 1
_U64: constant(uint256) = 2**64 - 1
_U72: constant(uint256) = 2**72 - 1

# offsets into a meter's slot:
# energy_wh 64 | number 48 | feeder 48 | time_s 32 | period 24 | revision 24 | flags
_ENERGY: constant(uint256) = 192
_NUMBER: constant(uint256) = 144
_FEEDER: constant(uint256) = 96
_TIME: constant(uint256) = 64
_PERIOD: constant(uint256) = 40
_REVISION: constant(uint256) = 16
_RETIRED: constant(uint256) = 4
_EQUIVOCATED: constant(uint256) = 2
_IS_FEEDER: constant(uint256) = 1

# offsets into a feeder's slot for one period:
# sold_wh 96 | supplied_wh 72 | closed 24 | spanning 24 | missing 24 | alarm 2 | flags
_SOLD: constant(uint256) = 160
_SUPPLIED: constant(uint256) = 88
_CLOSED: constant(uint256) = 64
_SPANNING: constant(uint256) = 40
_MISSING: constant(uint256) = 16
_ALARM: constant(uint256) = 2
_RECONCILED: constant(uint256) = 2
_OWN: constant(uint256) = 1


# storage

registry: public(immutable(IMeterRegistry))
domain: public(immutable(bytes32))
closing_deadline_s: public(immutable(uint256))

_meters: HashMap[address, uint256]
# feeder << 32 | period
_feeders: HashMap[uint256, uint256]


# constructor

@deploy
def __init__(
    _registry: address,
    _utility_id: String[32],
    _period_s: uint256,
    _utc_offset_s: int256,
    _closing_deadline_s: uint256,
    _tolerance_bp: uint256,
):
    """
    @notice Deploy a ledger of one period length; deploy it twice for monthly and daily balances.
    @param _registry 20-byte address of the MeterRegistry.
    @param _utility_id 1 to 32 bytes, part of what meters sign.
    @param _period_s 32 bytes: length of a period, 0 = a calendar month; see calendar.vy.
    @param _utc_offset_s 32 bytes, signed: local time minus UTC, a multiple of 900.
    @param _closing_deadline_s 32 bytes: how long after its end a period waits for missing closings.
    @param _tolerance_bp 32 bytes: allowed difference of a feeder in 1/10000 of what was supplied.
    """
    calendar.__init__(_period_s, _utc_offset_s)
    tolerances.__init__(_tolerance_bp)
    signature._check_sha256()
    assert _registry.is_contract, "registry is no contract"
    assert len(_utility_id) != 0, "utility id is empty"
    assert _closing_deadline_s <= 366 * DAY_S, "deadline above 366 days"
    registry = IMeterRegistry(_registry)
    domain = sha256(concat(b"parwana/reading/1", convert(_utility_id, Bytes[32])))
    closing_deadline_s = _closing_deadline_s


# permissionless functions

@external
def close(_data: Bytes[MAX_CLOSINGS * ITEM]) -> uint256:
    """
    @notice Land signed closings of many meters. What cannot be taken is skipped with a reason,
            so a bad or repeated one does not block the others. Sort by feeder to save gas.
    @param _data n times 104 bytes, n from 1 to 128: 40-byte frame, 64-byte signature.
    @return how many were taken.
    """
    assert len(_data) != 0 and len(_data) % ITEM == 0, "length not n * 104"
    closings: DynArray[uint256, MAX_CLOSINGS] = []
    skipped: DynArray[uint256, MAX_CLOSINGS] = []
    # the closings of one feeder and period are summed here before they are stored
    key: uint256 = 0
    sums: uint256 = 0
    feeder: uint256 = max_value(uint256)
    revision: uint256 = 0
    # the period of the last frame's time, with its bounds
    current: uint256 = 0
    start_s: uint256 = 0
    end_s: uint256 = 0

    for i: uint256 in range(len(_data) // ITEM, bound=MAX_CLOSINGS):
        offset: uint256 = i * ITEM
        head: uint256 = convert(extract32(_data, offset), uint256)
        trust: uint256 = convert(extract32(_data, offset + 8), uint256) & 255
        flags: uint256 = (head >> 224) & _U16
        time_s: uint256 = (head >> 160) & _U32
        energy_wh: uint256 = (head >> 96) & _U64
        if (
            head >> 240 != (1 << 8 | KIND_READING)
            or flags & FLAG_CLOSING == 0
            or trust == 0
            or trust > 2
        ):
            skipped.append(i << 8 | SKIPPED_NO_CLOSING)
            continue
        if time_s > block.timestamp + AHEAD_S:
            skipped.append(i << 8 | SKIPPED_AHEAD)
            continue
        if time_s < start_s or time_s >= end_s:
            current = calendar._period_of(time_s)
            start_s = calendar._start_of(current)
            end_s = calendar._start_of(current + 1)
        if current == 0 or (time_s >= start_s + DAY_S and flags & FLAG_BOOT == 0):
            skipped.append(i << 8 | SKIPPED_NO_CLOSING)
            continue
        period: uint256 = current - 1

        signer: address = signature._recover(
            sha256(concat(domain, slice(_data, offset, FRAME))),
            extract32(_data, offset + 40),
            extract32(_data, offset + 72),
        )
        state: uint256 = self._meters[signer]
        stale: bool = state == 0 or state & _RETIRED != 0
        if not stale:
            if feeder != (state >> _FEEDER) & _U48:
                feeder = (state >> _FEEDER) & _U48
                revision = self._revision(feeder)
            stale = (state >> _REVISION) & _U24 != revision
        if stale:
            retired_at_s: uint256 = 0
            (state, retired_at_s) = self._pull(signer, state)
            if state == 0:
                skipped.append(i << 8 | SKIPPED_UNKNOWN)
                continue
            if retired_at_s != 0 and time_s > retired_at_s:
                skipped.append(i << 8 | SKIPPED_RETIRED)
                continue
            feeder = (state >> _FEEDER) & _U48
            revision = (state >> _REVISION) & _U24
        last: uint256 = (state >> _PERIOD) & _U24
        if period <= last:
            skipped.append(i << 8 | SKIPPED_CLOSED)
            continue
        if energy_wh < state >> _ENERGY:
            skipped.append(i << 8 | SKIPPED_BACKWARD)
            continue

        delta: uint256 = energy_wh - (state >> _ENERGY)
        spanning: uint256 = 0
        if period != last + 1:
            spanning = 1
        self._meters[signer] = self._moved(state, energy_wh, time_s, period)
        closings.append((convert(signer, uint256) << 96) | (period << 64) | energy_wh)
        if (feeder << 32) | period != key:
            if sums != 0:
                self._feeders[key] += sums
            key = (feeder << 32) | period
            sums = 0
        sums += (delta << _SOLD) | (1 << _CLOSED) | (spanning << _SPANNING)
        if state & _IS_FEEDER != 0:
            own: uint256 = (((state >> _NUMBER) & _U48) << 32) | period
            self._feeders[own] += (delta << _SUPPLIED) | (spanning << _SPANNING) | _OWN

    if sums != 0:
        self._feeders[key] += sums
    log Closed(relay=msg.sender, closings=closings, skipped=skipped)
    return len(closings)


@external
def finish(_data: Bytes[ITEM]):
    """
    @notice Land the last reading of a retired or replaced meter: what it metered after its last
            closing. It counts into the period in which the meter was retired.
    @dev Waits until the earlier closings are in or too late, or it could push them out.
    @param _data 104 bytes: 40-byte frame of any reading with a known time, 64-byte signature.
    """
    assert len(_data) == ITEM, "length not 104"
    head: uint256 = convert(extract32(_data, 0), uint256)
    trust: uint256 = convert(extract32(_data, 8), uint256) & 255
    time_s: uint256 = (head >> 160) & _U32
    energy_wh: uint256 = (head >> 96) & _U64
    assert head >> 240 == (1 << 8 | KIND_READING) and trust in [1, 2], "no reading with a time"
    signer: address = self._signer(slice(_data, 0, FRAME), slice(_data, FRAME, SIGNATURE))
    state: uint256 = 0
    retired_at_s: uint256 = 0
    (state, retired_at_s) = self._pull(signer, self._meters[signer])
    assert state != 0, "signer not enrolled"
    assert retired_at_s != 0, "meter in service"
    assert time_s <= retired_at_s, "read after retirement"
    assert energy_wh > state >> _ENERGY, "nothing new"
    period: uint256 = calendar._period_of(retired_at_s)
    last: uint256 = (state >> _PERIOD) & _U24
    waited: bool = block.timestamp >= calendar._start_of(period) + closing_deadline_s
    assert last + 1 >= period or waited, "closings missing, wait"

    delta: uint256 = energy_wh - (state >> _ENERGY)
    spanning: uint256 = 0
    if last + 1 < period:
        spanning = 1
    self._meters[signer] = self._moved(state, energy_wh, time_s, period)
    self._feeders[(((state >> _FEEDER) & _U48) << 32) | period] += (
        (delta << _SOLD) | (spanning << _SPANNING)
    )
    if state & _IS_FEEDER != 0:
        self._feeders[(((state >> _NUMBER) & _U48) << 32) | period] += (
            (delta << _SUPPLIED) | (spanning << _SPANNING)
        )
    log Finished(meter=signer, period=period, energy_wh=energy_wh)


@external
def reconcile(_feeder: uint48, _period: uint256) -> uint256:
    """
    @notice Compare what a feeder was supplied with what was sold under it. Refused while a closing
            is missing, until the deadline; then it reports how many are. May be repeated only
            when fewer are missing than the last time.
    @dev The sums stand as they are; `missing` and `spanning` say what they lack and what they hold
         of other periods. A period in which the feeder or a child was enrolled raises no alarm:
         its meters did not measure the same hours.
    @param _feeder 6-byte number of the feeder.
    @param _period 32-byte period that is over.
    @return the alarm: 0 none, 1 supplied more, 2 sold more, 3 the sums do not compare.
    """
    end_s: uint256 = calendar._start_of(_period + 1)
    assert block.timestamp >= end_s, "period not over"
    in_service: bool = False
    expected: uint256 = 0
    in_service, expected = staticcall registry.feeder_at(_feeder, end_s)
    assert in_service, "no such feeder then"
    key: uint256 = (convert(_feeder, uint256) << 32) | _period
    state: uint256 = self._feeders[key]
    missing: uint256 = expected - ((state >> _CLOSED) & _U24)
    if state & _OWN == 0:
        missing += 1
    assert missing == 0 or block.timestamp >= end_s + closing_deadline_s, "closings missing, wait"
    if state & _RECONCILED != 0:
        assert missing < (state >> _MISSING) & _U24, "reconciled"

    there_before: bool = False
    before: uint256 = 0
    there_before, before = staticcall registry.feeder_at(_feeder, calendar._start_of(_period))
    supplied_wh: uint256 = (state >> _SUPPLIED) & _U72
    sold_wh: uint256 = state >> _SOLD
    allowed_wh: uint256 = supplied_wh * tolerances._tolerance_bp(_feeder, _period) // 10000
    alarm: uint256 = ALARM_NONE
    if (
        state & _OWN == 0
        or (state >> _SPANNING) & _U24 != 0
        or not there_before
        or before != expected
    ):
        alarm = ALARM_INCOMPARABLE
    elif supplied_wh > sold_wh + allowed_wh:
        alarm = ALARM_THEFT
    elif sold_wh > supplied_wh + allowed_wh:
        alarm = ALARM_OVERBILLING
    cleared: uint256 = state & ~((_U24 << _MISSING) | (3 << _ALARM))
    self._feeders[key] = cleared | (missing << _MISSING) | (alarm << _ALARM) | _RECONCILED
    log Reconciled(
        feeder=_feeder,
        period=_period,
        supplied_wh=supplied_wh,
        sold_wh=sold_wh,
        missing=missing,
        spanning=(state >> _SPANNING) & _U24,
        alarm=alarm,
    )
    return alarm


@external
def report_equivocation(
    _frame_a: Bytes[FRAME],
    _signature_a: Bytes[SIGNATURE],
    _frame_b: Bytes[FRAME],
    _signature_b: Bytes[SIGNATURE],
):
    """
    @notice Show two different frames that one meter signed with one sequence: it cheats or is
            cloned. The meter is marked for all to see; its closings and bills go on.
    @param _frame_a 40-byte reading or event.
    @param _signature_a 64-byte signature of it.
    @param _frame_b 40-byte reading or event of the same sequence.
    @param _signature_b 64-byte signature of it.
    """
    assert len(_frame_a) == FRAME and len(_frame_b) == FRAME, "frame not 40 bytes"
    assert len(_signature_a) == SIGNATURE and len(_signature_b) == SIGNATURE, "signature not 64 bytes"
    a: uint256 = convert(extract32(_frame_a, 0), uint256)
    b: uint256 = convert(extract32(_frame_b, 0), uint256)
    assert a >> 248 == 1 and (a >> 240) & 255 in [KIND_READING, KIND_EVENT], "frame a not of a meter"
    assert b >> 248 == 1 and (b >> 240) & 255 in [KIND_READING, KIND_EVENT], "frame b not of a meter"
    assert (a >> 192) & _U32 == (b >> 192) & _U32, "sequences differ"
    assert keccak256(_frame_a) != keccak256(_frame_b), "same frame"
    signer: address = self._signer(_frame_a, _signature_a)
    assert signer == self._signer(_frame_b, _signature_b), "signers differ"
    state: uint256 = self._meters[signer]
    assert state & _EQUIVOCATED == 0, "reported"
    if state == 0:
        state = self._pull(signer, 0)[0]
    assert state != 0, "signer not enrolled"
    self._meters[signer] = state | _EQUIVOCATED
    log Equivocation(
        meter=signer,
        sequence=(a >> 192) & _U32,
        frame_a=_frame_a,
        signature_a=_signature_a,
        frame_b=_frame_b,
        signature_b=_signature_b,
    )


# views

@view
@external
def closing(_meter: address) -> IEnergyLedger.Closing:
    """
    @notice Read a meter's last closing; of one without, its initial register, with time 0.
    @param _meter 20-byte address of the meter.
    """
    state: uint256 = self._meters[_meter]
    if state == 0:
        state = self._pull(_meter, 0)[0]
        assert state != 0, "meter not enrolled"
    return IEnergyLedger.Closing(
        period=convert((state >> _PERIOD) & _U24, uint32),
        energy_wh=convert(state >> _ENERGY, uint64),
        time_s=convert((state >> _TIME) & _U32, uint32),
    )


@view
@external
def equivocated(_meter: address) -> bool:
    """
    @notice Tell whether two contradictory frames of a meter were shown.
    @param _meter 20-byte address of the meter.
    """
    return self._meters[_meter] & _EQUIVOCATED != 0


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
        supplied_wh=(state >> _SUPPLIED) & _U72,
        sold_wh=state >> _SOLD,
        closed=(state >> _CLOSED) & _U24,
        expected=staticcall registry.children_at(_feeder, calendar._start_of(_period + 1)),
        spanning=(state >> _SPANNING) & _U24,
        own_closed=state & _OWN != 0,
        reconciled=state & _RECONCILED != 0,
        alarm=(state >> _ALARM) & 3,
    )


# admin

@external
def set_tolerance(_feeder: uint48, _tolerance_bp: uint256):
    """
    @notice Set a feeder's tolerance from the next period on; the running one keeps its own.
    @param _feeder 6-byte number of the feeder.
    @param _tolerance_bp 32 bytes: 1/10000 of what is supplied, at most 2000.
    """
    assert msg.sender == staticcall registry.utility(), "not the utility"
    tolerances._set(_feeder, _tolerance_bp, calendar._period_of(block.timestamp))


# internal

@view
@internal
def _signer(_frame: Bytes[FRAME], _signature: Bytes[SIGNATURE]) -> address:
    return signature._recover(
        sha256(concat(domain, _frame)), extract32(_signature, 0), extract32(_signature, 32)
    )


@view
@internal
def _revision(_feeder: uint256) -> uint256:
    return convert(staticcall registry.revision(convert(_feeder, uint48)), uint256) & _U24


@view
@internal
def _pull(_meter: address, _state: uint256) -> (uint256, uint256):
    """
    @notice Bring a meter's slot up to date with the registry.
    @return the slot, 0 if the meter is not enrolled; and when it was retired, 0 if in service.
    """
    entry: IMeterRegistry.Meter = staticcall registry.meter(_meter)
    if entry.kind == 0:
        return 0, 0
    state: uint256 = _state
    feeder: uint256 = convert(entry.feeder, uint256)
    if state == 0:
        before: uint256 = calendar._period_of(convert(entry.enrolled_at_s, uint256)) - 1
        state = (
            (convert(entry.initial_wh, uint256) << _ENERGY)
            | (convert(entry.number, uint256) << _NUMBER)
            | (feeder << _FEEDER)
            | (before << _PERIOD)
        )
        if entry.kind != 1:
            state |= _IS_FEEDER
    state = (state & ~(_U24 << _REVISION)) | (self._revision(feeder) << _REVISION)
    if entry.retired_at_s != 0:
        state |= _RETIRED
    return state, convert(entry.retired_at_s, uint256)


@pure
@internal
def _moved(_state: uint256, _energy_wh: uint256, _time_s: uint256, _period: uint256) -> uint256:
    kept: uint256 = _state & ~((_U64 << _ENERGY) | (_U32 << _TIME) | (_U24 << _PERIOD))
    return kept | (_energy_wh << _ENERGY) | (_time_s << _TIME) | (_period << _PERIOD)
