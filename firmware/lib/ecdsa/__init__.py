"""Sign and verify with ECDSA over secp256k1: RFC 6979, low s.

    signature, recovery = sign(digest, key)
    verify(digest, signature, public_key(key))

Sizes in bytes: digest 32; key 32; signature 64, r then s; public key 64, x then y; big-endian.
An argument that is no bytes, bytearray or memoryview raises TypeError; one of the wrong size, a
key out of range or a public key off the curve raises EcdsaError. A signature of 64 bytes that does
not hold, for whatever reason (r or s is zero or too large, s is above N / 2), makes `verify`
return False.

`backend` is "fast" or "portable", `reason` says why it is not the fast one.
"""

import os
from hashlib import sha256

from .curve import COMB_SIZE, GX, GY, HALF_N, N, P, SPACING, EcdsaError, nonces

try:
    from .table import TABLE as _table  # the comb of G

    _table_is_made = True
except ImportError:
    _table = bytearray(COMB_SIZE)  # at once, while the heap has room for it in one piece
    _table_is_made = False


def _choose():
    """Return the backend and why it is not the fast one."""
    try:
        from . import fast

        return fast, ""
    except ImportError:
        why = "native.mpy is missing: build it for this processor"
    except ValueError:
        why = "native.mpy is for another processor or another MicroPython"
    except MemoryError:
        why = "no room for native.mpy: import ecdsa first"
    from . import portable

    return portable, why


_engine, reason = _choose()
backend = "portable" if reason else "fast"

_BYTES = (bytes, bytearray, memoryview)
_LOW_128 = (1 << 128) - 1
_LOW_256 = (1 << 256) - 1
_WALKED = 1 << (SPACING - 1)  # what a walk multiplies its start by
_start = None  # b and b * G, where the next walk of a secret scalar starts


def sign(digest, key):
    """Return (signature, recovery id 0-3) of a digest under a private key.

    Repeatable: the nonce is that of RFC 6979 with SHA-256. s is at most N / 2. Raises EcdsaError.
    """
    z = _number(digest, 32, "a digest")
    d = _private(key)
    for k in nonces(digest, key, _engine.pad):
        noise = _noise(k)
        x, y = _multiply_secret(k, noise >> 128)
        r = x % N
        # neither k nor the key meets a number that is known, but for a factor that is not
        b = noise & _LOW_128 | 1
        s = _engine.inverse(k * b % N, N) * ((z * b + d * b % N * r) % N) % N
        if r and s:
            recovery = y & 1 | (2 if x >= N else 0)
            if s > HALF_N:
                s = N - s
                recovery ^= 1
            break
    return _encode((r, s)), recovery


def verify(digest, signature, key):
    """Return whether a signature of a digest holds under a public key.

    key: 64 bytes, or the 4160 that `prepare` made of them. Raises EcdsaError.
    """
    z = _number(digest, 32, "a digest")
    r, s = _signature(signature)
    if isinstance(key, _BYTES) and len(key) == 64 + COMB_SIZE:
        q = memoryview(key)[64:]
    else:
        q = _point(key)
    if not (0 < r < N and 0 < s <= HALF_N):
        return False
    w = _engine.inverse(s, N)
    u = z * w % N
    v = r * w % N
    p = _engine.multiply_add(_base_table(), u, v, q)
    if p is None:
        found = _multiply_add_complete(u, v, _point(key[:64]))
        return found is not None and found[0] % N == r
    # r is the x of the point, which is below P, mod N
    return _engine.x_is(p, r) or (r + N < P and _engine.x_is(p, r + N))


def prepare(public_key):
    """Return a public key and its comb table, 4160 bytes, with which `verify` is faster.

    It is trusted as the key is: keep it where nobody else writes. Raises EcdsaError.
    """
    from .portable import comb

    x, y = _point(public_key)
    prepared = bytearray(64 + COMB_SIZE)
    prepared[:64] = public_key
    comb(memoryview(prepared)[64:], x, y)
    return prepared


def recover(digest, signature, recovery):
    """Return the public key under which a signature holds. Raises EcdsaError if none does."""
    z = _number(digest, 32, "a digest")
    r, s = _signature(signature)
    x = r + N if recovery in (2, 3) else r
    if not (recovery in (0, 1, 2, 3) and 0 < r < N and 0 < s <= HALF_N and x < P):
        raise EcdsaError("the signature or its recovery id is out of range: no key made it")
    y = _root(x, recovery & 1)
    w = _engine.inverse(r, N)
    u = -z * w % N
    v = s * w % N
    p = _engine.multiply_add(_base_table(), u, v, (x, y))
    found = _engine.affine(p) if p else _multiply_add_complete(u, v, (x, y))
    if found is None:
        raise EcdsaError("no key made this signature")
    return _encode(found)


def public_key(key):
    """Return the public key of a private key. Raises EcdsaError."""
    d = _private(key)
    return _encode(_multiply_secret(d, _noise(d) >> 128))


def decompress(key):
    """Return the public key that 33 bytes stand for: 2 or 3 for an even or odd y, then x.

    Raises EcdsaError.
    """
    number = _number(key, 33, "a compressed public key")
    parity = number >> 256
    x = number & _LOW_256
    if parity not in (2, 3) or x >= P:
        raise EcdsaError("a compressed public key starts with 2 or 3, then comes an x below P")
    return _encode((x, _root(x, parity & 1)))


def compact(signature, recovery):
    """Return a signature with its recovery id, 0 or 1, as the top bit of s: 64 bytes.

    Raises EcdsaError. Source: EIP-2098.
    """
    _signature(signature)
    if recovery not in (0, 1):
        raise EcdsaError("only recovery ids 0 and 1 have a compact form")
    if signature[32] & 0x80:
        raise EcdsaError("s is above N / 2: the signature has no compact form")
    return bytes(signature[:32]) + bytes((signature[32] | recovery << 7,)) + bytes(signature[33:])


def expand(signature):
    """Return (signature, recovery id) of a compact signature. Source: EIP-2098."""
    _signature(signature)
    s = bytes((signature[32] & 0x7F,)) + bytes(signature[33:])
    return bytes(signature[:32]) + s, signature[32] >> 7


def _number(data, size, what):
    if not isinstance(data, _BYTES):
        raise TypeError("%s is bytes, not %s" % (what, type(data).__name__))
    if len(data) != size:
        raise EcdsaError("%s has %d bytes, not %d" % (what, size, len(data)))
    return int.from_bytes(data, "big")


def _private(key):
    d = _number(key, 32, "a private key")
    if not 0 < d < N:
        raise EcdsaError("a private key lies between 1 and N - 1")
    return d


def _signature(data):
    both = _number(data, 64, "a signature")
    return both >> 256, both & _LOW_256


def _point(key):
    both = _number(key, 64, "a public key")
    x = both >> 256
    y = both & _LOW_256
    if x >= P or y >= P or (x * x % P * x + 7 - y * y) % P:
        raise EcdsaError("the public key is no point of secp256k1")
    return x, y


def _encode(p):
    return p[0].to_bytes(32, "big") + p[1].to_bytes(32, "big")


def _root(x, parity):
    square = (x * x % P * x + 7) % P
    y = _engine.square_root(square)
    if y * y % P != square:
        raise EcdsaError("no point of secp256k1 has this x")
    return y if y & 1 == parity else P - y


def _base_table():
    global _table_is_made
    if not _table_is_made:
        from .portable import comb

        comb(_table, GX, GY)
        _table_is_made = True
    return _table


def _multiply_add_complete(u, v, q):
    """Return u * G + v * q, affine; None for infinity. For sums that no engine can form."""
    try:
        from .portable import multiply_add_complete
    except ImportError:  # a meter that runs imports nothing more; no signer makes such a sum
        raise EcdsaError("a sum that only the portable backend forms")
    return multiply_add_complete(u, v, q[0], q[1])


def _noise(secret):
    """Return 256 bits that take the secret and, where it exists, the hardware's noise to know."""
    data = secret.to_bytes(32, "big")
    if hasattr(os, "urandom"):
        data += os.urandom(32)
    return int.from_bytes(sha256(data).digest(), "big")


def _multiply_secret(k, z):
    """Return k * G, affine.

    The walk starts at a multiple of G that is another each time, at random or else twice the last,
    in coordinates scaled by z, 128 bits at random; so no two walks for one k are alike.
    """
    global _start
    table = _base_table()
    while True:
        if _start is None:
            b = _noise(k)
            start = _engine.multiply_base(table, (b - _WALKED) % N, _engine.point(GX, GY))
        else:
            b, start = _start
        b = 2 * b % N
        start = _engine.double(start, z | 1)
        _start = (b, start)
        p = _engine.affine(_engine.multiply_base(table, (k - b * _WALKED) % N, start))
        if p:
            return p
        _start = None
