"""MicroPython itself is written by esptool, a program of its own, from a file that is checked."""

import json
import os
import sys
from pathlib import Path

import pytest

from hil_tests.boardkit import powered_board
from parwana import cli
from parwana.meter import esp
from parwana.meter.esp import EspError

FAKE = """#!{python}
import json, sys
with open({said!r}, "w") as file: json.dump(sys.argv[1:], file)
print("esptool's own words")
sys.exit({code})
"""


def image(path: Path, chip: int = 0, magic: int = 0xE9, segments: int = 4) -> Path:
    """Write what looks like a MicroPython image. Source: esptool, Firmware Image Format."""
    head = bytearray(24)
    head[0], head[1], head[12] = magic, segments, chip
    path.write_bytes(bytes(head) + bytes(0x100000))
    return path


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an esptool that works first on PATH; return where it notes its arguments."""
    return fake_esptool(tmp_path, monkeypatch, 0)


def fake_esptool(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    noted = folder / "said.json"
    program = folder / "bin" / "esptool"
    program.parent.mkdir(exist_ok=True)
    program.write_text(FAKE.format(python=sys.executable, said=str(noted), code=code))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return noted


@pytest.mark.parametrize(
    ("chip", "name", "offset"),
    [(0, "esp32", 0x1000), (2, "esp32s2", 0x1000), (5, "esp32c3", 0), (9, "esp32s3", 0)],
)
def test_the_image_says_for_which_chip_it_is(
    tmp_path: Path, chip: int, name: str, offset: int
) -> None:
    assert esp.check_image(image(tmp_path / "mp.bin", chip)) == (name, offset)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mp.bin"
    with pytest.raises(EspError, match="cannot be read"):
        esp.check_image(path)
    with pytest.raises(EspError, match="no image"):
        esp.check_image(image(path, magic=0x7F))
    for segments in (0, 17):
        with pytest.raises(EspError, match="no image"):
            esp.check_image(image(path, segments=segments))
    with pytest.raises(EspError, match="chip .id 77. that Parwana does not know"):
        esp.check_image(image(path, chip=77))
    path.write_bytes(b"\xe9" * 1000)
    with pytest.raises(EspError, match="has 1000 bytes"):
        esp.check_image(path)


def test_esptool_is_run_with_chip_port_and_offset(tmp_path: Path, said: Path) -> None:
    path = image(tmp_path / "mp.bin")
    assert esp.write(path, "/dev/ttyUSB0") == "esp32"
    words = json.loads(said.read_text())
    assert words[:4] == ["--chip", "esp32", "--port", "/dev/ttyUSB0"]
    assert words[-3:] == ["write_flash", "0x1000", str(path)]


def test_a_port_elsewhere_is_refused(tmp_path: Path, said: Path) -> None:
    with pytest.raises(EspError, match="no serial device of this computer"):
        esp.write(image(tmp_path / "mp.bin"), "socket://bench:4000")
    assert not said.exists()


def test_esptool_that_fails_or_is_absent_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image(tmp_path / "mp.bin")
    with monkeypatch.context() as patched:
        fake_esptool(tmp_path, patched, 2)
        with pytest.raises(EspError, match="BOOT button"):
            esp.write(path, "/dev/ttyUSB0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EspError, match="pipx install esptool"):
        esp.write(path, "/dev/ttyUSB0")


def test_esptool_is_never_imported() -> None:
    assert "esptool" not in sys.modules


def test_flash_writes_micropython_first(
    tmp_path: Path, said: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = image(tmp_path / "mp.bin")
    with powered_board(tmp_path / "board") as board:
        words = ["--port", board.serial_port, "--micropython", str(path), "--json"]
        assert cli.main(["flash", *words]) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (result["slot"], result["restarted"]) == ("a", True)
        assert json.loads(said.read_text())[3] == board.serial_port
        path.write_bytes(b"")
        assert cli.main(["flash", *words]) == 1
        assert "has 0 bytes" in json.loads(capsys.readouterr().out)["error"]
