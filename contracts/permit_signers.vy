# pragma version 0.4.3
# pragma evm-version cancun
"""
@title PermitSigners
@license MIT
@notice m of n signers of permits: what they sign under, and how one of them is replaced.
"""

import signature


event SignerAnnounced:
    index: indexed(uint256)
    signer: indexed(address)
    serial: uint256
    effective_at_s: uint256
    frame: Bytes[FRAME]
    public_key: Bytes[PUBLIC_KEY]
    signatures: Bytes[SIGNATURES]


event SignerChanged:
    index: indexed(uint256)
    signer: indexed(address)


FRAME: constant(uint256) = 40
PUBLIC_KEY: constant(uint256) = 64
MAX_SIGNERS: constant(uint256) = 8
# index 1, signature 64
INDEXED_SIGNATURE: constant(uint256) = 65
SIGNATURES: constant(uint256) = MAX_SIGNERS * INDEXED_SIGNATURE

DAY_S: constant(uint256) = 86400
KIND_SIGNER: constant(uint256) = 5

_U16: constant(uint256) = 2**16 - 1
_U32: constant(uint256) = 2**32 - 1

threshold: public(immutable(uint256))
signer_count: public(immutable(uint256))
rotation_delay_s: public(immutable(uint256))

signers: public(address[MAX_SIGNERS])
# effective_at_s 96 | address 160
_next_signers: uint256[MAX_SIGNERS]
trust_serial: public(uint256)


@deploy
def __init__(
    _signers: DynArray[address, MAX_SIGNERS], _threshold: uint256, _rotation_delay_s: uint256
):
    """
    @notice Start with signers.
    @param _signers 1 to 8 different 20-byte addresses.
    @param _threshold 32 bytes: how many of them must sign, at least 1.
    @param _rotation_delay_s 32 bytes: notice of a new signer.
    """
    assert _threshold >= 1 and _threshold <= len(_signers), "threshold not 1 to n"
    assert _rotation_delay_s <= 366 * DAY_S, "rotation above 366 days"
    threshold = _threshold
    signer_count = len(_signers)
    rotation_delay_s = _rotation_delay_s
    index: uint256 = 0
    for signer: address in _signers:
        self._check_new_signer(signer)
        self.signers[index] = signer
        log SignerChanged(index=index, signer=signer)
        index += 1


@external
def rotate(
    _frame: Bytes[FRAME], _public_key: Bytes[PUBLIC_KEY], _signatures: Bytes[SIGNATURES]
):
    """
    @notice Announce a new permit signer, signed by the old ones. It takes effect by
            `apply_rotation` after the delay: whoever has paid can be refunded before.
    @param _frame 40-byte frame of kind 5 under the permit domain of meter zero.
    @param _public_key 64-byte public key, x then y, that the frame has the hash of.
    @param _signatures 65 bytes for each signature: 1-byte index, rising, and 64-byte signature.
    """
    assert len(_frame) == FRAME, "frame not 40 bytes"
    assert len(_public_key) == PUBLIC_KEY, "key not 64 bytes"
    head: uint256 = convert(extract32(_frame, 0), uint256)
    index: uint256 = (head >> 224) & _U16
    serial: uint256 = (head >> 192) & _U32
    prefix: uint256 = convert(extract32(_frame, 8), uint256) & (2**224 - 1)
    assert head >> 240 == (1 << 8 | KIND_SIGNER), "frame not of kind 5"
    assert index < signer_count, "no such signer"
    assert convert(sha256(_public_key), uint256) >> 32 == prefix, "key not the frame's"
    self._check_serial(serial, self.trust_serial)
    self._check_signatures(empty(address), _frame, _signatures)
    signer: address = convert(
        convert(keccak256(_public_key), uint256) & (2**160 - 1), address
    )
    self._next_signers[index] = 0
    self._check_new_signer(signer)
    effective_at_s: uint256 = block.timestamp + rotation_delay_s
    self.trust_serial = serial
    self._next_signers[index] = (effective_at_s << 160) | convert(signer, uint256)
    log SignerAnnounced(
        index=index,
        signer=signer,
        serial=serial,
        effective_at_s=effective_at_s,
        frame=_frame,
        public_key=_public_key,
        signatures=_signatures,
    )


@external
def apply_rotation(_index: uint256):
    """
    @notice Put an announced signer in place after its delay.
    @param _index 32 bytes: 0 to 7.
    """
    assert _index < signer_count, "no such signer"
    announced: uint256 = self._next_signers[_index]
    assert announced != 0, "no signer announced"
    assert block.timestamp >= announced >> 160, "signer announced for later"
    signer: address = convert(announced & (2**160 - 1), address)
    self.signers[_index] = signer
    self._next_signers[_index] = 0
    log SignerChanged(index=_index, signer=signer)


@view
@external
def permit_domain(_meter: address) -> bytes32:
    """
    @notice Return the domain of a meter's permits; of meter zero, that of `rotate`.
    @param _meter 20-byte address of the meter.
    """
    return self._permit_domain(_meter)


@view
@external
def next_signer(_index: uint256) -> (address, uint256):
    """
    @notice Read an announced signer and from when `apply_rotation` takes it; zeros if none is.
    @param _index 32 bytes: 0 to 7.
    """
    announced: uint256 = self._next_signers[_index]
    return convert(announced & (2**160 - 1), address), announced >> 160


@view
@internal
def _permit_domain(_meter: address) -> bytes32:
    return sha256(
        concat(
            b"parwana/permit/1",
            convert(chain.id, bytes32),
            convert(self, bytes20),
            convert(_meter, bytes20),
        )
    )


@view
@internal
def _check_serial(_serial: uint256, _last: uint256):
    assert _serial > _last, "serial not above the last"
    # a serial far ahead would leave no room for the next
    assert _serial <= max(_last + 1, block.timestamp + DAY_S), "serial too far ahead"


@view
@internal
def _check_signatures(
    _meter: address, _frame: Bytes[FRAME], _signatures: Bytes[SIGNATURES]
):
    count: uint256 = len(_signatures) // INDEXED_SIGNATURE
    assert len(_signatures) == count * INDEXED_SIGNATURE, "signatures not n * 65 bytes"
    assert count >= threshold, "too few signatures"
    digest: bytes32 = sha256(concat(self._permit_domain(_meter), _frame))
    least_index: uint256 = 0
    for i: uint256 in range(count, bound=MAX_SIGNERS):
        offset: uint256 = i * INDEXED_SIGNATURE
        index: uint256 = convert(extract32(_signatures, offset), uint256) >> 248
        assert index >= least_index, "signers not rising"
        assert index < signer_count, "no such signer"
        least_index = index + 1
        signer: address = signature._recover(
            digest,
            convert(extract32(_signatures, offset + 1), uint256),
            convert(extract32(_signatures, offset + 33), uint256),
        )
        assert signer != empty(address) and signer == self.signers[index], "signature wrong"


@view
@internal
def _check_new_signer(_signer: address):
    assert _signer != empty(address), "signer is zero"
    for i: uint256 in range(MAX_SIGNERS):
        assert self.signers[i] != _signer, "signer twice"
        assert self._next_signers[i] & (2**160 - 1) != convert(_signer, uint256), "signer twice"
