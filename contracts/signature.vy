# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Signature
@license MIT
@notice Recover who signed a frame, and refuse every second encoding of one signature.
"""

# EIP-2: of (r, s) and (r, n - s) only the lower s is a signature
HALF_N: constant(uint256) = (
    57896044618658097711785492504343953926418782139537452191302581570759080747168
)
# the bits of s in yParity << 255 | s (EIP-2098)
S: constant(uint256) = 2**255 - 1
# sha256 of 32 zero bytes
_SHA256_OF_ZEROS: constant(bytes32) = (
    0x66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925
)


@internal
@pure
def _recover(_digest: bytes32, _r: uint256, _vs: uint256) -> address:
    """
    @notice Recover the signer's address; zero for anything that is no low-s signature.
    @param _digest 32-byte SHA-256 digest.
    @param _r 32-byte r.
    @param _vs 32 bytes, yParity << 255 | s, as EIP-2098.
    """
    s: uint256 = _vs & S
    if s > HALF_N:
        return empty(address)
    return ecrecover(_digest, unsafe_add(27, _vs >> 255), _r, s)


@internal
@view
def _check_sha256():
    """
    @notice Refuse a chain without the SHA-256 precompile, where sha256 would return its input.
    """
    # the compiler folds sha256 of a literal, and the balance of no one is no literal
    zeros: bytes32 = convert(empty(address).balance * 0, bytes32)
    assert sha256(zeros) == _SHA256_OF_ZEROS, "no sha256 precompile"
