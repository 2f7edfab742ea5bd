"""A board whose flash takes long for every operation, as a worn or shared one: its whole life."""

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.progress import Progress

from boards.virtual.board import FLASH_SIZE
from hil_tests.meter.test_pair import PASSWORD, Bench
from hil_tests.services import wait_until
from parwana.image import firmware
from parwana.meter import flash
from parwana.meter.repl import RUNS, START_S, connect
from parwana.world.clock import WorldClock

READING_S = 600
OPERATION_MS = 200


@pytest.mark.long
def test_flash_pair_boot_metering_and_an_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", PASSWORD)
    monkeypatch.setenv("PARWANA_CLOCK", str(WorldClock.starting(time.time(), 1)))
    blank = tmp_path / "blank.img"
    blank.write_bytes(b"\xff" * FLASH_SIZE)
    newer = Path(shutil.copytree(firmware.SOURCE, tmp_path / "newer"))
    version = newer / "lib" / "version.py"
    version.write_text(version.read_text().replace(f'"{firmware.version()}"', '"9.9.9"'))
    with ExitStack() as stack:
        bench = Bench(tmp_path, blank, stack)
        board = bench.board
        board.slow_flash(OPERATION_MS, OPERATION_MS, OPERATION_MS)
        assert flashed(bench, firmware.SOURCE) == "a"

        code, said = bench.pair("--timeout", "", capsys=capsys)
        assert (code, said["ok"]) == (0, True), said
        wait_until(lambda: bench.energy_wh(said["meter"]) > 0, "a reading with energy", READING_S)

        board.power_off()
        board.skip_console()
        board.power_on()
        board.wait_console(RUNS, START_S)
        before = bench.energy_wh(said["meter"])
        wait_until(lambda: bench.energy_wh(said["meter"]) > before, "a reading", READING_S)

        assert flashed(bench, newer) == "b"
        board.wait_console("slot b is well", START_S)
        before = bench.energy_wh(said["meter"])
        wait_until(lambda: bench.energy_wh(said["meter"]) > before, "a reading", READING_S)
        assert [cause for _, cause in board.resets if cause == "watchdog"] == []


def flashed(bench: Bench, source: Path) -> object:
    """Flash the board; return the slot that runs."""
    with connect(bench.board.serial_port) as meter, Progress(disable=True) as progress:
        bench.board.skip_console()
        return flash.flash(meter, progress, source)["slot"]
