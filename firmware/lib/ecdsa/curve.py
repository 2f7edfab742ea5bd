"""secp256k1: its constants, the errors, and the integer work both backends share.

Source: SEC 2 v2 section 2.4.1; Guide to Elliptic Curve Cryptography, algorithm 3.74 (the split).
"""

from hashlib import sha256

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_N = N >> 1
GX = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798
GY = 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8

# LAMBDA * (x, y) = (BETA * x, y)
BETA = 0x7AE96A2B657C07106E64479EAC3434E99CF0497512F58995C1396C28719501EE

# (A1, B1) and (A2, A1) span the vectors (a, b) with a + b * LAMBDA = 0 mod N.
_A1 = 0x3086D221A7D46BCDE86C90E49284EB15
_B1 = -0xE4437ED6010E88286F547FA90ABFE4C3
_A2 = 0x114CA50F7A8E2F3F657C1108D9D44CFD8
# 2**384 * A1 / N and 2**384 * -B1 / N
_G1 = 0x3086D221A7D46BCDE86C90E49284EB153DAA8A1471E8CA7FE893209A45DBB031
_G2 = 0xE4437ED6010E88286F547FA90ABFE4C4221208AC9DF506C61571B4AE8AC47F71

# A comb of 7 teeth, 19 bits apart, reads both halves of a split scalar: 64 points of 64 bytes.
TEETH = 7
SPACING = 19
COMB_SIZE = 64 << (TEETH - 1)
_COMB_OFFSET = (1 << TEETH * SPACING) - 1


class EcdsaError(ValueError):
    """An argument has the wrong size, is out of range or is no point of the curve."""


def split(k):
    """Return (a, b) with k = a + b * LAMBDA mod N, both below 2**129 in magnitude."""
    c1 = k * _G1 >> 384
    c2 = k * _G2 >> 384
    return k - c1 * _A1 - c2 * _A2, -c1 * _B1 - c2 * _A1


def split_odd(k):
    """Return (a, b) as `split` does, but both odd, as a comb needs them, and below 2**131."""
    a, b = split(k)
    # Adding a vector of the lattice changes nothing but the parities: (A1, B1) is (odd, odd),
    # (A2, A1) is (even, odd).
    if not a & 1:
        a += _A1
        b += _B1
    if not b & 1:
        a += _A2
        b += _A1
    return a, b


def comb_digits(k):
    """Return the halves of `split_odd`, 18 bytes each: bit i is 1 for +2**i and 0 for -2**i."""
    a, b = split_odd(k)
    a = ((a + _COMB_OFFSET) >> 1).to_bytes(18, "little")
    return a + ((b + _COMB_OFFSET) >> 1).to_bytes(18, "little")


def nonces(digest, key, pad):
    """Yield the candidates for k. Source: RFC 6979 section 3.2 with SHA-256.

    digest: 32 bytes; key: 32 bytes, 0 < key < N; pad: the backend's.
    """
    block = bytearray(64)
    message = bytearray(33) + key
    message += (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    v = b"\x01" * 32
    mac_key = bytes(32)
    for step in (0, 1):
        message[:32] = v
        message[32] = step
        mac_key = _hmac(mac_key, message, pad, block)
        v = _hmac(mac_key, v, pad, block)
    while True:
        v = _hmac(mac_key, v, pad, block)
        k = int.from_bytes(v, "big")
        if 0 < k < N:
            yield k
        mac_key = _hmac(mac_key, v + b"\x00", pad, block)
        v = _hmac(mac_key, v, pad, block)


def _hmac(key, data, pad, block):
    """Return HMAC-SHA256 under a key of 32 bytes; block: room for 64. Source: RFC 2104."""
    pad(key, 0x36, block)
    inner = sha256(block)
    inner.update(data)
    pad(key, 0x5C, block)
    outer = sha256(block)
    outer.update(inner.digest())
    return outer.digest()
