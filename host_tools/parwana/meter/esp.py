"""Write MicroPython itself onto an ESP32, by esptool, from a file that the user gives.

esptool is under the GPL: it is run as a program of its own, never imported.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

_MAGIC = 0xE9
_SIZE_LEAST = 0x80000
_SIZE_MOST = 0x1000000
_SEGMENTS_MOST = 16
_TIMEOUT_S = 600
_STDERR = 2  # stdout is for --json
# By the chip id in an image's header: name, where its bootloader starts.
# Source: esptool documentation, Firmware Image Format, Extended File Header.
_CHIPS = {
    0: ("esp32", 0x1000),
    2: ("esp32s2", 0x1000),
    5: ("esp32c3", 0x0),
    9: ("esp32s3", 0x0),
    12: ("esp32c2", 0x0),
    13: ("esp32c6", 0x0),
}
DOWNLOADS = "https://micropython.org/download/ESP32_GENERIC/"


class EspError(Exception):
    """MicroPython cannot be written; the message says what to do next."""


def check_image(path: Path) -> tuple[str, int]:
    """Return (chip, offset in the flash) of a MicroPython image. Raises EspError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise EspError(
            f"{path} cannot be read ({error.strerror}); download one: {DOWNLOADS}"
        ) from None
    if not _SIZE_LEAST <= size <= _SIZE_MOST:
        raise EspError(
            f"{path} has {size} bytes; a MicroPython image has 0.5 to 16 MB: {DOWNLOADS}"
        )
    if head[0] != _MAGIC or not 1 <= head[1] <= _SEGMENTS_MOST:
        raise EspError(f"{path} is no image for an ESP32; take the .bin file from {DOWNLOADS}")
    chip = int.from_bytes(head[12:14], "little")
    if chip not in _CHIPS:
        raise EspError(f"{path} is for a chip (id {chip}) that Parwana does not know")
    return _CHIPS[chip]


def write(path: Path, port: str) -> str:
    """Write the image through a real serial port; return the chip. Raises EspError.

    The file system beside it is left as it is. esptool's own progress goes to stderr.
    """
    chip, offset = check_image(path)
    if "://" in port:
        raise EspError(f"{port} is no serial device of this computer; --micropython needs one")
    command = [*_esptool(), "--chip", chip, "--port", port, "--baud", "460800"]
    command += ["write_flash", hex(offset), str(path)]
    try:
        done = subprocess.run(command, stdout=_STDERR, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EspError(f"esptool did not end well ({error}); try again") from None
    if done.returncode:
        raise EspError(
            f"esptool could not write to {port}; hold the board's BOOT button while it connects, "
            f"check that the chip is an {chip}, and try again"
        )
    return chip


def _esptool() -> list[str]:
    for name in ("esptool", "esptool.py"):
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec("esptool") is not None:
        return [sys.executable, "-m", "esptool"]
    raise EspError("--micropython needs esptool; install it: pipx install esptool")
