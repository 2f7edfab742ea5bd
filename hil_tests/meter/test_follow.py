"""What breaks off on a board is told as what it was: silence, panic, restart; and where."""

import io
import time

import pytest
from mpremote.transport_serial import SerialTransport
from rich.console import Console
from rich.progress import Progress

from hil_tests.meter.scriptedboard import Answer, ScriptedBoard
from parwana.meter import flash
from parwana.meter.repl import BoardSilent, MeterError, connect
from parwana.meter.steps import Seldom, Steps

ROM = b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
PANIC = (
    b"Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.\r\n"
    b"PC      : 0x400d1234  PS      : 0x00060030\r\n"
    b"Backtrace: 0x400d1231:0x3ffb1f60 0x400d5678:0x3ffb1f80\r\n\r\nRebooting...\r\n"
)
BOOT = b"parwana: Ctrl-C or the button now for service\r\n"
BANNER = b"MicroPython v1.24.0 on 2024-10-25; Generic ESP32 module with ESP32\r\n>>> "
RISC_V = b"ESP-ROM:esp32c3-api1-20210207\r\nrst:0x7 (TG0WDT_SYS_RST),boot:0xc\r\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make half a second a silence; of a pty, mpremote reads without a look if there is more."""
    monkeypatch.setattr("parwana.meter.follow.SILENT_S", 0.5)
    monkeypatch.setattr("parwana.meter.repl._ANSWER_S", 0.2)


def broken(*answers: Answer) -> tuple[str, float, type]:
    """Run a step on a board that does so; return the error, how long it took, its type."""
    with ScriptedBoard(lambda _: list(answers)) as board, connect(board.port) as meter:
        meter.left = "all is as it was"
        meter.begin("testing slot b")
        began_s = time.monotonic()
        with pytest.raises(MeterError) as caught:
            meter.run("pass")
        assert board.port in str(caught.value)
        return str(caught.value), time.monotonic() - began_s, type(caught.value)


def test_the_scripted_board_is_one_to_mpremote() -> None:
    ran = []

    def script(code: str) -> list[Answer]:
        ran.append(code)
        return [b"fo", 0.1, b"ur\r\n"]

    with ScriptedBoard(script) as board:
        transport = SerialTransport(board.port, timeout=1)
        transport.enter_raw_repl()
        assert transport.exec("print('four')") == b"four\r\n"
        assert transport.exec("x" * 1000) == b"four\r\n"
        transport.close()
    assert ran == ["print('four')", "x" * 1000]


@pytest.mark.usefixtures("impatient")
def test_lines_are_shown_as_they_come_and_a_slow_step_is_no_silence() -> None:
    seen: list[tuple[str, float]] = []
    lines: list[Answer] = [b"one\r\n", 0.3, b"tw", 0.3, b"o\r\n", 0.3, b"three\r\n"]
    with ScriptedBoard(lambda _: lines) as board, connect(board.port) as meter:
        meter.begin("counting", lambda line: seen.append((line, time.monotonic())))
        assert meter.run("pass") == "one\ntwo\nthree\n"
    assert [line for line, _ in seen] == ["one", "two", "three"]
    assert seen[2][1] - seen[0][1] > 0.7, "shown only at the end"


@pytest.mark.usefixtures("impatient")
def test_a_silence_names_step_last_line_and_what_is_left() -> None:
    told, _, kind = broken(b"import version\r\nimport ecdsa\r\n", None)
    assert kind is BoardSilent
    assert "testing slot b: the board is silent for " in told
    assert "last heard: 'import ecdsa'" in told
    assert "press its reset button, and run this again; all is as it was" in told
    assert "EOF" not in told
    assert "nothing was heard of this step" in broken(None)[0]
    assert "last heard: '/a/main.mpy'" in broken(b"/a/app.mpy 12\r\n/a/main.mpy", None)[0]


@pytest.mark.parametrize(
    ("printed", "how", "lines"),
    [
        (PANIC + ROM, "panicked", ["LoadProhibited", "Backtrace: 0x400d1231", "rst:0xc"]),
        (b"abort() was called at PC 0x400d\r\n" + ROM, "panicked", ["at PC 0x400d", "rst:0xc"]),
        (b"half a li" + ROM + BOOT, "restarted", ["ets Jul 29 2019", "rst:0xc", "button now"]),
        (b"\r\nBrownout detector was triggered\r\n\r\n" + ROM, "restarted", ["Brownout", "rst:"]),
        (RISC_V, "restarted", ["ESP-ROM:esp32c3", "TG0WDT_SYS_RST"]),
        (BANNER, "restarted", ["MicroPython v1.24.0"]),
        (BOOT + BANNER, "restarted", ["Ctrl-C or the button", "MicroPython v1.24.0"]),
    ],
)
def test_a_panic_or_a_restart_is_told_at_once_with_its_lines(
    printed: bytes, how: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parwana.meter.follow._PAUSE_S", 0.2)
    told, took_s, kind = broken(b"import ecdsa\r\n", printed, None)
    assert kind is MeterError
    assert f"testing slot b: the board {how} (last heard: 'import ecdsa')" in told
    for line in lines:
        assert line in told, told
    assert told.endswith("; all is as it was")
    assert took_s < 3


@pytest.mark.long  # ten seconds are mpremote's own
@pytest.mark.usefixtures("impatient")
def test_a_board_that_does_not_take_the_next_run_is_no_broken_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("parwana.meter.follow.SILENT_S", 60)
    with (
        ScriptedBoard(lambda _: [b"\x04\x04", None]) as board,
        connect(board.port) as meter,
    ):
        meter.run("pass")
        with pytest.raises(MeterError, match="does not answer .*press its reset button"):
            meter.run("pass")


def test_a_restart_between_two_runs_is_told_too() -> None:
    """The second run finds another prompt than the raw one."""
    with (
        ScriptedBoard(lambda _: [b"\x04\x04>" + ROM + BOOT + BANNER, None]) as board,
        connect(board.port) as meter,
    ):
        meter.run("pass")
        with pytest.raises(MeterError, match=r"the board restarted .*rst:0xc"):
            meter.run("pass")


def test_a_panic_while_the_firmware_starts_does_not_wait_for_the_time_out() -> None:
    with (
        ScriptedBoard(lambda _: [0.1, ROM, BOOT, 0.1, PANIC, ROM, None]) as board,
        connect(board.port) as meter,
    ):
        meter.begin("waiting")
        meter.reset()
        began_s = time.monotonic()
        with pytest.raises(MeterError, match=r"waiting: the board panicked .*Backtrace"):
            meter.wait_for("parwana 1.0", 60)
        assert time.monotonic() - began_s < 5


@pytest.mark.usefixtures("impatient")
def test_what_is_read_from_a_file_is_shown_nowhere() -> None:
    seen: list[str] = []
    with (
        ScriptedBoard(lambda _: [b"aHVzaA==\r\naHVz", None]) as board,
        connect(board.port) as meter,
    ):
        meter.begin("reading", seen.append)
        with pytest.raises(MeterError) as caught:
            meter.read("/config.json")
    assert seen == []
    assert "aHVz" not in str(caught.value)


@pytest.mark.usefixtures("impatient")
def test_a_board_that_is_silent_is_not_said_to_restart() -> None:
    with ScriptedBoard(lambda _: [None]) as board, connect(board.port) as meter:
        began_s = time.monotonic()
        with pytest.raises(MeterError, match="is silent"):
            flash.flash(meter, Progress(disable=True))
        assert time.monotonic() - began_s < 2


def test_steps_are_plain_lines_off_a_terminal_and_do_not_flood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = io.StringIO()
    now_s = [0.0]
    monkeypatch.setattr("parwana.meter.steps.time.monotonic", lambda: now_s[0])
    with (
        ScriptedBoard(lambda _: []) as board,
        connect(board.port) as meter,
        Progress(console=Console(file=text, width=200), transient=True) as progress,
    ):
        steps = Steps(meter, progress)
        steps.begin("copying 2 files", 4000)
        for n in range(20):
            now_s[0] += 1
            steps.advance(f"/a/{n}.mpy", 200)
        steps.begin("reading back")
    assert text.getvalue().split("\n")[:4] == [
        "copying 2 files",
        "copying 2 files: /a/9.mpy, 50 %",
        "copying 2 files: /a/19.mpy, 100 %",
        "reading back",
    ]
    assert text.getvalue().strip().count("\n") == 3


def test_steps_move_on_a_terminal() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with (
        ScriptedBoard(lambda _: [b"import ecdsa\r\n"]) as board,
        connect(board.port) as meter,
        Progress(console=console, transient=True) as progress,
    ):
        steps = Steps(meter, progress)
        steps.begin("testing slot b")
        meter.run("pass")
        progress.refresh()
    assert "testing slot b: import ecdsa" in text.getvalue()


def test_what_is_seldom_is_told_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("parwana.meter.steps.time.monotonic", lambda: now_s[0])
    told: list[str] = []
    seldom = Seldom(told.append)
    for n in range(25):
        seldom(str(n))
        now_s[0] += 1
    assert told == ["10", "20"]


@pytest.mark.parametrize(
    ("running", "left"),
    [
        ("the meter runs what it ran before", "the meter runs what it ran before"),
        ("the meter starts the new firmware, in slot a", "the meter starts the new firmware"),
    ],
)
def test_once_loaders_are_replaced_what_is_left_says_so(running: str, left: str) -> None:
    with ScriptedBoard(lambda _: []) as board, connect(board.port) as meter:
        meter.left = "the meter runs what it ran before"
        steps = Steps(meter, Progress(disable=True))
        flash._replace(meter, {"/boot.py": b"1", "/main.py": b"2"}, steps, running)
        assert "/boot.py and /main.py are the new ones, good for both slots; " + left in meter.left


@pytest.mark.usefixtures("impatient")
def test_the_first_loader_alone_is_told_alone() -> None:

    def script(code: str) -> list[Answer]:
        return [None] if "/main.py.new" in code else []

    with ScriptedBoard(script) as board, connect(board.port) as meter:
        meter.left = "the meter runs what it ran before"
        loaders = {"/boot.py": b"1", "/main.py": b"2"}
        steps = Steps(meter, Progress(disable=True))
        with pytest.raises(MeterError) as caught:
            flash._replace(meter, loaders, steps, "the meter starts the new firmware")
    assert "replacing the loaders: the board is silent" in str(caught.value)
    assert str(caught.value).endswith(
        "/boot.py is the new one, good for both slots; the meter runs what it ran before"
    )
