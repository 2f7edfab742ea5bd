"""What `parwana pair` runs on the meter, where no firmware runs: each returns what it found.

Snippets import the meter's own modules, so what they find is what the firmware will find.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import wire
from parwana.image import firmware
from parwana.meter.repl import Meter, MeterError
from parwana.meter.snippets import TELL_IMPORTS
from parwana.store.signatures import address

_T = TypeVar("_T")

_SLOT = (
    TELL_IMPORTS
    + firmware.opening().rstrip()
    + """
def _slot_named():
 try:
  with open('/slot') as f: return f.read().split()[0]
 except (OSError, IndexError): return 'a'
if '_opened' not in globals():
 _opened = _slot_named()
 open_slot(_opened)
"""
)
_IDENTITY = """
_tell('ecdsa', 'board', 'identity')
import ecdsa, board, identity, machine, os, version
from binascii import hexlify
print('key')
i = identity.load_or_create('/identity.key', board.random)
h = lambda b: hexlify(b).decode()
try: p = bool(os.stat('/state/permits.rec'))
except OSError: p = False
print(repr((version.VERSION, h(i.public_key), h(machine.unique_id()), p)))
"""
_CHECK = """
import config
try:
 config.load('/config.json.new')
 print(repr(''))
except config.ConfigError as e:
 print(repr(str(e)))
"""
_LOADED = "_tell('config', 'board')\nimport config, board, time\nc = config.load('/config.json')\n"
_WIFI = """
import network
w = network.WLAN(network.STA_IF)
w.active(True)
w.disconnect()
for n in range(50):
 if not w.isconnected(): break
 time.sleep_ms(100)
w.config(reconnects=2)
link = board.Link(c.wifi_ssid, c.wifi_password)
for n in range(400):
 link.keep()
 if link.up or w.status() < 1000: break
 if n % 20 == 0: print('.', end='')
 time.sleep_ms(100)
s = w.status()
w.config(reconnects=-1)
print()
print(repr(0 if link.up else s))
"""
_BROKER = """
import socket
def text(t): return bytes((len(t) >> 8, len(t) & 255)) + t
u, p = c.broker_user.encode(), c.broker_password.encode()
m = text(b'MQTT') + bytes((4, 0xC2 if u else 2, 0, 60)) + text(b'parwana-pair')
if u: m += text(u) + text(p)
n = len(m)
m = bytes((16, n)) + m if n < 128 else bytes((16, n & 127 | 128, n >> 7)) + m
s = socket.socket()
try:
 s.settimeout(8)
 s.connect(socket.getaddrinfo(c.broker_host, c.broker_port)[0][-1])
 if c.broker_tls: a = bytes(4)
 else:
  s.write(m)
  a = s.read(4) or b''
 if len(a) < 4: print(repr('it hangs up'))
 elif a[3]: print(repr('it refuses the login, code %d' % a[3]))
 else: print(repr(''))
except OSError as e:
 print(repr(str(e) or 'no answer'))
finally:
 s.close()
"""
_ASK = """
from pzem004t import Pzem004T, SensorError
hw = board.build(c)
ps = [(u, Pzem004T(hw.uart, u, r, time.ticks_ms)) for u, r in c.sensors]
def ask(p):
 f = 'no answer'
 for n in range(5):
  p.request()
  try:
   s = None
   while s is None:
    s = p.receive()
    time.sleep_ms(5)
   return (s.voltage_dv, s.current_ma, s.power_dw, s.energy_wh)
  except SensorError as e: f = str(e)
  time.sleep_ms(100)
 return f
"""
_SENSORS = """
print(repr([(u, ask(p)) for u, p in ps]))
"""
_CONTACTOR = """
def current():
 a = [ask(p) for u, p in ps]
 return sum([x[1] for x in a if isinstance(x, tuple)])
def until(flows):
 for n in range(15):
  i = current()
  if (i > 0) == flows: break
  time.sleep_ms(200)
 return i
k = hw.contactor
try:
 k.set(True)
 time.sleep_ms(200)
 a = k.closed
 i = until(True)
finally:
 k.set(False)
time.sleep_ms(200)
print(repr((a, k.closed, i, until(False) if i else 0)))
"""
_CLOCK = """
board.set_wall(%d)
print(repr(board.wall()))
"""
# The names of constants are not on the meter: its firmware is compiled without them.
_STATE = f"""
_tell('wire', 'journal', 'permits', 'control')
import wire
from journal import Journal
from permits import Permits
from control import keeper, restore
j = Journal('/journal', c.journal_frames)
e = r = 0
for n in range(j.next - 1, max(j.oldest, j.next - 500) - 1, -1):
 if n % 20 == 0: print('frame', n)
 try: f = j.read(n)
 except Exception: continue
 if not e: e = wire.parse(f).energy_wh
 if f[1] == {wire.KIND_READING}:
  r = n
  break
q = '/state/permits.rec'
p = Permits(c.permit_threshold, c.permit_signers, c.chain_id, c.payment_ledger, c.meter,
 c.utc_offset_s, keeper(q), restore(q))
print(repr((e, p.serial, r)))
"""


@dataclass(frozen=True)
class Identity:
    """Who the meter is: public key of 64 bytes, address of 20; `serial` is the board's number.

    `in_service`: it has had a permit, of whatever utility.
    """

    version: str
    public_key: bytes
    address: bytes
    serial: str
    in_service: bool


@dataclass(frozen=True)
class Click:
    """What the contactor said it was, closed and open; what current flowed then, in mA."""

    closed: bool | None
    opened: bool | None
    closed_ma: int
    open_ma: int


@dataclass(frozen=True)
class State:
    """The register in Wh, serial of the last permit, sequence of the last reading; 0 for none."""

    energy_wh: int
    permit_serial: int
    reading: int


def identify(meter: Meter) -> Identity:
    """Read the public key; the meter makes its key now if it has none. Raises MeterError."""
    try:
        return _last(meter, _SLOT + _IDENTITY, _identity)
    except MeterError as error:
        if "ImportError" in str(error):
            raise MeterError(f"{meter.port}: no firmware is here; run ./flash.sh first") from None
        raise


def _identity(told: Any) -> Identity:
    version, public_key, serial, in_service = told
    key = bytes.fromhex(public_key)
    return Identity(version, key, address(key), serial, in_service)


def write_config(meter: Meter, values: dict[str, Any]) -> bool:
    """Write /config.json, if the meter's own check takes it; return whether it changed.

    Raises MeterError, which names the key and shows no value.
    """
    data = (json.dumps(values, indent=1) + "\n").encode()
    there = meter.hashes("/config.json")  # to read it would show what is secret in it
    if there.get("/config.json") == hashlib.sha256(data).hexdigest():
        return False
    meter.write("/config.json.new", data)
    refusal = _last(meter, _SLOT + _CHECK, str)
    if refusal:
        meter.run("import os\nos.remove('/config.json.new')")
        raise MeterError(f"the meter refuses its configuration: {refusal}")
    meter.run("import os\nos.rename('/config.json.new', '/config.json')")
    return True


def join_wifi(meter: Meter) -> int:
    """Join the configured network within 40 s; return 0, or the station's status if it cannot.

    A soft reset leaves a station joined to the network of before: that is left first. Why it
    cannot join it tells only when it has given up.
    """
    return _last(meter, _SLOT + _LOADED + _WIFI, int)


def reach_broker(meter: Meter) -> str:
    """Log in to the configured broker; return what went wrong, "" if nothing did.

    Through TLS it only connects: no certificate is valid before the meter knows the time.
    """
    return _last(meter, _SLOT + _LOADED + _BROKER, str)


def sensors(meter: Meter) -> list[tuple[int, Any]]:
    """Ask each sensor; return (unit id, (voltage_dv, current_ma, power_dw, energy_wh)).

    Instead of the values, a text tells why there are none.
    """
    return _last(
        meter,
        _SLOT + _LOADED + _ASK + _SENSORS,
        lambda told: [(int(unit_id), values) for unit_id, values in told],
    )


def click_contactor(meter: Meter) -> Click:
    """Close the contactor for at most some seconds, and open it, whatever happens to the host."""
    return _last(meter, _SLOT + _LOADED + _ASK + _CONTACTOR, lambda told: Click(*told))


def state(meter: Meter) -> State:
    """Read what the meter has done so far."""
    return _last(meter, _SLOT + _LOADED + _STATE, lambda told: State(*map(int, told)))


def set_clock(meter: Meter, time_s: int) -> int:
    """Set the meter's RTC, so that it starts with an idea of the time; return what it shows."""
    return _last(meter, _SLOT + _LOADED + _CLOCK % time_s, int)


def _last(meter: Meter, code: str, read: Callable[[Any], _T]) -> _T:
    """Run code and return what `read` makes of the value of the literal that it printed last."""
    import ast

    lines = meter.run(code).strip().splitlines()
    try:
        return read(ast.literal_eval(lines[-1]))
    except (ArithmeticError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError,
            ValueError):  # fmt: skip
        said = lines[-1][:200] if lines else "nothing"
        raise MeterError(f"{meter.port}: the meter answered {said!r}; flash it again") from None
