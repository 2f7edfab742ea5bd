"""Execute xtensawin machine code: what mpy-cross emits for viper functions, and no more.

Each straight run of instructions becomes one Python function, so that two million instructions a
second are executed. What an ESP32 refuses is refused: unaligned words, unknown instructions,
memory that was not given.

Source: Cadence, "Xtensa Instruction Set Architecture Reference Manual", chapters 6 and 7.
"""

from collections import Counter
from collections.abc import Callable

MEMORY = 1 << 19
_CODE, _STACK, _DATA = 0x10000, 0x38000, 0x40000
_OBJECTS = 0x1000  # the function object, its context and MicroPython's table of functions
_HOST = 0xF0000000  # addresses of that table's functions, which the host executes
_NONE = 0x0FFFFFF6
_RETURN = -1
_TO_NATIVE = 3  # place of mp_native_from_obj in the table
_INT, _UINT = 2, 3  # what it converts to; the rest are pointers


class XtensaError(Exception):
    """The code does what the processor would refuse, or what is not known here."""


class Function:
    """A viper function of a .mpy for xtensawin, to be called with integers and buffers."""

    def __init__(self, code: bytes, limit: int = 200_000_000) -> None:
        self.executed = 0
        self.mnemonics: Counter[str] = Counter()
        self._code = code
        self._limit = limit
        self._memory = bytearray(MEMORY)
        self._memory[_CODE : _CODE + len(code)] = code
        self._registers = [0] * 16
        self._shift = [0]
        self._blocks: dict[int, tuple[Callable[[], int], int]] = {}
        view = memoryview(self._memory)
        self._words = view.cast("I")
        self._names: dict[str, object] = {
            "R": self._registers,
            "S": self._shift,
            "B": view,
            "H": view.cast("H"),
            "W": self._words,
            "even": _even,
            "host": self._host,
        }

    def __call__(self, *arguments: "int | bytes | bytearray | memoryview") -> None:
        """Run the function. Buffers are copied into its memory and, if they can be, back."""
        self._memory[_DATA:] = bytes(MEMORY - _DATA)
        words = self._words
        fun, context, objects, table, vector = (_OBJECTS + 0x400 * i for i in range(5))
        words[fun + 4 >> 2] = context
        words[context + 12 >> 2] = objects
        for i in range(100):  # wherever in the module's objects the table is
            words[(objects >> 2) + i] = table
            words[(table >> 2) + i] = _HOST + 4 * i
        words[table >> 2] = _NONE
        free = _DATA
        places = []
        for i, argument in enumerate(arguments):
            if isinstance(argument, int):
                words[(vector >> 2) + i] = (argument << 1 | 1) & 0xFFFFFFFF
            else:
                self._memory[free : free + len(argument)] = argument
                words[(vector >> 2) + i] = free
                places.append((free, argument))
                free += len(argument) + 16 & ~15  # a word beyond, for code that reads ahead
        self._registers[:] = [0, _STACK, fun, len(arguments), 0, vector, *[0] * 10]
        self._run()
        for place, buffer in places:
            if isinstance(buffer, bytearray) or (
                isinstance(buffer, memoryview) and not buffer.readonly
            ):
                buffer[:] = self._memory[place : place + len(buffer)]

    def _run(self) -> None:
        at = _CODE
        blocks = self._blocks
        while at != _RETURN:
            block = blocks.get(at)
            if block is None:
                block = blocks[at] = self._translate(at)
            at = block[0]()
            self.executed += block[1]
            if self.executed > self._limit:
                raise XtensaError(f"still running after {self._limit} instructions")

    def _host(self) -> None:
        """Call the function of MicroPython whose address is in a8, with arguments from a10 on."""
        r = self._registers
        if r[8] != _HOST + 4 * _TO_NATIVE:
            raise XtensaError(f"calls function {(r[8] - _HOST) // 4} of MicroPython's table")
        if r[11] in (_INT, _UINT):
            r[10] = (_signed(r[10]) >> 1) & 0xFFFFFFFF

    def _translate(self, start: int) -> tuple[Callable[[], int], int]:
        lines = []
        at = start
        while True:
            if not _CODE <= at < _CODE + len(self._code):
                raise XtensaError(f"runs out of its code, to {at - _CODE:#x}")
            size, mnemonic, statement = decode(self._memory, at)
            self.mnemonics[mnemonic] += 1
            lines += statement.splitlines()
            at += size
            if "return" in statement:
                break
            if len(lines) > 400:
                lines.append(f"return {at}")
                break
        if not lines[-1].startswith("return"):
            lines.append(f"return {at}")
        count = sum(not line.startswith(("return", "even")) for line in lines) or 1
        source = "def block():\n" + "\n".join(f"    {line}" for line in lines)
        names = dict(self._names)
        exec(source, names)
        return names["block"], count  # type: ignore[return-value]


def _even(address: int, size: int) -> None:
    if address & (size - 1):
        raise XtensaError(f"accesses {size} bytes at {address:#x}, which is not aligned")
    if not 0 <= address < MEMORY:
        raise XtensaError(f"accesses {address:#x}, where nothing is")


def _signed(value: int, bits: int = 32) -> int:
    return (value & (1 << bits) - 1) - ((value >> (bits - 1) & 1) << bits)


def _s(register: int) -> str:
    """Return the expression of a register as a signed number."""
    return f"((R[{register}] ^ 0x80000000) - 0x80000000)"


_CONSTANTS = (-1, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256)
_M = "& 0xFFFFFFFF"


def decode(memory: bytes | bytearray, at: int) -> tuple[int, str, str]:
    """Return (size, mnemonic, Python statement) of the instruction at an address."""
    low = memory[at] | memory[at + 1] << 8
    op0, t, s, r = low & 15, low >> 4 & 15, low >> 8 & 15, low >> 12
    if op0 >= 8:
        found = _narrow(op0, t, s, r, at)
        size = 2
    else:
        found = _wide(low | memory[at + 2] << 16, op0, t, s, r, at, memory)
        size = 3
    if found is None:
        code = bytes(memory[at : at + size]).hex()
        raise XtensaError(f"instruction {code} at {at - _CODE:#x} is not known here")
    return size, *found


def _load(t: int, base: int, offset: int, size: int) -> str:
    address = f"(R[{base}] + {offset})"
    view = {1: f"B[{address}]", 2: f"H[{address} >> 1]", 4: f"W[{address} >> 2]"}[size]
    return f"even({address}, {size})\nR[{t}] = {view}"


def _store(t: int, base: int, offset: int, size: int) -> str:
    address = f"(R[{base}] + {offset})"
    view = {1: f"B[{address}]", 2: f"H[{address} >> 1]", 4: f"W[{address} >> 2]"}[size]
    mask = {1: " & 255", 2: " & 65535", 4: ""}[size]
    return f"even({address}, {size})\n{view} = R[{t}]{mask}"


def _jump(condition: str, target: int) -> str:
    return f"if {condition}: return {target}"


def _narrow(op0: int, t: int, s: int, r: int, at: int) -> "tuple[str, str] | None":
    if op0 == 8:
        return "l32i.n", _load(t, s, 4 * r, 4)
    if op0 == 9:
        return "s32i.n", _store(t, s, 4 * r, 4)
    if op0 == 10:
        return "add.n", f"R[{r}] = (R[{s}] + R[{t}]) {_M}"
    if op0 == 11:
        return "addi.n", f"R[{r}] = (R[{s}] + {t or -1}) {_M}"
    if op0 == 12 and t < 8:
        value = r | t << 4
        return "movi.n", f"R[{s}] = {(value - 128 if value >= 96 else value) & 0xFFFFFFFF}"
    if op0 == 12:
        target = at + 4 + (r | (t & 3) << 4)
        name, test = ("bnez.n", "!= 0") if t & 4 else ("beqz.n", "== 0")
        return name, _jump(f"R[{s}] {test}", target)
    if op0 == 13 and r == 0:
        return "mov.n", f"R[{t}] = R[{s}]"
    if op0 == 13 and r == 15 and s == 0 and t == 1:
        return "retw.n", f"return {_RETURN}"
    return None


def _wide(
    word: int, op0: int, t: int, s: int, r: int, at: int, memory: bytes | bytearray
) -> "tuple[str, str] | None":
    imm8 = word >> 16
    if op0 == 0:
        return _register(t, s, r, word >> 16 & 15, word >> 20)
    if op0 == 1:
        place = (at + 3 & ~3) + (_signed(word >> 8 | 0xFFFF0000) << 2)
        if not place >= _CODE:
            raise XtensaError(f"loads a constant from {place - _CODE:#x}")
        return "l32r", f"R[{t}] = {int.from_bytes(memory[place : place + 4], 'little')}"
    if op0 == 2:
        sizes = {0: ("l8ui", 1), 1: ("l16ui", 2), 2: ("l32i", 4)}
        if r in sizes:
            name, size = sizes[r]
            return name, _load(t, s, imm8 * size, size)
        if r - 4 in sizes:
            name, size = ("s8i", 1) if r == 4 else ("s16i", 2) if r == 5 else ("s32i", 4)
            return name, _store(t, s, imm8 * size, size)
        if r == 10:
            return "movi", f"R[{t}] = {_signed(imm8 | s << 8, 12) & 0xFFFFFFFF}"
        if r in (12, 13):
            value = _signed(imm8, 8) << (8 if r == 13 else 0)
            return "addi" if r == 12 else "addmi", f"R[{t}] = (R[{s}] + {value}) {_M}"
    if op0 == 6:
        kind, m = t & 3, t >> 2
        near, far = at + 4 + _signed(imm8, 8), at + 4 + _signed(word >> 12, 12)
        if kind == 0:
            return "j", f"return {at + 4 + _signed(word >> 6, 18)}"
        if kind == 1:
            test = (f"R[{s}] == 0", f"R[{s}] != 0", f"{_s(s)} < 0", f"{_s(s)} >= 0")[m]
            return ("beqz", "bnez", "bltz", "bgez")[m], _jump(test, far)
        if kind == 2:
            test = f"{_s(s)} {('==', '!=', '<', '>=')[m]} {_CONSTANTS[r]}"
            return ("beqi", "bnei", "blti", "bgei")[m], _jump(test, near)
        if m == 0:
            return "entry", f"R[{s}] = R[{s}] - {8 * (word >> 12)}"
    if op0 == 7:
        tests = {
            1: ("beq", f"R[{s}] == R[{t}]"),
            2: ("blt", f"{_s(s)} < {_s(t)}"),
            3: ("bltu", f"R[{s}] < R[{t}]"),
            9: ("bne", f"R[{s}] != R[{t}]"),
            10: ("bge", f"{_s(s)} >= {_s(t)}"),
            11: ("bgeu", f"R[{s}] >= R[{t}]"),
        }
        if r in tests:
            name, test = tests[r]
            return name, _jump(test, at + 4 + _signed(imm8, 8))
    return None


def _register(t: int, s: int, r: int, op1: int, op2: int) -> "tuple[str, str] | None":
    binary = {1: ("and", "&"), 2: ("or", "|"), 3: ("xor", "^")}
    if op1 == 0 and op2 in binary:
        name, sign = binary[op2]
        return name, f"R[{r}] = R[{s}] {sign} R[{t}]"
    sums = {8: ("add", "", "+"), 9: ("addx2", " * 2", "+"), 10: ("addx4", " * 4", "+"),
            11: ("addx8", " * 8", "+"), 12: ("sub", "", "-")}  # fmt: skip
    if op1 == 0 and op2 in sums:
        name, scale, sign = sums[op2]
        return name, f"R[{r}] = (R[{s}]{scale} {sign} R[{t}]) {_M}"
    if (op1, op2, r, t, s) == (0, 0, 0, 14, 8):
        return "callx8", "host()"
    if (op1, op2, r) == (0, 0, 0) and (s, t) == (0, 9):
        return "retw", f"return {_RETURN}"
    if (op1, op2, r) == (0, 4, 0):
        return "ssr", f"S[0] = R[{s}] & 31"
    if (op1, op2, r) == (0, 4, 1):
        return "ssl", f"S[0] = 32 - (R[{s}] & 31)"
    if (op1, op2, s) == (0, 6, 0):
        return "neg", f"R[{r}] = -R[{t}] {_M}"
    if op1 == 1 and op2 in (0, 1):
        return "slli", f"R[{r}] = R[{s}] << {32 - (t | op2 << 4)} {_M}"
    if op1 == 1 and op2 in (2, 3):
        return "srai", f"R[{r}] = {_s(t)} >> {s | (op2 & 1) << 4} {_M}"
    if op1 == 1 and op2 == 4:
        return "srli", f"R[{r}] = R[{t}] >> {s}"
    if (op1, op2) == (1, 9):
        return "srl", f"R[{r}] = R[{t}] >> S[0]"
    if (op1, op2) == (1, 10):
        return "sll", f"R[{r}] = R[{s}] << 32 - S[0] {_M}"
    if (op1, op2) == (1, 11):
        return "sra", f"R[{r}] = {_s(t)} >> S[0] {_M}"
    if (op1, op2) == (2, 8):
        return "mull", f"R[{r}] = R[{s}] * R[{t}] {_M}"
    if op1 in (4, 5):
        return "extui", f"R[{r}] = R[{t}] >> {s | (op1 & 1) << 4} & {(2 << op2) - 1}"
    return None
