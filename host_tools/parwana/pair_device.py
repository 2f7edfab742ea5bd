"""What `parwana pair` runs on the meter, where no firmware runs: each returns what it found.

Snippets import the meter's own modules, so what they find is what the firmware will find.
"""

import json
from dataclasses import dataclass
from typing import Any

from parwana.meter import Meter, MeterError
from parwana.signatures import address

_SLOT = """
import sys
def _slot():
 try:
  with open('/slot') as f: return f.read().split()[0]
 except (OSError, IndexError): return 'a'
_s = _slot()
sys.path[:] = ['/' + _s, '/' + _s + '/lib', '', '.frozen', '/lib']
"""
_IDENTITY = """
import ecdsa, board, identity, version
from binascii import hexlify
i = identity.load_or_create('/identity.key', board.random)
print(repr((version.VERSION, hexlify(i.public_key).decode())))
"""
_CHECK = """
import config
try:
 config.load('/config.json.new')
 print(repr(''))
except config.ConfigError as e:
 print(repr(str(e)))
"""
_LOADED = "import config, board, time\nc = config.load('/config.json')\n"
_WIFI = """
link = board.Link(c.wifi_ssid, c.wifi_password)
for n in range(200):
 link.keep()
 if link.up: break
 if n % 20 == 0: print('.', end='')
 time.sleep_ms(100)
print()
print(repr(link.up))
"""
_BROKER = """
import socket
s = socket.socket()
try:
 s.settimeout(8)
 s.connect(socket.getaddrinfo(c.broker_host, c.broker_port)[0][-1])
 print(repr(''))
except OSError as e:
 print(repr(str(e) or 'no answer'))
finally:
 s.close()
"""
_SENSORS = """
from pzem004t import Pzem004T, SensorError
hw = board.build(c)
found = []
for unit_id, ratio in c.sensors:
 p = Pzem004T(hw.uart, unit_id, ratio, time.ticks_ms)
 found.append((unit_id, 'no answer'))
 for n in range(5):
  p.request()
  try:
   s = None
   while s is None:
    s = p.receive()
    time.sleep_ms(5)
   found[-1] = (unit_id, (s.voltage_dv, s.current_ma, s.power_dw, s.energy_wh))
   break
  except SensorError as e:
   found[-1] = (unit_id, str(e))
  time.sleep_ms(100)
print(repr(found))
"""
_CONTACTOR = """
k = board.build(c).contactor
try:
 k.set(True)
 time.sleep_ms(200)
 a = k.closed
finally:
 k.set(False)
time.sleep_ms(200)
print(repr((a, k.closed)))
"""
_STATE = """
import wire
from journal import Journal
from permits import Permits
from control import keeper, restore
j = Journal('/journal', c.journal_frames)
e = wire.parse(j.read(j.next - 1)).energy_wh if j.next > j.oldest else 0
r = '/state/permits.rec'
p = Permits(c.permit_threshold, c.permit_signers, c.chain_id, c.payment_ledger, c.meter,
 c.utc_offset_s, keeper(r), restore(r))
print(repr((e, p.serial)))
"""


@dataclass(frozen=True)
class Identity:
    """Who the meter is: firmware version, public key (64 bytes), address (20 bytes)."""

    version: str
    public_key: bytes
    address: bytes


def identify(meter: Meter) -> Identity:
    """Read the public key; the meter makes its key now if it has none. Raises MeterError."""
    try:
        version, public_key = _last(meter, _SLOT + _IDENTITY)
    except MeterError as error:
        if "ImportError" in str(error):
            raise MeterError(f"{meter.port}: no firmware is here; run ./flash.sh first") from None
        raise
    key = bytes.fromhex(public_key)
    return Identity(version, key, address(key))


def write_config(meter: Meter, values: dict[str, Any]) -> bool:
    """Write /config.json, if the meter's own check takes it; return whether it changed.

    Raises MeterError, which names the key and shows no value.
    """
    data = (json.dumps(values, indent=1) + "\n").encode()
    if meter.read("/config.json") == data:
        return False
    meter.write("/config.json.new", data)
    refusal = _last(meter, _SLOT + _CHECK)
    if refusal:
        meter.run("import os\nos.remove('/config.json.new')")
        raise MeterError(f"the meter refuses its configuration: {refusal}")
    meter.run("import os\nos.rename('/config.json.new', '/config.json')")
    return True


def joins_wifi(meter: Meter) -> bool:
    """Join the configured network; return whether it worked within 20 s."""
    return bool(_last(meter, _SLOT + _LOADED + _WIFI))


def reaches_broker(meter: Meter) -> str:
    """Open a connection to the configured broker; return what went wrong, "" if nothing did."""
    return str(_last(meter, _SLOT + _LOADED + _BROKER))


def sensors(meter: Meter) -> list[tuple[int, Any]]:
    """Ask each sensor; return (unit id, (voltage_dv, current_ma, power_dw, energy_wh)).

    Instead of the values, a text tells why there are none.
    """
    return list(_last(meter, _SLOT + _LOADED + _SENSORS))


def click_contactor(meter: Meter) -> tuple[bool | None, bool | None]:
    """Close the contactor for a moment and open it; return what it said it was: closed, open."""
    closed, opened = _last(meter, _SLOT + _LOADED + _CONTACTOR)
    return closed, opened


def register_and_serial(meter: Meter) -> tuple[int, int]:
    """Return the meter's register in Wh and the serial of the last permit it accepted."""
    energy_wh, serial = _last(meter, _SLOT + _LOADED + _STATE)
    return energy_wh, serial


def set_clock(meter: Meter, time_s: int) -> None:
    """Set the meter's RTC, so that it starts with an idea of the time."""
    meter.run(_SLOT + f"import board\nboard.set_wall({time_s})")


def _last(meter: Meter, code: str) -> Any:
    """Run code and return the value of the literal that it printed last."""
    import ast

    lines = meter.run(code).strip().splitlines()
    try:
        return ast.literal_eval(lines[-1])
    except (IndexError, ValueError, SyntaxError):
        said = lines[-1][:200] if lines else "nothing"
        raise MeterError(f"{meter.port}: the meter answered {said!r}; flash it again") from None
