"""flash.sh puts firmware on a board, and whatever breaks leaves the old firmware running."""

import io
import json
import math
import os
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from rich.console import Console
from rich.progress import Progress

from boards.virtual.board import VirtualBoard
from hil_tests.boardkit import TIMEOUT_S, execute, powered_board, store
from hil_tests.meterkit import configuration, make_image, read_image
from parwana import REPO
from parwana.image import firmware
from parwana.meter import flash
from parwana.meter.repl import Meter, MeterError, attach, connect
from parwana.meter.snippets import TELL_IMPORTS

NEW = firmware.version()
OLD = "0.0.9"
SEED = 20261122
OPERATIONS = 3000  # of the flash, for a blank board, its self-test and its first start included
LISTING = """
import os, hashlib
def walk(path):
    for entry in os.ilistdir(path or '/'):
        name = path + '/' + entry[0]
        if entry[1] == 0x4000: walk(name)
        else: print(name, hashlib.sha256(open(name, 'rb').read()).digest())
walk('')
"""
PRIVATE = ("/config.json", "/identity.key", "/state/clock.rec", "/journal/1", "/permit.new")


def flash_sh(board: VirtualBoard, fails: bool = False) -> dict[str, object]:
    """Run ./flash.sh --json on a board; return its result."""
    done = subprocess.run(
        [str(REPO / "flash.sh"), "--port", board.serial_port, "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode != 0) == fails, done
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


def flash_source(board: VirtualBoard, source: Path) -> dict[str, object]:
    """Flash other firmware than the repository's."""
    with connect(board.serial_port) as meter, Progress(disable=True) as progress:
        result = flash.flash(meter, progress, source)
    wait_confirmed(board)
    return result


def wait_confirmed(board: VirtualBoard) -> None:
    """Wait until new firmware has said that it is well: unpaired, it says so before the prompt."""
    board.wait_console("pair this meter with", TIMEOUT_S)
    board.wait_console(">>> ", TIMEOUT_S)


def version_that_starts(board: VirtualBoard) -> str:
    """Cut the power, give it back; return the version that says it starts."""
    board.power_off()
    board.skip_console()
    board.power_on()
    board.wait_console("\nparwana ", TIMEOUT_S)
    return board.wait_console("\r\n", TIMEOUT_S).strip()


def firmware_files(board: VirtualBoard) -> list[str]:
    """Return path and hash of every file but /slot, which the running firmware may write."""
    lines = execute(board, LISTING).splitlines()
    return [line for line in lines if not line.startswith("/slot ")]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the source of an older firmware; for all tests, none may change it."""
    source = tmp_path_factory.mktemp("older") / "source"
    shutil.copytree(firmware.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    version = source / "lib" / "version.py"
    version.write_text(version.read_text().replace(f'"{NEW}"', f'"{OLD}"'))
    assert firmware.version(source) == OLD
    return source


@pytest.fixture
def old(tmp_path: Path, older: Path) -> Path:
    """Lend the source of the older firmware, to be changed."""
    return Path(shutil.copytree(older, tmp_path / "old"))


@pytest.fixture(scope="module")
def older_image(tmp_path_factory: pytest.TempPathFactory, older: Path) -> Path:
    """Make the flash image of a board that runs the older firmware."""
    with powered_board(tmp_path_factory.mktemp("older") / "board") as board:
        result = flash_source(board, older)
        assert result["restarted"]
        return board.folder / "flash.img"


@pytest.fixture
def flashed(tmp_path: Path, older_image: Path) -> Iterator[VirtualBoard]:
    """Lend a board that runs the older firmware."""
    folder = tmp_path / "flashed"
    folder.mkdir()
    shutil.copy(older_image, folder)
    with powered_board(folder) as board:
        yield board


def test_flash_restart_read_back_and_flash_again(board: VirtualBoard) -> None:
    before_it = sum(board.flash_operations)
    result = flash_sh(board)
    took = sum(board.flash_operations) - before_it
    print(f"flashing took {took} operations of the flash")
    assert took < OPERATIONS
    assert (result["version"], result["slot"], result["restarted"]) == (NEW, "a", True)
    assert version_that_starts(board) == NEW
    ask = firmware.opening("a") + "import version; print(version.VERSION)"
    assert execute(board, ask).splitlines()[-1] == NEW
    before = firmware_files(board)
    assert sorted(line.split()[0] for line in before) == [
        "/a.fw", "/archive.mpy", "/boot.py", "/main.py",
    ]  # fmt: skip
    again = flash_sh(board)
    assert (again["copied"], again["restarted"], again["slot"]) == ([], False, "a")
    assert firmware_files(board) == before


def test_a_newer_version_goes_to_the_other_slot_and_keeps_what_is_the_meters(
    flashed: VirtualBoard,
) -> None:
    execute(flashed, "import os\nfor d in ('/state', '/journal'): os.mkdir(d)")
    for path in PRIVATE:
        store(flashed, path, "of " + path)
    result = flash_sh(flashed)
    assert result["slot"] == "b"
    assert version_that_starts(flashed) == NEW
    for path in PRIVATE:
        assert execute(flashed, f"print(open({path!r}).read())").splitlines()[-1] == "of " + path
    assert result["copied"] == ["/b.fw"]


def test_a_power_cut_at_many_flash_writes_leaves_a_firmware_that_runs(
    flashed: VirtualBoard, long: bool
) -> None:
    seen = set()
    writes = [1, 2, 3, 9, 40, 120, *range(200, 1200, 100)] if long else [3, *range(40, 1200, 360)]
    for n in writes:
        flashed.cut_power_at_flash_write(n)
        process = start_flash(flashed)
        while process.poll() is None and flashed.powered:
            time.sleep(0.02)
        ended = flashed.powered
        flashed.cut_power_at_flash_write(0)
        if ended:
            assert process.wait(TIMEOUT_S) == 0
        process.kill()
        process.wait(TIMEOUT_S)
        flashed.power_off()
        flashed.power_on()
        version = version_that_starts(flashed)
        assert version in (OLD, NEW)
        seen.add(version)
        if ended:
            break
    assert OLD in seen
    flash_sh(flashed)
    assert version_that_starts(flashed) == NEW


def start_flash(board: VirtualBoard) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "parwana.cli", "flash", "--port", board.serial_port]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Cable:
    """A serial port whose cable is pulled after so many bytes have gone to the board."""

    def __init__(self, port: Any, length: float) -> None:
        self.sent = 0
        self._port = port
        self._length = length

    def write(self, data: bytes) -> int:
        if self.sent + len(data) > self._length:
            self._port.write(data[: int(self._length) - self.sent])
            self._port.close()
            raise serial.SerialException("the cable was pulled")
        self.sent += len(data)
        return int(self._port.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def flash_through(board: VirtualBoard, length: float) -> int:
    """Flash the repository's firmware over a cable that ends after `length` bytes."""
    with connect(board.serial_port) as meter, Progress(disable=True) as progress:
        cable = Cable(meter._transport.serial, length)
        meter._transport.serial = cable
        board.skip_console()
        flash.flash(meter, progress)
    wait_confirmed(board)
    return cable.sent


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the repository's firmware once for all transfers of a test."""
    files: dict[str | None, dict[str, bytes]] = {}
    build = firmware.build

    def once(native: str | None, source: Path) -> dict[str, bytes]:
        if native not in files:
            files[native] = build(native, source)
        return files[native]

    monkeypatch.setattr(firmware, "build", once)


@pytest.mark.long
@pytest.mark.usefixtures("built")
def test_the_cable_pulled_at_random_moments_leaves_a_firmware_that_runs(
    flashed: VirtualBoard, older_image: Path, long: bool
) -> None:
    """Some of the transfer; some in the switch and the reset, its last bytes."""
    chance = random.Random(SEED)
    whole = flash_through(flashed, math.inf)
    moments = [chance.randrange(whole) for _ in range(7 if long else 1)]
    moments += [whole - chance.randrange(1, most) for most in (30, 100, 300)]
    seen = []
    for moment in sorted(moments):
        flashed.power_off()
        shutil.copy(older_image, flashed.folder)
        flashed.power_on()
        with pytest.raises(MeterError, match="connection broke"):
            flash_through(flashed, moment)
        seen.append(version_that_starts(flashed))
    print(dict(zip(sorted(moments), seen, strict=True)), "of", whole)
    assert set(seen) == {OLD, NEW}
    flash_through(flashed, math.inf)
    assert version_that_starts(flashed) == NEW


@pytest.mark.long
@pytest.mark.usefixtures("built")
def test_a_board_whose_cable_was_pulled_comes_back_by_itself(
    flashed: VirtualBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash, "SERVICE_MS", 15_000)
    with pytest.raises(MeterError, match="connection broke"):
        flash_through(flashed, 50_000)
    flashed.wait_console(f"\nparwana {OLD}\r", TIMEOUT_S)
    assert flashed.resets[-1][1] == "watchdog"


def test_lost_power_is_told_in_words(
    flashed: VirtualBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parwana.meter.follow.SILENT_S", 5.0)
    flashed.cut_power_at_flash_write(40)
    with pytest.raises(MeterError, match="silent for 5 s .*; the meter runs what it ran before"):
        flash_source(flashed, firmware.SOURCE)
    flashed.power_on()
    assert version_that_starts(flashed) == OLD


def test_steps_files_and_modules_are_told_as_they_pass(
    flashed: VirtualBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parwana.meter.steps._SELDOM_S", 0)
    text = io.StringIO()
    with (
        connect(flashed.serial_port) as meter,
        Progress(console=Console(file=text, width=200), transient=True) as progress,
    ):
        flash.flash(meter, progress)
    lines = text.getvalue().splitlines()
    steps = [line.split(" ")[0] for line in lines if line.strip() and ": " not in line]
    assert steps[:4] == ["asking", "reading", "removing", "looking"]
    assert steps[4:] == ["copying", "reading", "testing", "asking", "switching", "waiting"]
    assert any(re.fullmatch(r"copying \d+ KB to slot b: /b.fw, \d+ %", at) for at in lines)
    assert "reading slot b back: /b.fw.new 65536" in lines
    tested = [line.split(": ")[1] for line in lines if line.startswith("testing slot b: ")]
    assert tested[0] == "import gc"
    assert (
        tested.index("import ecdsa") < tested.index("import uplink") < tested.index("import main")
    )
    assert tested[-3:-1] == ["sign", "verify"]


def test_a_reset_in_the_self_test_is_told_at_once(flashed: VirtualBoard) -> None:
    def press(line: str) -> None:
        if line == "import ecdsa":
            flashed.reset()

    with connect(flashed.serial_port) as meter:
        meter.begin("testing slot a", press)
        began_s = time.monotonic()
        with pytest.raises(MeterError, match=r"testing slot a: the board restarted .*'import ec"):
            meter.run(
                TELL_IMPORTS + "import time\n_tell('os')\nprint('import ecdsa')\ntime.sleep(60)"
            )
        assert time.monotonic() - began_s < 10


@pytest.mark.usefixtures("built")
def test_power_lost_once_the_loaders_are_replaced_is_told_as_that(
    flashed: VirtualBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parwana.meter.follow.SILENT_S", 5.0)
    monkeypatch.setattr("parwana.meter.repl._ANSWER_S", 1.0)
    source = Path(shutil.copytree(firmware.SOURCE, tmp_path / "new"))
    for name in ("boot.py", "loader.py"):
        (source / name).write_text((source / name).read_text() + "# newer\n")
    replace = Meter.replace

    def cut(meter: Meter, path: str, data: bytes) -> None:
        if data.endswith(b"try\n"):
            flashed.cut_power_at_flash_write(1)
        replace(meter, path, data)

    monkeypatch.setattr(Meter, "replace", cut)
    with pytest.raises(MeterError) as caught:
        flash_source(flashed, source)
    assert "switching to slot b: the board is silent for 5 s" in str(caught.value)
    assert str(caught.value).endswith(
        "run this again; /boot.py and /main.py are the new ones, good for both slots; the meter "
        "runs what it ran before"
    )
    for path in ("/boot.py", "/main.py"):
        assert read_image(flashed.folder / "flash.img", path).endswith(b"# newer\n")
    flashed.power_on()
    assert version_that_starts(flashed) == OLD


@pytest.mark.long
def test_firmware_that_does_not_import_is_never_switched_to(
    flashed: VirtualBoard, old: Path
) -> None:
    (old / "app.py").write_text("import nowhere\n")
    with pytest.raises((MeterError, flash.FlashError), match="the meter said: .*nowhere"):
        flash_source(flashed, old)
    assert version_that_starts(flashed) == OLD


@pytest.mark.long
def test_firmware_that_signs_wrongly_is_never_switched_to(
    flashed: VirtualBoard, old: Path
) -> None:
    init = old / "lib" / "ecdsa" / "__init__.py"
    init.write_text(init.read_text() + "\n\ndef sign(digest, key):\n    return bytes(64), 0\n")
    with pytest.raises(flash.FlashError, match="self-test"):
        flash_source(flashed, old)
    assert version_that_starts(flashed) == OLD


def test_firmware_that_fails_once_it_runs_is_told_and_left(
    flashed: VirtualBoard, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(firmware.SOURCE, tmp_path / "new"))
    app = source / "app.py"
    app.write_text(app.read_text().replace("        self.start()\n", "        1 // 0\n"))
    store(flashed, "/config.json", json.dumps(configuration(1)))
    with (
        pytest.raises(flash.FlashError, match="does not report itself healthy.*ZeroDivision"),
        connect(flashed.serial_port) as meter,
        Progress(disable=True) as progress,
    ):
        flash.flash(meter, progress, source)
    assert version_that_starts(flashed) == OLD


def test_firmware_that_refuses_the_meters_configuration_is_never_switched_to(
    flashed: VirtualBoard, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(firmware.SOURCE, tmp_path / "new"))
    config = source / "lib" / "config.py"
    config.write_text(config.read_text().replace('"status_s": (', '"state_s": ('))
    main = source / "main.py"
    main.write_text(main.read_text().replace("status_s", "state_s"))
    store(flashed, "/config.json", json.dumps(configuration(1)))
    with pytest.raises(flash.FlashError, match="refuses this meter's configuration.*status_s"):
        flash_source(flashed, source)
    assert version_that_starts(flashed) == OLD


@pytest.mark.usefixtures("built")
def test_a_trial_that_is_being_overwritten_is_not_run(flashed: VirtualBoard) -> None:
    """Ctrl-C gives a trial another one, which half a slot must not get."""
    execute(flashed, "import os; os.mkdir('/b')")
    store(flashed, "/b/main.py", "raise SystemExit")
    store(flashed, "/slot", "b try")
    with pytest.raises(MeterError, match="connection broke"):
        flash_through(flashed, 50_000)
    flashed.power_off()
    assert read_image(flashed.folder / "flash.img", "/slot") == b"a"


@pytest.mark.long
def test_a_slot_on_trial_is_overwritten_rather_than_the_one_to_fall_back_on(
    flashed: VirtualBoard,
) -> None:
    flash_sh(flashed)
    store(flashed, "/slot", "b tried")
    store(flashed, "/b.fw", "torn")
    assert flash_sh(flashed)["slot"] == "b"
    assert "/a.fw" in "\n".join(firmware_files(flashed))


@pytest.mark.long
def test_slots_that_are_folders_give_way_to_files(board: VirtualBoard, older: Path) -> None:
    """The layout of before: it is fallen back on until a file takes its place."""
    board.power_off()
    old = {f"/a/{name}": data for name, data in firmware.build("x86", older).items()}
    files = {**old, **firmware.loaders(), "/slot": b"a"}
    (board.folder / "flash.img").write_bytes(make_image(files))
    board.power_on()
    assert version_that_starts(board) == OLD
    result = flash_sh(board)
    assert (result["slot"], result["copied"]) == ("b", ["/b.fw"])
    assert version_that_starts(board) == NEW
    store(board, "/slot", "b tried")
    assert version_that_starts(board) == OLD, "the folder is still whole"
    store(board, "/slot", "b")
    assert flash_source(board, older)["slot"] == "a"
    assert not [line for line in firmware_files(board) if line.startswith(("/a/", "/b/"))]
    assert version_that_starts(board) == OLD


def test_a_torn_archive_is_left_for_the_other_slot(flashed: VirtualBoard) -> None:
    flash_sh(flashed)
    cut = "d = open('/b.fw', 'rb').read(5000)\nf = open('/b.fw', 'wb')\nf.write(d)\nf.close()"
    execute(flashed, cut)
    flashed.power_off()
    flashed.skip_console()
    flashed.power_on()
    flashed.wait_console("slot b does not start", TIMEOUT_S)
    flashed.wait_console(f"parwana {OLD}", TIMEOUT_S)


@pytest.mark.parametrize(
    "relax", ["machine.WDT(timeout=600000)", pytest.param("pass", marks=pytest.mark.long)]
)
def test_firmware_whose_watchdog_runs_can_be_flashed(flashed: VirtualBoard, relax: str) -> None:
    """Old firmware, busy, with a short watchdog; ours relaxes it for a person, others do not."""
    store(
        flashed,
        "/main.py",
        "import machine, time\nw = machine.WDT(timeout=2000)\nprint('busy')\n"
        f"try:\n    while True: w.feed()\nexcept KeyboardInterrupt: {relax}\n",
    )
    flashed.reset()
    flashed.wait_console("busy", 10)
    assert flash_sh(flashed)["restarted"]
    assert "watchdog" not in [cause for _, cause in flashed.resets]
    assert version_that_starts(flashed) == NEW


@pytest.mark.parametrize(
    "text", ["raise ValueError\n", "\x00\x80 nonsense (((\n", "import gone\n"]
)
def test_a_broken_main_is_replaced(flashed: VirtualBoard, old: Path, text: str) -> None:
    store(flashed, "/main.py", text)
    flashed.reset()
    flashed.wait_console(">>> ", TIMEOUT_S)
    result = flash_source(flashed, old)
    assert result["copied"] == ["/main.py"]
    assert version_that_starts(flashed) == OLD


@pytest.mark.usefixtures("built")
def test_a_main_that_takes_no_ctrl_c_is_met_at_the_next_start(
    flashed: VirtualBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parwana.meter.repl._STOP_S", 1.0)
    store(
        flashed,
        "/main.py",
        "import micropython, time\nmicropython.kbd_intr(-1)\nprint('deaf')\n"
        "while True: time.sleep_ms(50)\n",
    )
    flashed.reset()
    flashed.wait_console("deaf", TIMEOUT_S)
    with pytest.raises(MeterError, match="reset button"), connect(flashed.serial_port):
        pass
    asked = []

    def press(text: str) -> None:
        asked.append(text)
        flashed.reset()

    with (
        connect(flashed.serial_port, 20, press) as meter,
        Progress(disable=True) as progress,
    ):
        assert flash.flash(meter, progress)["restarted"]
    wait_confirmed(flashed)
    assert len(asked) == 1
    assert "press the board's reset button" in asked[0]
    assert version_that_starts(flashed) == NEW


def test_a_board_that_takes_seconds_to_start_is_waited_for(board: VirtualBoard) -> None:
    store(
        board,
        "/boot.py",
        "import micropython, time\nmicropython.kbd_intr(-1)\ntime.sleep(3)\n"
        "micropython.kbd_intr(3)\n",
    )
    with connect(board.serial_port) as meter:
        assert meter.ask("2 + 3") == 5


def test_a_full_flash_is_told_before_anything_is_written(flashed: VirtualBoard) -> None:
    execute(flashed, "f = open('/big', 'w')\nfor _ in range(462): f.write('x' * 4096)\nf.close()")
    error = str(flash_sh(flashed, fails=True)["error"])
    assert "KB are free" in error
    assert version_that_starts(flashed) == OLD


def test_an_update_fits_beside_a_journal_of_a_year(flashed: VirtualBoard, old: Path) -> None:
    """Both slots hold firmware, and little is free: what an update replaces makes its room."""
    assert flash_source(flashed, firmware.SOURCE)["slot"] == "b"
    for path in old.rglob("*.py"):
        path.write_text(path.read_text() + "\n_OTHER = [1]\n")
    fill = "import os\nf = open('/big', 'w')\nwhile os.statvfs('/')[3] > 12: f.write('x' * 4096)\n"
    execute(flashed, fill + "f.close()")
    result = flash_source(flashed, old)
    assert result["slot"] == "a"
    assert "/a.fw" in str(result["copied"])
    assert version_that_starts(flashed) == OLD


def test_what_is_wrong_with_the_port_is_told(
    board: VirtualBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(MeterError, match="there is no port .*nowhere"),
        connect(str(tmp_path / "nowhere")),
    ):
        pass
    with (
        serial.Serial(board.serial_port, exclusive=True),
        pytest.raises(MeterError, match="is in use"),
        connect(board.serial_port),
    ):
        pass
    for other in (tmp_path, tmp_path / "file", Path("/dev/null")):
        if not other.exists():
            other.touch()
        with pytest.raises(MeterError, match="is no serial port"), connect(str(other)):
            pass
    near, far = os.openpty()
    monkeypatch.setattr("parwana.meter.repl._STOP_S", 0.4)
    with pytest.raises(MeterError, match="no MicroPython answers"), connect(os.ttyname(far)):
        pass
    with attach(os.ttyname(far)) as meter:
        started_s = time.monotonic()
        threading.Timer(0.2, os.close, [near]).start()
        with pytest.raises(MeterError, match="connection broke"):
            meter.run("pass")
        assert time.monotonic() - started_s < 5, "gone is not silent"
    os.close(far)


def test_an_old_micropython_is_refused(
    board: VirtualBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash, "OLDEST", (1, 99))
    with pytest.raises(flash.FlashError, match=r"runs micropython 1\.\d+\.\d+; write"):
        flash_source(board, firmware.SOURCE)


def test_another_chip_is_refused(board: VirtualBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "FAMILY", {"esp32"})
    with pytest.raises(flash.FlashError, match="is a linux.*runs on ESP32, ESP32-S3"):
        flash_source(board, firmware.SOURCE)
    for machine in ("Generic ESP32 module with ESP32", "ESP32-PICO-D4", "S3 board with ESP32-S3"):
        assert firmware.runs_on(machine)
    for machine in ("ESP32C6 module with ESP32C6", "LOLIN_S2_MINI with ESP32-S2FN4R2"):
        assert not firmware.runs_on(machine)


def test_a_board_behind_a_serial_server_is_flashed(board: VirtualBoard) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        serial.Serial(board.serial_port, timeout=0) as wire,
    ):
        bridge = threading.Thread(target=carry, args=(server, wire), daemon=True)
        bridge.start()
        with (
            connect(f"socket://127.0.0.1:{server.getsockname()[1]}") as meter,
            Progress(disable=True) as progress,
        ):
            assert flash.flash(meter, progress)["restarted"]
        bridge.join(TIMEOUT_S)
    assert version_that_starts(board) == NEW


def carry(server: socket.socket, wire: serial.Serial) -> None:
    """Carry bytes between one TCP connection and a serial port until the former ends."""
    connection, _ = server.accept()
    with connection:
        while True:
            ready, _, _ = select.select([connection, wire], [], [], TIMEOUT_S)
            if wire in ready:
                connection.sendall(wire.read(4096))
            if connection in ready:
                data = connection.recv(4096)
                if not data:
                    return
                wire.write(data)
