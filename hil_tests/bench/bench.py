"""One bench: the nouns it has, the meter's configuration on it, and the signers it obeys."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wire
from hil_tests.bench import config
from hil_tests.bench.line import ConsoleLine, ModemLine, Watched
from hil_tests.bench.load import EmulatedLoad, RealLoad
from hil_tests.bench.meter import SerialMeter
from hil_tests.bench.power import CommandPower, RelayPower
from hil_tests.bench.protocols import BenchError, Power
from hil_tests.services import wait_until
from parwana.chain.keys import dev_key
from parwana.meter import device
from parwana.meter.pairing import WIFI_PASSWORD
from parwana.permits.bundle import make_permit, sign_frame
from parwana.world.clock import WorldClock

UTILITY = "bench"
CHAIN_ID = 31337
LEDGER = bytes.fromhex("be9c" * 10)
SIGNERS = {index: dev_key(24 + index) for index in range(3)}
THRESHOLD = 2
INTERVAL_S = 60
POLL_MS = 250
WATCHDOG_S = 20
DAY_S = 86400
HOLD_S = 10.0  # the least between two operations of the contactor

_WIPE = """
import os
def wipe(path):
 for entry in os.ilistdir(path):
  name = path + '/' + entry[0]
  if entry[1] & 0x4000: wipe(name)
  else: os.remove(name)
for path in ('/state', '/journal'):
 try: wipe(path)
 except OSError: pass
try: os.remove('/permit.new')
except OSError: pass
"""
_OPEN = """
import board, config, time
k = board.build(config.load('/config.json')).contactor
k.set(False)
time.sleep_ms(300)
"""
_FRAMES = """
from journal import Journal
from binascii import hexlify
j = Journal('/journal', {capacity})
for s in range(max(j.oldest, {first}), j.next): print(hexlify(j.read(s)).decode())
"""
_JOURNAL_FRAMES = 2000


@dataclass
class Bench:
    """What tests hold. A noun that is None is missing; `why` says why."""

    meter: SerialMeter
    load: EmulatedLoad | RealLoad | None
    power: Power | None
    line: Watched | None
    network: config.WifiPart | None
    clock: WorldClock
    wifi_password: str = ""
    contactor: str = "latching"
    pins: dict[str, int] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    ends: list[Callable[[], None]] = field(default_factory=list)
    address: bytes = b""
    flashed: dict[str, Any] = field(default_factory=dict)
    _serial: int = 0

    def close(self) -> None:
        """Let go of everything."""
        for end in reversed(self.ends):
            end()

    # --- the meter's state ---

    @property
    def blind(self) -> bool:
        """Whether the meter cannot tell where its contactor is: each start drives it there."""
        return self.contactor == "latching" and "contactor_sense" not in self.pins

    def configuration(self, address: bytes, **changes: Any) -> dict[str, Any]:
        """Return the configuration of a meter on this bench."""
        wifi = self.network
        return {
            "utility_id": UTILITY,
            "meter": address.hex(),
            "interval_s": INTERVAL_S,
            "poll_ms": POLL_MS,
            "wifi": {
                "ssid": wifi.ssid if wifi else "none",
                "password": self.wifi_password,
            },
            "broker": {
                "host": wifi.host if wifi else "127.0.0.1",
                "port": wifi.port if wifi else 1,
                "backoff_cap_s": 2,
            },
            "ntp_host": "",
            "chain_id": CHAIN_ID,
            "payment_ledger": LEDGER.hex(),
            "permit_threshold": THRESHOLD,
            "permit_signers": [key.public_key.hex() for key in SIGNERS.values()],
            "contactor": self.contactor,
            "pins": self.pins,
            "journal_frames": _JOURNAL_FRAMES,
            "status_s": 1,
            "watchdog_s": WATCHDOG_S,
            **changes,
        }

    def commission(self, **changes: Any) -> None:
        """Make the meter a new one with a permit and the signed time; its house is connected.

        It takes two for trust 2: the first might be an old one.
        """
        self.fresh(permit=True, **changes)
        for ahead_s in (0, 1):
            self.meter.paste(self.time(ahead_s))
            self.meter.wait_for_time()

    def fresh(self, *, permit: bool = False, **changes: Any) -> None:
        """Make the meter a new one of this bench, contactor open, and start it.

        With `permit` it gets one, and is connected on return. Raises BenchError for a meter that
        belongs to somebody.
        """
        with self.meter.service() as repl:
            self._claim(repl)
            self.address = device.identify(repl).address
            repl.run(_WIPE)
            device.write_config(repl, self.configuration(self.address, **changes))
            repl.run(_OPEN)
            if self.line and not self.line.watched:
                self.line.moved(False)  # the bench itself did it; the meter has not said so
            if permit:
                repl.write("/permit.new", self.permit())
        if isinstance(self.load, EmulatedLoad):
            self.load.restore()
        if self.blind:  # it drives the contactor once at its first start, and then holds it
            self.meter.wait_for_event(wire.EVENT_DISCONNECTED)
            held_s = time.monotonic() + HOLD_S
            self.wait(lambda: time.monotonic() > held_s, "the contactor's hold", HOLD_S + 10)
        if permit:
            self.meter.wait_for_event(wire.EVENT_RECONNECTED, HOLD_S + 20)
            if self.line:
                self.wait_closed()

    def _claim(self, repl: Any) -> None:
        found = repl.read("/config.json")
        if found is not None and f'"utility_id": "{UTILITY}"'.encode() not in found:
            raise BenchError(
                f"meter: the one on {self.meter.port} belongs to somebody (its /config.json is "
                "not the bench's); the tests would wipe it: take another, or remove that file"
            )

    def frames(self, first: int = 1) -> list[bytes]:
        """Stop the meter and return the frames of its journal."""
        with self.meter.repl() as repl:
            said = repl.run(_FRAMES.format(capacity=_JOURNAL_FRAMES, first=first))
        return [bytes.fromhex(line) for line in said.split()]

    def readings(self) -> list[Any]:
        """Stop the meter and return its readings, parsed."""
        return readings_of(self.frames())

    def events(self, code: int) -> list[Any]:
        """Stop the meter and return its events of one code, parsed."""
        return events_of(self.frames(), code)

    # --- waiting ---

    def intervals_s(self, count: float) -> float:
        """Return the real seconds that `count` intervals of the meter may take."""
        return self.clock.real_seconds(count * INTERVAL_S) + 20

    def wait(self, holds: Callable[[], object], what: str, timeout_s: float = 20) -> None:
        """Wait until `holds()`. Raises TimeoutError with the console's last words."""
        wait_until(holds, what, timeout_s, self.meter.tail)

    def wait_closed(self, closed: bool = True, timeout_s: float = 30) -> float:
        """Wait for the contactor; return when it moved (time.monotonic)."""
        line = self.line
        assert line is not None
        word = "close" if closed else "open"
        self.wait(lambda: line.closed == closed, f"the contactor to {word}", timeout_s)
        return line.changes[-1][0] if line.changes else time.monotonic()

    # --- the signers ---

    def now_s(self) -> int:
        """Return the world's Unix time."""
        return int(self.clock.now())

    def permit(
        self, days: float = 30, *, address: bytes = b"", signers: int = THRESHOLD, **terms: Any
    ) -> bytes:
        """Return a bundle with a permit of `days` for this meter, or for another `address`."""
        issued_at_s = terms.pop("issued_at_s", self.now_s())
        frame = make_permit(
            issued_at_s=issued_at_s,
            valid_until_s=issued_at_s + int(days * DAY_S),
            period=1,
            last_serial=self._serial,
            **terms,
        )
        self._serial = int.from_bytes(frame[4:8], "big")
        domain = wire.permit_domain(CHAIN_ID, LEDGER, address or self.address)
        return sign_frame(domain, frame, dict(list(SIGNERS.items())[:signers]))

    def time(self, ahead_s: int = 0) -> bytes:
        """Return a bundle with the signed time, `ahead_s` in the future."""
        now_s = self.now_s() + ahead_s
        domain = wire.time_domain(CHAIN_ID, LEDGER)
        return sign_frame(domain, wire.pack_time(now_s, now_s), dict(list(SIGNERS.items())[:2]))


def readings_of(frames: list[bytes]) -> list[Any]:
    """Return the readings among frames, parsed."""
    return [wire.parse(frame) for frame in frames if frame[1] == wire.KIND_READING]


def events_of(frames: list[bytes], code: int) -> list[Any]:
    """Return the events of one code among frames, parsed."""
    parsed: list[Any] = [wire.parse(frame) for frame in frames if frame[1] == wire.KIND_EVENT]
    return [event for event in parsed if event.code == code]


def from_file(path: Path, folder: Path) -> Bench:
    """Put together the bench of a bench.toml. Raises BenchError, MeterError."""
    parts = config.load(path)
    clock = WorldClock.parse(parts.world.clock) if parts.world else WorldClock()
    bench = Bench(
        meter=SerialMeter(parts.meter.port, folder / "console.log"),
        load=None, power=None, line=None, network=parts.network, clock=clock,
        wifi_password=os.environ.get(WIFI_PASSWORD, "") if parts.network else "",
        contactor=parts.meter.contactor, pins=parts.meter.pins,
    )  # fmt: skip
    bench.ends.append(bench.meter.close)
    try:
        _wire_up(bench, parts, path)
    except BenchError:
        bench.close()
        raise
    return bench


def _wire_up(bench: Bench, parts: config.Parts, path: Path) -> None:
    for noun in ("load", "power", "line", "network"):
        if getattr(parts, noun) is None:
            bench.why[noun] = f"none in {path.name}; see docs/bench.md"
    follow: Callable[[bool], None] = lambda _closed: None  # noqa: E731
    if isinstance(parts.load, config.PzemPart):
        bench.load = EmulatedLoad(parts.load.port, bench.clock, parts.load.unit_id)
        bench.ends.append(bench.load.close)
        follow = bench.load.follow
    elif parts.load:
        bench.load = RealLoad(parts.load.watts, parts.load.tolerance)
    if isinstance(parts.power, config.CommandPart):
        bench.power = CommandPower(parts.power.on, parts.power.off)
    elif parts.power:
        relay = RelayPower(parts.power.port, parts.power.relay, parts.power.normally_closed)
        bench.power = relay
        bench.ends.append(relay.close)
    if isinstance(parts.line, config.ModemPart):
        bench.line = _modem_line(bench, parts.line, follow)
        bench.ends.append(bench.line.close)
    elif parts.line:
        bench.line = ConsoleLine(bench.meter, follow)


def _modem_line(bench: Bench, part: config.ModemPart, follow: Callable[[bool], None]) -> ModemLine:
    if part.port:
        import serial

        try:
            port = serial.serial_for_url(part.port, do_not_open=True)
            port.rts = port.dtr = False
            port.open()
        except (OSError, ValueError) as error:
            raise BenchError(f"line: {part.port} does not open ({error})") from None
        bench.ends.append(port.close)
    else:
        assert isinstance(bench.load, EmulatedLoad)
        port = bench.load.emulator.line
    return ModemLine(port, part.contact, part.button, follow)
