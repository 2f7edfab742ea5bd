"""Whatever else names a pin agrees with firmware/lib/pins.py."""

import re

import pins

from boards.virtual.lines import Wiring
from parwana import firmware

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
