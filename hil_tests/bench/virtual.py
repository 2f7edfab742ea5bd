"""The virtual bench: a virtual board in this process, reached through its serial port."""

from collections.abc import Callable
from pathlib import Path

from boards.virtual.board import VirtualBoard
from boards.virtual.lines import Wiring
from hil_tests.bench.bench import Bench
from hil_tests.bench.config import WifiPart
from hil_tests.bench.line import Watched
from hil_tests.bench.load import EmulatedLoad
from hil_tests.bench.meter import SerialMeter
from hil_tests.bench.protocols import Power
from parwana.world.clock import WorldClock
from parwana.world.programs import free_port

START_S = 1_800_000_000
FACTOR = 30.0
SENSE = 27
PASSWORD = "parwana-bench"


class VirtualPower(Power):
    """The board's plug."""

    def __init__(self, board: VirtualBoard) -> None:
        self._board = board

    def on(self) -> None:
        self._board.power_on()

    def off(self) -> None:
        self._board.power_off()


class VirtualLine(Watched):
    """The board's contactor and button."""

    has_button = True

    def __init__(self, follow: Callable[[bool], None]) -> None:
        super().__init__(follow)
        self.board: VirtualBoard | None = None

    def press(self) -> None:
        assert self.board
        self.board.press()

    def release(self) -> None:
        assert self.board
        self.board.release()


def virtual_bench(folder: Path, log: Path) -> Bench:
    """Start a blank virtual board whose clock runs FACTOR times faster, and wire it up."""
    clock = WorldClock.starting(START_S, FACTOR)
    load: EmulatedLoad | None = None

    def follow(closed: bool) -> None:
        if load:
            load.follow(closed)

    line = VirtualLine(follow)
    board = VirtualBoard(
        folder, clock, wiring=Wiring(sense=SENSE), password=PASSWORD, on_contactor=line.moved
    )
    line.board = board
    load = EmulatedLoad(board.uart_port, clock)
    board.power_on()
    meter = SerialMeter(board.serial_port, log)
    bench = Bench(
        meter=meter, load=load, power=VirtualPower(board), line=line,
        network=WifiPart("parwana", "127.0.0.1", free_port()), clock=clock,
        wifi_password=PASSWORD, pins={"contactor_sense": SENSE},
    )  # fmt: skip
    bench.ends += [board.close, load.close, meter.close]
    return bench
