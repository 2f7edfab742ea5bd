# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Meters
@license MIT
@notice What each meter closed last, where it hangs by the registry, and whether it contradicted
        itself.
"""

from interfaces import IEnergyLedger
from interfaces import IMeterRegistry
import balances
import calendar
import signature

uses: balances
uses: calendar


event Equivocation:
    # The proof itself: anyone can check it again.
    meter: indexed(address)
    sequence: uint256
    frame_a: Bytes[FRAME]
    signature_a: Bytes[SIGNATURE]
    frame_b: Bytes[FRAME]
    signature_b: Bytes[SIGNATURE]


FRAME: constant(uint256) = 40
SIGNATURE: constant(uint256) = 64
KIND_READING: constant(uint256) = 1
KIND_EVENT: constant(uint256) = 2

_U24: constant(uint256) = 2**24 - 1
_U32: constant(uint256) = 2**32 - 1
_U48: constant(uint256) = 2**48 - 1
_U64: constant(uint256) = 2**64 - 1

# offsets into a meter's slot:
# energy_wh 64 | number 48 | feeder 48 | time_s 32 | period 24 | revision 24 | flags
ENERGY: constant(uint256) = 192
NUMBER: constant(uint256) = 144
FEEDER: constant(uint256) = 96
TIME: constant(uint256) = 64
PERIOD: constant(uint256) = 40
REVISION: constant(uint256) = 16
_ENROLLED: constant(uint256) = 8
RETIRED: constant(uint256) = 4
_EQUIVOCATED: constant(uint256) = 2
IS_FEEDER: constant(uint256) = 1
# what the registry may change; what a closing changes; what most closings of a batch share
PLACE: constant(uint256) = _U48 << FEEDER | _U24 << REVISION | _ENROLLED | RETIRED
LAST: constant(uint256) = _U24 << PERIOD
MOVED: constant(uint256) = _U64 << ENERGY | _U32 << TIME | LAST
USUAL: constant(uint256) = PLACE | LAST | IS_FEEDER
# the place of no meter
NOWHERE: constant(uint256) = RETIRED

domain: public(immutable(bytes32))

slots: HashMap[address, uint256]


@deploy
def __init__(_utility_id: String[32]):
    """
    @notice Know no meter yet.
    @param _utility_id 1 to 32 bytes, part of what meters sign.
    """
    assert len(_utility_id) != 0, "utility id is empty"
    domain = sha256(concat(b"parwana/reading/1", convert(_utility_id, Bytes[32])))


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
    state: uint256 = self.slots[signer]
    assert state & _EQUIVOCATED == 0, "reported"
    if state == 0:
        state = self._pull(signer, 0)[0]
    assert state != 0, "signer not enrolled"
    self.slots[signer] = state | _EQUIVOCATED
    log Equivocation(
        meter=signer,
        sequence=(a >> 192) & _U32,
        frame_a=_frame_a,
        signature_a=_signature_a,
        frame_b=_frame_b,
        signature_b=_signature_b,
    )


@view
@external
def closing(_meter: address) -> IEnergyLedger.Closing:
    """
    @notice Read a meter's last closing; of one without, its initial register, with time 0.
    @param _meter 20-byte address of the meter.
    """
    state: uint256 = self.slots[_meter]
    if state == 0:
        state = self._pull(_meter, 0)[0]
        assert state != 0, "meter not enrolled"
    return IEnergyLedger.Closing(
        period=convert((state >> PERIOD) & _U24, uint32),
        energy_wh=convert(state >> ENERGY, uint64),
        time_s=convert((state >> TIME) & _U32, uint32),
    )


@view
@external
def equivocated(_meter: address) -> bool:
    """
    @notice Tell whether two contradictory frames of a meter were shown.
    @param _meter 20-byte address of the meter.
    """
    return self.slots[_meter] & _EQUIVOCATED != 0


@view
@internal
def _signer(_frame: Bytes[FRAME], _signature: Bytes[SIGNATURE]) -> address:
    return signature._recover(
        sha256(concat(domain, _frame)),
        convert(extract32(_signature, 0), uint256),
        convert(extract32(_signature, 32), uint256),
    )


@view
@internal
def _refreshed(_meter: address, _state: uint256, _place: uint256) -> (uint256, uint256):
    """
    @notice Bring a meter's slot up to date, unless it is; `_place` is of the meter before.
    @return the slot, 0 if the meter is not enrolled; and when it was retired, 0 if in service.
    """
    if _state != 0 and _state & RETIRED == 0:
        revision: uint256 = (_place >> REVISION) & _U24
        if _place & PLACE == NOWHERE or (_state ^ _place) & (_U48 << FEEDER) != 0:
            revision = self._revision((_state >> FEEDER) & _U48)
        if (_state >> REVISION) & _U24 == revision:
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
            (convert(entry.initial_wh, uint256) << ENERGY)
            | (convert(entry.number, uint256) << NUMBER)
            | (feeder << FEEDER)
            | (before << PERIOD)
            | _ENROLLED
        )
        if entry.kind != 1:
            state |= IS_FEEDER
    state = (state & ~(_U24 << REVISION)) | (self._revision(feeder) << REVISION)
    if entry.retired_at_s != 0:
        state |= RETIRED
    return state, convert(entry.retired_at_s, uint256)
