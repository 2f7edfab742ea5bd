"""The virtual board is a board: mpremote works on it, and it fails as hardware does."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial
from littlefs import LittleFS
from mpremote.transport_serial import SerialTransport

from boards.virtual.board import BoardError, FlashOperations, VirtualBoard
from hil_tests.boardkit import (
    console_tail,
    execute,
    executing,
    mpremote,
    restart,
    store,
)
from hil_tests.services import wait_until
from parwana import REPO

ALL_BYTES = (
    bytes(range(256)) + b"\x03\x03\x04\x01\x05A\x01\r\n\x02" * 50 + bytes(range(255, -1, -1))
)


def test_exec_prints_and_fails_as_on_a_board(board: VirtualBoard) -> None:
    assert execute(board, "print(6 * 7)") == "42\n"
    said = execute(board, "def f():\n  return 1 // 0\nf()", fails=True)
    assert re.fullmatch(
        r'Traceback \(most recent call last\):\n  File "<stdin>", line 3, in <module>\n'
        r'  File "<stdin>", line 2, in f\nZeroDivisionError: divide by zero\n',
        said.lstrip("\n"),
    )


def test_run_runs_a_local_file(board: VirtualBoard, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("\n".join(f"x{i} = {i}" for i in range(400)) + "\nprint(sum((x1, x399)))\n")
    assert mpremote(board, "run", str(script)) == "400\n"


def test_files_of_any_bytes_go_both_ways(board: VirtualBoard, tmp_path: Path) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(ALL_BYTES)
    mpremote(board, "fs", "cp", str(here), ":there")
    mpremote(board, "fs", "cp", ":there", str(back))
    assert back.read_bytes() == ALL_BYTES
    assert f"{len(ALL_BYTES)} there" in mpremote(board, "fs", "ls")


def test_folders_are_made_listed_hashed_and_removed(board: VirtualBoard, tmp_path: Path) -> None:
    import hashlib

    mpremote(board, "fs", "mkdir", "d")
    (tmp_path / "f").write_text("one\ntwo\n")
    mpremote(board, "fs", "cp", str(tmp_path / "f"), ":d/f")
    assert "one\ntwo\n" in mpremote(board, "fs", "cat", ":d/f")
    assert hashlib.sha256(b"one\ntwo\n").hexdigest() in mpremote(board, "fs", "sha256sum", ":d/f")
    mpremote(board, "fs", "rm", ":d/f")
    mpremote(board, "fs", "rmdir", "d")
    assert "ENOENT" in execute(board, "import os; os.listdir('/d')", fails=True)
    assert "2097152" in mpremote(board, "df")


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time\nwhile True: time.sleep(60)",
        "import asyncio\nasync def f(): await asyncio.sleep(60)\nasyncio.run(f())",
    ],
)
def test_ctrl_c_interrupts(board: VirtualBoard, program: str) -> None:
    mpremote(board, "exec", "--no-follow", program)
    assert mpremote(board, "resume", "exec", "print('free')") == "free\n"
    assert "KeyboardInterrupt" in console_tail(board)


def test_the_friendly_prompt_evaluates_and_takes_blocks(board: VirtualBoard) -> None:
    with serial.Serial(board.serial_port, timeout=5) as port:
        port.write(b"\x03x = 5\r")
        port.write(b"x + 1\rfor i in range(2):\r    print('row', i)\r\r")
        assert b"row 1\r\n" in port.read_until(b"row 1\r\n")
        port.write(b"1 // 0\r")
        assert b"ZeroDivisionError" in port.read_until(b"ZeroDivisionError")
    assert "x + 1\r\n6\r\n>>> " in console_tail(board)


def test_boot_runs_always_and_main_only_at_a_start(board: VirtualBoard) -> None:
    store(board, "/boot.py", 'print("boot" + "ed")')
    store(board, "/main.py", 'print("main" + "ran")')
    execute(board, "pass")
    log = console_tail(board)
    assert "booted" in log
    assert "mainran" not in log
    assert "booted\r\nmainran" in restart(board)
    board.skip_console()
    mpremote(board, "soft-reset")
    board.wait_console("soft reboot\r\nbooted\r\nraw REPL", 5)
    with serial.Serial(board.serial_port, timeout=5) as port:
        port.write(b"\x02\x04")
        board.wait_console("soft reboot\r\nbooted\r\nmainran", 5)
    store(board, "/boot.py", "raise ValueError")
    board.reset()
    said = board.wait_console(">>> ", 5) + board.wait_console(">>> ", 5)
    assert "mainran" not in said


def test_the_heap_is_an_esp32s(board: VirtualBoard) -> None:
    """165 KB are free at an ESP32's prompt (measured on 1.24)."""
    free = int(execute(board, "import gc; gc.collect(); print(gc.mem_free())"))
    assert abs(free - 165 * 1024) < 4 * 1024


def test_files_survive_a_power_cycle_and_are_littlefs(board: VirtualBoard) -> None:
    store(board, "/kept", "still here")
    board.power_off()
    assert not board.powered
    image = bytearray((board.folder / "flash.img").read_bytes())
    fs = LittleFS(block_size=4096, block_count=512, mount=False)
    fs.context.buffer[:] = image
    fs.mount()
    with fs.open("/kept") as file:
        assert file.read() == "still here"
    board.power_on()
    assert execute(board, "print(open('/kept').read())") == "still here\n"


def test_power_is_cut_in_the_nth_flash_write(board: VirtualBoard) -> None:
    store(board, "/kept", "old")
    writes = []
    for n in (1, 2, 3, 4):
        before = (board.folder / "flash.img").read_bytes()
        board.cut_power_at_flash_write(n)
        execute_until_dark(board, "f = open('/kept', 'w'); f.write('new' * 2000); f.close()")
        assert not board.powered
        writes.append((board.folder / "flash.img").read_bytes() != before)
        board.power_on()
        kept = execute(board, "print(open('/kept').read())")
        assert kept in ("old\n", "new" * 2000 + "\n")
    assert all(writes[1:])


def execute_until_dark(board: VirtualBoard, code: str) -> None:
    """Start code on a board and wait until it has lost its power."""
    with raw_repl(board.serial_port) as transport:
        transport.exec_raw_no_follow(code)
        deadline_s = time.monotonic() + 5
        while board.powered:
            assert time.monotonic() < deadline_s, "the power was not cut within 5 s"
            time.sleep(0.01)


@contextmanager
def raw_repl(port: str) -> Iterator[SerialTransport]:
    """Lend mpremote's own transport, in the raw REPL."""
    transport = SerialTransport(port)
    try:
        transport.enter_raw_repl()
        yield transport
    finally:
        transport.close()


def test_a_slow_flash_takes_its_time(board: VirtualBoard) -> None:
    code = (
        "import time\nf = open('/s', %r); t = time.ticks_ms(); %s\n"
        "print(time.ticks_diff(time.ticks_ms(), t))\nf.close()"
    )
    write = code % ("ab", "f.write(bytes(43)); f.flush()")
    read = code % ("rb", "f.read(1)")
    execute(board, "f = open('/s', 'wb'); f.write(bytes(9000)); f.close()")
    quick_ms = int(execute(board, write)), int(execute(board, read))
    board.slow_flash(erase_ms=0, write_ms=100, read_ms=0)
    assert quick_ms[0] < 100 <= int(execute(board, write))
    board.slow_flash(erase_ms=0, write_ms=0, read_ms=100)
    assert quick_ms[1] < 100 <= int(execute(board, read))


def test_littlefs_has_the_caches_of_a_stock_image(board: VirtualBoard) -> None:
    """128 bytes: what is longer takes as many operations of the flash (measured on an ESP32)."""
    size = 40_000

    def taken(code: str) -> FlashOperations:
        before = board.flash_operations
        execute(board, code)
        return FlashOperations(*map(int.__sub__, board.flash_operations, before))

    wrote = taken(f"f = open('/s', 'wb'); f.write(bytes({size})); f.close()")
    assert size // 128 <= wrote.writes < 1.1 * size / 128
    assert wrote.erases == pytest.approx(size / 4096, abs=3)
    read = taken("f = open('/s', 'rb')\nwhile f.read(1000): pass")
    assert size // 128 <= read.reads
    assert (read.writes, read.erases) == (0, 0)
    board.power_off()
    board.power_on()
    assert board.flash_operations.writes == 0


def test_a_reset_takes_no_power_away(board: VirtualBoard) -> None:
    resets = len(board.resets)
    store(board, "/main.py", "import machine; machine.reset()")
    mpremote(board, "exec", "--no-follow", "import machine; machine.reset()")
    deadline_s = time.monotonic() + 60
    while len(board.resets) < resets + 8:
        assert board.powered
        assert time.monotonic() < deadline_s


def test_an_unfed_watchdog_resets(board: VirtualBoard) -> None:
    with executing(
        board,
        "import machine, time\nw = machine.WDT(timeout=400)\n"
        "for _ in range(8): w.feed(); time.sleep_ms(100)\n"
        "w = machine.WDT(timeout=900); time.sleep_ms(600); w.feed(); print('fed')\n"
        "time.sleep(20)",
    ) as process:
        board.wait_console("fed", 10)
        assert [cause for _, cause in board.resets].count("watchdog") == 0
        board.wait_console(">>> ", 10)
        process.kill()
    assert board.resets[-1][1] == "watchdog"
    assert execute(board, "import machine; print(machine.reset_cause())") == "5\n"


def test_each_reset_names_its_cause(board: VirtualBoard) -> None:
    store(board, "/boot.py", "import machine; C = machine.reset_cause()")

    def cause() -> int:
        with serial.Serial(board.serial_port, timeout=5) as port:
            port.write(b"\rprint('cause', C)\r")
            board.wait_console("\ncause ", 5)
            return int(board.wait_console("\r\n", 5))

    board.power_off()
    board.power_on()
    assert cause() == 1
    restart(board)
    assert cause() == 2
    with serial.Serial(board.serial_port, timeout=5) as port:
        port.write(b"machine.WDT(timeout=50)\r")
        board.wait_console("virtual board", 5)
    assert cause() == 3
    with serial.Serial(board.serial_port, timeout=5) as port:
        port.write(b"\x04")
        board.wait_console("virtual board", 5)
    assert cause() == 5


def test_power_on_twice_is_refused_and_so_is_a_reset_without_power(board: VirtualBoard) -> None:
    with pytest.raises(BoardError, match="power_off"):
        board.power_on()
    board.power_off()
    with pytest.raises(BoardError, match="power_on"):
        board.reset()


def test_a_missed_word_tells_what_came_instead(board: VirtualBoard) -> None:
    with pytest.raises(TimeoutError, match=r"'never' within 0.1 s.*console\.log"):
        board.wait_console("never", 0.1)


def test_eight_boards_run_at_once(tmp_path: Path) -> None:
    boards = [VirtualBoard(tmp_path / str(n)) for n in range(8)]
    try:
        for board in boards:
            board.power_on()
        threads = [
            threading.Thread(target=execute, args=(board, f"print('i am', {n} + 0)"))
            for n, board in enumerate(boards)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for n, board in enumerate(boards):
            board.wait_console(f"i am {n}", 10)
        ids = {(board.folder / "registers").read_bytes()[200:206] for board in boards}
        assert len(ids) == 8
    finally:
        for board in boards:
            board.close()
    assert not any(os.path.lexists(board.serial_port) for board in boards)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_one_runs_from_the_command_line(tmp_path: Path, stop: signal.Signals) -> None:
    # what a shell starts in the background ignores Ctrl-C, and all that it starts in turn
    command = ["env", "--default-signal=INT", sys.executable, "-m", "boards.virtual", "--folder"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([*command, str(tmp_path)], cwd=REPO, stdout=said)
    try:
        wait_until(lambda: (tmp_path / "said").read_text().count("\n") == 3, "three lines", 30)
        assert str(tmp_path / "serial") in (tmp_path / "said").read_text()
        with raw_repl(str(tmp_path / "serial")) as transport:
            assert transport.exec("print(2 + 3)") == b"5\r\n"
        process.send_signal(stop)
        assert process.wait(10) == 0
        flash = tmp_path / "flash.img"
        assert stat.S_IMODE(flash.stat().st_mode) == 0o600  # the meter's key is on it
    finally:
        process.kill()
        process.wait(10)


# Asks the PZEM for its ten input registers; prints the power in tenths of a watt.
ASK = """
from machine import Pin, UART
import time
uart = UART(2, 9600, tx=17, rx=16)
uart.write(bytes([0xF8, 4, 0, 0, 0, 10, 0x64, 0x64]))
time.sleep_ms(300)
said = uart.read()
print(int.from_bytes(said[9:11], 'big') if said else None)
"""


@pytest.mark.parametrize("more", [(), ("--line",)])
def test_its_sensor_measures_the_house_behind_the_contactor(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    command = ["env", "--default-signal=INT", sys.executable, "-m", "boards.virtual", "--watts"]
    process = subprocess.Popen(
        [*command, "800", *more, "--folder", str(tmp_path)],
        cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        with raw_repl(str(tmp_path / "serial")) as transport:

            def measures(power_dw: int) -> None:
                wait_until(
                    lambda: transport.exec(ASK).strip() == str(power_dw).encode(),
                    f"{power_dw} dW",
                    last=lambda: str(transport.exec(ASK)),
                )

            def pulse(pin: int) -> None:
                transport.exec(
                    f"from machine import Pin; import time; p = Pin({pin}, Pin.OUT, value=1); "
                    "time.sleep_ms(100); p.value(0)"
                )

            measures(8000 if more else 0)
            pulse(25)
            measures(8000)
            process.stdin.write("watts 650\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("ok ")
            measures(6500)
            pulse(26)
            measures(6500 if more else 0)
        process.stdin.close()  # who types no more does not end the board
        time.sleep(0.5)
        assert process.poll() is None
        process.stdin = None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate(timeout=10)
