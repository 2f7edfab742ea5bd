"""A whole utility on this computer: broker, chain, relay, signers, and a feeder of virtual boards.

Only what hardware would be is virtual. Programs are started by their commands, boards are flashed
by flash.sh and paired by `parwana pair`, both through their serial ports.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from boards.virtual.board import VirtualBoard
from boards.virtual.load import Feeder, House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from parwana import REPO
from parwana.chain import outbox
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.meter.pairing import WIFI_PASSWORD
from parwana.world.clock import VARIABLE, SetClock, WorldClock
from parwana.world.programs import Program, free_port, mosquitto, parwana, run

HOUSEHOLDS = REPO / "hil_tests" / "data" / "households.csv"
UTILITY, RELAY = 0, 1  # development keys by use
SIGNERS = (2, 3, 4)
THRESHOLD = 2
HOUSEHOLD = 10  # of house 1; house 2 has the next one
TRANSFORMER_NUMBER, PLANT_NUMBER = 100, 200
LINE_LOSS = 0.004  # of a semi-urban low-voltage feeder: SimBench, 0.44 % of its daily energy
_FLASH_S, _PAIR_S, _DEPLOY_S = 240, 240, 120
_AT_ONCE = 2


@dataclass
class Meter:
    """One installed meter: its board, its sensor and what it hangs on."""

    number: int
    kind: str
    feeder: int | None
    board: VirtualBoard
    sensor: PzemEmulator
    address: str = ""

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"house {self.number}" if self.kind == "house" else self.kind


class Rehearsal:
    """Build it step by step; everything that was started ends with the context."""

    def __init__(self, folder: Path, houses: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.meters: list[Meter] = []
        self.houses: list[House] = []
        self.clock = WorldClock()
        self._count = houses
        self._stack = ExitStack()
        self._programs: list[Program] = []

    def __enter__(self) -> "Rehearsal":
        # What is signed here is nothing for the home of who rehearses.
        os.environ.setdefault(outbox.VARIABLE, str(self.folder / "state"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """Return what tells other processes this world's time."""
        return {VARIABLE: str(self.clock)}

    @property
    def deployment_path(self) -> Path:
        """Return where the deployment file is."""
        return self.folder / "deployment.json"

    @property
    def deployment(self) -> Deployment:
        """Return the deployment."""
        return Deployment.load(self.deployment_path)

    def flash(self) -> None:
        """Put the firmware on blank boards with flash.sh."""

        def flash_one(number: int) -> None:
            with VirtualBoard(self._board_folder(number)) as board:
                board.power_on()
                command: list[str | Path] = [REPO / "flash.sh", "--port", board.serial_port]
                run(f"flash.sh of board {number}", command, _FLASH_S)
            self.say(f"flashed board {number} through its serial port")

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(flash_one, self._numbers))

    @property
    def _numbers(self) -> list[int]:
        return [*range(1, self._count + 1), TRANSFORMER_NUMBER, PLANT_NUMBER]

    def _board_folder(self, number: int) -> Path:
        return self.folder / "boards" / str(number)

    def _follower(self, number: int) -> Callable[[bool], None]:
        """Return what lets a house's current follow its contactor."""

        def follow(closed: bool) -> None:
            if number <= len(self.houses):
                self.houses[number - 1].closed = closed

        return follow

    def start_world(self, start_s: float, factor: float) -> None:
        """Start the clock, the sensors and the boards: from here on time runs `factor` times."""
        self.clock = SetClock.made(self.folder / "clock", start_s, factor)
        self.houses = [
            House(Profile.from_csv(HOUSEHOLDS, i, start_s), self.clock, closed=False)
            for i in range(self._count)
        ]
        self.tap = House(Profile([700.0], start_s), self.clock, closed=False)
        feeder = Feeder([*self.houses, self.tap], LINE_LOSS)
        for number in self._numbers:
            follow = self._follower(number)
            board = VirtualBoard(self._board_folder(number), self.clock, on_contactor=follow)
            self._stack.callback(board.close)
            kind = {TRANSFORMER_NUMBER: "transformer", PLANT_NUMBER: "plant"}.get(number, "house")
            load = self.houses[number - 1] if kind == "house" else feeder
            above = {"house": TRANSFORMER_NUMBER, "transformer": PLANT_NUMBER}.get(kind)
            sensor = PzemEmulator(board.uart_port, [Pzem(load, refresh_s=0.1)])
            sensor.start()
            self._stack.callback(sensor.stop)
            board.power_on()
            self.meters.append(Meter(number, kind, above, board, sensor))

    def skip_to(self, time_s: float) -> None:
        """Set the world's clock forward, with all boards'; no load draws anything meanwhile."""
        assert isinstance(self.clock, SetClock)
        with ExitStack() as held:
            for load in (*self.houses, self.tap):
                held.enter_context(load.paused())
            skipped_s = time_s - self.clock.now()
            self.clock.set(time_s)
            for meter in self.meters:
                meter.board.skip(skipped_s)

    def start_services(self, *, payment_window_s: int) -> None:
        """Start broker and chain, deploy the contracts, start the relay and two signers."""
        broker_port, chain_port = free_port(), free_port()
        self._keep(mosquitto(self.folder / "log", broker_port))
        state = ("--state", self.folder / "chain.state")
        chain = self._start(
            "devchain",
            parwana("devchain", "--port", str(chain_port), "--block-interval", "0.25", *state),
        )
        chain.wait_for("devchain: chain", 60)
        signers = [f"dev:{index}" for index in SIGNERS]
        run(
            "parwana deploy",
            parwana(
                "deploy",
                *("--rpc", f"http://127.0.0.1:{chain_port}", "--key", f"dev:{UTILITY}"),
                *("--utility-id", "demo-discom", "--period", "days:1", "--utc-offset", "19800"),
                *(part for key in SIGNERS for part in ("--signer", dev_key(key).public_key.hex())),
                *("--threshold", str(THRESHOLD), "--payment-window", str(payment_window_s)),
                *("--broker", f"mqtt://127.0.0.1:{broker_port}"),
                *("--store", f"sqlite:///{self.folder / 'store.sqlite'}"),
                *("--out", self.deployment_path),
            ),
            _DEPLOY_S,
            self.environment,
        )
        deployment = ("--deployment", self.deployment_path)
        self._start("relay", parwana("relay", *deployment, "--key", f"dev:{RELAY}"))
        for signer in signers[:THRESHOLD]:
            self._start(
                f"signer-{signer[4:]}",
                parwana(
                    *("permits", "run", *deployment, "--key", signer),
                    *("--time-step", "1800", "--poll", "0.3"),
                ),
            )

    def show(self) -> str:
        """Serve the pages to this computer; return their URL."""
        served = self._start(
            "serve",
            parwana(
                *("serve", "--deployment", self.deployment_path, "--port", "0"),
                *("--public", "all", "--every", "2", "--audit-every", "0.03"),
            ),
        )
        return str(served.wait_for(r"serve: (http\S+)", 120)[1])

    def pair(self) -> None:
        """Pair every meter through its serial port, feeders first."""
        order = sorted(self.meters, key=lambda meter: -meter.number)
        for meter in order[:2]:
            self._pair_one(meter)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._pair_one, order[2:]))

    def _pair_one(self, meter: Meter) -> None:
        feeder = ["--feeder", str(meter.feeder)] if meter.feeder else []
        keys = [part for key in SIGNERS[:THRESHOLD] for part in ("--signer-key", f"dev:{key}")]
        said = run(
            f"parwana pair of {meter.name}",
            parwana(
                *("pair", "--port", meter.board.serial_port),
                *("--deployment", self.deployment_path),
                *("--number", str(meter.number), "--kind", meter.kind, *feeder),
                *("--key", f"dev:{UTILITY}", *keys),
                *("--wifi-ssid", "parwana", "--interval", "3600", "--poll-ms", "250"),
                *("--yes", "--json"),
            ),
            _PAIR_S,
            {**self.environment, WIFI_PASSWORD: "parwana-bench"},
        )
        meter.address = json.loads(said.splitlines()[-1])["meter"]
        self.say(f"paired {meter.name}")

    def check_programs(self) -> None:
        """Raise ProgramError if one of the programs has ended."""
        for program in self._programs:
            if not program.running:
                program.wait_for("(?!)", 0)

    def _start(self, name: str, command: list[str | Path]) -> Program:
        log = self.folder / "log" / f"{name}.log"
        return self._keep(Program(name, command, log, self.environment))

    def _keep(self, program: Program) -> Program:
        self._stack.enter_context(program)
        self._programs.append(program)
        return program
