"""The rest of `native.py`: its routines, and what surrounds the machine.

`HELPERS` is viper source; `LOAD(p, i)` stands for a signed word at an index of a ptr32, and the
names of routines and registers for their numbers.
"""

import re

from parwana.image.ecdsa_machine import Source, machine
from parwana.image.ecdsa_routines import MULTIPLES, program, schedules


def native_source(wide: bool) -> str:
    """Return `native.py` for a processor of 64-bit words (wide) or of 32-bit words."""
    source = Source(wide)
    machine(source)
    code, starts = program()
    numbers = {**starts, "MULTIPLES": MULTIPLES}
    helpers = re.sub(
        r"LOAD\((\w+), (\w+)\)", lambda found: source.load(found[1], found[2]), HELPERS
    )
    helpers = re.sub(r"\b[A-Z][A-Z_]{2,}\b", lambda found: str(numbers[found[0]]), helpers)
    constants = {"PROGRAM": code, **schedules(starts)}
    lines = [f"{name} = {value!r}" for name, value in constants.items()]
    return "\n".join(["import micropython", *lines, *source.lines, helpers])


HELPERS = '''
@micropython.viper
def pad(key: ptr8, byte: int, block: ptr8):
    """Fill a block of 64 bytes with a key of 32, then zeros, each byte xor another."""
    i = 0
    while i < 32:
        block[i] = key[i] ^ byte
        block[i + 32] = byte
        i += 1


@micropython.viper
def to_limbs(data: ptr8, limbs: ptr32, first: int, count: int, bits: int):
    """Cut 36 bytes, least first, into count limbs of some bits from the first on."""
    mask = (1 << bits) - 1
    word = 0
    have = 0
    byte = 0
    count += first
    while first < count:
        while have < bits:
            word = (data[byte] << have) + word
            byte += 1
            have += 8
        limbs[first] = word & mask
        word >>= bits
        have -= bits
        first += 1


@micropython.viper
def from_limbs(limbs: ptr32, first: int, count: int, bits: int, data: ptr8):
    """Join limbs, which may be negative, into 36 bytes, least first, in two's complement."""
    word = 0
    have = 0
    byte = 0
    count += first
    while first < count:
        word = (LOAD(limbs, first) << have) + word
        first += 1
        have += bits
        while have > 7:
            data[byte] = word & 255
            word >>= 8
            have -= 8
            byte += 1
    while byte < 36:
        data[byte] = word & 255
        word >>= 8
        byte += 1


@micropython.viper
def divsteps(x: int, c: int, work: ptr32, inverse: int):
    """Do 600 half-delta divsteps on f, g, d, e, m: an unused word, then 18 limbs of 15 bits, the
    last signed, each.

    From f = m odd, below 2**256, and g in [0, m) they lead to f = +-1 and d = f / g mod m; for
    g = 0, to d = 0. inverse: 1 / m mod 2**15. Neither steps nor memory accesses depend on g.
    Source: Bernstein, Yang, "Fast constant-time gcd computation and modular inversion" and
    Pornin's and Wuille's bound of 590 half-delta steps for 256 bits. Unlike there, d and e are
    not kept within (-2m, m): adding at most m / 2 a batch, they stay below 21m.
    """
    base = int(work)
    limb = ptr32(base)
    while int(limb) != base + 72:
        limb[39] = 0
        limb[58] = 0
        limb[77] = limb[1]
        limb = ptr32(int(limb) + 4)
    work[58] = 1
    zeta = -1
    batch = 0
    while batch < 40:
        # 15 divsteps on the lowest limbs give a matrix (u v; q r) that is 2**15 times theirs
        f = work[1]
        c = work[20]
        u = 1
        v = 0
        q = 0
        r = 1
        i = 0
        while i < 15:
            # g + f or g - f if g is odd; then, for the difference, this g becomes f; then g / 2
            x = (zeta >> 31)*2 + 1
            x = (c & 1)*x
            c = f*x + c
            q = u*x + q
            r = v*x + r
            x = x >> 31
            zeta = (zeta ^ x) - 1
            f = f - c*x
            u = (u - q*x) << 1
            v = (v - r*x) << 1
            c = c >> 1
            i += 1
        # f, g and, with the multiple of m that makes them divisible, d, e times the matrix
        x = u * work[39] + v * work[58]
        md = ((0 - x * inverse + 16384) & 32767) - 16384
        x = q * work[39] + r * work[58]
        me = ((0 - x * inverse + 16384) & 32767) - 16384
        cf = 0
        cg = 0
        cd = 0
        ce = 0
        limb = ptr32(base)
        while int(limb) != base + 72:
            x = LOAD(limb, 1)
            c = u * x + cf
            cg = q * x + cg
            x = LOAD(limb, 20)
            c = v * x + c
            cg = r * x + cg
            limb[0] = c & 32767
            limb[19] = cg & 32767
            cf = c >> 15
            cg = cg >> 15
            x = LOAD(limb, 39)
            c = u * x + cd
            ce = q * x + ce
            x = LOAD(limb, 58)
            c = v * x + c
            ce = r * x + ce
            x = limb[77]
            c = md * x + c
            ce = me * x + ce
            limb[38] = c & 32767
            limb[57] = ce & 32767
            cd = c >> 15
            ce = ce >> 15
            limb = ptr32(int(limb) + 4)
        limb[0] = cf
        limb[19] = cg
        limb[38] = cd
        limb[57] = ce
        batch += 1


@micropython.viper
def signed_digits(number: ptr8, negative: int, digits: ptr8, first: int, bits: int):
    """Write a number of 18 bytes as odd digits of magnitude below 16, or 0, one a bit."""
    i = 0
    while i < bits:
        digits[first + i] = 0
        i += 1
    i = 0
    carry = 0
    while i < bits:
        window = ((number[i >> 3] + (number[(i >> 3) + 1] << 8)) >> (i & 7)) & 31
        if (window & 1) == carry:
            i += 1
        else:
            window += carry
            carry = window >> 4
            window -= carry << 5
            digits[first + i] = ((window ^ (0 - negative)) + negative) & 255
            i += 5


@micropython.viper
def plan(schedule: ptr8, combs: ptr8, count: int, digits: ptr8, bits: int):
    """Write the schedule of a walk over bits, highest first.

    combs: the digits, 18 bytes each, of count scalars, for G, beta * G and, if there are four, Q
    and beta * Q. digits: if bits is above 19, those of the two halves of a scalar, bits each.
    """
    n = 0
    bit = bits
    while True:
        bit -= 1
        if bits > 19:
            half = 0
            while half < 2:
                digit = digits[half * bits + bit]
                if digit:
                    schedule[n] = MULTIPLE_BETA if half else MULTIPLE
                    negative = digit >> 7
                    digit = (digit ^ (0 - negative)) + negative
                    schedule[n + 1] = MULTIPLES + 3 * ((digit & 15) >> 1) + (negative << 7)
                    n += 2
                half += 1
        if bit < 19:
            comb = 0
            while comb < count:
                place = 144 * comb + bit + 114
                negative = ((combs[place >> 3] >> (place & 7)) & 1) ^ 1
                tooth = 0
                entry = 0
                while tooth < 6:
                    place -= 19
                    entry = (entry << 1) + ((combs[place >> 3] >> (place & 7)) & 1)
                    tooth += 1
                schedule[n] = COMB
                if comb == 1:
                    schedule[n] = COMB_BETA
                if comb == 2:
                    schedule[n] = COMB_Q
                if comb == 3:
                    schedule[n] = COMB_Q_BETA
                schedule[n + 1] = (entry ^ ((0 - negative) & 63)) + (negative << 7)
                n += 2
                comb += 1
        if bit == 0:
            schedule[n] = 255
            return
        schedule[n] = DOUBLE
        n += 2
'''
