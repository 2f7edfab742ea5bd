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
import balances
import calendar
import merkle
import signature
import tolerances

implements: IEnergyLedger
initializes: calendar
initializes: tolerances
initializes: balances[calendar := calendar, tolerances := tolerances]
exports: (
    balances.registry,
    balances.closing_deadline_s,
    balances.reconcile,
    balances.reconcile_many,
    balances.sums,
    balances.set_tolerance,
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
    # A batch, 32 bytes for each item in its order: meter 160 | period 32 | energy_wh 64 of one that
    # was taken, the reason of one that was skipped.
    relay: indexed(address)
    results: Bytes[MAX_CLOSINGS * 32]


event Finished:
    meter: indexed(address)
    period: uint256
    energy_wh: uint256


event Equivocation:
    # The proof itself: anyone can check it again.
    meter: indexed(address)
    sequence: uint256
    frame_a: Bytes[FRAME]
    signature_a: Bytes[SIGNATURE]
    frame_b: Bytes[FRAME]
    signature_b: Bytes[SIGNATURE]


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
FLAG_BOOT: constant(uint256) = 2
# version 1, kind reading, flag closing, in the first 4 bytes of a frame; and where they are
CLOSING: constant(uint256) = 1 << 24 | KIND_READING << 16 | 1
CLOSING_MASK: constant(uint256) = 2**32 - 2**16 + 1

SKIPPED_NO_CLOSING: constant(uint256) = 1   # no reading with flag closing, a clock and its window
SKIPPED_AHEAD: constant(uint256) = 2        # of a time or a period's end that has not come
SKIPPED_UNKNOWN: constant(uint256) = 3      # the signature is nobody's who is enrolled
SKIPPED_CLOSED: constant(uint256) = 4       # this or a later period is closed already
SKIPPED_BACKWARD: constant(uint256) = 5     # the register is below the last closing's
SKIPPED_RETIRED: constant(uint256) = 6      # read after the meter was retired or replaced

_U8: constant(uint256) = 2**8 - 1
_U24: constant(uint256) = 2**24 - 1
_U32: constant(uint256) = 2**32 - 1
_U48: constant(uint256) = 2**48 - 1
_U64: constant(uint256) = 2**64 - 1

# offsets into a meter's slot:
# energy_wh 64 | number 48 | feeder 48 | time_s 32 | period 24 | revision 24 | flags
_ENERGY: constant(uint256) = 192
_NUMBER: constant(uint256) = 144
_FEEDER: constant(uint256) = 96
_TIME: constant(uint256) = 64
_PERIOD: constant(uint256) = 40
_REVISION: constant(uint256) = 16
_ENROLLED: constant(uint256) = 8
_RETIRED: constant(uint256) = 4
_EQUIVOCATED: constant(uint256) = 2
_IS_FEEDER: constant(uint256) = 1
# what the registry may change; what a closing changes; what most closings of a batch share
_PLACE: constant(uint256) = _U48 << _FEEDER | _U24 << _REVISION | _ENROLLED | _RETIRED
_LAST: constant(uint256) = _U24 << _PERIOD
_MOVED: constant(uint256) = _U64 << _ENERGY | _U32 << _TIME | _LAST
_USUAL: constant(uint256) = _PLACE | _LAST | _IS_FEEDER
# the place of no meter
_NOWHERE: constant(uint256) = _RETIRED

# storage

domain: public(immutable(bytes32))

_meters: HashMap[address, uint256]


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
    balances.__init__(_registry, _closing_deadline_s)
    domain = sha256(concat(b"parwana/reading/1", convert(_utility_id, Bytes[32])))


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
    count: uint256 = len(_data) // ITEM
    results: uint256[MAX_CLOSINGS] = empty(uint256[MAX_CLOSINGS])
    skipped: uint256 = 0
    prefix: bytes32 = domain
    latest_s: uint256 = block.timestamp + AHEAD_S
    # the period that is closed, where the next one starts and ends, and for how long from its
    # start on a reading without flag boot is in time and not ahead
    period: uint256 = 0
    start_s: uint256 = 0
    end_s: uint256 = 0
    window_s: uint256 = 0
    # of the last meter: what its slot says of its place, with the period before this one; and that
    # place's sums, to be stored
    usual: uint256 = _NOWHERE
    key: uint256 = 0
    sums: uint256 = 0

    # nothing unsafe wraps unless a comment says so: offsets are below len(_data), and each
    # difference follows its comparison
    for i: uint256 in range(count, bound=MAX_CLOSINGS):
        offset: uint256 = unsafe_mul(i, ITEM)
        head: uint256 = convert(extract32(_data, offset), uint256)
        # all of the frame but its first 8 bytes
        body: uint256 = convert(extract32(_data, unsafe_add(offset, 8)), uint256)
        time_s: uint256 = body >> 224
        energy_wh: uint256 = (body >> 160) & _U64
        # the last byte is the clock's trust, 1 or 2; of 0 the difference wraps
        if (head >> 224) & CLOSING_MASK != CLOSING or unsafe_sub(body & _U8, 1) > 1:
            results[i] = SKIPPED_NO_CLOSING
            skipped += 1
            continue
        # wraps for a time before start_s
        if unsafe_sub(time_s, start_s) >= window_s:
            if time_s < start_s or time_s >= end_s:
                balances._add(key, sums)
                sums = 0
                period = calendar._period_of(time_s)
                start_s = calendar._start_of(period)
                end_s = calendar._start_of(period + 1)
                window_s = 0
                if period != 0 and start_s <= block.timestamp:
                    window_s = min(min(end_s, start_s + DAY_S), latest_s + 1) - start_s
                period = unsafe_sub(max(period, 1), 1)
                key = (key >> 32 << 32) | period
                usual = (usual & _PLACE) | ((unsafe_sub(period, 1) & _U24) << _PERIOD)
            if time_s > latest_s or start_s > block.timestamp:
                results[i] = SKIPPED_AHEAD
                skipped += 1
                continue
            if window_s == 0 or (time_s - start_s >= window_s and (head >> 224) & FLAG_BOOT == 0):
                results[i] = SKIPPED_NO_CLOSING
                skipped += 1
                continue

        # as signature._recover, without the call: 1 % of all
        vs: uint256 = convert(extract32(_data, unsafe_add(offset, 72)), uint256)
        low: uint256 = vs & signature.S
        if low > signature.HALF_N:
            results[i] = SKIPPED_UNKNOWN
            skipped += 1
            continue
        signer: address = ecrecover(
            sha256(concat(prefix, convert(convert(head >> 192, uint64), bytes8), convert(body, bytes32))),
            unsafe_add(27, vs >> 255),
            convert(extract32(_data, unsafe_add(offset, 40)), uint256),
            low,
        )
        state: uint256 = self._meters[signer]
        # wraps where the register goes back
        used: uint256 = unsafe_sub(energy_wh, state >> _ENERGY)
        # one comparison for all that is as with the meter before; what follows sorts out the rest
        if ((state & _USUAL) ^ usual) | (used >> 64) != 0:
            if state & _PLACE != usual & _PLACE:
                retired_at_s: uint256 = 0
                (state, retired_at_s) = self._refreshed(signer, state, usual)
                if state == 0:
                    results[i] = SKIPPED_UNKNOWN
                    skipped += 1
                    continue
                if retired_at_s != 0 and time_s > retired_at_s:
                    results[i] = SKIPPED_RETIRED
                    skipped += 1
                    continue
                balances._add(key, sums)
                sums = 0
                key = (((state >> _FEEDER) & _U48) << 32) | period
                usual = (state & _PLACE & ~_RETIRED) | (usual & _LAST)
                used = unsafe_sub(energy_wh, state >> _ENERGY)
            last: uint256 = (state >> _PERIOD) & _U24
            if period <= last:
                results[i] = SKIPPED_CLOSED
                skipped += 1
                continue
            if used > _U64:
                results[i] = SKIPPED_BACKWARD
                skipped += 1
                continue
            spanning: uint256 = 0
            if period != last + 1:
                spanning = 1 << balances.SPANNING
                sums = unsafe_add(sums, spanning)
            if state & _IS_FEEDER != 0:
                own: uint256 = (used << balances.SUPPLIED) | spanning
                balances._add_own((state >> _NUMBER) & _U48, period, start_s, own)
        self._meters[signer] = (
            (state & ~_MOVED) | (energy_wh << _ENERGY) | (time_s << _TIME) | (period << _PERIOD)
        )
        results[i] = (convert(signer, uint256) << 96) | (period << 64) | energy_wh
        # 98 bits hold the whole registers of 2**34 meters
        sums = unsafe_add(sums, (used << balances.SOLD) | (1 << balances.CLOSED))

    balances._add(key, sums)
    # as an array it would be copied word by word
    log Closed(relay=msg.sender, results=slice(abi_encode(results), 0, count * 32))
    return count - skipped


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
    waited: bool = block.timestamp >= calendar._start_of(period) + balances.closing_deadline_s
    assert last + 1 >= period or waited, "closings missing, wait"

    delta: uint256 = energy_wh - (state >> _ENERGY)
    spanning: uint256 = 0
    if last + 1 < period:
        spanning = 1 << balances.SPANNING
    self._meters[signer] = (
        (state & ~_MOVED) | (energy_wh << _ENERGY) | (time_s << _TIME) | (period << _PERIOD)
    )
    feeder: uint256 = (state >> _FEEDER) & _U48
    balances._add((feeder << 32) | period, (delta << balances.SOLD) | spanning)
    if state & _IS_FEEDER != 0:
        number: uint256 = (state >> _NUMBER) & _U48
        balances._add((number << 32) | period, (delta << balances.SUPPLIED) | spanning)
    log Finished(meter=signer, period=period, energy_wh=energy_wh)


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


# internal

@view
@internal
def _signer(_frame: Bytes[FRAME], _signature: Bytes[SIGNATURE]) -> address:
    return signature._recover(
        sha256(concat(domain, _frame)), convert(extract32(_signature, 0), uint256), convert(extract32(_signature, 32), uint256)
    )


@view
@internal
def _refreshed(_meter: address, _state: uint256, _place: uint256) -> (uint256, uint256):
    """
    @notice Bring a meter's slot up to date, unless it is; `_place` is of the meter before.
    @return the slot, 0 if the meter is not enrolled; and when it was retired, 0 if in service.
    """
    if _state != 0 and _state & _RETIRED == 0:
        revision: uint256 = (_place >> _REVISION) & _U24
        if _place & _PLACE == _NOWHERE or (_state ^ _place) & (_U48 << _FEEDER) != 0:
            revision = self._revision((_state >> _FEEDER) & _U48)
        if (_state >> _REVISION) & _U24 == revision:
            return _state, 0
    return self._pull(_meter, _state)


@view
@internal
def _revision(_feeder: uint256) -> uint256:
    return convert(staticcall balances.registry.revision(convert(_feeder, uint48)), uint256) & _U24


@view
@internal
def _pull(_meter: address, _state: uint256) -> (uint256, uint256):
    """
    @notice Bring a meter's slot up to date with the registry.
    @return the slot, 0 if the meter is not enrolled; and when it was retired, 0 if in service.
    """
    entry: IMeterRegistry.Meter = staticcall balances.registry.meter(_meter)
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
            | _ENROLLED
        )
        if entry.kind != 1:
            state |= _IS_FEEDER
    state = (state & ~(_U24 << _REVISION)) | (self._revision(feeder) << _REVISION)
    if entry.retired_at_s != 0:
        state |= _RETIRED
    return state, convert(entry.retired_at_s, uint256)
