"""The life of one meter on a virtual board, at its hardest for memory.

Eight signers of whom five must sign, three sensors, a journal that a year has filled; a real
broker; then permits, forgeries, outages and backfill. What it is given runs slowly enough to
answer: the clock is fast, the processor is not slowed.
"""

import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import serial

import wire
from boards.virtual.board import VirtualBoard
from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests import meterkit
from hil_tests.meterkit import CHAIN_ID, LEDGER, METER, START_S, Relay
from hil_tests.services import Broker, wait_until
from parwana.chain.keys import dev_key
from parwana.image import firmware
from parwana.world.clock import WorldClock

YEAR = 35_136
SIGNERS = [dev_key(i) for i in range(1, 9)]
THRESHOLD = 5
_NEW_SIGNER = dev_key(9)
_TIMEOUT_S = 60
_RATIO = 100
_LIMIT_DW = 4_000 * 10 * 3 * _RATIO  # of three sensors on one house
_TROUBLE = re.compile(r".*(MemoryError|RuntimeError|stopped: ).*")
_LATE = re.compile(r" late_ms=(\d+)")
_PERMITS = wire.permit_domain(CHAIN_ID, LEDGER, METER)
_TIMES = wire.time_domain(CHAIN_ID, LEDGER)
_UPDATES = wire.update_domain(CHAIN_ID, LEDGER)
_X86 = 1  # the number of its native code
_PIECES = 190


class OutOfMemory(Exception):
    """The board ran out of heap or stack; the message is what its console says."""


class _LateRelay(Relay):
    """A relay that holds everything before `base`."""

    base = YEAR + 1

    @property
    def wanted(self) -> int:
        sequence = self.base
        while sequence in self.frames:
            sequence += 1
        return sequence


class Life:
    """Use it as a context manager; `phases` lives it, one phase at a step."""

    def __init__(
        self, folder: Path, micropython: Path, heap: int, stack: int, gauge: Path, factor: float
    ) -> None:
        self._folder = folder
        self._micropython = micropython
        self._heap = heap
        self._environment = {"PARWANA_STACK": str(stack), "PARWANA_GAUGE": str(gauge)}
        self._random = random.Random(20261122)
        self._things = ExitStack()
        self._serial = 0
        self.clock = WorldClock.starting(START_S, factor)

    def __enter__(self) -> "Life":
        folder, things = self._folder, self._things
        folder.mkdir(parents=True)
        try:
            self.broker = Broker(folder)
            things.callback(self.broker.stop)
            self.relay = _LateRelay(self.broker.url)
            things.callback(self.relay.close)
            self.house = House(Profile([800.0], START_S), self.clock, closed=False)
            (folder / "flash.img").write_bytes(meterkit.make_image(self._files()))
            self.board = things.enter_context(
                VirtualBoard(
                    folder,
                    self.clock,
                    heap=str(self._heap),
                    on_contactor=lambda closed: setattr(self.house, "closed", closed),
                    micropython=self._micropython,
                )
            )
            sensors = [Pzem(self.house, unit_id) for unit_id in (1, 2, 3)]
            self.pzem = things.enter_context(PzemEmulator(self.board.uart_port, sensors))
        except BaseException:
            things.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._things.close()

    def _files(self) -> dict[str, bytes]:
        config = meterkit.configuration(
            self.broker.port,
            permit_threshold=THRESHOLD,
            permit_signers=[key.public_key.hex() for key in SIGNERS],
            sensors=[{"unit_id": unit_id, "ct_ratio": _RATIO} for unit_id in (1, 2, 3)],
        )
        return {
            **meterkit.firmware_files("x86"),
            "/config.json": json.dumps(config).encode(),
            **year(self._folder / "year"),
        }

    @property
    def console(self) -> str:
        """What the board printed."""
        return self.board.log_path.read_text(errors="replace")

    @property
    def late_ms(self) -> int:
        """The longest that anything made a poll wait, up to now; 0 while nothing was said."""
        return max((int(found) for found in _LATE.findall(self.console)), default=0)

    def phases(self, days: float, brief: bool = False) -> Iterator[str]:
        """Live it; yield the name of each phase after it. Raises TimeoutError.

        A brief life has no outages and ends with the forgeries.
        """
        self.board.ntp_silent = True
        saved = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            self.board.power_on()
        finally:
            for name, value in saved.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        self._wait(lambda: self.relay.hellos, "a hello")
        yield "start"
        self.board.wait_console("no network time", _TIMEOUT_S)
        self.board.ntp_silent = False
        yield "no network time"
        self._frames(8)
        yield "connected"
        for phase in (
            self._permit,
            self._pasted_permit,
            self._signed_time,
            self._new_signer,
            self._update,
            self._backwards,
            self._forgeries,
            self._no_network,
            self._no_broker,
            self._silent_sensor,
            self._overload,
        ):
            phase()
            yield phase.__name__[1:].replace("_", " ")
            if brief and phase == self._forgeries:
                return
        while self.clock.now() < START_S + 86400 * days:
            time.sleep(1)
        self._frames(1)
        yield "the rest of the days"

    def _permit(self) -> None:
        self._publish("permit", self._signed(self._pack_permit()), retain=True)
        self._wait(lambda: self.board.contactor, "the contactor to close")
        self._frames(2)

    def _pasted_permit(self) -> None:
        text = wire.pack_text(self._signed(self._pack_permit()))
        self.board.skip_console()
        with serial.Serial(self.board.serial_port, timeout=1) as port:
            for start in range(0, len(text), 128):  # as fast as a serial line is
                port.write(text[start : start + 128].encode())
                time.sleep(0.03)
            port.write(b"\r")
            self.board.wait_console("permit: accepted", _TIMEOUT_S)
        self._frames(1)

    def _signed_time(self) -> None:
        self.board.skip_console()
        now_s = int(self.clock.now())
        self._serial += 1
        frame = wire.pack_time(now_s, now_s)
        self.relay.publish_time(wire.pack_bundle_message(self._sign(frame, _TIMES)))
        self.board.wait_console("clock set by signed time", _TIMEOUT_S)
        self._frames(1)

    def _new_signer(self) -> None:
        self.board.skip_console()
        key, now_s = _NEW_SIGNER.public_key, int(self.clock.now())
        frame = wire.pack_signer(7, 1, now_s, wire.key_prefix(key))
        self._publish("permit", self._sign(frame, _PERMITS, key))
        self.board.wait_console(f"accepted: event {wire.EVENT_SIGNER_CHANGED}", _TIMEOUT_S)
        self._frames(1)

    def _update(self) -> None:
        """An update that is fetched, and read back, as long as what follows lasts."""
        self.board.skip_console()
        serial = int(self.clock.now())
        target = _X86 << 24 | 0xFFFFFF
        frame = wire.pack_update(_PIECES, serial, target, bytes(28))
        self.relay.images[serial] = bytes(_PIECES * wire.PIECE_SIZE)
        self._publish("down", self._sign(frame, _UPDATES))
        self.board.wait_console(f"accepted: event {wire.EVENT_UPDATE_ACCEPTED}", _TIMEOUT_S)
        self._wait(lambda: len(self.relay.asked) > _PIECES // 3, "a third of an update")

    def _forgeries(self) -> None:
        """Everything that a hostile broker can send, in the largest sizes there are."""
        frame = self._pack_permit()
        good = [(i, key.sign(wire.digest(_PERMITS, frame))) for i, key in enumerate(SIGNERS[:7])]
        forged = [*good[:4], *((i, self._random.randbytes(64)) for i in range(4, 8))]
        for _ in range(6):
            self._publish("permit", wire.pack_bundle(frame, forged))
        for size in (0, 1, 44, 200, 700, 900):
            for leaf in ("permit", "down"):
                self.relay.publish(leaf, self._random.randbytes(size))
        self.board.wait_console("messages ignored", _TIMEOUT_S)
        self.relay.publish("permit", self._random.randbytes(5000))
        self._frames(4)  # a relay's answers come behind it

    def _backwards(self) -> None:
        """A relay that lost what it held."""
        self.relay.base -= 400
        self._wait(lambda: self.relay.wanted > YEAR, "400 frames of the year")

    def _no_network(self) -> None:
        hellos = len(self.relay.hellos)
        self.board.network_up = False
        time.sleep(12)
        self.board.network_up = True
        self._wait(lambda: len(self.relay.hellos) > hellos, "a hello after the network's return")
        self._frames(8)

    def _no_broker(self) -> None:
        hellos = len(self.relay.hellos)
        self.broker.stop()
        time.sleep(4)
        self.broker.start()
        self._wait(lambda: len(self.relay.hellos) > hellos, "a hello after the broker's return")
        self._frames(8)

    def _silent_sensor(self) -> None:
        self.pzem.silent = True
        time.sleep(8)
        self.pzem.silent = False
        self._frames(4)

    def _overload(self) -> None:
        self.house.follow(Profile([5000.0], START_S))
        self._wait(lambda: not self.board.contactor, "the contactor to open at an overload")
        self.house.follow(Profile([800.0], START_S))
        self._frames(4)

    def _pack_permit(self) -> bytes:
        now_s = int(self.clock.now())
        self._serial = max(self._serial + 1, now_s)
        until_s = now_s + 30 * 86400
        return wire.pack_permit(0, self._serial, now_s, until_s, 1, power_limit_dw=_LIMIT_DW)

    def _signed(self, frame: bytes) -> bytes:
        return self._sign(frame, _PERMITS)

    def _sign(self, frame: bytes, domain: bytes, public_key: bytes = b"") -> bytes:
        digest = wire.digest(domain, frame)
        signed = [(i, key.sign(digest)) for i, key in enumerate(SIGNERS[:THRESHOLD])]
        return wire.pack_bundle(frame, signed, public_key)

    def _publish(self, leaf: str, bundle: bytes, retain: bool = False) -> None:
        self.relay.publish(leaf, wire.pack_bundle_message(bundle), retain)

    def _frames(self, more: int) -> None:
        count = len(self.relay.frames) + more
        self._wait(lambda: len(self.relay.frames) >= count, f"{more} frames")

    def _wait(self, holds: Callable[[], object], what: str) -> None:
        """Wait until it holds. Raises TimeoutError, and OutOfMemory as soon as it is."""

        def over() -> object:
            self.check()
            return holds()

        try:
            wait_until(over, what, _TIMEOUT_S)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the console ends: {self.console[-1500:]}") from None
        self.check()

    def check(self) -> None:
        """Look for what an exhausted heap or stack leaves on the console. Raises OutOfMemory."""
        found = _TROUBLE.search(self.console)
        if found:
            raise OutOfMemory(found[0].strip())


def year(folder: Path) -> dict[str, bytes]:
    """Return the files of a journal that a year has filled."""
    for part in ("firmware", "firmware/lib"):
        path = str(firmware.SOURCE.parent / part)
        if path not in sys.path:
            sys.path.append(path)
    from journal import Journal  # type: ignore[import-not-found]

    journal = Journal(str(folder), YEAR)
    for sequence in range(1, YEAR + 1):
        time_s = START_S - 900 * (YEAR + 1 - sequence)
        journal.append(
            wire.pack_reading(
                wire.FLAG_OUTPUT_CLOSED,
                sequence,
                time_s,
                0,
                4000,
                5000,
                1800,
                2300,
                2280,
                500,
                97,
                1,
            )
        )
    journal.close()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {f"/journal/{path.relative_to(folder)}": path.read_bytes() for path in files}
