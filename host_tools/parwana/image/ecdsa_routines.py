"""The routines that the machine of `native.py` runs: point formulas, and how they follow."""

from parwana.image.ecdsa_machine import (
    AGAIN,
    BIAS,
    END,
    FETCH,
    HALVE,
    LINEAR,
    MULTIPLY,
    POINT,
    SQUARE,
    STASH,
)

Step = tuple[int, int, int, int, int, int]

# Registers: a Jacobian point, the affine one to add, temporaries, constants, a factor to be
# multiplied by, and x, y, beta * x of 1, 3, ... 15 times a point.
X, Y, Z, PX, PY, T0, T1, T2, T3, T4, ONE, ZERO, BETA, FACTOR, MULTIPLES = range(15)
REGISTERS = MULTIPLES + 3 * 8


def multiply(r: int, a: int, b: int, f: int = 0, d: int = 0) -> Step:
    return (MULTIPLY, r, a, b, d, BIAS + f)


def square(r: int, a: int, f: int = 0, d: int = 0) -> Step:
    return (SQUARE, r, a, 0, d, BIAS + f)


def linear(r: int, a: int, f: int, b: int) -> Step:
    return (LINEAR, r, a, b, 0, BIAS + f)


def copy(r: int, a: int) -> Step:
    return linear(r, ZERO, 1, a)


def fetch(r: int, part: int, signed: int = 0) -> Step:
    return (FETCH, r, ZERO, part, signed, BIAS + 1)


def stash(part: int, a: int) -> Step:
    return (STASH, part, ZERO, a, 0, BIAS + 1)


# A last "ADD" goes on with that routine, "again" repeats as often as the argument says.
ROUTINES: dict[str, list[Step | str]] = {
    "NOTHING": [],  # for 0 means that no routine follows
    # 8 multiplications, 3 squares. H = x Z**2 - X, R = y Z**3 - Y, V = X H**2:
    # X' = R**2 - H**3 - 2 V, Y' = R (V - X') - Y H**3, Z' = Z H; H stays in T1
    "ADD": [
        square(T0, Z),
        multiply(T1, PX, T0, -1, X),
        multiply(T0, Z, T0),
        multiply(T2, PY, T0, -1, Y),
        multiply(Z, Z, T1),
        square(T0, T1),
        multiply(T3, X, T0),
        multiply(T4, T1, T0),
        linear(T0, T4, 2, T3),
        square(X, T2, -1, T0),
        linear(T3, T3, -1, X),
        multiply(T4, Y, T4),
        multiply(Y, T2, T3, -1, T4),
    ],
    # 3 multiplications, 4 squares. L = 3/2 X**2, S = X Y**2: X' = L**2 - 2 S,
    # Y' = L (S - X') - Y**4, Z' = Y Z
    "DOUBLE": [
        square(T0, X),
        (HALVE, T0, 0, 0, 0, 0),
        multiply(Z, Y, Z),
        square(T1, Y),
        multiply(T2, X, T1),
        square(X, T0, -2, T2),
        linear(T2, T2, -1, X),
        square(T1, T1),
        multiply(Y, T0, T2, -1, T1),
    ],
    "COMB": [(POINT, PX, 0, 0, 0, 0), "ADD"],
    "COMB_BETA": [(POINT, PX, 0, 0, 0, 0), multiply(PX, PX, BETA), "ADD"],
    "COMB_Q": [(POINT, PX, 0, 0, 1, 0), "ADD"],
    "COMB_Q_BETA": [(POINT, PX, 0, 0, 1, 0), multiply(PX, PX, BETA), "ADD"],
    "MULTIPLE": [fetch(PX, 0), fetch(PY, 1, signed=1), "ADD"],
    "MULTIPLE_BETA": [fetch(PX, 2), fetch(PY, 1, signed=1), "ADD"],
    # from a point in PX, PY to itself, and to its double to be added to it, both on the curve that
    # is scaled by the Z of the double, where the double is affine; FACTOR is that Z
    "START_MULTIPLES": [copy(X, PX), copy(Y, PY), copy(Z, ONE), "DOUBLE"],
    "SCALE_MULTIPLES": [
        copy(FACTOR, Z),
        square(T0, Z),
        multiply(T1, T0, Z),
        copy(T2, X),
        copy(T3, Y),
        multiply(X, PX, T0),
        multiply(Y, PY, T1),
        copy(Z, ONE),
        copy(PX, T2),
        copy(PY, T3),
    ],
    # X, Y and the quotient of this Z and the one before
    "STASH_MULTIPLE": [stash(0, X), stash(1, Y), stash(2, T1)],
    "LAST_Z": [multiply(T0, Z, FACTOR)],
    # FACTOR is 1 / Z of this multiple, and becomes that of the one before
    "NORMALISE_MULTIPLE": [
        square(T0, FACTOR),
        multiply(T1, T0, FACTOR),
        fetch(PX, 0),
        multiply(PX, PX, T0),
        stash(0, PX),
        fetch(PY, 1),
        multiply(PY, PY, T1),
        stash(1, PY),
        fetch(T2, 2),
        multiply(FACTOR, FACTOR, T2),
        multiply(PX, PX, BETA),
        stash(2, PX),
    ],
    "RESCALE": [
        square(T0, FACTOR),
        multiply(X, X, T0),
        multiply(T0, T0, FACTOR),
        multiply(Y, Y, T0),
        multiply(Z, Z, FACTOR),
    ],
    # T0 = FACTOR * Z**2 - X
    "COMPARE_X": [square(T0, Z), multiply(T0, T0, FACTOR, -1, X)],
    "SQUARE_T0": [square(T0, T0), "again"],
    "TIMES_KEPT": [fetch(T1, 0), multiply(T0, T0, T1)],
    "KEEP": [stash(0, T0)],
}


def program() -> tuple[bytes, dict[str, int]]:
    """Return the micro-operations and where each routine starts."""
    starts: dict[str, int] = {}
    code: list[Step] = []
    for name, steps in ROUTINES.items():
        starts[name] = len(code)
        following = 0
        for step in steps:
            if step == "again":
                code.append((AGAIN, len(code) - starts[name], 0, 0, 0, 0))
            elif isinstance(step, str):
                following = starts[step]
            else:
                code.append(step)
        code.append((END, following, 0, 0, 0, 0))
    return b"".join(map(bytes, code)), starts


def schedules(starts: dict[str, int]) -> dict[str, bytes]:
    """Return the schedules that are always the same."""

    def schedule(*entries: tuple[str, int]) -> bytes:
        return b"".join(bytes((starts[name], argument)) for name, argument in entries) + b"\xff"

    multiples = range(MULTIPLES, REGISTERS, 3)
    stashed = [step for r in multiples for step in (("STASH_MULTIPLE", r), ("ADD", 0))]
    one, two, three, x22, x44, x88, none = *range(MULTIPLES, MULTIPLES + 6), 0
    root = [("KEEP", one)]
    # a**(2**n - 1) for n = 2, 3, 6, 9, 11, 22, 44, 88, 176, 220, 223; then to a**((P + 1) / 4)
    for squares, factor, keep in (
        (1, one, two), (1, one, three), (3, three, none), (3, three, none), (2, two, x22),
        (11, x22, x22), (22, x22, x44), (44, x44, x88), (88, x88, none), (44, x44, none),
        (3, three, none), (23, x22, none), (6, two, none), (2, none, none),
    ):  # fmt: skip
        root.append(("SQUARE_T0", squares))
        root += [("TIMES_KEPT", factor)] if factor else []
        root += [("KEEP", keep)] if keep else []
    return {
        "RESCALE": schedule(("RESCALE", 0)),
        "DOUBLE": schedule(("DOUBLE", 0), ("RESCALE", 0)),
        "COMPARE_X": schedule(("COMPARE_X", 0)),
        "MULTIPLES": schedule(
            ("START_MULTIPLES", 0), ("SCALE_MULTIPLES", 0), *stashed[:-1], ("LAST_Z", 0)
        ),
        "NORMALISE": schedule(*(("NORMALISE_MULTIPLE", r) for r in reversed(multiples))),
        "ROOT": schedule(*root),
    }
