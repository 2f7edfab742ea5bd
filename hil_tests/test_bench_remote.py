"""The tests of a bench pass on a second driver: a board that is reached through TCP alone.

What runs the tests is another pytest, which knows nothing but a bench.toml. First as little as an
emulated or a remote ESP32 has: a console on socket://, the sensor on socket://. Then what an
adapter with modem lines on rfc2217:// and a switched plug add.
"""

import os
import socketserver
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from boards.virtual.board import VirtualBoard
from boards.virtual.lines import Wiring
from hil_tests.bench.bridge import Bridge
from hil_tests.bench.virtual import FACTOR, PASSWORD, SENSE, START_S
from parwana import REPO
from parwana.meter.pairing import WIFI_PASSWORD
from parwana.world.clock import WorldClock
from parwana.world.programs import free_port

RUN_S = 400
EVERY = "test"
FEW_BARE = (
    "test_the_board_runs_what_was_flashed",
    "test_damaged_answers_are_not_believed",
    "test_a_pasted_permit_connects_within_two_seconds",
    "test_a_permit_over_the_network_connects_within_two_seconds",
    "test_a_reset_moves_nothing",
    "test_the_journal_survives_power_cuts",
)
BLIND = (  # what a bench with a console and a sensor alone cannot look at
    "test_a_reset_moves_nothing",
    "test_a_power_cut_moves_no_latching_contactor",
    "test_the_journal_survives_power_cuts",
    "test_ctrl_c_is_service_and_touches_nothing",
    "test_the_button_held_at_the_start_asks_for_service",
    "test_the_watchdog_ends_a_hanging_firmware",
    "test_without_a_permit_it_stays_open",
    "test_a_permit_that_asks_for_a_hand_waits_for_the_button",
)
FEW_WIRED = (
    "test_a_power_cut_moves_no_latching_contactor",
    "test_ctrl_c_is_service_and_touches_nothing",
    "test_a_permit_that_asks_for_a_hand_waits_for_the_button",
)
SWITCH = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
SWITCH += "s.sendall(sys.argv[2].encode()); sys.exit(s.recv(1) != b'.')"
COMMON = """
[meter]
port = "{console}"
pins = {{ contactor_sense = {sense} }}
[world]
clock = "{clock}"
[network]
driver = "wifi"
ssid = "parwana"
host = "127.0.0.1"
port = {broker}
"""
BARE = """
[load]
driver = "pzem"
port = "{uart}"
[line]
driver = "console"
"""
WIRED = """
[load]
driver = "pzem"
port = "{uart}"
[line]
driver = "modem"
contact = "cts"
button = "rts"
[power]
driver = "command"
on = ["{python}", "-c", "{switch}", "{plug}", "on"]
off = ["{python}", "-c", "{switch}", "{plug}", "off"]
"""


class Rack:
    """The far end of an adapter's lines, and of a plug: a board's contactor, button and power."""

    dsr = cd = ri = dtr = False

    def __init__(self, board: VirtualBoard) -> None:
        self._board = board
        self._rts = False

    @property
    def cts(self) -> bool:
        """On while the contactor is closed."""
        return self._board.contactor

    @property
    def rts(self) -> bool:
        """Press the button while on."""
        return self._rts

    @rts.setter
    def rts(self, on: bool) -> None:
        if on != self._rts:
            self._rts = on
            (self._board.press if on else self._board.release)()


@contextmanager
def plug(board: VirtualBoard) -> Iterator[int]:
    """Serve "on" and "off" on a TCP port, as smart plugs do."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            word = self.request.recv(16)
            (board.power_on if word == b"on" else board.power_off)()
            self.request.sendall(b".")

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


@dataclass
class Report:
    """What a run of pytest says of itself: names passed, {name: reason} skipped."""

    passed: set[str]
    skipped: dict[str, str]


def run(folder: Path, bench: str, tests: str) -> Report:
    """Run those tests of the bench that `bench` describes; none may fail."""
    folder.mkdir()
    file, junit, logs = folder / "bench.toml", folder / "junit.xml", folder / "logs"
    file.write_text(bench)
    command = [sys.executable, "-m", "pytest", "hil_tests", "--bench", str(file), "-k", tests]
    command += ["--bench-logs", str(logs), "--junitxml", str(junit), "--durations=0"]
    command += ["-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "tmp")]
    output = folder / "pytest.log"
    with output.open("wb") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, timeout=RUN_S, check=False, cwd=REPO,
            env={**os.environ, WIFI_PASSWORD: PASSWORD},
        )  # fmt: skip
    assert done.returncode == 0, output.read_text(errors="replace")[-6000:]
    report = Report(set(), {})
    for case in ElementTree.parse(junit).iter("testcase"):
        skipped = case.find("skipped")
        name = str(case.get("name"))
        if skipped is not None:
            report.skipped[name] = str(skipped.get("message"))
            continue
        assert case.find("failure") is case.find("error") is None
        report.passed.add(name)
        (console,) = (p.get("value") for p in case.iter("property") if p.get("name") == "console")
        assert Path(str(console)).stat().st_size > 100
    return report


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    folder = tmp_path_factory.mktemp("board")
    clock = WorldClock.starting(START_S, FACTOR)
    with VirtualBoard(folder, clock, wiring=Wiring(sense=SENSE), password=PASSWORD) as board:
        board.power_on()
        yield board


def common(board: VirtualBoard, console: Bridge) -> str:
    return COMMON.format(console=console.url, sense=SENSE, clock=board.clock, broker=free_port())


@pytest.mark.long
def test_they_pass_on_a_board_behind_a_socket(board: VirtualBoard, tmp_path: Path) -> None:
    with Bridge(board.serial_port) as console, Bridge(board.uart_port) as uart:
        bench = common(board, console) + BARE.format(uart=uart.url)
        report = run(tmp_path / "run", bench, EVERY)
    assert {name.partition("[")[0] for name in report.passed} >= set(FEW_BARE) - set(BLIND)
    assert all(name.startswith(tuple(BLIND)) for name in report.skipped)
    reasons = set(report.skipped.values())
    assert reasons == {
        "power: none in bench.toml; see docs/bench.md",
        "line: only the meter's own words tell of the contactor; wire its contact",
    }


@pytest.mark.long
def test_they_pass_through_an_adapters_lines_and_a_switched_plug(
    board: VirtualBoard, tmp_path: Path
) -> None:
    with (
        Bridge(board.serial_port) as console,
        Bridge(board.uart_port, Rack(board)) as uart,
        plug(board) as switch,
    ):
        bench = common(board, console) + WIRED.format(
            uart=uart.url, python=sys.executable, switch=SWITCH, plug=switch
        )
        report = run(tmp_path / "run", bench, EVERY)
    assert report.skipped == {}
    assert {name.partition("[")[0] for name in report.passed} >= set(FEW_WIRED)
