"""Hold a whole meter: a virtual board with firmware, sensor, broker, and somebody who listens."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from littlefs import LittleFS
from paho.mqtt.client import MQTTMessage

import wire
from boards.virtual.board import FLASH_SIZE, VirtualBoard
from boards.virtual.lines import Wiring
from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests.services import Broker, wait_until
from parwana.chain.keys import Key, dev_key
from parwana.image import firmware
from parwana.store import signatures
from parwana.world.broker import Session
from parwana.world.clock import WorldClock

UTILITY = "bench"
METER = bytes(range(1, 21))
LEDGER = bytes(range(101, 121))
CHAIN_ID = 31337
START_S = 1_800_000_000
SIGNERS = [dev_key(i) for i in range(1, 4)]
_BLOCK = 4096


def make_image(files: dict[str, bytes]) -> bytes:
    """Return a flash image with `files` (absolute path: content) on it."""
    disk = LittleFS(block_size=_BLOCK, block_count=FLASH_SIZE // _BLOCK)
    for path, data in files.items():
        disk.makedirs(str(Path(path).parent), exist_ok=True)
        with disk.open(path, "wb") as file:
            file.write(data)
    return bytes(disk.context.buffer)


def read_image(image: Path, path: str) -> bytes:
    """Return a file on the flash of a board that has no power."""
    disk = LittleFS(block_size=_BLOCK, block_count=FLASH_SIZE // _BLOCK, mount=False)
    disk.context.buffer = bytearray(image.read_bytes())
    disk.mount()
    with disk.open(path, "rb") as file:
        return bytes(file.read())


def archive(native: str | None = None, source: Path = firmware.SOURCE) -> bytes:
    """Return a slot's file, built from `source`."""
    return firmware.archive(firmware.build(native, source, now_s=START_S))


def newer(folder: Path) -> Path:
    """Copy the sources into `folder`, which is made, as version 9.9.9; return it."""
    shutil.copytree(firmware.SOURCE, folder)
    version = folder / "lib" / "version.py"
    version.write_text(version.read_text().replace(f'"{firmware.version()}"', '"9.9.9"'))
    return folder


def firmware_files(native: str | None = None) -> dict[str, bytes]:
    """Return the flash of a board that was flashed and never paired."""
    built = firmware.build(native, now_s=START_S)
    return {"/a.fw": firmware.archive(built), **firmware.loaders(), "/slot": b"a"}


def configuration(port: int, **changes: Any) -> dict[str, Any]:
    """Return a short configuration for a broker on a port of the loopback."""
    return {
        "utility_id": UTILITY,
        "meter": METER.hex(),
        "wifi": {"ssid": "parwana", "password": "parwana-bench"},
        "broker": {"host": "127.0.0.1", "port": port},
        "ntp_host": "127.0.0.1",
        "chain_id": CHAIN_ID,
        "payment_ledger": LEDGER.hex(),
        "permit_threshold": 2,
        "permit_signers": [key.public_key.hex() for key in SIGNERS],
        "status_s": 2,
        **changes,
    }


def permit(serial: int, issued_at_s: int, days: int = 30, meter: bytes = METER) -> bytes:
    """Return the bundle of a permit that two of the signers signed."""
    until_s = issued_at_s + 86400 * days
    frame = wire.pack_permit(0, serial, issued_at_s, until_s, 1)
    return sign(frame, SIGNERS[:2], wire.permit_domain(CHAIN_ID, LEDGER, meter))


def update(image: bytes, serial: int, version: int, keys: list[Key], processor: int) -> bytes:
    """Return the bundle of an update to a slot's file."""
    prefix = sha256(image).digest()[:28]
    target = processor << 24 | version
    frame = wire.pack_update(len(image) // wire.PIECE_SIZE, serial, target, prefix)
    return sign(frame, keys, wire.update_domain(CHAIN_ID, LEDGER))


def sign(frame: bytes, keys: list[Key], domain: bytes) -> bytes:
    """Return the bundle of a frame that the first signers signed."""
    digest = wire.digest(domain, frame)
    return wire.pack_bundle(frame, [(i, key.sign(digest)) for i, key in enumerate(keys)])


class Relay:
    """Keeps what a meter sends, if its signature recovers, and answers `want` as a relay does."""

    def __init__(self, url: str) -> None:
        self.frames: dict[int, bytes] = {}
        self.signers: set[bytes] = set()
        self.hellos: list[wire.Hello] = []
        self.repeated = 0
        self.contradictions: list[tuple[bytes, bytes]] = []
        self.status = b""
        self.answers = True
        self.images: dict[int, bytes] = {}  # slots' files, by the serial of their update
        self.asked: list[int] = []  # pieces
        self._domain = wire.reading_domain(UTILITY)
        topics = [wire.topic(UTILITY, METER, leaf) for leaf in ("up", "status")]
        self._session = Session(url, topics, take=self._take)
        self._session.start()
        self._session.wait(15)

    def close(self) -> None:
        self._session.stop()

    def publish(self, leaf: str, payload: bytes, retain: bool = False) -> None:
        """Publish on one of the meter's topics."""
        self._session.publish(wire.topic(UTILITY, METER, leaf), payload, retain=retain)

    def send(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish on any topic."""
        self._session.publish(topic, payload, retain=retain)

    def publish_time(self, payload: bytes) -> None:
        """Publish on the utility's time topic."""
        self._session.publish(wire.time_topic(UTILITY), payload, retain=True)

    @property
    def wanted(self) -> int:
        """The lowest sequence that is missing."""
        sequence = 1
        while sequence in self.frames:
            sequence += 1
        return sequence

    @property
    def complete(self) -> bool:
        """Whether no sequence is missing among those that came."""
        return self.wanted == len(self.frames) + 1

    @property
    def readings(self) -> list[wire.Reading]:
        parsed = [wire.parse(self.frames[s]) for s in sorted(self.frames)]
        return [frame for frame in parsed if isinstance(frame, wire.Reading)]

    @property
    def events(self) -> list[wire.Event]:
        parsed = [wire.parse(self.frames[s]) for s in sorted(self.frames)]
        return [frame for frame in parsed if isinstance(frame, wire.Event)]

    def _take(self, message: MQTTMessage) -> None:
        if message.topic.endswith("/status"):
            self.status = bytes(message.payload)
            return
        kind, value = wire.parse_message(bytes(message.payload))
        if kind == wire.MESSAGE_GET:
            self._give(*value)
            return
        if kind == wire.MESSAGE_HELLO:
            self.hellos.append(value)
        else:
            for frame, signature in value:
                self._keep(frame, signature)
        if self.answers:
            self.publish("down", wire.pack_want(self.wanted))

    def _give(self, serial: int, number: int) -> None:
        self.asked.append(number)
        start = number * wire.PIECE_SIZE
        if piece := self.images.get(serial, b"")[start : start + wire.PIECE_SIZE]:
            self.publish("down", wire.pack_piece(serial, number, piece))

    def _keep(self, frame: bytes, signature: bytes) -> None:
        self.signers.add(signatures.recover(wire.digest(self._domain, frame), signature))
        sequence = int.from_bytes(frame[4:8], "big")
        if sequence in self.frames:
            self.repeated += 1
            if self.frames[sequence] != frame:
                self.contradictions.append((self.frames[sequence], frame))
        self.frames[sequence] = frame


class Meter:
    """A virtual board that meters a house of 800 W, in a world `factor` times faster."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        factor: float,
        contactor: str,
        broker: Broker | None = None,
    ) -> None:
        self.clock = WorldClock.starting(START_S, factor)
        self.broker = broker or Broker(folder)
        stack.callback(self.broker.stop)
        self.relay = Relay(self.broker.url)
        stack.callback(self.relay.close)
        self.house = House(Profile([800.0], START_S), self.clock, closed=False)
        self.board = stack.enter_context(
            VirtualBoard(
                folder / "board",
                self.clock,
                wiring=Wiring(contactor=contactor),
                on_contactor=lambda closed: setattr(self.house, "closed", closed),
            )
        )
        self.sensor = Pzem(self.house)
        self.pzem = stack.enter_context(PzemEmulator(self.board.uart_port, [self.sensor]))

    def wait_frames(self, more: int, timeout_s: float = 40) -> None:
        """Wait for `more` frames."""
        count = len(self.relay.frames) + more
        wait_until(lambda: len(self.relay.frames) >= count, f"{more} frames", timeout_s)

    def wait_hello(self, before: int, timeout_s: float = 40) -> None:
        """Wait until more than `before` hellos came."""
        wait_until(lambda: len(self.relay.hellos) > before, "a hello", timeout_s)

    def public_key(self) -> bytes:
        """Return the key that lies on the flash; the board must have no power."""
        record = read_image(self.board.folder / "flash.img", "/identity.key")
        return Key(record[:32]).public_key


@contextmanager
def running_meter(
    folder: Path,
    files: dict[str, bytes],
    *,
    factor: float = 600,
    contactor: str = "latching",
    **changes: Any,
) -> Iterator[Meter]:
    """Lend a meter that has said hello."""
    (folder / "board").mkdir(parents=True)
    with ExitStack() as stack:
        meter = Meter(folder, stack, factor, contactor)
        config = configuration(meter.broker.port, contactor=contactor, **changes)
        image = make_image({**files, "/config.json": json.dumps(config).encode()})
        (folder / "board" / "flash.img").write_bytes(image)
        meter.board.power_on()
        meter.wait_hello(0)
        yield meter
