"""Count the operations of the flash: from power to the first poll, for a reading, for a permit.

    python -m bench.flashops

A virtual board runs the firmware that is flashed, over littlefs as on an ESP32. On a worn or
shared flash an operation takes up to 0.2 s, so what counts is how many there are. The start is set
beside its floor, each byte of the slot read once, and beside one with the journal of a year. Exit
code 1 where a figure is above its ceiling.
"""

import sys
import tempfile
from pathlib import Path

import wire
from bench.meterlife import year
from boards.virtual.board import FlashOperations
from hil_tests.meterkit import (
    Meter,
    firmware_files,
    make_image,
    permit,
    read_image,
    running_meter,
)
from hil_tests.services import wait_until

READ_SIZE = 512  # four times what boot.py mounts the flash with
READINGS = 4
CONFIG = "/config.json"
CEILINGS = {
    "power to first poll": 1500,
    "the same after a year": 1500,
    "a reading": 120,
    "a permit": 500,
}


def since(meter: Meter, before: FlashOperations) -> FlashOperations:
    """Return what the flash did since `before`."""
    after = meter.board.flash_operations
    return FlashOperations(*(b - a for a, b in zip(before, after, strict=True)))


def start(meter: Meter) -> FlashOperations:
    """Return the operations from power to the first question at the sensor."""
    meter.board.power_off()
    asked = meter.pzem.requests
    meter.board.power_on()
    wait_until(lambda: meter.pzem.requests > asked, "the first poll", 60)
    return meter.board.flash_operations


def reading(meter: Meter) -> FlashOperations:
    """Return the operations of an interval, all else that goes on in it included."""
    count = len(meter.relay.readings) + 1
    wait_until(lambda: len(meter.relay.readings) >= count, "a reading", 60)
    before = meter.board.flash_operations
    wait_until(lambda: len(meter.relay.readings) >= count + READINGS, "more readings", 60)
    return FlashOperations(*(-(-done // READINGS) for done in since(meter, before)))


def accepted(meter: Meter) -> FlashOperations:
    """Return the operations from a permit's arrival until it and the move are recorded."""
    before, now_s = meter.board.flash_operations, int(meter.clock.now())
    meter.relay.publish("permit", wire.pack_bundle_message(permit(now_s, now_s)))
    wait_until(
        lambda: (
            {wire.EVENT_PERMIT_ACCEPTED, wire.EVENT_RECONNECTED}
            <= {event.code for event in meter.relay.events}
        ),
        "the events of the permit and of the move",
        60,
    )
    return since(meter, before)


def main() -> int:
    files = firmware_files("x86")
    floor = -(-len(files["/a.fw"]) // READ_SIZE)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_meter(Path(folder), files, factor=200) as meter,
    ):
        found = {
            "a permit": accepted(meter),
            "a reading": reading(meter),
            "power to first poll": start(meter),
        }
        meter.board.power_off()
        image = meter.board.folder / "flash.img"
        config = read_image(image, CONFIG)
        image.write_bytes(make_image({**files, **year(Path(folder) / "year"), CONFIG: config}))
        meter.board.power_on()
        meter.wait_hello(len(meter.relay.hellos))
        found["the same after a year"] = start(meter)
    print(f"{'':22} reads writes erases")
    for name, done in found.items():
        print(f"{name:22} {done.reads:5} {done.writes:6} {done.erases:6}")
    ratio = found["power to first poll"].reads / floor
    print(f"each byte of the slot once: {floor} reads; the start takes {ratio:.1f} times that")
    above = [name for name, done in found.items() if sum(done) > CEILINGS[name]]
    for name in above:
        print(f"above its ceiling of {CEILINGS[name]}: {name}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
