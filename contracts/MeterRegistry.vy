# pragma version 0.4.3
# pragma evm-version cancun
"""
@title MeterRegistry
@license MIT
@notice Who measures where: metering points, the meters that serve them, the feeders they hang on.
@dev A metering point is a number that outlives its meters. A meter is the address of a key that
     was made on the device; it is enrolled once, for ever at one point. Feeders are points, too.
"""

from interfaces import IMeterRegistry
import admin

implements: IMeterRegistry
initializes: admin
exports: (
    admin.utility,
    admin.offered,
    admin.offer_utility,
    admin.accept_utility,
)


# events

event Enrolled:
    meter: indexed(address)
    number: indexed(uint48)
    feeder: indexed(uint48)
    kind: uint8
    initial_wh: uint64
    sanctioned_load_dw: uint32


event Replaced:
    old: indexed(address)
    new: indexed(address)
    number: indexed(uint48)
    initial_wh: uint64


event Retired:
    meter: indexed(address)
    number: indexed(uint48)
    feeder: indexed(uint48)


event LoadRaised:
    meter: indexed(address)
    sanctioned_load_dw: uint32


# structs

struct Enrolment:
    meter: address
    number: uint48
    kind: uint8
    feeder: uint48
    initial_wh: uint64
    sanctioned_load_dw: uint32


# constants

KIND_HOUSE: constant(uint8) = 1
KIND_PLANT: constant(uint8) = 3

MAX_ENROLMENTS: constant(uint256) = 64

# Every offset to UTC is a multiple of it, so no period starts inside one: changes that fall into
# one quarter of an hour share a checkpoint.
QUARTER_S: constant(uint256) = 900

_U32: constant(uint256) = 2**32 - 1
_U48: constant(uint256) = 2**48 - 1


# storage

# number 48 | feeder 48 | kind 8 | enrolled_at_s 32 | retired_at_s 32 | sanctioned_load_dw 32 | 55 bits
# | replaces 1
_place: HashMap[address, uint256]
# previous 160 | initial_wh 64
_origin: HashMap[address, uint256]
# retired_at_s 32 | kind 8 | served_since_s 32 | meter 160
_points: HashMap[uint48, uint256]
# revision 32 | quarter of an hour of the last change 32 | checkpoints 32 | children 32
_feeders: HashMap[uint48, uint256]
# feeder << 32 | index -> quarter of an hour 64 | children from then on 32
_checkpoints: HashMap[uint256, uint256]


# constructor

@deploy
def __init__(_utility: address):
    """
    @notice Deploy a registry for one utility.
    @param _utility 20-byte address that may enrol, replace and retire.
    """
    admin.__init__(_utility)


# views

@view
@external
def meter(_meter: address) -> IMeterRegistry.Meter:
    """
    @notice Read a meter; kind 0 if it was never enrolled.
    @param _meter 20-byte address of the meter's key.
    """
    place: uint256 = self._place[_meter]
    origin: uint256 = self._origin[_meter]
    return IMeterRegistry.Meter(
        number=convert(place >> 208, uint48),
        kind=convert((place >> 152) & 255, uint8),
        feeder=convert((place >> 160) & _U48, uint48),
        enrolled_at_s=convert((place >> 120) & _U32, uint32),
        retired_at_s=convert((place >> 88) & _U32, uint32),
        sanctioned_load_dw=convert((place >> 56) & _U32, uint32),
        initial_wh=convert(origin & (2**64 - 1), uint64),
        previous=convert(origin >> 64, address),
    )


@view
@external
def place(_meter: address) -> IMeterRegistry.Place:
    """
    @notice Read of a meter what changes, for less gas than `meter`.
    @param _meter 20-byte address of the meter's key.
    """
    place: uint256 = self._place[_meter]
    return IMeterRegistry.Place(
        number=convert(place >> 208, uint48),
        kind=convert((place >> 152) & 255, uint8),
        retired_at_s=convert((place >> 88) & _U32, uint32),
        sanctioned_load_dw=convert((place >> 56) & _U32, uint32),
        replaces=place & 1 != 0,
    )


@view
@external
def meter_of(_number: uint48) -> address:
    """
    @notice Read the meter that serves a point, the last one if it is retired; zero if none did.
    @param _number 6-byte number of the metering point.
    """
    return self._serving(_number)


@view
@external
def served_since(_number: uint48) -> uint32:
    """
    @notice Read when the first meter of a point was enrolled, in Unix time; 0 if none was.
    @param _number 6-byte number of the metering point.
    """
    return convert((self._points[_number] >> 160) & _U32, uint32)


@view
@external
def revision(_feeder: uint48) -> uint32:
    """
    @notice Count the replacements and retirements under a feeder: what a copy must be checked by.
    @param _feeder 6-byte number of the feeder, 0 for meters without one.
    """
    return convert(self._feeders[_feeder] >> 96, uint32)


@view
@external
def children(_feeder: uint48) -> uint256:
    """
    @notice Count the points in service under a feeder now.
    @param _feeder 6-byte number of the feeder.
    """
    return self._feeders[_feeder] & _U32


@view
@external
def children_at(_feeder: uint48, _time_s: uint256) -> uint256:
    """
    @notice Count the points that were in service under a feeder just before an instant.
    @param _feeder 6-byte number of the feeder.
    @param _time_s 32-byte Unix time, a multiple of 900.
    """
    return self._children_at(_feeder, _time_s)


@view
@external
def feeder_between(_feeder: uint48, _from_s: uint256, _to_s: uint256) -> (bool, bool, uint256):
    """
    @notice Tell what a feeder was in a span of time that is over.
    @param _feeder 6-byte number of the feeder.
    @param _from_s 32-byte Unix time, a multiple of 900.
    @param _to_s 32-byte Unix time, a multiple of 900.
    @return whether it was a feeder in service just before the end; whether it was one with as many
            points just before the start, too; how many points were under it just before the end.
    """
    point: uint256 = self._points[_feeder]
    since_s: uint256 = (point >> 160) & _U32
    retired_at_s: uint256 = point >> 200
    in_service: bool = (
        (point >> 192) & 255 > convert(KIND_HOUSE, uint256)
        and since_s < _to_s
        and (retired_at_s == 0 or retired_at_s >= _to_s)
    )
    children: uint256 = self._children_at(_feeder, _to_s)
    steady: bool = (
        in_service and since_s < _from_s and self._children_at(_feeder, _from_s) == children
    )
    return in_service, steady, children


# admin

@external
def enrol(_enrolment: Enrolment):
    """
    @notice Put a meter into service at a new point.
    @param _enrolment 6 words: 20-byte meter, 6-byte number, 1-byte kind, 6-byte feeder number
           (0 = none), 8-byte initial register in Wh, 4-byte sanctioned load in tenths of a watt.
    """
    admin._check_utility()
    self._enrol(_enrolment)


@external
def enrol_many(_enrolments: DynArray[Enrolment, MAX_ENROLMENTS]):
    """
    @notice Put several meters into service; all of them or none.
    @param _enrolments at most 64 of what `enrol` takes; a feeder before its children.
    """
    admin._check_utility()
    for enrolment: Enrolment in _enrolments:
        self._enrol(enrolment)


@external
def replace(_old: address, _new: address, _initial_wh: uint64):
    """
    @notice Let a new meter serve the point of an old one; children, load and account stay.
    @param _old 20-byte address of the meter in service.
    @param _new 20-byte address of a meter that was never enrolled.
    @param _initial_wh 8-byte register of the new meter.
    """
    admin._check_utility()
    place: uint256 = self._in_service(_old)
    assert _new != empty(address), "meter is zero"
    assert self._place[_new] == 0, "meter enrolled before"
    number: uint48 = convert(place >> 208, uint48)
    self._place[_old] = place | (block.timestamp << 88)
    self._place[_new] = (place & ~(_U32 << 120)) | (block.timestamp << 120) | 1
    self._origin[_new] = (convert(_old, uint256) << 64) | convert(_initial_wh, uint256)
    point: uint256 = self._points[number] >> 160
    self._points[number] = (point << 160) | convert(_new, uint256)
    self._feeders[convert((place >> 160) & _U48, uint48)] += 1 << 96
    log Replaced(old=_old, new=_new, number=number, initial_wh=_initial_wh)


@external
def retire(_meter: address):
    """
    @notice Take a meter and its point out of service, for ever. A feeder goes last.
    @param _meter 20-byte address of the meter in service.
    """
    admin._check_utility()
    place: uint256 = self._in_service(_meter)
    number: uint48 = convert(place >> 208, uint48)
    feeder: uint48 = convert((place >> 160) & _U48, uint48)
    assert self._feeders[number] & _U32 == 0, "feeder has children"
    self._place[_meter] = place | (block.timestamp << 88)
    self._points[number] |= block.timestamp << 200
    self._feeders[feeder] += 1 << 96
    self._count(feeder, (self._feeders[feeder] & _U32) - 1)
    log Retired(meter=_meter, number=number, feeder=feeder)


@external
def raise_load(_meter: address, _sanctioned_load_dw: uint32):
    """
    @notice Raise a point's sanctioned load. It cannot be lowered: it guards the household.
    @param _meter 20-byte address of the meter in service.
    @param _sanctioned_load_dw 4-byte load in tenths of a watt.
    """
    admin._check_utility()
    place: uint256 = self._in_service(_meter)
    load: uint256 = convert(_sanctioned_load_dw, uint256)
    assert load > (place >> 56) & _U32, "load not raised"
    self._place[_meter] = (place & ~(_U32 << 56)) | (load << 56)
    log LoadRaised(meter=_meter, sanctioned_load_dw=_sanctioned_load_dw)


# internal

@internal
def _enrol(_enrolment: Enrolment):
    number: uint256 = convert(_enrolment.number, uint256)
    feeder: uint256 = convert(_enrolment.feeder, uint256)
    kind: uint8 = _enrolment.kind
    assert _enrolment.meter != empty(address), "meter is zero"
    assert self._place[_enrolment.meter] == 0, "meter enrolled before"
    assert number != 0, "number is zero"
    assert self._points[_enrolment.number] == 0, "number used before"
    assert kind >= KIND_HOUSE and kind <= KIND_PLANT, "kind not 1, 2 or 3"
    # an absent limit would make any permit good enough for a household
    assert kind != KIND_HOUSE or _enrolment.sanctioned_load_dw != 0, "house without load"
    if feeder != 0:
        above: uint256 = self._place[self._serving(_enrolment.feeder)]
        assert above != 0 and (above >> 88) & _U32 == 0, "no such feeder"
        assert (above >> 152) & 255 > convert(kind, uint256), "feeder not above"
    self._place[_enrolment.meter] = (
        (number << 208)
        | (feeder << 160)
        | (convert(kind, uint256) << 152)
        | (block.timestamp << 120)
        | (convert(_enrolment.sanctioned_load_dw, uint256) << 56)
    )
    self._origin[_enrolment.meter] = convert(_enrolment.initial_wh, uint256)
    self._points[_enrolment.number] = (
        (convert(kind, uint256) << 192)
        | (block.timestamp << 160)
        | convert(_enrolment.meter, uint256)
    )
    self._count(_enrolment.feeder, (self._feeders[_enrolment.feeder] & _U32) + 1)
    log Enrolled(
        meter=_enrolment.meter,
        number=_enrolment.number,
        feeder=_enrolment.feeder,
        kind=kind,
        initial_wh=_enrolment.initial_wh,
        sanctioned_load_dw=_enrolment.sanctioned_load_dw,
    )


@view
@internal
def _serving(_number: uint48) -> address:
    return convert(self._points[_number] & (2**160 - 1), address)


@view
@internal
def _children_at(_feeder: uint48, _time_s: uint256) -> uint256:
    """
    @dev One read when nothing changed since, else a binary search over the changes.
    """
    assert _time_s % QUARTER_S == 0, "time not a multiple of 900"
    quarter: uint256 = _time_s // QUARTER_S
    state: uint256 = self._feeders[_feeder]
    if (state >> 64) & _U32 < quarter:
        return state & _U32
    high: uint256 = (state >> 32) & _U32
    if high == 0:
        return 0
    base: uint256 = convert(_feeder, uint256) << 32
    # the newest checkpoint before `quarter` is at low - 1 when low meets high
    low: uint256 = 0
    high -= 1
    for _: uint256 in range(32):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        if self._checkpoints[base | middle] >> 32 < quarter:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return 0
    return self._checkpoints[base | (low - 1)] & _U32


@view
@internal
def _in_service(_meter: address) -> uint256:
    place: uint256 = self._place[_meter]
    assert place != 0, "meter not enrolled"
    assert (place >> 88) & _U32 == 0, "meter retired"
    return place


@internal
def _count(_feeder: uint48, _children: uint256):
    """
    @notice Set how many children a feeder has from this quarter of an hour on.
    """
    state: uint256 = self._feeders[_feeder]
    length: uint256 = (state >> 32) & _U32
    quarter: uint256 = block.timestamp // QUARTER_S
    base: uint256 = convert(_feeder, uint256) << 32
    if length == 0 or self._checkpoints[base | (length - 1)] >> 32 != quarter:
        length += 1
    self._checkpoints[base | (length - 1)] = (quarter << 32) | _children
    self._feeders[_feeder] = (
        (state >> 96 << 96) | (quarter << 64) | (length << 32) | _children
    )
