# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Permits
@license MIT
@notice What a frame must be to be published as a permit.
"""

import permit_signers

uses: permit_signers


event PermitPublished:
    meter: indexed(address)
    serial: indexed(uint256)
    period: indexed(uint256)
    frame: Bytes[permit_signers.FRAME]
    signatures: Bytes[permit_signers.SIGNATURES]


KIND_PERMIT: constant(uint256) = 3
KNOWN_FLAGS: constant(uint256) = 7
_U8: constant(uint256) = 2**8 - 1
_U16: constant(uint256) = 2**16 - 1
_U32: constant(uint256) = 2**32 - 1
_U64: constant(uint256) = 2**64 - 1


@internal
def _publish(
    _meter: address,
    _frame: Bytes[permit_signers.FRAME],
    _signatures: Bytes[permit_signers.SIGNATURES],
    _last_serial: uint256,
) -> uint256:
    """
    @notice Log a permit that enough signers signed, and that no meter refuses as malformed.
    @return its serial.
    """
    assert len(_frame) == permit_signers.FRAME, "frame not 40 bytes"
    head: uint256 = convert(extract32(_frame, 0), uint256)
    tail: uint256 = convert(extract32(_frame, 8), uint256) & _U64
    assert head >> 240 == (1 << 8 | KIND_PERMIT), "frame no permit"
    assert (head >> 224) & _U16 <= KNOWN_FLAGS, "permit: flags"
    assert tail & _U32 == 0, "permit: bytes not zero"
    assert tail >> 56 <= 23 and (tail >> 48) & _U8 <= 23, "permit: no-cut hours"
    assert (tail >> 40) & _U8 <= 127, "permit: weekdays"
    serial: uint256 = (head >> 192) & _U32
    permit_signers._check_serial(serial, _last_serial)
    permit_signers._check_signatures(_meter, _frame, _signatures)
    log PermitPublished(
        meter=_meter,
        serial=serial,
        period=(head >> 96) & _U32,
        frame=_frame,
        signatures=_signatures,
    )
    return serial
