"""Tell which GPIOs of a chip are free, and which the firmware takes unless told otherwise.

Left out are strapping pins, the console, USB, flash and PSRAM, and as outputs the pins that an
ESP32 drives high while it starts. Table and reasons: docs/wiring.md.
Source: datasheets of ESP32, ESP32-S3 and ESP32-C3, "Pin Definitions", "Strapping Pins",
"Power-up Glitches".
"""

import sys

# Chip: (UART of the sensor, outputs, what is an input only, the pins taken by default).
# Of an ESP32, GPIO 34 to 39 have neither driver nor pull-up.
CHIPS = {
    "ESP32": (
        2,
        (4, 13, 14, 16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33),
        (34, 35, 36, 39),
        {"uart_tx": 17, "uart_rx": 16, "contactor": 25, "contactor_open": 26, "button": 33,
         "led": 32},
    ),
    "ESP32S3": (
        2,
        (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 38, 39, 40, 41, 42),
        (),
        {"uart_tx": 17, "uart_rx": 16, "contactor": 5, "contactor_open": 6, "button": 7,
         "led": 15},
    ),
    "ESP32C3": (
        1,
        (0, 1, 3, 4, 5, 6, 7, 10),
        (),
        {"uart_tx": 7, "uart_rx": 6, "contactor": 3, "contactor_open": 10, "button": 4, "led": 5},
    ),
}  # fmt: skip


def chip(machine=None):
    """Return the chip's name out of `sys.implementation._machine`; the virtual board is an ESP32.

    "Generic ESP32S3 module with ESP32S3" and "FeatherS3 with ESP32-S3" are both an ESP32S3.
    """
    if machine is None:
        machine = getattr(sys.implementation, "_machine", "")
    name = machine.replace("-", "").upper()
    at = name.rfind("ESP32")
    family = name[at + 5 : at + 7] if at >= 0 else ""
    return "ESP32" + family if family[1:].isdigit() else "ESP32"
