"""Sign and recover: coincurve behind the 64-byte form of docs/protocol.md section 3."""

from functools import lru_cache

from coincurve import PrivateKey, PublicKey
from eth_utils import keccak

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_PARITY = 1 << 255


class SignatureError(ValueError):
    """A signature or a key that section 3 refuses; whatever it came with proves nothing."""


def sign(key: PrivateKey, digest: bytes) -> bytes:
    """Sign a 32-byte digest: 64 bytes r ‖ (yParity << 255 | s), low-s. Source: EIP-2098."""
    signature = key.sign_recoverable(digest, hasher=None)
    vs = int.from_bytes(signature[32:64], "big") | signature[64] << 255
    return signature[:32] + vs.to_bytes(32, "big")


def recover(digest: bytes, signature: bytes) -> bytes:
    """Return the public key (64 bytes) that made `signature` (64 bytes). Raises SignatureError."""
    if len(digest) != 32 or len(signature) != 64:
        raise SignatureError(f"signature has {len(signature)} bytes, must have 64")
    r, rest = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    s = rest & ~_PARITY
    if not (0 < r < ORDER and 0 < s <= ORDER // 2):
        raise SignatureError("signature: r or s is out of range, or s is high")
    recoverable = signature[:32] + s.to_bytes(32, "big") + bytes([rest >> 255])
    try:
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except Exception as error:  # coincurve raises a bare Exception here
        raise SignatureError(f"signature recovers to no key: {error}") from None
    return key.format(compressed=False)[1:]


@lru_cache(maxsize=65536)
def address(public_key: bytes) -> bytes:
    """Return the address (20 bytes) of a public key (64 bytes). Raises SignatureError."""
    if len(public_key) != 64:
        raise SignatureError(f"public key has {len(public_key)} bytes, must have 64")
    return bytes(keccak(public_key)[12:])


def signer(digest: bytes, signature: bytes) -> bytes:
    """Return the address (20 bytes) that made `signature` (64 bytes). Raises SignatureError."""
    return address(recover(digest, signature))
