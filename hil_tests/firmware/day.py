"""A full day of a meter, on a flash of the test's own: all that it ever writes (MicroPython)."""

import json
import os
from binascii import crc32, hexlify

import vfs

import wire
from hil_tests.firmware import flash
from hil_tests.firmware.house import ANYHOW, RESET, STILL, TO_CLOSE, TO_OPEN, WATCHDOG, House
from hil_tests.firmware.meter import HOUR_MS, STEP_MS, Meter, service, stored
from hil_tests.firmware.signers import (
    CHAIN_ID,
    DAY_S,
    LEDGER,
    METER,
    OFFSET_S,
    PUBLIC_KEYS,
    SPARE,
    T0,
    bundle,
    permit,
)

BLOCKS = 60
LIMIT_DW = 40000
SEGMENT_RECORDS = 285  # of the journal: a day begins a new one
CAPACITY = 5 * SEGMENT_RECORDS
JOURNAL_FRAMES = 4 * SEGMENT_RECORDS


def image(letter):
    """Return what stands for the firmware in a slot's file: six blocks of it."""
    return (letter * 24 + "\n").encode() * 960


IMAGES = {"a": (image("a"),), "b": (image("b"), image("c"))}


def configuration(**changes):
    signers = [hexlify(key).decode() for key in PUBLIC_KEYS[:4]]
    return json.dumps(dict({
        "utility_id": "bench", "meter": hexlify(METER).decode(), "wifi": {"ssid": "parwana"},
        "broker": {"host": "broker"}, "chain_id": CHAIN_ID, "payment_ledger":
        hexlify(LEDGER).decode(), "permit_threshold": 2, "permit_signers": signers,
        "utc_offset_s": OFFSET_S, "journal_frames": JOURNAL_FRAMES,
    }, **changes)).encode()  # fmt: skip


def checksum(data):
    """Return what a Config has as its `crc32`."""
    return crc32(data) & 0xFFFFFFFF


CONFIGS = (configuration(), configuration(status_s=120))
CRCS = tuple([checksum(data) for data in CONFIGS])


def prepare():
    """Return a house and the blocks of its meter's flash, with a journal that is nearly full."""
    house = House()
    house.images, house.configs = IMAGES, CRCS[:1]
    house.now_ms = -2 * HOUR_MS
    device = flash.Memory(BLOCKS)
    vfs.VfsLfs2.mkfs(device)
    with service(device):
        for path, data in (
            ("/config.json", CONFIGS[0]), ("/a.fw", IMAGES["a"][0]), ("/b.fw", IMAGES["b"][0]),
            ("/slot", b"a"),
        ):  # fmt: skip
            with open(path, "wb") as file:
                file.write(data)
    Meter(house, device).close()  # the first start
    with service(device):
        for first in range(1, CAPACITY - 30, SEGMENT_RECORDS):
            with open("/journal/%d" % first, "wb") as file:
                for sequence in range(first, min(first + SEGMENT_RECORDS, CAPACITY - 30)):
                    frame = wire.pack_event(wire.EVENT_TAMPER, sequence, T0 - 9000, 0, sequence)
                    house.frames[sequence] = stored(frame)
                    file.write(house.frames[sequence])
    house.next = CAPACITY - 30
    house.online = False
    meter = Meter(house, device)
    meter.give(bundle(until_noon(1)))
    meter.run(HOUR_MS // 2)
    assert house.closed
    meter.until(0)
    meter.close()
    return house, device.data


def day(house, device):
    """Live a day on the device: all that a meter ever writes."""
    meter = Meter(house, device)
    meter.until(1)  # the journal rolls over, and what nobody asked for is overwritten
    house.online = True
    meter.until(2)
    meter.give(bundle(until_noon(2)))
    meter.until(3)
    house.move(ANYHOW)
    house.power_w = 5000
    meter.run(20000, 1000)
    assert not house.closed
    house.power_w = 800
    meter.run(120000)
    assert house.closed
    house.move(STILL)
    house.online = False
    meter.until(8)
    house.online = True
    meter.until(9)
    key = PUBLIC_KEYS[SPARE]
    meter.give(bundle(wire.pack_signer(2, 1, house.time_s(), wire.key_prefix(key)),
                      public_key=key))  # fmt: skip
    meter.until(10)
    meter.give(bundle(wire.pack_time(house.time_s(), house.time_s()), (0, 1)))
    meter.until(11.8)
    house.move(TO_OPEN)
    meter.until(12.2)
    assert not house.closed
    house.move(STILL)
    meter.until(13)
    house.move(TO_CLOSE)
    meter.give(signed(3, True))
    meter.run(60000)
    assert house.closed
    house.move(STILL)
    meter.until(14)
    meter.close()
    house.configs = CRCS
    with service(device):
        replace("/config.json", CONFIGS[1])
    house.configs = CRCS[1:]
    meter = Meter(house, device, RESET)
    meter.until(16)
    meter.close()
    with service(device):  # the steps of flash.sh
        os.remove("/b.fw")
        replace("/b.fw", IMAGES["b"][1])
        house.slots = "ab"
        replace("/slot", b"b try\n")
    meter = Meter(house, device, RESET)
    meter.run(2 * STEP_MS)
    house.slots = "b"
    meter.until(18)
    meter.close()
    with service(device):
        replace("/permit.new", signed(4, True))
    meter = Meter(house, device, RESET)
    meter.until(20)
    assert meter.permits.serial == 4
    meter.close()
    meter = Meter(house, device, WATCHDOG)
    house.online = False
    meter.until(24)
    meter.check(meter.journal.next, 4, 1)
    meter.check_register()
    meter.close()


def until_noon(serial):
    """Return a permit frame, signed the day before, that ends at noon."""
    noon_s = T0 + 12 * 3600
    return permit(serial, issued_at_s=T0 - DAY_S, valid_until_s=noon_s, power_limit_dw=LIMIT_DW)


def signed(serial, rotated):
    """Return the bundle of a permit, signed by those whom the meter trusts by then."""
    frame = permit(serial, days=30 + serial, power_limit_dw=LIMIT_DW)
    if rotated:
        return bundle(frame, (0, SPARE), indices=(0, 2))
    return bundle(frame)


def replace(path, data):
    """Replace a file as the host does, over the console."""
    with open(path + ".new", "wb") as file:
        for start in range(0, len(data), 512):
            file.write(data[start : start + 512])
    os.rename(path + ".new", path)
