"""Generate `native.py` of firmware/lib/ecdsa: a machine for the field of secp256k1, in viper.

MicroPython's viper emitter works on machine words and keeps the first two arguments of a function
in registers. Everything here follows from that:

- A field element is a register of 20 words (limbs) of 13 bits, least first, so that a column of
  20 products stays below 2**31. Its value is mod P = 2**256 - 2**32 - 977, not reduced further.
  After a multiplication the limbs lie in [0, 2**13) but for limb 4, which a last carry may take a
  little outside. Sums and differences are taken limb by limb without carries (`LINEAR`): a factor
  may be a difference of two reduced elements, an addend any small combination.
- Multiplication is one level of Karatsuba's method over columns: 3 x 100 products, not 400.
- The whole machine is one function, because a call costs a quarter of a multiplication. It
  interprets a program of micro-operations, grouped in routines, that a schedule strings together:
  one routine and one argument an entry. Nothing in it allocates.
- `c` accumulates and `x` is the multiplicand, because these two are the registers: `c = b*x + c`
  is five instructions on x86, any other form is more. Loops are unrolled. A branch over a long
  body is written `while True: if not wanted: break; ...; break`, as a conditional branch of the
  processor may not reach far enough.
"""

from collections.abc import Callable, Iterator

LIMBS = 20
BITS = 13
MASK = (1 << BITS) - 1
HALF = LIMBS // 2
WORDS = 4 * LIMBS  # bytes of a register

# 2**260 mod P, the weight of limb 20: 15632 at limb 0 and 2**36 = 1024 at limb 2.
FOLD_0 = 15632
FOLD_2 = 1024


class Source:
    """Lines of viper, for a processor whose words are 32 or 64 bits."""

    def __init__(self, wide: bool) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self.wide = wide

    def __call__(self, *lines: str) -> None:
        self.lines += ["    " * self.depth + line for line in lines]

    def load(self, pointer: str, index: int | str) -> str:
        """Return the signed word at an index of a ptr32, which viper zero-extends to 64 bits."""
        return f"(({pointer}[{index}] << 32) >> 32)" if self.wide else f"{pointer}[{index}]"

    def unless(self, condition: str, body: Callable[[], None]) -> None:
        """Skip a long body on a condition."""
        self("while True:")
        self.depth += 1
        self(f"if {condition}: break")
        body()
        self("break")
        self.depth -= 1


def columns(size: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield (k, the pairs (i, j) with i + j = k); where possible a column starts with the i that
    the last one ended with, as that limb is in a register."""
    last = 0
    for k in range(2 * size - 1):
        pairs = [(i, k - i) for i in range(size) if k - size < i <= k]
        pairs.sort(key=lambda pair: pair[0] != last)
        yield k, pairs
        last = pairs[-1][0]


def multiply_columns(
    source: Source, a: list[str], b: list[str], end: Callable[[int, str], None]
) -> None:
    """Emit the columns of a * b; `end` emits what happens to the last sum of column k."""
    last = ""
    for k, pairs in columns(len(a)):
        for n, (i, j) in enumerate(pairs):
            if a[i] != last:
                source(f"x = {a[i]}")
                last = a[i]
            total = f"{b[j]}*x" + (" + c" if n else "")
            if n + 1 < len(pairs):
                source(f"c = {total}")
            else:
                end(k, total)


def karatsuba(source: Source) -> None:
    """Emit t0..t38 = the columns of a0..a19 times b0..b19.

    With a = l + h * 2**130: l*l' and h*h' as they are, and l*h' + h*l' =
    l*l' + h*h' + (l - h)*(h' - l').
    """
    a = [f"a{i}" for i in range(LIMBS)]
    b = [f"b{i}" for i in range(LIMBS)]
    multiply_columns(source, a[:HALF], b[:HALF], lambda k, total: source(f"t{k} = {total}"))
    multiply_columns(source, a[HALF:], b[HALF:], lambda k, total: source(f"t{k + 20} = {total}"))
    for i in range(HALF):
        source(f"x = a{i + HALF}", f"a{i} = a{i} - x")
        source(f"x = b{i}", f"b{i} = b{i + HALF} - x")
    for k in range(HALF - 1):
        # the columns that both the upper half of l*l' and the lower half of h*h' add to, twice
        source(f"x = t{k + 20}", f"a{k + HALF} = t{k + HALF} + x")

    def end(k: int, total: str) -> None:
        source(f"c = {total}")
        if k < HALF - 1:
            source(f"c = a{k + HALF} + c", f"t{k + HALF} = t{k} + c")
        elif k == HALF - 1:
            source(f"c = t{k} + c", f"t{k + HALF} = t{k + 20} + c")
        else:
            source(f"c = a{k} + c", f"t{k + HALF} = t{k + 20} + c")

    multiply_columns(source, a[:HALF], b[:HALF], end)


def square(source: Source) -> None:
    """Emit t0..t38 = the columns of the square of a0..a19."""
    source("x = a0", "t0 = x*x")
    last = 0
    for k in range(1, 2 * LIMBS - 2):
        pairs = [(i, k - i) for i in range(LIMBS) if i < k - i < LIMBS]
        pairs.sort(key=lambda pair: pair[0] != last)
        for n, (i, j) in enumerate(pairs):
            if i != last:
                source(f"x = a{i}")
                last = i
            source(f"c = a{j}*x" + (" + c" if n else ""))
        if k % 2:
            source(f"t{k} = c + c")
        else:
            source("c = c + c", f"x = a{k // 2}", f"t{k} = x*x + c")
            last = k // 2
    source(f"x = a{LIMBS - 1}", f"t{2 * LIMBS - 2} = x*x")


def reduce(source: Source) -> None:
    """Emit result = t0..t38 mod P: carry the upper columns into limbs, fold them, carry again."""
    source(f"x = {MASK}", "c = t20")
    for k in range(20, 39):
        source(f"t{k} = c & x", f"c = c >> {BITS}")
        if k < 38:
            source(f"c = t{k + 1} + c")
    source("t39 = c", f"x = {FOLD_0}")
    for k in range(LIMBS):
        source("c = t0" if k == 0 else f"c = t{k} + c", f"c = t{k + 20}*x + c")
        if k > 1:
            source(f"c = t{k + 18}*{FOLD_2} + c")
        # limbs 38 and 39 reach limbs 20 and 21 and are folded once more
        if k in (1, 2):
            source(f"c = t{k + 37}*{FOLD_2 * FOLD_0 >> BITS} + c")
        if k in (3, 4):
            source(f"c = t{k + 35}*{FOLD_2 * FOLD_2 >> BITS} + c")
        source(f"t{k} = c & {MASK}" if k < 4 else f"r[{k}] = c & {MASK}", f"c = c >> {BITS}")
    # A carry of up to 18 bits is left at limb 20; times FOLD_0, 2**13 + 7440, it fits no word.
    source("x = c", f"c = x*{FOLD_0 & MASK} + t0", f"r[0] = c & {MASK}", f"c = c >> {BITS}")
    source("c = t1 + c", "c = x + c", f"r[1] = c & {MASK}", f"c = c >> {BITS}")
    source(f"c = x*{FOLD_2} + c", "c = t2 + c", f"r[2] = c & {MASK}", f"c = c >> {BITS}")
    source("c = t3 + c", f"r[3] = c & {MASK}", f"c = c >> {BITS}", "r[4] = r[4] + c")


# Micro-operations: 6 bytes, the operation, the registers r, a, b, d and a factor biased by 128.
MULTIPLY, SQUARE, LINEAR, HALVE, FETCH, STASH, POINT, AGAIN, END = 0, 1, 2, 3, 4, 5, 6, 7, 255
BIAS = 128


def machine(source: Source) -> None:
    """Emit the function that runs a schedule.

    MULTIPLY r = a*b + f*d      SQUARE r = a*a + f*d (nothing is added where f is 0)
    LINEAR   r = a + f*b        HALVE  r = 3/2 * r
    FETCH    r = f * register b + argument (negated where d is 1 and bit 7 of the argument is set)
    STASH    register r + argument = a
    POINT    r, r + 1 = x, y of entry argument of comb d (0 or 1), y negated where bit 7 is set
    AGAIN    start the routine of r micro-operations so far again until it ran argument times
    END      go on with routine r, or, if r is 0, with the next entry of the schedule
    """
    source("@micropython.viper")
    source("def run(x: int, c: int, schedule: ptr8, program: ptr8, base: ptr8, g: ptr8, q: ptr8):")
    source.depth = 1
    source("step = int(schedule)", "pc = 0", "argument = 0", f"op = {END}", "r = ptr32(0)")
    source("s = ptr32(0)", "bytes_ = ptr8(0)", "k = 0")
    # Named last, a local is near in the stack frame and short to encode. This is never run.
    names = [f"t{k}" for k in range(39, -1, -1)]
    names += [f"{v}{i}" for v in "ba" for i in range(LIMBS - 1, -1, -1)]
    source("while True:", "    break", *(f"    {name} = 0" for name in names))
    source("while True:")
    source.depth = 2
    source("while True:")
    source.depth = 3
    source(f"if op == {END}: break")
    source("x = pc", "c = int(base)")
    source("op = ptr8(x)[0]", f"r = ptr32(ptr8(x)[1]*{WORDS} + c)")
    source("if op > 1: break")
    source(f"x = ptr8(x)[2]*{WORDS} + c")
    source(*(f"a{i} = {source.load('ptr32(x)', i)}" for i in range(LIMBS)))

    def multiply_() -> None:
        source("x = pc", f"x = ptr8(x)[3]*{WORDS} + c")
        source(*(f"b{i} = {source.load('ptr32(x)', i)}" for i in range(LIMBS)))
        karatsuba(source)

    def add_() -> None:
        source("c = pc", f"c = ptr8(c)[4]*{WORDS} + int(base)")
        source(*(f"t{i} = {source.load('ptr32(c)', i)}*x + t{i}" for i in range(LIMBS)))

    source.unless("op == 1", multiply_)
    source.unless("op == 0", lambda: square(source))
    source("x = pc", f"x = ptr8(x)[5] - {BIAS}")
    source.unless("x == 0", add_)
    reduce(source)
    source("pc = pc + 6")
    source.depth = 2

    def linear() -> None:
        source("x = pc", f"s = ptr32(ptr8(x)[2]*{WORDS} + c)", f"c = ptr8(x)[3]*{WORDS} + c")
        source(f"x = ptr8(x)[5] - {BIAS}")

        def fetch() -> None:
            source("k = ptr8(pc)[4] & (argument >> 7)", f"c = (argument & 127)*{WORDS} + c")
            source("if k == 0: break", "x = 0 - x")

        def stash() -> None:
            source(f"r = ptr32((argument & 127)*{WORDS} + int(r))")

        source.unless(f"op != {FETCH}", fetch)
        source.unless(f"op != {STASH}", stash)
        for i in range(LIMBS):
            source(f"r[{i}] = {source.load('ptr32(c)', i)}*x + {source.load('s', i)}")

    def halve() -> None:
        source("x = r[0] & 1")
        for limb, part in ((0, -977), (2, -64), (LIMBS - 1, 512)):
            source(f"r[{limb}] = x*{part} + r[{limb}]")  # add P to what is odd
        source(f"c = {source.load('r', 0)}*3", f"x = (c & {MASK}) >> 1", f"c = c >> {BITS}")
        source("k = 0", "while k < 3:")
        source.depth += 1
        for i in range(1, 7):
            source(f"c = {source.load('r', i)}*3 + c", f"r[{i - 1}] = ((c & 1) << {BITS - 1}) + x")
            source(f"x = (c & {MASK}) >> 1", f"c = c >> {BITS}")
        source("r = ptr32(int(r) + 24)", "k = k + 1")
        source.depth -= 1
        source(f"c = {source.load('r', 1)}*3 + c", f"r[0] = ((c & 1) << {BITS - 1}) + x")
        source("r[1] = c >> 1")

    def point() -> None:
        source("x = int(g)", "c = pc", "if ptr8(c)[4] != 0: x = int(q)")
        source("bytes_ = ptr8(((argument & 63) << 6) + x)", "x = 0", "k = 0")
        source("while k < 2:")
        source.depth += 1
        have = byte = 0
        for i in range(LIMBS):
            while have < BITS and byte < 32:
                more = f"(bytes_[{byte}] << {have})" if have else f"bytes_[{byte}]"
                source(f"c = {more} + c" if byte else f"c = {more}")
                have, byte = have + 8, byte + 1
            source(f"r[{i}] = ((c & {MASK}) ^ x) - x", f"c = c >> {BITS}")
            have -= BITS
        source(f"r = ptr32(int(r) + {WORDS})", "bytes_ = ptr8(int(bytes_) + 32)")
        source("x = 0 - (argument >> 7)", "k = k + 1")
        source.depth -= 1

    def again() -> None:
        source("argument = argument - 1", "if argument == 0: break", "x = pc")
        source("pc = x - ptr8(x)[1]*6 - 6")

    def end() -> None:
        source("x = pc")
        source("if x != 0: x = ptr8(x)[1]")
        source("if x == 0:")
        source("    x = step", "    step = x + 2", "    argument = ptr8(x)[1]")
        source("    x = ptr8(x)[0]", "    if x == 255: return")
        source("pc = x*6 + int(program) - 6", "op = 254")

    source.unless(f"op == {HALVE}", lambda: source.unless(f"op > {STASH}", linear))
    source.unless(f"op != {HALVE}", halve)
    source.unless(f"op != {POINT}", point)
    source.unless(f"op != {AGAIN}", again)
    source.unless(f"op != {END}", end)
    source("pc = pc + 6")
    source.depth = 0
