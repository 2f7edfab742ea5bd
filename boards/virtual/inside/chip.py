"""What the silicon does: the register file, signals, and system calls that the unix port lacks."""

import ffi
import micropython
import struct
import uctypes

import registers

_SIGALRM = 14
_SIGURG = 23
_FIONREAD = 0x541B

_libc = ffi.open(None)
_read = _libc.func("i", "read", "ipi")
_write = _libc.func("i", "write", "ipi")
_ioctl = _libc.func("i", "ioctl", "iip")
_setitimer = _libc.func("i", "setitimer", "ipp")
_signal = _libc.func("P", "signal", "iC")
_getsockopt = _libc.func("i", "getsockopt", "iiipp")
_setsockopt = _libc.func("i", "setsockopt", "iiipi")
_socketpair = _libc.func("i", "socketpair", "iiip")
_fcntl = _libc.func("i", "fcntl", "iii")
_dup2 = _libc.func("i", "dup2", "ii")
_close = _libc.func("i", "close", "i")
sleep_us = _libc.func("i", "usleep", "I")
halt = _libc.func("v", "_exit", "i")

regs = None  # the register file as bytes
words = None  # its wider registers, by the names in registers.WORDS
_events = -1
_message = bytearray(2)
_ready = bytearray(4)
_pending = False
_handler = None  # called with (code, level) of a message from the bench
_alarm = None  # called when the timer that `alarm` set has run down
_bell_c = None


def start(path, events):
    """Map the register file at `path` and listen on the descriptor `events`."""
    global regs, words, _events, _bell_c
    descriptor = _libc.func("i", "open", "si")(path, 2)
    page = _libc.func("P", "mmap", "pIiiii")(None, registers.SIZE, 3, 1, descriptor, 0)
    regs = uctypes.bytearray_at(page, registers.SIZE)
    kinds = {"u16": uctypes.UINT16, "u32": uctypes.UINT32, "u64": uctypes.UINT64}
    layout = {name: kinds[kind] | offset for name, (kind, offset) in registers.WORDS.items()}
    words = uctypes.struct(page, layout, uctypes.NATIVE)
    _close(descriptor)
    _events = events
    _libc.func("i", "prctl", "ii")(1, 9)  # PR_SET_PDEATHSIG: no board outlives its bench
    _bell_c = ffi.callback("v", _bell, "i", lock=True)
    _signal(_SIGURG, _bell_c)
    _signal(_SIGALRM, _bell_c)


def _bell(signal):
    # A signal handler: no allocation. The work is done between two bytecodes, as a soft IRQ.
    global _pending
    if not _pending:
        _pending = True
        micropython.schedule(_dispatch, signal)


def _dispatch(signal):
    global _pending
    _pending = False
    while _read(_events, _message, 2) == 2:
        if _handler:
            _handler(_message[0], _message[1])
    if _alarm:
        _alarm()


def on_message(handler):
    global _handler
    _handler = handler


def tell(code, level):
    """Send the bench a message."""
    buffer = bytes((code, level))
    while _write(_events, buffer, 2) != 2:
        pass


def alarm(handler, delay_us):
    """Call `handler` once after `delay_us`; 0 calls it never."""
    global _alarm
    _alarm = handler
    _setitimer(0, struct.pack("llll", 0, 0, delay_us // 1000000, delay_us % 1000000), None)


def text(offset):
    return str(regs[offset + 1 : offset + 1 + regs[offset]], "utf8")


def available(descriptor):
    """Return how many bytes can be read at once."""
    _ioctl(descriptor, _FIONREAD, _ready)
    return struct.unpack("i", _ready)[0]


def read_into(descriptor, buffer, size):
    """Read at most `size` bytes that are there; return how many, 0 if none."""
    return max(0, _read(descriptor, buffer, size))


def write(descriptor, buffer, size):
    _write(descriptor, buffer, size)


# --- sockets of a lost network -------------------------------------------------------------------

_SOL_SOCKET = 1
_SO_ATTACH_FILTER = 26
_SO_DOMAIN = 39
_TIMEOUTS = (20, 21)  # SO_RCVTIMEO, SO_SNDTIMEO
_OPEN_FILES = 64
_INTERNET = (2, 10)  # AF_INET, AF_INET6
_adrift = []
_value = bytearray(16)
_length = bytearray(4)


def _is_socket(descriptor):
    struct.pack_into("i", _length, 0, 4)
    if _getsockopt(descriptor, _SOL_SOCKET, _SO_DOMAIN, _value, _length):
        return False
    return struct.unpack("i", _value)[0] in _INTERNET


def sockets():
    """Return how many sockets of the network that is there are open."""
    return len([None for descriptor in range(3, _OPEN_FILES) if _is_socket(descriptor)])


def deafen(descriptor):
    """Drop every packet that comes in on a socket, so that a connection is never made."""
    drop_all = struct.pack("HBBI", 6, 0, 0, 0)
    program = struct.pack("HP", 1, uctypes.addressof(drop_all))
    _setsockopt(descriptor, _SOL_SOCKET, _SO_ATTACH_FILTER, program, len(program))


def sink_sockets():
    """Cut every network socket off: writes go nowhere and reads hear nothing, with no error.

    The peer is not told either: its side stays open until `scrap_sockets`.
    """
    pair = bytearray(8)
    value, length = _value, _length
    for descriptor in range(3, _OPEN_FILES):
        if not _is_socket(descriptor):
            continue
        _socketpair(1, 1, 0, pair)
        near, far = struct.unpack("ii", pair)
        for option in _TIMEOUTS:
            struct.pack_into("i", length, 0, 16)
            _getsockopt(descriptor, _SOL_SOCKET, option, value, length)
            size = struct.unpack("i", length)[0]
            _setsockopt(near, _SOL_SOCKET, option, value, size)
        flags = _fcntl(descriptor, 3, 0)
        adrift = _fcntl(descriptor, 0, _OPEN_FILES)
        deafen(adrift)
        _dup2(near, descriptor)
        _fcntl(descriptor, 4, flags)
        _close(near)
        _adrift.append(adrift)
        _adrift.append(_fcntl(far, 0, _OPEN_FILES))
        _close(far)


def scrap_sockets():
    """Close what `sink_sockets` cut off; the board's ends then read as closed."""
    while _adrift:
        _close(_adrift.pop())
