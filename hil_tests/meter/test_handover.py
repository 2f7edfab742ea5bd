"""A permit carried by hand into a meter that has no network."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import serial

import wire
from boards.virtual.board import VirtualBoard
from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests.boardkit import TIMEOUT_S, console_tail
from hil_tests.meterkit import configuration, firmware_files, make_image, permit
from hil_tests.services import wait_until
from parwana import cli
from parwana.meter import handover
from parwana.world.clock import WorldClock

NOW_S = int(time.time())
NOBODY = bytes(20)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "permit.bundle"
    path.write_bytes(permit(NOW_S, NOW_S))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_every_refusal_has_words() -> None:
    for reason in range(1, 10):
        said = handover.explain(f"bundle refused, reason {reason} (docs/protocol.md 1.4)")
        assert said.endswith(f"(reason {reason})")
    assert handover.explain("too many wait already") == "too many wait already"


# --- into a meter ---


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    config = configuration(1, log_level="error")
    return {**firmware_files("x86"), "/config.json": json.dumps(config).encode()}


@pytest.fixture
def lonely(tmp_path: Path, files: dict[str, bytes]) -> Iterator[VirtualBoard]:
    """Lend a paired meter without a network or a permit."""
    folder = tmp_path / "lonely"
    folder.mkdir()
    (folder / "flash.img").write_bytes(make_image(files))
    clock = WorldClock()
    house = House(Profile([500.0], 0), clock, closed=False)
    with ExitStack() as stack:
        board = stack.enter_context(VirtualBoard(folder, clock))
        stack.enter_context(PzemEmulator(board.uart_port, [Pzem(house, refresh_s=0.1)]))
        board.network_up = False
        board.power_on()
        board.wait_console("\nparwana ", TIMEOUT_S)
        yield board


def test_a_meter_without_a_network_takes_a_permit_and_connects(
    lonely: VirtualBoard, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(path: Path, *more: str) -> tuple[int, str, str]:
        return run(capsys, "permit", "load", path, "--port", lonely.serial_port, *more)

    other = tmp_path / "other"
    other.write_bytes(permit(NOW_S + 5, NOW_S, meter=NOBODY))
    code, _, error = load(other)
    assert code == 1, console_tail(lonely)
    assert "was it made for another meter? (reason 4)" in error
    code, out, _ = load(bundle, "--json")
    assert code == 0, console_tail(lonely)
    assert json.loads(out) == {"accepted": True, "answer": "accepted"}
    assert load(bundle)[:2] == (0, "the meter knows it\n")
    wait_until(lambda: lonely.contactor, "the contactor to close", 30)
    assert [cause for _, cause in lonely.resets] == ["power on"]
    # In service mode the firmware is started first.
    with serial.Serial(lonely.serial_port) as port:
        lonely.skip_console()
        port.write(b"\x03")
        lonely.wait_console("service mode", TIMEOUT_S)
    code, out, error = load(bundle)
    assert (code, out) == (0, "the meter knows it\n"), error
    assert lonely.contactor


def test_hostile_pastes_into_the_console_stop_nothing(lonely: VirtualBoard, bundle: Path) -> None:
    line = wire.pack_text(bundle.read_bytes()).encode()
    all_but_ctrl_c = bytes(byte for byte in range(256) if byte != 3)
    with serial.Serial(lonely.serial_port, write_timeout=10) as port:
        time.sleep(1)  # it imports
        for junk in (
            all_but_ctrl_c * 8,
            b"\r\n" * 3000,
            b"PARWANA:" + b"F" * 5000 + b"\r",
            b"PARWANA:" + bytes(range(128, 256)) + b"\r",
            line[:200] + b"\r" + line[201:] + b"\r",
            b"import machine; machine.reset()\r",
            b"\x01\x04\x02",
            b"\xf0\x9f",
        ):
            lonely.skip_console()
            port.write(junk + b"\rPARWANA:00\r")
            lonely.wait_console("permit: damaged or not whole", TIMEOUT_S)
        lonely.skip_console()
        port.write(line + b"\r" + line + b"\r\n")
        lonely.wait_console("permit: accepted", TIMEOUT_S)
        lonely.wait_console("permit: bundle known already", TIMEOUT_S)
    assert [cause for _, cause in lonely.resets] == ["power on"]
    assert "Traceback" not in console_tail(lonely)


def test_a_board_that_takes_no_permits_is_told(
    tmp_path: Path,
    bundle: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handover, "START_S", 1)
    with VirtualBoard(tmp_path / "blank") as board:
        board.power_on()
        board.wait_console(">>> ", TIMEOUT_S)
        code, _, error = run(capsys, "permits", "load", bundle, "--port", board.serial_port)
    assert code == 1
    assert "is the meter paired?" in error
