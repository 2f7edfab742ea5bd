"""The PZEM emulator against a Modbus master that is not ours (pymodbus)."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from functools import partial

import pytest
import serial
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusIOException

from boards.virtual.load import Feeder, House, Profile
from boards.virtual.pzem import FAULTS, Pzem, PzemEmulator, PzemError, crc16
from hil_tests.services import wait_until
from parwana.world.clock import WorldClock

FACTOR = 3600.0
HOUSE_W = 1150.0


class Bus:
    """Two ptys back to back: the master's end and the sensor's."""

    def __init__(self) -> None:
        self._fds = [*os.openpty(), *os.openpty()]
        for fd in self._fds:
            tty.setraw(fd)
        self.master, self.sensor = os.ttyname(self._fds[1]), os.ttyname(self._fds[3])
        self._stop = threading.Event()
        self._pump = threading.Thread(target=self._copy, daemon=True)
        self._pump.start()

    def _copy(self) -> None:
        one, other = self._fds[0], self._fds[2]
        while not self._stop.is_set():
            for fd in select.select([one, other], [], [], 0.1)[0]:
                os.write(other if fd == one else one, os.read(fd, 512))

    def close(self) -> None:
        self._stop.set()
        self._pump.join(timeout=5)
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def bus() -> Iterator[Bus]:
    pair = Bus()
    yield pair
    pair.close()


@pytest.fixture
def house() -> House:
    clock = WorldClock.starting(1_767_225_600.0, FACTOR)
    return House(Profile([HOUSE_W], clock.now()), clock)


@pytest.fixture
def emulator(bus: Bus, house: House) -> Iterator[PzemEmulator]:
    sensors = [Pzem(house, 1, refresh_s=0.0), Pzem(Feeder([house, house]), 7, refresh_s=0.0)]
    with PzemEmulator(bus.sensor, sensors, reply_s=0.01) as running:
        yield running


@pytest.fixture
def master(bus: Bus, emulator: PzemEmulator) -> Iterator[ModbusSerialClient]:
    assert emulator.sensors
    client = ModbusSerialClient(bus.master, baudrate=9600, timeout=0.4, retries=0)
    assert client.connect()
    yield client
    client.close()


def registers(master: ModbusSerialClient, unit_id: int = 1) -> list[int]:
    answer = master.read_input_registers(0, count=10, device_id=unit_id)
    assert not answer.isError(), answer
    return list(answer.registers)


def test_registers_are_scaled_as_the_manual_says(master: ModbusSerialClient) -> None:
    words = registers(master)
    assert words[0] == 2300  # 0.1 V
    assert words[1] | words[2] << 16 == round(1000 * HOUSE_W / 230 / 0.95)
    assert words[3] | words[4] << 16 == 11500  # 0.1 W
    assert words[7:] == [500, 95, 0]
    assert registers(master, 7)[3] == 23000  # the feeder carries both loads


def test_energy_follows_the_worlds_clock(master: ModbusSerialClient, house: House) -> None:
    before = registers(master)
    time.sleep(0.5)
    after = registers(master)
    gained = after[5] + (after[6] << 16) - before[5] - (before[6] << 16)
    assert 0.4 * HOUSE_W < gained < 5 * HOUSE_W
    assert abs(after[5] + (after[6] << 16) - house.energy_wh()) < HOUSE_W


def test_open_contactor_reads_zero_and_counts_nothing(
    master: ModbusSerialClient, house: House
) -> None:
    house.closed = False
    first = registers(master)
    assert first[1:5] == [0, 0, 0, 0]
    assert first[0] == 2300
    time.sleep(0.1)
    assert registers(master)[5:7] == first[5:7]


def test_reset_wrap_alarm_and_unit_id(
    master: ModbusSerialClient, emulator: PzemEmulator, house: House, bus: Bus
) -> None:
    house.closed = False
    emulator.sensors[0].set_energy_wh(9_999_999)
    assert registers(master)[5:7] == [9_999_999 & 0xFFFF, 9_999_999 >> 16]
    house.closed = True
    time.sleep(0.1)
    assert registers(master)[6] == 0
    house.closed = False
    master.close()
    with serial.Serial(bus.master, 9600, timeout=0.5) as line:
        line.write(b"\x01\x42" + crc16(b"\x01\x42"))
        assert line.read(4) == b"\x01\x42\x80\x11"
    assert master.connect()
    assert registers(master)[5:7] == [0, 0]
    assert not master.write_register(1, 1000, device_id=1).isError()
    house.closed = True
    assert registers(master)[9] == 0xFFFF
    assert not master.write_register(2, 9, device_id=1).isError()
    assert registers(master, 9)[0] == 2300


@pytest.mark.parametrize(
    ("address", "count"), [(0, 11), (9, 2), (100, 1)], ids=["long", "past", "far"]
)
def test_illegal_addresses_are_modbus_exceptions(
    master: ModbusSerialClient, address: int, count: int
) -> None:
    answer = master.read_input_registers(address, count=count, device_id=1)
    assert answer.isError()
    assert answer.exception_code == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_spoils_one_answer(
    master: ModbusSerialClient, emulator: PzemEmulator, fault: str
) -> None:
    emulator.inject(fault)
    try:
        answer = master.read_input_registers(0, count=10, device_id=1)
    except ModbusIOException:
        answer = None
    if fault == "stale_bytes":  # pymodbus resynchronises; the raw line shows the bytes
        assert not emulator.faults
    else:
        assert answer is None or answer.isError()
    time.sleep(0.1)
    assert registers(master)[0] == 2300


def test_silence_without_mains(master: ModbusSerialClient, emulator: PzemEmulator) -> None:
    emulator.sensors[0].mains = False
    with pytest.raises(ModbusIOException):
        master.read_input_registers(0, count=10, device_id=1)
    assert registers(master, 7)[0] == 2300


def test_noise_and_other_addresses_get_no_answer(bus: Bus, emulator: PzemEmulator) -> None:
    with serial.Serial(bus.master, 9600, timeout=0.3) as line:
        for request in (b"\x55" * 40, b"\x01\x04\x00\x00\x00\x0a\x00\x00", b"\x05\x42\xc3\x70"):
            line.write(request)
            assert line.read(64) == b""
            time.sleep(0.1)
    assert emulator.requests <= 1


def test_refuses_what_no_bus_can_hold(house: House, bus: Bus) -> None:
    for units in ([1, 1], [1, 2, 3, 4], []):
        with pytest.raises(PzemError):
            PzemEmulator(bus.sensor, [Pzem(house, unit) for unit in units])
    with pytest.raises(PzemError):
        Pzem(house, 0xF8)


def test_runs_by_itself_from_the_command_line(bus: Bus) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "boards.virtual.pzem", "--port", bus.sensor, "--watts", "460"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    client = ModbusSerialClient(bus.master, baudrate=9600, timeout=1, retries=3)
    try:
        assert process.stdin is not None
        assert process.stdout is not None

        def says(*lines: str) -> list[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("".join(line + "\n" for line in lines))
            process.stdin.flush()
            return [process.stdout.readline() for _ in lines]

        def measures(power_dw: int) -> bool:
            return registers(client)[3] == power_dw

        bad = ("nonsense", "fault nothing", "fault silence x", "watts", "watts nan", "watts 23001")
        assert [line[0] for line in says("open", *bad, "close")] == ["o", *"?" * len(bad), "o"]
        assert client.connect()
        assert registers(client)[3] == 4600
        # A PZEM looks at its line once a second.
        changes = ["watts 800"], ["open"], ["watts 900", "close"]
        for commands, power_dw in zip(changes, (8000, 0, 9000), strict=True):
            says(*commands)
            wait_until(partial(measures, power_dw), f"{power_dw} dW")
    finally:
        client.close()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_port_that_is_not_there_and_ctrl_c_show_no_traceback(bus: Bus) -> None:
    command = [sys.executable, "-m", "boards.virtual.pzem", "--watts", "1", "--port"]
    wrong = subprocess.run(
        [*command, "/dev/nowhere"], capture_output=True, text=True, timeout=30, check=False
    )
    assert wrong.returncode == 1
    (line,) = wrong.stderr.splitlines()
    assert line.startswith("parwana: ")
    for stop in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*command, bus.sensor],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ok 0 Wh, 0 requests\n"
        process.send_signal(stop)
        assert process.communicate(timeout=10) == ("", None)
        assert process.returncode == 0


def test_a_profile_repeats_and_integrates() -> None:
    profile = Profile([100, 200, 400], 1000.0)
    assert [profile.power_w(1000 + 900 * i) for i in range(5)] == [100, 200, 400, 100, 200]
    assert profile.energy_ws(1000 + 900 * 7 + 450) == 900 * (2 * 700 + 100) + 450 * 200
