"""boot.py and the loader on a virtual board: slots, trials, ways in, and damage."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial

from boards.virtual.board import VirtualBoard
from hil_tests.boardkit import TIMEOUT_S, execute, mpremote
from hil_tests.meterkit import firmware_files, make_image, read_image
from hil_tests.services import wait_until
from parwana.image import firmware

WELL = "import slot\ndef start():\n    print('runs %s')\n    slot.confirm('/slot')\n"
ILL = "def start():\n    print('runs %s')\n"
MODULES = {
    name: (firmware.SOURCE / "lib" / name).read_bytes() for name in ("slot.py", "records.py")
}


def flash(slot: str | None, **mains: str) -> dict[str, bytes]:
    """Return a flash with a main.py in each slot named, which prints that it runs."""
    files = dict(firmware.loaders())
    if slot is not None:
        files["/slot"] = slot.encode()
    for name, text in mains.items():
        files[f"/{name}/main.py"] = (text % name).encode()
        files |= {f"/{name}/lib/{module}": data for module, data in MODULES.items()}
    return files


@contextmanager
def board_with(folder: Path, files: dict[str, bytes]) -> Iterator[VirtualBoard]:
    """Lend a board with these files; it has no power yet."""
    home = folder / "board"
    home.mkdir()
    (home / "flash.img").write_bytes(make_image(files))
    with VirtualBoard(home) as board:
        yield board


def start(board: VirtualBoard) -> str:
    """Power the board, or power it again; return what it prints up to its prompt."""
    if board.powered:
        board.power_off()
    board.skip_console()
    board.power_on()
    return board.wait_console(">>> ", TIMEOUT_S)


def slot_of(board: VirtualBoard) -> str:
    board.power_off()
    return read_image(board.folder / "flash.img", "/slot").decode()


def test_runs_the_slot_it_is_told(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b", a=WELL, b=WELL)) as board:
        assert "runs b" in start(board)


def test_trial_that_is_confirmed_stays(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b try\n", a=WELL, b=WELL)) as board:
        assert "runs b" in start(board)
        assert "runs b" in start(board)
        assert slot_of(board) == "b"


def test_trial_that_fails_is_left_for_good(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b try", a=WELL, b=ILL)) as board:
        assert "runs b" in start(board)
        assert slot_of(board) == "b tried"
        said = start(board)
        assert "back to a" in said
        assert "runs a" in said
        assert "runs a" in start(board)
        assert slot_of(board) == "a"


def test_failed_trial_without_another_slot_runs_on(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("a try", a=ILL)) as board:
        for _ in range(2):
            assert "runs a" in start(board)


def test_soft_reset_is_no_run(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b try", a=WELL, b=ILL)) as board:
        start(board)
        for _ in range(2):
            assert execute(board, "print(_slot)") == "b\n"
        assert slot_of(board) == "b tried"


@pytest.mark.parametrize("slot", [None, "", "c", "c try", "a b c d", "\x00\xff", "a\n"])
def test_damaged_slot_file_runs_what_is_there(tmp_path: Path, slot: str | None) -> None:
    with board_with(tmp_path, flash(slot, a=WELL)) as board:
        assert "runs a" in start(board)


def test_slot_without_firmware_falls_to_the_other(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("a", b=WELL)) as board:
        assert "runs b" in start(board)


def test_no_firmware_ends_at_the_prompt_with_a_word(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("a")) as board:
        said = start(board)
        assert "no firmware in slot a or b; run flash.sh" in said
        assert "2" in execute(board, "print(1 + 1)")


def test_firmware_that_does_not_compile_ends_at_the_prompt(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("a", a="def start(:%s")) as board:
        assert "SyntaxError" in start(board)
        assert "2" in execute(board, "print(1 + 1)")


@pytest.mark.parametrize("slot", ["b try", "b"])
def test_firmware_that_does_not_import_gives_way_to_the_other(tmp_path: Path, slot: str) -> None:
    """No watchdog runs before it has started, so nothing else would end it."""
    files = flash(slot, a=WELL, b="import gone  # %s")
    with board_with(tmp_path, files) as board:
        board.power_on()
        assert "'gone'" in board.wait_console("does not start", TIMEOUT_S)
        assert "runs a" in board.wait_console(">>> ", TIMEOUT_S)
        assert slot_of(board) == "a"


FAILS = {
    "reset": "import machine\ndef start():\n    print('fails %s')\n    machine.reset()",
    "watchdog": "import machine\ndef start():\n    print('fails %s')\n    machine.WDT(timeout=1)",
}


@pytest.mark.parametrize("how", FAILS)
def test_confirmed_slot_that_never_gets_to_work_gives_way(tmp_path: Path, how: str) -> None:
    with board_with(tmp_path, flash("b", a=WELL, b=FAILS[how])) as board:
        board.power_on()
        said = board.wait_console("runs a", 2 * TIMEOUT_S)
        assert said.count("fails b") == 4
        assert "slot b was reset 3 times before it was healthy; to a" in said
        board.wait_console(">>> ", TIMEOUT_S)
        assert slot_of(board) == "a"


def test_two_slots_that_never_get_to_work_do_not_take_turns(tmp_path: Path) -> None:
    files = flash("b", a=FAILS["reset"], b=FAILS["reset"])
    with board_with(tmp_path, files) as board:
        board.power_on()
        board.wait_console("to a", TIMEOUT_S)
        changes = None
        for _ in range(6):
            assert "fails b" not in board.wait_console("fails a", TIMEOUT_S)
            board.skip_console()
            _, *now = board.flash_operations
            assert changes in (None, now)
            changes = now
        assert slot_of(board) == "a stay"


def test_power_cuts_are_no_fault_of_a_slot(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b", a=WELL, b=ILL)) as board:
        for _ in range(5):
            assert "runs b" in start(board)
        assert slot_of(board) == "b"


def test_power_cut_while_resets_are_counted_leaves_a_slot_to_run(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b", a=WELL, b=FAILS["reset"])) as board:
        for write in range(1, 5):
            board.power_on()
            board.cut_power_at_flash_write(write)
            wait_until(lambda: not board.powered, "the power cut", TIMEOUT_S)
        board.power_on()
        board.wait_console("runs a", TIMEOUT_S)


def test_two_slots_that_do_not_import_leave_a_way_to_the_console(tmp_path: Path) -> None:
    files = flash("b", a="import gone  # %s", b="import gone  # %s")
    with board_with(tmp_path, files) as board:
        board.power_on()
        for slot in "ba":
            board.wait_console(f"slot {slot} does not start", TIMEOUT_S)
        assert "3" in mpremote(board, "resume", "exec", "print(1 + 2)")


@pytest.mark.parametrize("slot", ["b try", "b tried"])
def test_slot_that_cannot_be_written_runs_the_old_firmware(tmp_path: Path, slot: str) -> None:
    files = flash(slot, a=WELL, b=WELL)
    files["/slot.new/full"] = b""  # a folder in the way
    with board_with(tmp_path, files) as board:
        said = start(board)
        assert "cannot be written" in said
        assert "runs a" in said
        said = start(board)  # what runs and is well has moved the folder away, and stays
        assert "cannot be written" not in said
        assert "runs a" in said
        assert slot_of(board) == "a"
        assert read_image(board.folder / "flash.img", "/slot.new.aside1/full") == b""


def test_held_button_asks_for_service(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("b try", a=WELL, b=WELL)) as board:
        board.press("button")
        board.power_on()
        board.wait_console("let the button go", TIMEOUT_S)
        board.release("button")
        said = board.wait_console(">>> ", TIMEOUT_S)
        assert "service mode" in said
        assert "runs" not in said
        assert execute(board, "print(_slot)") == "b\n"
        assert slot_of(board) == "b try"


def test_stuck_button_keeps_no_meter_from_its_work(tmp_path: Path) -> None:
    """Nor does a pin that nothing pulls up, or that an emulator lacks."""
    with board_with(tmp_path, flash("b try", a=WELL, b=WELL)) as board:
        board.press("button")
        said = start(board)
        assert "the button is stuck" in said
        assert "runs b" in said


def test_button_let_go_in_the_window_asks_for_nothing(tmp_path: Path) -> None:
    with board_with(tmp_path, flash("a", a=WELL)) as board:
        board.press("button")
        board.power_on()
        board.wait_console("for service", TIMEOUT_S)
        board.release("button")
        assert "runs a" in board.wait_console(">>> ", TIMEOUT_S)


def type_ctrl_c(board: VirtualBoard) -> None:
    """Ask for service in the window: no program is started for it, which may take longer."""
    board.wait_console("for service", TIMEOUT_S)
    with serial.Serial(board.serial_port) as port:
        port.write(b"\x03")
        board.wait_console("service mode", TIMEOUT_S)


def with_constant(files: dict[str, bytes], name: str, value: int) -> dict[str, bytes]:
    """Return the files with another value of a constant of boot.py."""
    text, count = re.subn(rf"(?m)^{name} = \d+$", f"{name} = {value}", files["/boot.py"].decode())
    assert count == 1
    return {**files, "/boot.py": text.encode()}


def test_ctrl_c_in_the_window_asks_for_service(tmp_path: Path) -> None:
    files = flash("b try", a=WELL, b=WELL)
    with board_with(tmp_path, with_constant(files, "_WINDOW_MS", 3000)) as board:
        board.power_on()
        type_ctrl_c(board)
        assert "b" in mpremote(board, "resume", "exec", "print(_slot)")
        assert slot_of(board) == "b try"


def test_a_paired_meter_is_not_left_at_the_console(tmp_path: Path) -> None:
    files = with_constant({**flash("a", a=WELL), "/config.json": b"{}"}, "_WINDOW_MS", 3000)
    with board_with(tmp_path, with_constant(files, "_GUARD_MS", 2000)) as board:
        board.power_on()
        type_ctrl_c(board)
        board.wait_console("runs a", TIMEOUT_S)


def test_firmware_without_configuration_waits_for_pairing(tmp_path: Path) -> None:
    files = firmware_files("x86")
    files["/slot"] = b"a try"
    with board_with(tmp_path, files) as board:
        said = start(board)
        assert "parwana " + firmware.version() in said
        assert "/config.json is missing; pair this meter" in said
        time.sleep(0.1)
        assert slot_of(board) == "a"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b"", "is not JSON"),
        (b"\x00\xff\xfe", "is not JSON"),
        (b'{"utility_id": "x", "wifi": {"password": "topsecret!"}}', "missing; write"),
    ],
)
def test_wrong_configuration_is_refused_in_words(
    tmp_path: Path, config: bytes, words: str
) -> None:
    with board_with(tmp_path, {**firmware_files("x86"), "/config.json": config}) as board:
        said = start(board)
        assert words in said
        assert "topsecret" not in said
        assert "Traceback" not in said
