"""A board whose flash takes long for every operation, as a worn or shared one: its whole life.

Each test begins with a board that was brought so far while its flash was fast.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.progress import Progress

from boards.virtual.board import FLASH_SIZE
from hil_tests.meter.test_pair import PASSWORD, Bench
from hil_tests.meterkit import newer
from hil_tests.services import wait_until
from parwana.image import firmware
from parwana.meter import flash
from parwana.meter.repl import RUNS, START_S, connect
from parwana.world.clock import WorldClock

READINGS_S = 300  # for two intervals of a minute, and a relay
OPERATION_MS = 200

pytestmark = pytest.mark.long


class Board:
    """A blank board on a bench, at the speed of life."""

    def __init__(self, folder: Path, stack: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
        blank = folder / "blank.img"
        blank.write_bytes(b"\xff" * FLASH_SIZE)
        self._bench = Bench(folder, blank, stack)
        self._capsys = capsys
        self.board = self._bench.board

    def slow(self) -> None:
        """Make each operation of the flash take long from now on."""
        self.board.slow_flash(OPERATION_MS, OPERATION_MS, OPERATION_MS)

    def flash(self, source: Path = firmware.SOURCE) -> object:
        """Flash the board; return the slot that runs."""
        with connect(self.board.serial_port) as meter, Progress(disable=True) as progress:
            self.board.skip_console()
            return flash.flash(meter, progress, source)["slot"]

    def pair(self) -> None:
        """Pair the board; a relay holds a reading then."""
        code, said = self._bench.pair("--timeout", "", capsys=self._capsys)
        assert (code, said["ok"]) == (0, True), said
        self._meter = said["meter"]

    def measures(self) -> None:
        """Wait until a relay holds a reading of two that tells of more energy than before."""
        before = self._bench.energy_wh(self._meter)
        wait_until(lambda: self._bench.energy_wh(self._meter) > before, "a reading", READINGS_S)
        assert [cause for _, cause in self.board.resets if cause == "watchdog"] == []


@pytest.fixture
def board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Board]:
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", PASSWORD)
    monkeypatch.setenv("PARWANA_CLOCK", str(WorldClock.starting(time.time(), 1)))
    with ExitStack() as stack:
        yield Board(tmp_path, stack, capsys)


def test_flash_a_blank_board(board: Board) -> None:
    board.slow()
    assert board.flash() == "a"


def test_pair_and_measure(board: Board) -> None:
    board.flash()
    board.slow()
    board.pair()
    board.measures()


def test_restart_and_measure(board: Board) -> None:
    board.flash()
    board.pair()
    board.slow()
    board.board.power_off()
    board.board.skip_console()
    board.board.power_on()
    board.board.wait_console(RUNS, START_S)
    board.measures()


def test_update_and_measure(board: Board, tmp_path: Path) -> None:
    board.flash()
    board.pair()
    board.slow()
    assert board.flash(newer(tmp_path / "newer")) == "b"
    board.board.wait_console("slot b is well", START_S)
    board.measures()
