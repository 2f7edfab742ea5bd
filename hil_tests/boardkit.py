"""Hold a virtual board as a person at a bench does: power it, type at it, copy files."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boards.virtual.board import VirtualBoard

TIMEOUT_S = 40
JOIN = """
import network, time
w = network.WLAN(network.STA_IF); w.active(True); w.connect('parwana', 'parwana-bench')
while not w.isconnected(): time.sleep_ms(10)
"""
"""Code that joins the bench's network."""


def mpremote(board: VirtualBoard, *arguments: str, fails: bool = False) -> str:
    """Run the unmodified mpremote on a board; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", board.serial_port, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode != 0) == fails, (arguments, done, console_tail(board))
    return (done.stdout + done.stderr).replace("\r\n", "\n")


def execute(board: VirtualBoard, code: str, **options: Any) -> str:
    """Run code on a board after a soft reset; return what it printed."""
    return mpremote(board, "exec", code, **options)


def store(board: VirtualBoard, path: str, text: str) -> None:
    """Write a file on a board and close it."""
    execute(board, f"f = open({path!r}, 'w'); f.write({text!r}); f.close()")


def restart(board: VirtualBoard) -> str:
    """Have mpremote reset a board; return what it printed up to its prompt."""
    board.skip_console()
    mpremote(board, "reset")
    started = board.wait_console("virtual board", TIMEOUT_S)
    return started + board.wait_console(">>> ", TIMEOUT_S)


@contextmanager
def executing(board: VirtualBoard, code: str) -> Iterator["subprocess.Popen[str]"]:
    """Let code run on a board meanwhile; at the end it must have ended by itself."""
    command = [sys.executable, "-m", "mpremote", "connect", board.serial_port, "exec", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
            process.wait(TIMEOUT_S)
        finally:
            process.kill()


def console_tail(board: VirtualBoard) -> str:
    """Return the end of a board's console log."""
    return board.log_path.read_bytes()[-2000:].decode(errors="replace")


@contextmanager
def powered_board(folder: Path, **options: Any) -> Iterator[VirtualBoard]:
    """Lend a board that has started."""
    with VirtualBoard(folder, **options) as board:
        board.power_on()
        board.wait_console(">>> ", TIMEOUT_S)
        yield board
