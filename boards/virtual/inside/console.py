"""The REPL of a board: friendly, raw and raw-paste, as mpremote speaks it.

Source: MicroPython documentation, reference/repl.
"""

import gc
import io
import sys

import chip
import registers

_WINDOW = 128  # bytes a window of raw paste
_byte = bytearray(1)
_input = sys.stdin.buffer
_say = sys.stdout.write
_scope = {}


class SoftReset(Exception):
    """A program asked for a soft reset, or Ctrl-D did."""


def _key():
    """Return the next byte; 3 when Ctrl-C came as an interrupt that nobody took."""
    try:
        if not _input.readinto(_byte):
            chip.halt(0)
    except KeyboardInterrupt:
        return 3
    return _byte[0]


def _run(code, into_eval=False):
    """Run compiled code; return the exception that ended it, if any. Raises SoftReset."""
    try:
        try:
            chip.regs[registers.RUNNING] = 1
            result = eval(code, _scope) if into_eval else exec(code, _scope)
            if result is not None:
                print(repr(result))
        finally:
            chip.regs[registers.RUNNING] = 0
    except SystemExit:
        raise SoftReset
    except BaseException as error:
        return error
    return None


def _show(error):
    text = io.StringIO()
    sys.print_exception(error, text)
    for line in text.getvalue().split("\n")[:-1]:
        if "inside/console.py" not in line:
            _say(line + "\n")


def _source(text, name):
    try:
        code = compile(text, name, "exec")
    except BaseException as error:
        return error
    text = None
    return _run(code)


def run_file(path):
    """Run a file if it is there; return False if it ended in an exception."""
    try:
        with open(path) as file:
            text = file.read()
    except OSError:
        return True
    error = _source(text, path)
    if error is None:
        return True
    _show(error)
    return False


def serve(raw):
    """Serve the console; return True if the soft reset was asked for in the raw REPL."""
    while True:
        try:
            if raw:
                _raw()
            else:
                _friendly()
        except SoftReset:
            return raw
        except KeyboardInterrupt:  # it came a moment after the program had ended
            continue
        raw = not raw


def _raw():
    _say("raw REPL; CTRL-B to exit\n")
    while True:
        _say(">")
        text = _raw_source()
        if text is None:
            _say("\n")
            return
        error = _source(text, "<stdin>")
        text = None
        _say("\x04")
        if error is not None:
            _show(error)
        error = None
        _say("\x04")
        gc.collect()


def _raw_source():
    line = bytearray()
    while True:
        key = _key()
        if key == 1:
            if line == b"\x05A":
                return _paste()
            _say("raw REPL; CTRL-B to exit\n>")
            line = bytearray()
        elif key == 2:
            return None
        elif key == 3:
            line = bytearray()
        elif key == 4:
            _say("OK")
            if not line:
                _say("\nMPY: soft reboot\n")
                raise SoftReset
            return bytes(line)
        else:
            line.append(key)


def _paste():
    sys.stdout.buffer.write(b"R\x01" + bytes((_WINDOW, 0)))
    text = bytearray()
    while True:
        key = _key()
        if key == 4:
            break
        if key == 3:
            text = b"raise KeyboardInterrupt"
            break
        text.append(key)
        if len(text) % _WINDOW == 0:
            _say("\x01")
    _say("\x04")
    return bytes(text)


def _friendly():
    _say("MicroPython v%d.%d.%d; virtual board\n" % sys.implementation.version[:3])
    _say('Type "help()" for more information.\n>>> ')
    line = bytearray()
    block = b""
    while True:
        key = _key()
        if key == 1:
            return
        if key == 4 and not line:
            _say("\nMPY: soft reboot\n")
            raise SoftReset
        if key in (2, 3):
            _say("\n>>> ")
            line = bytearray()
            block = b""
        elif key == 13:
            _say("\n")
            block += line + b"\n"
            if line.endswith(b":") or (line and block.count(b"\n") > 1):
                _say("... ")
            else:
                _typed(block)
                block = b""
                _say(">>> ")
            line = bytearray()
        elif key in (8, 127):
            if line:
                line = line[:-1]
                _say("\x08 \x08")
        elif key >= 32 or key == 9:
            line.append(key)
            _say(chr(key))


def _typed(text):
    if not text.strip():
        return
    try:
        error = _run(compile(bytes(text), "<stdin>", "eval"), True)
    except SyntaxError:
        error = _source(bytes(text), "<stdin>")
    if error is not None:
        _show(error)


def scope(names):
    """Set the namespace in which programs run."""
    global _scope
    _scope = names
