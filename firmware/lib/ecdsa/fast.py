"""Points of secp256k1 on the machine of `native`, which is built for a processor.

Does what `portable` does. A Jacobian point is the bytes of three registers of the machine.
"""

from micropython import const  # type: ignore[import-not-found]

# First, while the heap has room for them in one piece: 38 registers of 80 bytes, a point that is
# kept, a schedule of up to 129 doublings and 92 additions, the bytes of a number.
_registers = bytearray(38 * 80 + 240 + 448 + 36)

from . import native  # noqa: E402
from .curve import BETA, GX, GY, N, P, comb_digits, split  # noqa: E402
from .native import from_limbs, pad, plan, run, signed_digits, to_limbs  # noqa: E402, F401

_X = const(0)
_Y = const(1)
_Z = const(2)
_PX = const(3)
_PY = const(4)
_T0 = const(5)
_ONE = const(10)
_BETA = const(12)
_FACTOR = const(13)
_LIMBS = const(20)
_DIGITS = const(130)
_SPACING = const(19)
_STRIDE = const(19)  # words between the numbers of an inversion, of 18 limbs


_accumulator = memoryview(_registers)[:240]
_scratch = memoryview(_registers)[400:800]  # five temporary registers, between two runs
_kept = memoryview(_registers)[3040:3280]
_schedule = memoryview(_registers)[3280:3728]
_bytes = memoryview(_registers)[3728:]
# modulus: the modulus in bytes and 1 / the modulus mod 2**15
_moduli = {m: (m.to_bytes(36, "little"), pow(m & 0x7FFF, (1 << 13) - 1, 1 << 15)) for m in (P, N)}


def _put(register, value):
    to_limbs(value.to_bytes(36, "little"), _registers, _LIMBS * register, _LIMBS, 13)


def _get(register):
    return _number(_registers, _LIMBS * register, _LIMBS, 13)


def _number(words, first, count, bits):
    from_limbs(words, first, count, bits, _bytes)
    value = int.from_bytes(_bytes, "little")
    return value - (1 << 288) if _bytes[35] & 0x80 else value


def _walk(schedule, g=b"", q=b""):
    run(0, 0, schedule, native.PROGRAM, _registers, g, q)


def inverse(a, m):
    """Return 1 / a mod m for m = P or N, 0 for 0; the time does not depend on a."""
    modulus, of_modulus = _moduli[m]
    to_limbs(modulus, _scratch, 1, 18, 15)
    to_limbs((a % m).to_bytes(36, "little"), _scratch, 1 + _STRIDE, 18, 15)
    native.divsteps(0, 0, _scratch, of_modulus)
    d = _number(_scratch, 1 + 2 * _STRIDE, 18, 15)
    return (-d if _scratch[4 * _STRIDE - 1] & 0x80 else d) % m


def point(x, y):
    """Return an affine point as a Jacobian one. It is gone with the next call."""
    _put(_X, x)
    _put(_Y, y)
    _put(_Z, 1)
    return _accumulator


def affine(p):
    """Return a Jacobian point as (x, y), or None where Z is 0."""
    _accumulator[:] = p
    z = inverse(_get(_Z), P)
    if not z:
        return None
    _put(_FACTOR, z)
    _walk(native.RESCALE)
    return _get(_X) % P, _get(_Y) % P


def double(p, z):
    """Return twice a Jacobian point, its coordinates scaled by z. The next call overwrites it."""
    _accumulator[:] = p
    _put(_FACTOR, z)
    _walk(native.DOUBLE)
    _kept[:] = _accumulator
    return _kept


def multiply_base(table, k, start):
    """Return k * G + 2**18 * start, Jacobian; Z is 0 in a special case.

    table: the comb of G; start: Jacobian. The point returned is gone with the next call.
    """
    plan(_schedule, comb_digits(k), 2, b"", _SPACING)
    _accumulator[:] = start
    _walk(_schedule, table)
    return _accumulator


def multiply_add(table, u, v, key):
    """Return u * G + v * Q, Jacobian, or None in a special case.

    table: the comb of G; key: the point Q as (x, y), or its comb. The point returned is gone with
    the next call.
    """
    if isinstance(key, tuple):
        _multiples(*key)
        for half, k in enumerate(split(v)):
            signed_digits(abs(k).to_bytes(18, "little"), k < 0, _scratch, half * _DIGITS, _DIGITS)
        bits = _DIGITS
        combs = key = b""
    else:
        combs = comb_digits(v)
        bits = _SPACING
    # less what the walk makes of G, where it starts
    combs = comb_digits((u - (1 << (bits - 1))) % N) + combs
    plan(_schedule, combs, len(combs) // 18, _scratch, bits)
    point(GX, GY)
    _walk(_schedule, table, key)
    return _accumulator if _get(_Z) % P else None


def _multiples(x, y):
    """Put 1, 3, ... 15 times a point, affine, into the registers."""
    _put(_PX, x)
    _put(_PY, y)
    _walk(native.MULTIPLES)
    _put(_FACTOR, inverse(_get(_T0), P))
    _walk(native.NORMALISE)


def x_is(p, x):
    """Return whether x is the x of a Jacobian point whose Z is not 0."""
    _accumulator[:] = p
    _put(_FACTOR, x)
    _walk(native.COMPARE_X)
    return _get(_T0) % P == 0


def square_root(a):
    """Return a root of a mod P, if it has one: a**((P + 1) / 4)."""
    _put(_T0, a)
    _walk(native.ROOT)
    return _get(_T0) % P


_put(_ONE, 1)
_put(_BETA, BETA)
