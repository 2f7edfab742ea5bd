"""Inside a virtual board, `machine` and `time` are an ESP32's."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import serial

from boards.virtual.board import VirtualBoard
from boards.virtual.lines import Wiring
from hil_tests.boardkit import (
    JOIN,
    execute,
    executing,
    mpremote,
    powered_board,
    restart,
)
from parwana import REPO
from parwana.world.clock import WorldClock


def test_the_rtc_starts_at_2000_survives_resets_and_not_the_power(board: VirtualBoard) -> None:
    now = "import time, machine; print(time.gmtime()[0], machine.RTC().memory())"
    assert execute(board, now).startswith("2000 b''")
    execute(
        board,
        "import machine; r = machine.RTC(); r.datetime((2026, 11, 22, 6, 10, 30, 0, 0))\n"
        "r.memory(b'note')",
    )
    restart(board)
    assert execute(board, now) == "2026 b'note'\n"
    board.reset()
    assert execute(board, now) == "2026 b'note'\n"
    board.power_off()
    board.power_on()
    assert execute(board, now) == "2000 b''\n"


def test_time_is_whole_seconds_from_2000(board: VirtualBoard) -> None:
    assert (
        execute(
            board,
            "import time, machine\n"
            "print(time.gmtime(0), time.mktime((2024, 2, 29, 12, 0, 0, 0, 0)))\n"
            "machine.RTC().datetime((2024, 2, 29, 3, 23, 59, 59, 0))\n"
            "print(type(time.time()), time.mktime(time.localtime()) == time.time())\n"
            "print(time.time_ns() // 10**9 == time.time())\n"
            "d = machine.RTC().datetime(); print(d[:7], 0 <= d[7] < 1000000)",
        )
        == "(2000, 1, 1, 0, 0, 0, 5, 1) 762523200\n<class 'int'> True\nTrue\n"
        "(2024, 2, 29, 3, 23, 59, 59) True\n"
    )


def test_the_calendar_is_right_up_to_2068_and_ends_there(board: VirtualBoard) -> None:
    code = (
        "import time\nfor s in range(0, 1 << 31, 9999991): print(s, time.gmtime(s))\n"
        "try: time.gmtime(1 << 31)\nexcept OverflowError as e: print(e)"
    )
    *days, end = execute(board, code).splitlines()
    for line in days:
        seconds, _, told = line.partition(" ")
        moment = datetime.fromtimestamp(int(seconds) + 946684800, UTC).timetuple()
        assert told == str(tuple(moment)[:8])
    assert len(days) > 200
    assert end == "overflow converting long int to machine word"


def test_the_firmware_sets_the_clock_as_far_as_the_calendar_goes(board: VirtualBoard) -> None:
    mpremote(board, "cp", str(REPO / "boards/esp32/board.py"), ":board.py")
    said = execute(
        board,
        "import board\nfor s in (1790000000, 0xffffffff): board.set_wall(s); print(board.wall())",
    )
    assert said == "1790000000\n3094168447\n"


def test_an_input_only_pin_has_no_pull_up(board: VirtualBoard) -> None:
    code = "from machine import Pin; print([Pin(n, Pin.IN, Pin.PULL_UP)() for n in {}])"
    assert execute(board, code.format("(33, 34, 39)")) == "[1, 0, 0]\n"
    board.drive(34, 1)
    assert execute(board, code.format("(34,)")) == "[1]\n"


def test_a_fast_world_speeds_the_rtc_and_not_the_ticks(tmp_path: Path) -> None:
    clock = WorldClock.starting(1_800_000_000, 1000)
    with powered_board(tmp_path, clock=clock) as board:
        seconds, ticks = map(
            int,
            execute(
                board,
                "import time\na, t = time.time(), time.ticks_ms()\ntime.sleep_ms(500)\n"
                "print(time.time() - a, time.ticks_diff(time.ticks_ms(), t))",
            ).split(),
        )
        assert 500 <= ticks < 700
        assert abs(seconds - ticks) <= 30
        stamp = int(execute(board, JOIN + "import ntptime; print(ntptime.time())"))
        assert abs(stamp + 946684800 - clock.now()) < 1000


@pytest.mark.parametrize("waiting", ["time.sleep(60)", "asyncio.run(idle())", "spin()"])
def test_an_interrupt_comes_promptly_whatever_the_program_does(
    board: VirtualBoard, waiting: str
) -> None:
    code = f"""
import machine, time, asyncio
def spin():
    while True: pass
async def idle():
    await asyncio.sleep(60)
pin = machine.Pin(33, machine.Pin.IN, machine.Pin.PULL_UP)
edges = []
def edge(pin):
    edges.append(pin())
    print('edge', pin(), time.ticks_ms())
    if len(edges) == 2: machine.reset()
pin.irq(edge, machine.Pin.IRQ_FALLING | machine.Pin.IRQ_RISING)
print('ready', pin.value())
{waiting}
"""
    mpremote(board, "exec", "--no-follow", code)
    board.wait_console("ready 1", 5)
    started_s = time.monotonic()
    board.press("button")
    board.wait_console("edge 0", 2)
    board.release("button")
    board.wait_console("edge 1", 2)
    assert time.monotonic() - started_s < 0.5


def test_pins_refuse_what_an_esp32_refuses(board: VirtualBoard) -> None:
    assert "invalid pin" in execute(board, "import machine; machine.Pin(24)", fails=True)
    assert "can only be input" in execute(
        board, "import machine; machine.Pin(34, machine.Pin.OUT)", fails=True
    )


def test_a_latching_contactor_stays_where_the_last_pulse_put_it(board: VirtualBoard) -> None:
    pulse = "import machine, time; p = machine.Pin({}, machine.Pin.OUT); p(1); p(0)"
    before = board.clock.now()
    execute(board, pulse.format(25))
    assert board.contactor
    restart(board)
    board.power_off()
    assert board.contactor
    board.power_on()
    execute(board, pulse.format(26))
    assert not board.contactor
    changes = board.contactor_changes
    assert [closed for _, closed in changes] == [True, False]
    assert before <= changes[0][0] <= changes[1][0] <= board.clock.now()


def test_a_plain_contactor_is_held_through_a_reset_but_not_without_power(tmp_path: Path) -> None:
    wiring = Wiring(contactor="plain", sense=27)
    sense = "import machine; print(machine.Pin(27, machine.Pin.IN, machine.Pin.PULL_UP)())"
    told: list[bool] = []
    with powered_board(tmp_path, wiring=wiring, on_contactor=told.append) as board:
        assert execute(board, sense) == "1\n"
        execute(board, "import machine; machine.Pin(25, machine.Pin.OUT, value=1, hold=True)")
        restart(board)
        assert board.contactor
        assert execute(board, sense) == "0\n"
        assert execute(board, "import machine; print(machine.Pin(25)())") == "1\n"
        execute(board, "import machine; machine.Pin(25, machine.Pin.OUT, value=1, hold=False)")
        mpremote(board, "soft-reset")
        assert board.contactor
        restart(board)
        assert not board.contactor
        execute(board, "import machine; machine.Pin(25, machine.Pin.OUT, value=1, hold=True)")
        board.power_off()
        assert not board.contactor
    assert told == [True, False, True, False]


def test_timers_run(board: VirtualBoard) -> None:
    assert (
        execute(
            board,
            "import machine, time\nn, once = [], []\n"
            "t = machine.Timer(0, period=100, callback=n.append)\n"
            "machine.Timer(1).init(period=50, mode=machine.Timer.ONE_SHOT, callback=once.append)\n"
            "time.sleep_ms(550)\nt.deinit()\na = len(n)\ntime.sleep_ms(300)\n"
            "print(4 <= a <= 6, len(n) == a, len(once))",
        )
        == "True True 1\n"
    )


def test_uart_bytes_pass_unchanged_both_ways(board: VirtualBoard) -> None:
    with (
        serial.Serial(board.uart_port, timeout=5) as far,
        executing(
            board,
            "import machine, time\nu = machine.UART(2, 9600, tx=17, rx=16, timeout=0)\n"
            "print('idle', u.any(), u.read(), u.readinto(bytearray(4)))\n"
            "u.write(bytes(range(256))); b = b''\n"
            "while len(b) < 256: b += u.read(100) or b''\n"
            "print('same', b == bytes(range(256)))",
        ),
    ):
        board.wait_console("idle 0 None None", 5)
        assert far.read(256) == bytes(range(256))
        far.write(bytes(range(256)))
        board.wait_console("same True", 5)


def test_uart_waits_for_its_timeout_and_can_be_polled(board: VirtualBoard) -> None:
    code = """
import machine, time, asyncio, select
u = machine.UART(2, 9600, timeout=200)
t = time.ticks_ms(); print(u.read(1), 190 < time.ticks_diff(time.ticks_ms(), t) < 400)
p = select.poll(); p.register(u, select.POLLIN); print(len(p.poll(50)))
async def main():
    print('listening'); print(await asyncio.StreamReader(u).read(5))
asyncio.run(main())
"""
    with serial.Serial(board.uart_port) as far, executing(board, code) as process:
        board.wait_console("None True\r\n0\r\nlistening", 5)
        far.write(b"hello")
        board.wait_console("b'hello'", 5)
        assert process.wait(5) == 0


def test_what_the_sensor_says_without_power_is_lost(board: VirtualBoard) -> None:
    board.power_off()
    with serial.Serial(board.uart_port) as far:
        far.write(b"lost")
        time.sleep(0.1)
        board.power_on()
    assert execute(board, "import machine; print(machine.UART(2, 9600).read())") == "None\n"
