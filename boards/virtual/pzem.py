"""A PZEM-004T v3 at bus level, on any pyserial URL: pty, USB-serial adapter or socket://.

Source: PZEM-004T-100A v3.0 user manual, sections 2.3-2.8 (Modbus-RTU, 9600 8N1).
"""

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import serial

from boards.virtual.load import House, Load, Profile
from parwana.world.clock import WorldClock

REGISTER_WRAP_WH = 10_000_000
GENERAL_ADDRESS = 0xF8
BROADCAST = 0x00
FAULTS = ("silence", "bad_crc", "wrong_address", "stale_bytes", "truncate", "exception")
_GAP_S = 0.05
_LEAST_W = 0.4
_TIMES = 4096
COMMANDS = (
    "watts W, open, close (the household's own main switch), silent, speak, energy WH, "
    f"fault NAME [COUNT] ({', '.join(FAULTS)})"
)
_REQUEST_SIZES = {0x03: 8, 0x04: 8, 0x06: 8, 0x42: 4}


class PzemError(ValueError):
    """The emulator was asked for something that a PZEM cannot be."""


def crc16(data: bytes) -> bytes:
    """Return the Modbus CRC of `data`, 2 bytes, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


@dataclass
class Pzem:
    """One sensor: what it measures and the state it keeps."""

    load: Load
    unit_id: int = 1
    voltage_v: float = 230.0
    frequency_hz: float = 50.0
    power_factor: float = 0.95
    mains: bool = True
    refresh_s: float = 1.0
    register_wh: float = 0.0
    alarm_w: int = 23000
    _counted_wh: float = 0.0
    _refreshed_s: float = 0.0
    _words: list[int] = field(default_factory=lambda: [0] * 10)

    def __post_init__(self) -> None:
        if not 1 <= self.unit_id <= 0xF7:
            raise PzemError(f"unit id {self.unit_id} is not in 1-247")
        self._counted_wh = self.load.energy_wh()

    def input_registers(self) -> list[int]:
        """Return the ten input registers; they are renewed each `refresh_s`."""
        if time.monotonic() - self._refreshed_s >= self.refresh_s:
            self._refreshed_s = time.monotonic()
            self._measure()
        return self._words

    def energy_wh(self) -> int:
        """Return the energy register as it stands now."""
        self._count()
        return int(self.register_wh)

    def set_energy_wh(self, value_wh: int) -> None:
        """Set the energy register: 0 is what the reset command does."""
        self._count()
        self.register_wh = value_wh % REGISTER_WRAP_WH
        self._refreshed_s = 0.0

    def _count(self) -> None:
        total = self.load.energy_wh()
        self.register_wh = (self.register_wh + total - self._counted_wh) % REGISTER_WRAP_WH
        self._counted_wh = total

    def _measure(self) -> None:
        self._count()
        power = self.load.power_w()
        if power < _LEAST_W:
            power = 0.0
        current_ma = round(1000 * power / self.voltage_v / self.power_factor)
        power_dw, energy = round(10 * power), int(self.register_wh)
        self._words = [
            round(10 * self.voltage_v),
            *(current_ma & 0xFFFF, current_ma >> 16),
            *(power_dw & 0xFFFF, power_dw >> 16),
            *(energy & 0xFFFF, energy >> 16),
            round(10 * self.frequency_hz),
            round(100 * self.power_factor) if power else 0,
            0xFFFF if power > self.alarm_w else 0,
        ]


class PzemEmulator:
    """One to three sensors on one serial line, answering in a thread.

    `faults` holds names of FAULTS; each spoils one answer. `silent` spoils all of them, as does a
    sensor without mains. `requests` counts what was asked, `request_times_s` holds when
    (time.monotonic) the last of it was. `line` is the port, whose RTS and DTR are off at first.
    """

    def __init__(self, url: str, sensors: list[Pzem], reply_s: float = 0.06) -> None:
        if not 1 <= len(sensors) <= 3 or len({s.unit_id for s in sensors}) != len(sensors):
            raise PzemError("give one to three sensors with different unit ids")
        self.sensors = sensors
        self.silent = False
        self.faults: deque[str] = deque()
        self.requests = 0
        self.request_times_s: deque[float] = deque(maxlen=_TIMES)
        self._reply_s = reply_s
        self.line = serial.serial_for_url(url, 9600, timeout=_GAP_S, do_not_open=True)
        self.line.rts = self.line.dtr = False
        self.line.open()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pzem {url}", daemon=True)

    def __enter__(self) -> "PzemEmulator":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the line."""
        self._stop.set()
        self._thread.join(timeout=5)
        self.line.close()

    def inject(self, fault: str, count: int = 1) -> None:
        """Spoil the next `count` answers. Raises PzemError for a fault not in FAULTS."""
        if fault not in FAULTS:
            raise PzemError(f"no fault {fault!r}; one of {', '.join(FAULTS)}")
        self.faults.extend([fault] * count)

    def _run(self) -> None:
        request = b""
        while not self._stop.is_set():
            try:
                data = self.line.read(1)
                data += self.line.read(self.line.in_waiting) if data else b""
            except (OSError, serial.SerialException):
                self._stop.wait(_GAP_S)
                continue
            if not data:  # a gap on the line ends whatever was begun
                request = b""
                continue
            request += data
            size = _REQUEST_SIZES.get(request[1], 256) if len(request) > 1 else 256
            if len(request) >= size:
                self._answer(request[:size])
                request = b""

    def _answer(self, request: bytes) -> None:
        if crc16(request[:-2]) != request[-2:]:
            return
        self.requests += 1
        self.request_times_s.append(time.monotonic())
        everyone = request[0] in (GENERAL_ADDRESS, BROADCAST)
        sensor = next((s for s in self.sensors if everyone or s.unit_id == request[0]), None)
        if sensor is None:
            return
        body = bytes(request[:1]) + _reply(sensor, request)
        if self.silent or not sensor.mains or request[0] == BROADCAST:
            return
        fault = self.faults.popleft() if self.faults else ""
        if fault == "exception":
            body = bytes([request[0], request[1] | 0x80, 4])
        if fault == "wrong_address":
            body = bytes([body[0] ^ 0x40]) + body[1:]
        reply = body + crc16(body)
        if fault == "bad_crc":
            reply = reply[:-1] + bytes([reply[-1] ^ 0x55])
        if fault == "stale_bytes":
            reply = b"\x01\x04\x00" + reply
        if fault == "truncate":
            reply = reply[: len(reply) // 2]
        if fault != "silence":
            self._stop.wait(self._reply_s)
            with contextlib.suppress(OSError):  # unplugged: nobody hears it
                self.line.write(reply)


def _reply(sensor: Pzem, request: bytes) -> bytes:
    """Return function code and data of the answer, without address and CRC."""
    function = request[1]
    first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    if function == 0x42:
        sensor.set_energy_wh(0)
        return b"\x42"
    holding = {1: sensor.alarm_w, 2: sensor.unit_id}
    if function == 0x06:
        if first not in holding:
            return b"\x86\x02"
        if first == 2 and not 1 <= count <= 0xF7:
            return b"\x86\x03"
        if first == 1:
            sensor.alarm_w = count
        else:
            sensor.unit_id = count
        return request[1:6]
    words = dict(enumerate(sensor.input_registers())) if function == 0x04 else holding
    asked = range(first, first + count)
    if not 1 <= count <= 10 or not all(number in words for number in asked):
        return bytes([function | 0x80, 2])
    return bytes([function, 2 * count]) + b"".join(words[n].to_bytes(2, "big") for n in asked)


def watts(text: str) -> float:
    """Read a load that a PZEM-004T can measure. Raises ValueError."""
    value = float(text)
    if not 0 <= value <= 23_000:  # nan, too
        raise ValueError(f"{text} W: write 0 to 23000")
    return value


def main() -> int:
    """Answer on one port until standard input ends; each of its lines is a command."""
    parser = argparse.ArgumentParser(
        description="Emulate a PZEM-004T on a serial port. Enter tells how often it was asked; "
        "other commands on standard input: "
        f"{COMMANDS}.",
        epilog="example: python -m boards.virtual.pzem --port /dev/ttyUSB1 --watts 800",
    )
    parser.add_argument("--port", required=True, help="pyserial URL: a device, a pty, socket://…")
    parser.add_argument("--unit-id", type=int, default=1)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--watts", type=watts, help="constant load")
    source.add_argument("--profile", type=Path, help="CSV with a heading, watts each 15 minutes")
    parser.add_argument("--column", type=int, default=0, help="column of --profile, from 0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(parser.parse_args())
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        print(f"parwana: {error}; give another --port or --profile", file=sys.stderr)
        return 1
    return 0


def _serve(arguments: argparse.Namespace) -> None:
    clock = WorldClock.from_environment()
    if arguments.profile:
        profile = Profile.from_csv(arguments.profile, arguments.column, clock.now())
    else:
        profile = Profile([arguments.watts], clock.now())
    house = House(profile, clock)
    sensor = Pzem(house, arguments.unit_id)
    with PzemEmulator(arguments.port, [sensor]) as emulator:
        obey(sys.stdin, emulator, house, clock)


def obey(lines: Iterable[str], emulator: PzemEmulator, house: House, clock: WorldClock) -> None:
    """Carry out COMMANDS, one a line, and answer each."""
    sensor = emulator.sensors[0]
    for line in lines:
        try:
            command(line.split(), emulator, house, clock)
        except (PzemError, ValueError) as error:
            print(f"? {line.strip()}: {error}", flush=True)
        else:
            print(f"ok {sensor.energy_wh()} Wh, {emulator.requests} requests", flush=True)


def command(words: list[str], emulator: PzemEmulator, house: House, clock: WorldClock) -> None:
    """Carry out one line of standard input. Raises PzemError, ValueError."""
    match words:
        case ["open"] | ["close"]:
            house.switch = words == ["close"]
        case ["watts", value]:
            house.follow(Profile([watts(value)], clock.now()))
        case ["silent"] | ["speak"]:
            emulator.silent = words == ["silent"]
        case ["energy", value]:
            emulator.sensors[0].set_energy_wh(int(value))
        case ["fault", name]:
            emulator.inject(name, 1)
        case ["fault", name, count]:
            emulator.inject(name, int(count))
        case []:
            pass
        case _:
            raise PzemError("not a command; see --help")


if __name__ == "__main__":
    sys.exit(main())
