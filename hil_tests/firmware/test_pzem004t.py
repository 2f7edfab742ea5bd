"""The driver never waits, never believes a damaged reply, never mixes two of them.

Each fault at each byte of an exchange: test_sensorfaults.py.
"""

import struct

from crc16 import crc16
from pzem004t import Pzem004T, SensorError, Snapshot

from hil_tests.firmware.check import raises

REQUEST = b"\x01\x04\x00\x00\x00\x0a\x70\x0d"


class Bus:
    """A UART whose input the test fills; idle is None as on an ESP32, or 0 or b'' elsewhere."""

    def __init__(self, idle=None):
        self.idle = idle
        self.input = b""
        self.written = []
        self.reads = 0

    def readinto(self, buffer):
        self.reads += 1
        got = self.input[: len(buffer)]
        if not got:
            return self.idle
        self.input = self.input[len(got) :]
        buffer[: len(got)] = got
        return len(got)

    def write(self, data):
        self.written.append(bytes(data))
        return len(data)


class Ticks:
    def __init__(self, now=0):
        self.now = now

    def __call__(self):
        return self.now


def reply(registers, unit_id=1):
    body = bytes([unit_id, 4, 20]) + struct.pack(">10H", *registers)
    crc = crc16(body)
    return body + bytes([crc & 0xFF, crc >> 8])


# 230.5 V, 66.000 A (low word first), 15,213.5 W, 70,000 Wh, 49.9 Hz, 0.98, alarm
REGISTERS = (2305, 464, 1, 21063, 2, 4464, 1, 499, 98, 0xFFFF)
SNAPSHOT = Snapshot(2305, 66_000, 152_135, 70_000, 499, 98, True)


def sensor(bus, ct_ratio=1, ticks=None, **others):
    return Pzem004T(bus, 1, ct_ratio, ticks or Ticks(), **others)


def test_snapshot_whole():
    bus = Bus()
    pzem = sensor(bus)
    pzem.request()
    assert bus.written == [REQUEST]
    assert pzem.receive() is None
    bus.input = reply(REGISTERS)
    assert pzem.receive() == SNAPSHOT


def test_snapshot_in_every_pair_of_pieces():
    whole = reply(REGISTERS)
    for idle in (None, 0):
        for cut in range(1, len(whole)):
            bus = Bus(idle)
            pzem = sensor(bus)
            pzem.request()
            bus.input = whole[:cut]
            assert pzem.receive() is None
            assert pzem.receive() is None
            bus.input = whole[cut:]
            assert pzem.receive() == SNAPSHOT


def test_ct_ratio():
    bus = Bus()
    pzem = sensor(bus, 20)
    pzem.request()
    bus.input = reply(REGISTERS)
    snapshot = pzem.receive()
    assert snapshot.current_ma == 1_320_000
    assert snapshot.power_dw == 3_042_700
    assert snapshot.energy_wh == 1_400_000
    assert snapshot.voltage_dv == 2305


def test_greatest_energy():
    bus = Bus()
    pzem = sensor(bus)
    pzem.request()
    bus.input = reply((2300, 0, 0, 0, 0, 0xFFFF, 0xFFFF, 500, 0, 0))
    assert pzem.receive() == Snapshot(2300, 0, 0, 0xFFFFFFFF, 500, 0, False)


def test_stale_bytes_are_flushed():
    bus = Bus()
    pzem = sensor(bus)
    for stale in (b"\0", reply(REGISTERS)[:7], reply(REGISTERS) * 3):
        bus.input = stale
        pzem.request()
        assert bus.input == b""
        assert pzem.receive() is None
        bus.input = reply(REGISTERS)
        assert pzem.receive() == SNAPSHOT


def test_half_a_reply_is_forgotten_at_the_next_request():
    bus = Bus()
    pzem = sensor(bus)
    pzem.request()
    bus.input = reply(REGISTERS)[:12]
    assert pzem.receive() is None
    pzem.request()
    bus.input = reply((0,) * 10)
    assert pzem.receive() == Snapshot(0, 0, 0, 0, 0, 0, False)


def test_a_babbling_bus_does_not_hold_us():
    class Babble(Bus):
        def readinto(self, buffer):
            self.reads += 1
            return len(buffer)

    bus = Babble()
    ticks = Ticks()
    pzem = sensor(bus, ticks=ticks)
    pzem.request()
    assert bus.reads < 100
    assert pzem.receive() is None
    ticks.now = 501
    with raises(SensorError, "others passed over"):
        pzem.receive()


def test_time_out():
    # The counter of a board wraps at 2**30.
    for start in (0, 5_000, (1 << 30) - 100):
        ticks = Ticks(start)
        bus = Bus()
        pzem = sensor(bus, ticks=ticks, timeout_ms=300)
        pzem.request()
        bus.input = reply(REGISTERS)[:9]
        ticks.now = (start + 300) % (1 << 30)
        assert pzem.receive() is None
        ticks.now = (start + 301) % (1 << 30)
        with raises(SensorError, "9 of 25 bytes within 300 ms"):
            pzem.receive()
        with raises(SensorError, "call request()"):
            pzem.receive()


def test_a_reply_that_is_whole_is_taken_however_late_we_look():
    ticks = Ticks()
    bus = Bus()
    pzem = sensor(bus, ticks=ticks)
    pzem.request()
    bus.input = reply(REGISTERS)
    ticks.now = 60_000
    assert pzem.receive() == SNAPSHOT


def test_refused():
    good = reply(REGISTERS)
    exception = b"\x01\x84\x02\xc2\xc1"
    for answer, words in (
        (good[:-1] + bytes([good[-1] ^ 1]), "CRC"),
        (reply(REGISTERS, unit_id=2), "others passed over"),
        (exception, "exception 2"),
        (exception[:4] + b"\0", "CRC"),
        (b"\xff" + good[:-1], "24 of 25 bytes within 500 ms, others passed over"),
        (reply((2300, 0, 0, 0, 0, 0, 0, 500, 101, 0)), "range"),
        (reply((5001, 0, 0, 0, 0, 0, 0, 500, 100, 0)), "range"),
        (reply((2300, 0, 4, 0, 0, 0, 0, 500, 100, 0)), "range"),
        (reply((2300, 0, 0, 0, 8, 0, 0, 500, 100, 0)), "range"),
        (reply((2300, 0, 0, 0, 0, 0, 0, 1001, 100, 0)), "range"),
    ):
        bus = Bus()
        ticks = Ticks()
        pzem = sensor(bus, ticks=ticks)
        pzem.request()
        bus.input = answer
        with raises(SensorError, words):
            snapshot = pzem.receive()
            if snapshot is not None:
                print("not refused:", answer, snapshot)
            ticks.now = 501
            pzem.receive()
        # The next poll starts afresh.
        bus.input = b""
        pzem.request()
        bus.input = good
        assert pzem.receive() == SNAPSHOT


def test_what_stands_around_a_reply_is_passed_over():
    good = reply(REGISTERS)
    for before in (b"\0", b"\1", REQUEST, good[:24], good[9:], reply(REGISTERS, unit_id=2)):
        bus = Bus()
        pzem = sensor(bus)
        pzem.request()
        bus.input = before + good + b"\0"
        snapshot = pzem.receive() or pzem.receive()
        assert snapshot == SNAPSHOT, before


def test_every_flipped_bit_is_refused():
    good = reply(REGISTERS)
    ticks = Ticks()
    bus = Bus()
    pzem = sensor(bus, ticks=ticks)
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        bus.input = b""
        pzem.request()
        bus.input = bytes(damaged)
        with raises(SensorError):
            assert pzem.receive() is None
            ticks.now += 501
            pzem.receive()
