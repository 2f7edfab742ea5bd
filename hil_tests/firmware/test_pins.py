"""Test pins: no map takes a pin that the chip needs itself, and no two roles share one."""

import config
import pins

from hil_tests.firmware.check import raises
from hil_tests.firmware.test_config import short

# From the datasheets: what there is, and what is not free.
THERE = {
    "ESP32": set(range(20)) | {21, 22, 23, 25, 26, 27} | set(range(32, 40)),
    "ESP32S3": set(range(22)) | set(range(26, 49)),
    "ESP32C3": set(range(22)),
}
STRAPPING = {"ESP32": {0, 2, 5, 12, 15}, "ESP32S3": {0, 3, 45, 46}, "ESP32C3": {2, 8, 9}}
CONSOLE = {"ESP32": {1, 3}, "ESP32S3": {19, 20, 43, 44}, "ESP32C3": {18, 19, 20, 21}}
FLASH = {
    "ESP32": set(range(6, 12)),
    "ESP32S3": set(range(26, 38)),  # 33 to 37 where flash or PSRAM have eight lines
    "ESP32C3": set(range(11, 18)),
}
GLITCHES = {"ESP32": set(), "ESP32S3": {18, 19, 20}, "ESP32C3": {18}}  # high at power-up
INPUTS_ONLY = {"ESP32": {34, 35, 36, 37, 38, 39}, "ESP32S3": set(), "ESP32C3": set()}
JTAG = {"ESP32": {12, 13, 14, 15}, "ESP32S3": {39, 40, 41, 42}, "ESP32C3": {4, 5, 6, 7}}
UARTS = {"ESP32": 3, "ESP32S3": 3, "ESP32C3": 2}


def maps():
    for chip in sorted(pins.CHIPS):
        uart, outputs, inputs, defaults = pins.CHIPS[chip]
        yield chip, uart, set(outputs), set(inputs), defaults


def test_every_chip_is_checked():
    assert set(pins.CHIPS) == set(THERE)


def test_free_pins_are_there_and_nobody_elses():
    for chip, uart, outputs, inputs, _ in maps():
        taken = STRAPPING[chip] | CONSOLE[chip] | FLASH[chip]
        assert (outputs | inputs) <= THERE[chip], chip
        assert not (outputs | inputs) & taken, chip
        assert not outputs & (INPUTS_ONLY[chip] | GLITCHES[chip]), chip
        assert not outputs & inputs, chip
        assert 0 < uart < UARTS[chip], chip  # 0 is the console's


def test_defaults_are_distinct_and_fit():
    for chip, _, outputs, inputs, defaults in maps():
        assert len(set(defaults.values())) == len(defaults) == 6, chip
        assert set(defaults.values()) <= outputs | inputs, chip
        for role in ("uart_tx", "contactor", "contactor_open", "led"):
            assert defaults[role] in outputs, (chip, role)
        for role in ("contactor", "contactor_open"):
            assert defaults[role] not in JTAG[chip], (chip, role)
        # Still free: an auxiliary contact, and mains or tamper.
        assert len(outputs | inputs) - len(defaults) >= 2, chip


def test_configuration_follows_the_chip():
    for chip, uart, _, inputs, defaults in maps():
        c = config.check(short(), 0, chip)
        assert {role: c.pins[role] for role in defaults} == defaults
        assert (c.pins["contactor_sense"], c.pins["mains"], c.pins["tamper"]) == (None,) * 3
        assert (c.uart, set(c.no_pull_up)) == (uart, inputs)
        for role in c.pins:
            for pin in STRAPPING[chip] | CONSOLE[chip]:
                data = short()
                data["pins"] = {role: pin}
                with raises(config.ConfigError, "pins." + role + ": not accepted; write"):
                    config.check(data, 0, chip)


def test_a_pin_of_another_chip_is_refused():
    for chip, role, pin in (("ESP32C3", "led", 33), ("ESP32", "led", 34), ("ESP32S3", "led", 32)):
        data = short()
        data["pins"] = {role: pin}
        with raises(config.ConfigError, "pins.led"):
            config.check(data, 0, chip)


def test_chip_without_a_map_is_refused():
    with raises(config.ConfigError, "ESP32S2, has no map of pins; use an ESP32, -S3 or -C3"):
        config.check(short(), 0, "ESP32S2")


def test_knows_the_chip_by_what_micropython_calls_the_board():
    for machine, chip in (
        ("Generic ESP32 module with ESP32", "ESP32"),
        ("Generic ESP32 module with SPIRAM with ESP32", "ESP32"),
        ("TinyPICO with ESP32-PICO-D4", "ESP32"),
        ("Generic ESP32S3 module with ESP32S3", "ESP32S3"),
        ("Generic ESP32S3 module with Octal-SPIRAM with ESP32S3", "ESP32S3"),
        ("FeatherS3 with ESP32-S3", "ESP32S3"),
        ("ESP32C3 module with ESP32C3", "ESP32C3"),
        ("ESP32-C6 module with ESP32C6", "ESP32C6"),
        ("linux [GCC 14.2.0] version", "ESP32"),
        ("", "ESP32"),
    ):
        assert pins.chip(machine) == chip, machine
    assert pins.chip() == "ESP32"
