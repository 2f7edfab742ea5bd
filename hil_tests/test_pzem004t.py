"""The driver and the register on the emulated bus: real bytes, real time, every fault."""

import time
from collections.abc import Iterator

import pytest
import serial
from pzem004t import Pzem004T, SensorError, Snapshot  # type: ignore[import-not-found]
from register import Register  # type: ignore[import-not-found]

from boards.virtual.load import House, Profile
from boards.virtual.pzem import FAULTS, Pzem, PzemEmulator
from hil_tests.boards.test_pzem_emulator import Bus
from parwana.world.clock import WorldClock

HOUSE_W = 1150.0
TIMEOUT_S = 5.0


@pytest.fixture
def line() -> Iterator[Bus]:
    pair = Bus()
    yield pair
    pair.close()


@pytest.fixture
def emulator(line: Bus) -> Iterator[PzemEmulator]:
    clock = WorldClock.starting(1_767_225_600.0, 1.0)
    house = House(Profile([HOUSE_W], clock.now()), clock)
    sensors = [Pzem(house, 1, refresh_s=0.0), Pzem(house, 7, voltage_v=240.0, refresh_s=0.0)]
    with PzemEmulator(line.sensor, sensors, reply_s=0.01) as running:
        yield running


@pytest.fixture
def uart(line: Bus) -> Iterator[serial.Serial]:
    with serial.Serial(line.master, 9600, timeout=0) as port:
        yield port


def sensor(uart: serial.Serial, unit_id: int = 1, ct_ratio: int = 1) -> Pzem004T:
    return Pzem004T(uart, unit_id, ct_ratio, lambda: time.monotonic_ns() // 1_000_000, 300)


def poll(pzem: Pzem004T) -> Snapshot:
    pzem.request()
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        snapshot = pzem.receive()
        if snapshot is not None:
            return snapshot
        time.sleep(0.002)
    pytest.fail(f"the driver neither answered nor gave up within {TIMEOUT_S} s")


def test_snapshot(uart: serial.Serial, emulator: PzemEmulator) -> None:
    emulator.sensors[0].set_energy_wh(1_234_567)
    snapshot = poll(sensor(uart))
    assert snapshot == Snapshot(2300, 5263, 11500, snapshot.energy_wh, 500, 95, False)
    assert 1_234_567 <= snapshot.energy_wh <= 1_234_570


def test_two_sensors_on_one_bus(uart: serial.Serial, emulator: PzemEmulator) -> None:
    assert emulator.sensors
    one, seven = sensor(uart), sensor(uart, 7, 20)
    for _ in range(5):
        assert poll(one).voltage_dv == 2300
        snapshot = poll(seven)
        assert (snapshot.voltage_dv, snapshot.power_dw) == (2400, 230_000)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_one_poll_at_most(
    uart: serial.Serial, emulator: PzemEmulator, fault: str
) -> None:
    pzem = sensor(uart)
    good = poll(pzem)
    for _ in range(3):
        emulator.inject(fault)
        if fault == "stale_bytes":  # the reply stands behind them
            assert poll(pzem)[:3] == good[:3]
            continue
        with pytest.raises(SensorError, match="unit 1: "):
            poll(pzem)
        assert poll(pzem)[:3] == good[:3]


def test_outage_is_silence_not_zero(uart: serial.Serial, emulator: PzemEmulator) -> None:
    pzem = sensor(uart)
    emulator.sensors[0].mains = False
    with pytest.raises(SensorError, match="0 of 25 bytes within 300 ms"):
        poll(pzem)
    emulator.sensors[0].mains = True
    assert poll(pzem).power_dw == 11500


def test_a_late_answer_is_not_taken_for_the_next(
    uart: serial.Serial, emulator: PzemEmulator
) -> None:
    pzem = sensor(uart)
    pzem.request()
    time.sleep(0.1)
    # The answer is there, nobody looked, and the house changes.
    emulator.sensors[0].voltage_v = 111.0
    assert poll(pzem).voltage_dv == 1110


@pytest.mark.parametrize(
    ("before_wh", "after_wh", "code"), [(9_999_999, 0, 3), (500_000, 0, 4), (500_000, 70_000, 5)]
)
def test_register_over_wrap_reset_and_swap(
    uart: serial.Serial, emulator: PzemEmulator, before_wh: int, after_wh: int, code: int
) -> None:
    pzem, register = sensor(uart), Register(None, [(1, 1)])
    emulator.sensors[0].set_energy_wh(before_wh)
    assert register.update(1, poll(pzem).energy_wh, None) == []
    emulator.sensors[0].set_energy_wh(after_wh)
    events = []
    for elapsed_s in (1, 30, 30):
        events += register.update(1, poll(pzem).energy_wh, elapsed_s)
    assert [event[:2] for event in events] == [(code, 1)]
    assert register.energy_wh <= 3
