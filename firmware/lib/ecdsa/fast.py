"""Points of secp256k1 on the machine of `native`, which is built for a processor.

Does what `portable` does. A Jacobian point is the bytes of three registers of the machine.
"""

from . import native
from .curve import BETA, GX, GY, N, P, SPACING, comb_digits, split, split_odd
from .native import from_limbs, pad, plan, run, signed_digits, to_limbs  # noqa: F401

_LIMBS = native.LIMBS
_POINT = 3 * 4 * _LIMBS  # bytes
_DIGITS = 130
_STRIDE = 19  # words between the numbers of an inversion, of 18 limbs

_registers = bytearray(native.REGISTERS * 4 * _LIMBS)
_program = native.PROGRAM
_accumulator = memoryview(_registers)[:_POINT]
_schedule = bytearray(680)
_work = bytearray(4 * 5 * _STRIDE)
_bytes = bytearray(36)
_digits = bytearray(2 * _DIGITS)
# modulus: the modulus in bytes and 1 / the modulus mod 2**15
_moduli = {m: (m.to_bytes(36, "little"), pow(m & 0x7FFF, (1 << 13) - 1, 1 << 15)) for m in (P, N)}


def _steps(*steps):
    """Return a schedule of routines given as routine, argument, ..."""
    return bytes(steps) + b"\xff"


def _multiples_steps():
    """Return the two schedules of `_multiples`."""
    make = [native.START_MULTIPLES, 0, native.DOUBLE, 0, native.SCALE_MULTIPLES, 0]
    normalise = []
    for i in range(8):
        register = native.MULTIPLES + 3 * i
        make += [native.STASH_MULTIPLE, register, native.ADD, 0]
        normalise = [native.NORMALISE_MULTIPLE, register] + normalise
    return _steps(*make[:-2], native.LAST_Z, 0), _steps(*normalise)


_RESCALE = _steps(native.RESCALE, 0)
_DOUBLE = _steps(native.DOUBLE, 0, native.RESCALE, 0)
_COMPARE_X = _steps(native.COMPARE_X, 0)
_MAKE, _NORMALISE = _multiples_steps()


def _put(register, value):
    to_limbs(value.to_bytes(36, "little"), _registers, _LIMBS * register, _LIMBS, 13)


def _get(register):
    return _number(_registers, _LIMBS * register, _LIMBS, 13)


def _number(words, first, count, bits):
    from_limbs(words, first, count, bits, _bytes)
    value = int.from_bytes(_bytes, "little")
    return value - (1 << 288) if _bytes[35] & 0x80 else value


def _walk(schedule, g=b"", q=b""):
    run(0, 0, schedule, _program, _registers, g, q)


def inverse(a, m):
    """Return 1 / a mod m for m = P or N, 0 for 0; the time does not depend on a."""
    modulus, of_modulus = _moduli[m]
    to_limbs(modulus, _work, 1, 18, 15)
    to_limbs((a % m).to_bytes(36, "little"), _work, 1 + _STRIDE, 18, 15)
    native.divsteps(0, 0, _work, of_modulus)
    d = _number(_work, 1 + 2 * _STRIDE, 18, 15)
    return (-d if _work[4 * _STRIDE - 1] & 0x80 else d) % m


def point(x, y):
    """Return an affine point as a Jacobian one."""
    _put(native.X, x)
    _put(native.Y, y)
    _put(native.Z, 1)
    return _registers[:_POINT]


def affine(p):
    """Return a Jacobian point as (x, y), or None where Z is 0."""
    _registers[:_POINT] = p
    z = inverse(_get(native.Z), P)
    if not z:
        return None
    _put(native.FACTOR, z)
    _walk(_RESCALE)
    return _get(native.X) % P, _get(native.Y) % P


def double(p, z):
    """Return twice a Jacobian point, its coordinates scaled by z."""
    _registers[:_POINT] = p
    _put(native.FACTOR, z)
    _walk(_DOUBLE)
    return _registers[:_POINT]


def multiply_base(table, k, start):
    """Return k * G + 2**18 * start, Jacobian; Z is 0 in a special case.

    table: the comb of G; start: Jacobian. The point returned is gone with the next call.
    """
    a, b = split_odd(k)
    plan(_schedule, comb_digits(a) + comb_digits(b), 2, b"", SPACING)
    _registers[:_POINT] = start
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
            signed_digits(abs(k).to_bytes(18, "little"), k < 0, _digits, half * _DIGITS, _DIGITS)
        bits = _DIGITS
        combs = key = b""
    else:
        a, b = split_odd(v)
        combs = comb_digits(a) + comb_digits(b)
        bits = SPACING
    a, b = split_odd((u - (1 << (bits - 1))) % N)  # for the walk starts at G and doubles it
    combs = comb_digits(a) + comb_digits(b) + combs
    plan(_schedule, combs, len(combs) // 18, _digits, bits)
    _registers[:_POINT] = _BASE
    _walk(_schedule, table, key)
    return _accumulator if _get(native.Z) % P else None


def _multiples(x, y):
    """Put 1, 3, ... 15 times a point, affine, into the registers."""
    _put(native.PX, x)
    _put(native.PY, y)
    _walk(_MAKE)
    _put(native.FACTOR, inverse(_get(native.T0), P))
    _walk(_NORMALISE)


def x_is(p, x):
    """Return whether x is the x of a Jacobian point whose Z is not 0."""
    _registers[:_POINT] = p
    _put(native.FACTOR, x)
    _walk(_COMPARE_X)
    return _get(native.T0) % P == 0


def square_root(a):
    """Return a root of a mod P, if it has one: a**((P + 1) / 4)."""
    _put(native.T0, a)
    one, two, three, x22, x44, x88 = range(native.MULTIPLES, native.MULTIPLES + 6)
    steps = bytearray((native.KEEP, one))
    # a**(2**n - 1) for n = 2, 3, 6, 9, 11, 22, 44, 88, 176, 220, 223, then the exponent's low bits
    for squares, factor, keep in (
        (1, one, two), (1, one, three), (3, three, 0), (3, three, 0), (2, two, x22),
        (11, x22, x22), (22, x22, x44), (44, x44, x88), (88, x88, 0), (44, x44, 0),
        (3, three, 0), (23, x22, 0), (6, two, 0), (2, 0, 0),
    ):  # fmt: skip
        steps += bytes((native.SQUARE_T0, 0)) * squares
        if factor:
            steps += bytes((native.TIMES_KEPT, factor))
        if keep:
            steps += bytes((native.KEEP, keep))
    _walk(steps + b"\xff")
    return _get(native.T0) % P


_put(native.ONE, 1)
_put(native.BETA, BETA)
_BASE = point(GX, GY)
