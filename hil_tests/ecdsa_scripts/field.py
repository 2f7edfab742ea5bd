"""Drive the field machine of ecdsa.native to the edges of its words: field.py LIBRARY ROUNDS

Factors are at their largest: reduced elements and differences of two, of any pattern of limbs.
"""

import struct
import sys

sys.path.insert(0, sys.argv[1])

from ecdsa import native  # noqa: E402
from ecdsa.curve import P  # noqa: E402

MULTIPLY, SQUARE, LINEAR, HALVE, END, BIAS = 0, 1, 2, 3, 255, 128
R, A, B, D = 0, 1, 2, 3
MOST = 8191
registers = bytearray(38 * 80)
state = 20261122


def pick(count):
    global state
    state = (state * 1103515245 + 12345) & 0x3FFFFFFF
    return (state >> 12) % count


def put(register, limbs):
    struct.pack_into("<20i", registers, 80 * register, *limbs)


def get(register):
    return struct.unpack_from("<20i", registers, 80 * register)


def value(limbs):
    return sum([limb << (13 * i) for i, limb in enumerate(limbs)])


def reduced(kind):
    """Limbs as a multiplication leaves them."""
    if kind == 0:
        limbs = [MOST] * 20
    elif kind == 1:
        limbs = [MOST * pick(2) for _ in range(20)]
    elif kind == 2:
        limbs = [MOST if i < 10 else 0 for i in range(20)]
    elif kind == 3:
        limbs = [0 if i < 10 else MOST for i in range(20)]
    else:
        limbs = [pick(8192) for _ in range(20)]
    limbs[4] += pick(11) - 5
    return limbs


def factor():
    """A reduced element, the opposite of one, or the difference of two."""
    a, b = reduced(pick(5)), reduced(pick(5))
    kind = pick(3)
    if kind == 0:
        return a
    if kind == 1:
        return [-x for x in a]
    return [x - y for x, y in zip(a, b)]  # noqa: B905  (MicroPython has no strict)


def run(operation, a, b, f, d):
    put(A, a)
    put(B, b)
    put(D, d)
    program = bytes((END, 0, 0, 0, 0, 0, operation, R, A, B, D, BIAS + f, END, 0, 0, 0, 0, 0))
    native.run(0, 0, b"\x01\x00\xff", program, registers, b"", b"")
    return get(R)


def check_reduced(limbs):
    for i, limb in enumerate(limbs):
        assert (-6 < limb < 8198) if i == 4 else (0 <= limb < 8192), limbs


rounds = int(sys.argv[2])
for n in range(rounds):
    a, b = factor(), factor()
    if n == 0:
        a = b = [MOST] * 20
    if n == 1:
        a, b = [MOST] * 20, [-MOST] * 20
    d = [3 * x for x in reduced(pick(5))]
    f = (0, -1, 1, -2, 2)[pick(5)]
    result = run(MULTIPLY, a, b, f, d)
    check_reduced(result)
    assert (value(result) - value(a) * value(b) - f * value(d)) % P == 0, (a, b, f, d)
    result = run(SQUARE, a, b, f, d)
    check_reduced(result)
    assert (value(result) - value(a) * value(a) - f * value(d)) % P == 0, (a, f, d)
    result = run(LINEAR, a, b, -1, d)
    assert value(result) == value(a) - value(b)
    put(R, result)
    result = reduced(pick(5))
    put(R, result)
    put(A, a)
    program = bytes((END, 0, 0, 0, 0, 0, HALVE, R, 0, 0, 0, 0, END, 0, 0, 0, 0, 0))
    native.run(0, 0, b"\x01\x00\xff", program, registers, b"", b"")
    check_reduced(get(R)[:19] + (0,))
    assert (2 * value(get(R)) - 3 * value(result)) % P == 0, result
print("rounds", rounds)
