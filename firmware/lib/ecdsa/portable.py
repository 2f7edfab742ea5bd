"""Points of secp256k1 on MicroPython's big integers: works wherever MicroPython or Python does.

A point is affine (x, y) or Jacobian (X, Y, Z) = (X / Z**2, Y / Z**3); the coordinates are mod P
but not reduced, and may be negative. `_add` and `_double` are incomplete: where they would need a
special case (the sum of equal or opposite points) Z becomes 0 mod P and stays so for the caller.
"""

from .curve import (
    BETA,
    GX,
    GY,
    N,
    P,
    SPACING,
    TEETH,
    comb_digits,
    split,
)

_DIGITS = 130
_LOW = (1 << 256) - 1
_FOLD = (1 << 32) + 977  # 2**256 mod P

# `(t & low) + (t >> 256) * fold` is t mod P, with 223 bits less above the 256. Twice is enough for
# any product here; once where what follows is a product with a factor that was folded twice.


def _double(X, Y, Z, times):
    low = _LOW
    fold = _FOLD
    while times:
        times -= 1
        B = Y * Y
        B = (B & low) + (B >> 256) * fold
        Z = Y * Z
        Z = (Z & low) + (Z >> 256) * fold
        Z = ((Z & low) + (Z >> 256) * fold) << 1
        S = X * B
        S = ((S & low) + (S >> 256) * fold) << 2
        E = X * X
        E = ((E & low) + (E >> 256) * fold) * 3
        X = E * E - (S << 1)
        X = (X & low) + (X >> 256) * fold
        X = (X & low) + (X >> 256) * fold
        Y = E * (S - X) - ((B * B) << 3)
        Y = (Y & low) + (Y >> 256) * fold
        Y = (Y & low) + (Y >> 256) * fold
    return X, Y, Z


def _add(X, Y, Z, x, y):
    low = _LOW
    fold = _FOLD
    A = Z * Z
    A = (A & low) + (A >> 256) * fold
    H = x * A - X
    H = (H & low) + (H >> 256) * fold
    H = (H & low) + (H >> 256) * fold
    A = A * Z
    A = (A & low) + (A >> 256) * fold
    R = y * A - Y
    R = (R & low) + (R >> 256) * fold
    R = (R & low) + (R >> 256) * fold
    Z = Z * H
    Z = (Z & low) + (Z >> 256) * fold
    Z = (Z & low) + (Z >> 256) * fold
    A = H * H
    A = (A & low) + (A >> 256) * fold
    H = H * A
    H = (H & low) + (H >> 256) * fold
    A = X * A
    A = (A & low) + (A >> 256) * fold
    X = R * R - H - (A << 1)
    X = (X & low) + (X >> 256) * fold
    X = (X & low) + (X >> 256) * fold
    Y = R * (A - X) - Y * H
    Y = (Y & low) + (Y >> 256) * fold
    return X, (Y & low) + (Y >> 256) * fold, Z


def scale(p, z):
    """Return a Jacobian point with its coordinates scaled by z: another form of the same point."""
    zz = z * z % P
    return p[0] * zz % P, p[1] * zz % P * z % P, p[2] * z % P


def inverse(a, m):
    """Return 1 / a mod m for m prime, 0 for 0. (`pow(a, -1, m)` is silently 0 in MicroPython.)"""
    a %= m
    u, v, r = 1, 0, m
    while a:
        q = r // a
        r, a = a, r - q * a
        v, u = u, v - q * u
    return v % m


def point(x, y):
    """Return an affine point as a Jacobian one."""
    return x, y, 1


def affine(p):
    """Return a Jacobian point as (x, y), or None where Z is 0."""
    z = inverse(p[2], P)
    return scale(p, z)[:2] if z else None


def double(p, z):
    """Return twice a Jacobian point, its coordinates scaled by z."""
    return scale(_double(p[0], p[1], p[2], 1), z)


def x_is(p, x):
    """Return whether x is the x of a Jacobian point whose Z is not 0."""
    return (x * p[2] * p[2] - p[0]) % P == 0


def inverses(values):
    """Return 1 / v mod P of each value, for one inversion in all. Source: Montgomery's trick."""
    products = [1]
    for v in values:
        products.append(products[-1] * v % P)
    u = inverse(products.pop(), P)
    for i in range(len(values) - 1, -1, -1):
        products[i] = products[i] * u % P
        u = u * values[i] % P
    return products


def normalise(points):
    """Return Jacobian points as affine ones; none may have Z = 0."""
    zs = inverses([p[2] for p in points])
    return [scale(points[i], zs[i])[:2] for i in range(len(points))]


def comb(table, x, y):
    """Fill in the comb table of an affine point: 64 points, 64 bytes each, x and y little-endian.

    Entry i is base[6] + the sum over the teeth j < 6 of +base[j] where bit j of i is set, else
    -base[j], with base[j] = 2**(19 * j) times the point. All multiples are distinct and far below
    N, so no addition meets a special case.
    """
    chain = [(x, y, 1)]
    steps = []
    for _ in range(TEETH - 1):
        X, Y, Z = chain[-1]
        steps.append(_double(X, Y, Z, 1))
        chain.append(_double(X, Y, Z, SPACING))
    steps = normalise(steps)
    X, Y, Z = chain.pop()
    for x, y in normalise(chain):
        X, Y, Z = _add(X, Y, Z, x, P - y)
    del chain
    x, y = affine((X, Y, Z))
    store(table, 0, x, y)
    # each tooth doubles the filled part: entry i + count = entry i + 2 * base[tooth]
    for tooth in range(TEETH - 1):
        count = 1 << tooth
        x, y = steps[tooth]
        gaps = inverses([x - load(table, i)[0] for i in range(count)])
        for i in range(count):
            x1, y1 = load(table, i)
            slope = (y - y1) * gaps[i] % P
            x3 = (slope * slope - x - x1) % P
            store(table, i + count, x3, (slope * (x1 - x3) - y1) % P)


def store(table, i, x, y):
    table[64 * i : 64 * i + 32] = x.to_bytes(32, "little")
    table[64 * i + 32 : 64 * i + 64] = y.to_bytes(32, "little")


def load(table, i):
    i <<= 6
    return (
        int.from_bytes(table[i : i + 32], "little"),
        int.from_bytes(table[i + 32 : i + 64], "little"),
    )


def tooth(table, digits, bit):
    """Return the affine point that a comb adds at the column whose lowest bit is given."""
    bit += SPACING * (TEETH - 1)
    negative = not digits[bit >> 3] >> (bit & 7) & 1
    i = 0
    for _ in range(TEETH - 1):
        bit -= SPACING
        i = i << 1 | (digits[bit >> 3] >> (bit & 7) & 1)
    if negative:
        x, y = load(table, i ^ ((1 << (TEETH - 1)) - 1))
        return x, P - y
    return load(table, i)


def multiples(x, y):
    """Return 1, 3, ... 15 times an affine point, affine."""
    # On the curve scaled by the Z of twice the point, twice the point is affine.
    X, Y, Z = _double(x, y, 1, 1)
    zz = Z * Z % P
    p = (x * zz % P, y * zz % P * Z % P, 1)
    points = []
    for _ in range(8):
        points.append((p[0], p[1], p[2] * Z))
        p = _add(p[0], p[1], p[2], X, Y)
    return normalise(points)


def wnaf(k):
    """Write |k| < 2**129 as odd digits of magnitude below 16, or 0, one a bit; -1 is 255."""
    digits = bytearray(_DIGITS)
    sign = 1
    if k < 0:
        k = -k
        sign = -1
    i = 0
    data = k.to_bytes(18, "little")
    carry = 0
    while i < _DIGITS:
        window = ((data[i >> 3] | data[(i >> 3) + 1] << 8) >> (i & 7)) & 31
        if window & 1 == carry:
            i += 1
            continue
        window += carry
        carry = window >> 4
        digits[i] = sign * (window - (carry << 5)) & 255
        i += 5
    return digits


def spread(k, x, y):
    """Return what `walk` takes to add k times (x, y): points and digits, and more of both."""
    a, b = split(k)
    points = multiples(x, y)
    return points, wnaf(a), [(x * BETA % P, y) for x, y in points], wnaf(b)


def digit_point(points, d):
    """Return the point for a digit of `wnaf` that is not 0."""
    if d < 128:
        return points[d >> 1]
    x, y = points[(256 - d) >> 1]
    return x, P - y


def walk(start, bits, spread, combs):
    """Return 2**(bits - 1) * start + a sum, Jacobian.

    start: Jacobian; spread: None or points to add by digits; combs: (table, digits) of what to add
    at the lowest bits.
    """
    X, Y, Z = start
    times = 0
    for bit in range(bits - 1, -1, -1):
        if spread:
            points, a, more, b = spread
            if a[bit]:
                x, y = digit_point(points, a[bit])
                X, Y, Z = _double(X, Y, Z, times)
                X, Y, Z = _add(X, Y, Z, x, y)
                times = 0
            if b[bit]:
                x, y = digit_point(more, b[bit])
                X, Y, Z = _double(X, Y, Z, times)
                X, Y, Z = _add(X, Y, Z, x, y)
                times = 0
        if bit < SPACING:
            X, Y, Z = _double(X, Y, Z, times)
            times = 0
            for table, digits in combs:
                x, y = tooth(table, digits, bit)
                X, Y, Z = _add(X, Y, Z, x, y)
                x, y = tooth(table, digits, 144 + bit)
                X, Y, Z = _add(X, Y, Z, x * BETA % P, y)
        times += 1
    return X, Y, Z


def multiply_base(table, k, start):
    """Return k * G + 2**18 * start, Jacobian; Z is 0 mod P in a special case.

    table: the comb of G; start: Jacobian.
    """
    return walk(start, SPACING, None, ((table, comb_digits(k)),))


def multiply_add(table, u, v, key):
    """Return u * G + v * Q, Jacobian, or None in a special case.

    table: the comb of G; key: the point Q as (x, y), or its comb.
    """
    bits = SPACING
    digits = None
    combs = []
    if isinstance(key, tuple):
        bits = _DIGITS
        digits = spread(v, key[0], key[1])
    else:
        combs.append((key, comb_digits(v)))
    # less what the walk makes of G, where it starts
    combs.append((table, comb_digits((u - (1 << (bits - 1))) % N)))
    p = walk((GX, GY, 1), bits, digits, combs)
    return p if p[2] % P else None


def multiply_add_complete(u, v, x, y):
    """Return u * G + v * (x, y), affine, for every u, v and point; None for infinity."""
    X, Y, Z = 0, 1, 0
    for bit in range(255, -1, -1):
        X, Y, Z = _double(X, Y, Z, 1)
        if u >> bit & 1:
            X, Y, Z = add_complete(X, Y, Z, GX, GY)
        if v >> bit & 1:
            X, Y, Z = add_complete(X, Y, Z, x, y)
    return affine((X, Y, Z))


def add_complete(X, Y, Z, x, y):
    if not Z % P:
        return x, y, 1
    zz = Z * Z % P
    if (x * zz - X) % P:
        return _add(X, Y, Z, x, y)
    if (y * zz % P * Z - Y) % P:
        return 0, 1, 0
    return _double(X, Y, Z, 1)


def square_root(a):
    """Return a root of a mod P, if it has one."""
    return pow(a, (P + 1) >> 2, P)


def pad(key, byte, block):
    """Fill a block of 64 bytes with a key of 32, then zeros, each byte xor another."""
    block[32:] = bytes((byte,)) * 32
    mask = int.from_bytes(block[32:], "big")
    block[:32] = (int.from_bytes(key, "big") ^ mask).to_bytes(32, "big")
