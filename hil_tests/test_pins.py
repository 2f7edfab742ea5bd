"""Whatever else names a pin agrees with firmware/lib/pins.py."""

import re

import pins

from boards.virtual.lines import Wiring
from parwana import REPO
from parwana.image import firmware

DEFAULTS = {chip: defaults for chip, (_, _, _, defaults) in pins.CHIPS.items()}


def test_boot_listens_to_the_button_of_each_chip() -> None:
    source = (firmware.SOURCE / "boot.py").read_text()
    found: dict[str, int] = {}
    (others,) = re.findall(r"^_BUTTONS = \{(.*)\}", source, re.M)
    for chip, pin in re.findall(r'"(\w+)": (\d+)', others):
        found[chip] = int(pin)
    (found["ESP32"],) = (int(pin) for pin in re.findall(r"^_BUTTON = (\d+)", source, re.M))
    assert found == {chip: defaults["button"] for chip, defaults in DEFAULTS.items()}


def test_virtual_board_is_wired_as_an_esp32_is_by_default() -> None:
    wiring, defaults = Wiring(), DEFAULTS["ESP32"]
    assert (wiring.close, wiring.open) == (defaults["contactor"], defaults["contactor_open"])
    assert (wiring.button, wiring.led) == (defaults["button"], defaults["led"])


def _numbers(cell: str) -> set[int]:
    """Read "1, 3 to 5" as a set."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", cell):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_page_about_wiring_says_the_same() -> None:
    text = (REPO / "docs" / "wiring.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    table = {row[0]: row[1:] for row in rows if len(row) == 4}
    for column, chip in enumerate(("ESP32", "ESP32S3", "ESP32C3")):
        uart, outputs, inputs, defaults = pins.CHIPS[chip]
        for role, pin in defaults.items():
            (said,) = (row[column] for name, row in table.items() if name.startswith(f"`{role}`"))
            assert said == str(pin), (chip, role)
        assert _numbers(table["free, outputs"][column]) == set(outputs) - set(defaults.values())
        assert _numbers(table["free, inputs only"][column]) == set(inputs)
        assert table["UART of the sensor"][column] == str(uart)
        for row, cells in table.items():
            if row.startswith("left out"):
                assert not _numbers(cells[column]) & {*outputs, *inputs}, (chip, row)
