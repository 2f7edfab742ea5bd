# pragma version 0.4.3
# pragma evm-version cancun
"""
@title EnergyLedger
@license MIT
@notice What the meters signed at the end of each period, and whether each feeder adds up.
@dev Nobody is trusted but the meters' keys: every function but `set_tolerance` is open to anyone.
     Bytes, digests and periods are those of docs/protocol.md.
"""

from interfaces import IEnergyLedger
import balances
import calendar
import merkle
import meters
import signature
import tolerances

implements: IEnergyLedger
initializes: calendar
initializes: tolerances
initializes: balances[calendar := calendar, tolerances := tolerances]
initializes: meters[balances := balances, calendar := calendar]
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
    meters.domain,
    meters.report_equivocation,
    meters.closing,
    meters.equivocated,
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


# constants

ITEM: constant(uint256) = meters.FRAME + meters.SIGNATURE
MAX_CLOSINGS: constant(uint256) = 128

DAY_S: constant(uint256) = 86400
# how far a meter's clock may be ahead of the chain's
AHEAD_S: constant(uint256) = 3600

FLAG_BOOT: constant(uint256) = 2
# version 1, kind reading, flag closing, in the first 4 bytes of a frame; and where they are
CLOSING: constant(uint256) = 1 << 24 | meters.KIND_READING << 16 | 1
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
    assert _closing_deadline_s <= 366 * DAY_S, "deadline above 366 days"
    balances.__init__(_registry, _closing_deadline_s)
    meters.__init__(_utility_id)


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
    prefix: bytes32 = meters.domain
    latest_s: uint256 = block.timestamp + AHEAD_S
    # the period that is closed, where the next one starts and ends, and for how long from its
    # start on a reading without flag boot is in time and not ahead
    period: uint256 = 0
    start_s: uint256 = 0
    end_s: uint256 = 0
    window_s: uint256 = 0
    # of the last meter: what its slot says of its place, with the period before this one; and that
    # place's sums, to be stored
    usual: uint256 = meters.NOWHERE
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
                usual = (usual & meters.PLACE) | ((unsafe_sub(period, 1) & _U24) << meters.PERIOD)
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
        state: uint256 = meters.slots[signer]
        # wraps where the register goes back
        used: uint256 = unsafe_sub(energy_wh, state >> meters.ENERGY)
        # one comparison for all that is as with the meter before; what follows sorts out the rest
        if ((state & meters.USUAL) ^ usual) | (used >> 64) != 0:
            if state & meters.PLACE != usual & meters.PLACE:
                retired_at_s: uint256 = 0
                (state, retired_at_s) = meters._refreshed(signer, state, usual)
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
                key = (((state >> meters.FEEDER) & _U48) << 32) | period
                usual = (state & meters.PLACE & ~meters.RETIRED) | (usual & meters.LAST)
                used = unsafe_sub(energy_wh, state >> meters.ENERGY)
            last: uint256 = (state >> meters.PERIOD) & _U24
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
            if state & meters.IS_FEEDER != 0:
                own: uint256 = (used << balances.SUPPLIED) | spanning
                balances._add_own((state >> meters.NUMBER) & _U48, period, start_s, own)
        meters.slots[signer] = (
            (state & ~meters.MOVED)
            | (energy_wh << meters.ENERGY)
            | (time_s << meters.TIME)
            | (period << meters.PERIOD)
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
    assert head >> 240 == (1 << 8 | meters.KIND_READING) and trust in [1, 2], "no reading with a time"
    signer: address = meters._signer(
        slice(_data, 0, meters.FRAME), slice(_data, meters.FRAME, meters.SIGNATURE)
    )
    state: uint256 = 0
    retired_at_s: uint256 = 0
    (state, retired_at_s) = meters._pull(signer, meters.slots[signer])
    assert state != 0, "signer not enrolled"
    assert retired_at_s != 0, "meter in service"
    assert time_s <= retired_at_s, "read after retirement"
    assert energy_wh > state >> meters.ENERGY, "nothing new"
    period: uint256 = calendar._period_of(retired_at_s)
    last: uint256 = (state >> meters.PERIOD) & _U24
    waited: bool = block.timestamp >= calendar._start_of(period) + balances.closing_deadline_s
    assert last + 1 >= period or waited, "closings missing, wait"

    delta: uint256 = energy_wh - (state >> meters.ENERGY)
    spanning: uint256 = 0
    if last + 1 < period:
        spanning = 1 << balances.SPANNING
    meters.slots[signer] = (
        (state & ~meters.MOVED)
        | (energy_wh << meters.ENERGY)
        | (time_s << meters.TIME)
        | (period << meters.PERIOD)
    )
    feeder: uint256 = (state >> meters.FEEDER) & _U48
    balances._add((feeder << 32) | period, (delta << balances.SOLD) | spanning)
    if state & meters.IS_FEEDER != 0:
        number: uint256 = (state >> meters.NUMBER) & _U48
        balances._add((number << 32) | period, (delta << balances.SUPPLIED) | spanning)
    log Finished(meter=signer, period=period, energy_wh=energy_wh)
