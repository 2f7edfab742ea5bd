"""A permit carried by hand: as text, as QR code, and into a meter that has no network."""

import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import segno
import serial

import wire
from boards.virtual.board import VirtualBoard
from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests.boardkit import TIMEOUT_S, console_tail
from hil_tests.chainkit import SIGNERS, Utility
from hil_tests.meterkit import configuration, firmware_files, make_image, permit
from hil_tests.services import wait_until
from parwana import cli
from parwana.chain.keys import dev_key
from parwana.permits import offline
from parwana.permits.bundle import PermitError, make_permit, sign_frame
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


# --- the file, the line, the QR code ---


def test_a_file_is_shown_with_its_line_and_reads_back(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "permit.txt"
    code, out, _ = run(capsys, "permit", "show", bundle, "--text", short, "--no-qr")
    assert code == 0
    assert "flags            none\n" in out
    assert f"valid_until_s    {NOW_S + 30 * 86400} = 20" in out
    assert short.stat().st_size == 357
    assert offline.read_bundle(short) == bundle.read_bytes()
    code, out, _ = run(capsys, "permits", "show", short, "--json")
    assert code == 0
    shown = json.loads(out)
    assert (shown["serial"], shown["signed_by"]) == (NOW_S, [0, 1])
    assert "believed" not in shown
    assert wire.parse_text(shown["text"].encode()) == bundle.read_bytes()


def test_the_qr_code_on_the_terminal_is_the_line(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = wire.pack_text(bundle.read_bytes())
    code = segno.make_qr(line, error="l")
    assert code.mode == "alphanumeric"
    drawn = io.StringIO()
    code.terminal(drawn, compact=True)
    status, out, _ = run(capsys, "permits", "show", bundle, "--qr")
    assert status == 0
    assert drawn.getvalue() in out
    assert out.endswith(f"\n{line}\n")


@pytest.mark.parametrize(
    "data",
    [b"", b"PARWANA:", b"PARWANA:00", b"\xff" * 170, b"{}", b"PARWANA:" + b"0" * 4000, b"\0"],
)
def test_files_that_hold_no_bundle_are_refused(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    code, _, error = run(capsys, "permits", "show", path)
    assert code == 1
    assert "is no bundle" in error
    code, _, error = run(capsys, "permits", "load", path, "--port", "/nowhere")
    assert code == 1
    assert "is no bundle" in error


def test_a_file_that_came_by_chat_is_read(bundle: Path, tmp_path: Path) -> None:
    line = wire.pack_text(bundle.read_bytes())
    path = tmp_path / "x"
    for text in (
        "\ufeff" + line,
        f"Utility, 18:04: \u201c{line}\u201d",
        line[:70] + "\r\n  " + line[70:],
    ):
        path.write_text(text)
        assert offline.read_bundle(path) == bundle.read_bytes()


def test_one_wrong_digit_in_a_file_is_noticed(bundle: Path, tmp_path: Path) -> None:
    line = wire.pack_text(bundle.read_bytes())
    path = tmp_path / "x"
    for at in range(8, len(line), 17):
        path.write_text(line[:at] + ("0" if line[at] != "0" else "1") + line[at + 1 :])
        with pytest.raises(PermitError, match="damaged or not whole"):
            offline.read_bundle(path)


def test_what_is_published_is_shown_without_a_file(
    world: Utility, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = world.enrol(1001)
    at = ("--deployment", tmp_path / "deployment.json", "--meter", house.address)
    code, _, error = run(capsys, "permits", "show", *at)
    assert code == 1
    assert "no permit was published" in error
    now_s = world.clock.time_s
    frame = make_permit(
        issued_at_s=now_s,
        valid_until_s=now_s + 40 * 86400,
        period=world.deployment.periods.of(now_s),
        power_limit_dw=50_000,
    )
    keys = {index: dev_key(number) for index, number in enumerate(SIGNERS[:2])}
    signed = sign_frame(world.deployment.permit_domain(house.address), frame, keys)
    publish = world.ledgers.payment.functions.publish
    world.chain.send(publish(house.address, frame, signed[wire.FRAME_SIZE :]))
    code, out, _ = run(capsys, "permits", "show", *at, "--json")
    shown = json.loads(out)
    assert (shown["believed"], shown["signed_by"]) == (True, [0, 1])
    assert wire.parse_text(shown["text"].encode()) == signed
    assert "go together" in run(capsys, "permits", "show", *at[:2], "x")[2]
    assert "give a bundle's file" in run(capsys, "permits", "show")[2]


def test_every_refusal_has_words() -> None:
    for reason in range(1, 10):
        said = offline.explain(f"bundle refused, reason {reason} (docs/protocol.md 1.4)")
        assert said.endswith(f"(reason {reason})")
    assert offline.explain("too many wait already") == "too many wait already"


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    monkeypatch.setattr(offline, "_START_S", 1)
    with VirtualBoard(tmp_path / "blank") as board:
        board.power_on()
        board.wait_console(">>> ", TIMEOUT_S)
        code, _, error = run(capsys, "permits", "load", bundle, "--port", board.serial_port)
    assert code == 1
    assert "is the meter paired?" in error
