"""Each driver of the bench does what it says, and says what it cannot do."""

import os
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial

from boards.virtual.pzem import crc16
from hil_tests.bench import bench as benches
from hil_tests.bench import config
from hil_tests.bench.bridge import Bridge
from hil_tests.bench.line import ConsoleLine, ModemLine
from hil_tests.bench.load import EmulatedLoad, RealLoad
from hil_tests.bench.meter import SerialMeter
from hil_tests.bench.network import Network
from hil_tests.bench.power import CommandPower, RelayPower
from hil_tests.bench.protocols import BenchError
from hil_tests.boardkit import powered_board, store
from hil_tests.services import wait_until
from parwana import REPO
from parwana.meter.repl import MeterError, paste
from parwana.world.clock import WorldClock
from parwana.world.programs import free_port

EXAMPLE = REPO / "hil_tests" / "bench.toml.example"


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """Make a pty; give its near end and the name of the far one."""
    near, far = os.openpty()
    tty.setraw(far)
    os.set_blocking(near, False)
    yield near, os.ttyname(far)
    os.close(near)
    os.close(far)


def modem() -> SimpleNamespace:
    return SimpleNamespace(cts=False, dsr=False, cd=False, ri=False, rts=False, dtr=False)


def test_what_is_pasted_comes_no_faster_than_a_slow_board_reads() -> None:
    came: list[tuple[float, bytes]] = []
    port = SimpleNamespace(write=lambda data: came.append((time.monotonic(), data)))
    line = bytes(range(250)) * 2
    paste(port, line)
    assert b"".join(data for _, data in came) == line
    for index, (time_s, data) in enumerate(came[2:]):
        assert len(data) + len(came[index + 1][1]) <= 128  # half of what an ESP32 keeps
        assert time_s - came[index][0] >= 0.1


# --- power ---


def test_a_relay_board_gets_its_four_bytes(pty: tuple[int, str]) -> None:
    near, far = pty
    relay = RelayPower(far, relay=2)
    relay.off()
    relay.on()
    time.sleep(0.1)
    assert os.read(near, 64) == b"\xa0\x02\x01\xa3" + b"\xa0\x02\x00\xa2"
    relay.close()
    relay = RelayPower(far, normally_closed=False)
    relay.cycle(0.01)
    time.sleep(0.1)
    assert os.read(near, 64) == b"\xa0\x01\x00\xa1" + b"\xa0\x01\x01\xa2"
    relay.close()
    with pytest.raises(BenchError, match=r"power: /nowhere does not open .* check \[power\]"):
        RelayPower("/nowhere")


def test_a_command_switches_and_its_failure_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    power = CommandPower(
        ["sh", "-c", f"echo on >> {log}"], ["sh", "-c", f"echo off >> {log}; echo no plug >&2"]
    )
    power.cycle(0.01)
    assert log.read_text().split() == ["off", "on"]
    broken = CommandPower(["sh", "-c", "echo no plug >&2; exit 3"], [str(tmp_path / "missing")])
    with pytest.raises(BenchError, match=r"power: sh -c .* failed \(3\): no plug"):
        broken.on()
    with pytest.raises(BenchError, match=r"missing did not run .* check \[power\]"):
        broken.off()


# --- lines, load and bridge ---


def test_modem_lines_show_the_contact_and_press_the_button(pty: tuple[int, str]) -> None:
    lines = modem()
    followed: list[bool] = []
    with Bridge(pty[1], lines) as bridge:
        port = serial.serial_for_url(bridge.url, do_not_open=True)
        port.rts = port.dtr = False
        port.open()
        line = ModemLine(port, "cts", "rts", followed.append)
        assert (line.watched, line.has_button, line.closed) == (True, True, False)
        lines.cts = True
        wait_until(lambda: line.closed, "the contact to close", 5)
        lines.cts = False
        wait_until(lambda: not line.closed, "the contact to open", 5)
        assert followed == [False, True, False]
        assert [closed for _, closed in line.changes] == [True, False]
        line.press()
        wait_until(lambda: lines.rts, "the button", 5)
        line.release()
        wait_until(lambda: not lines.rts, "the button to come up", 5)
        line.close()
        turned = ModemLine(port, "!cts", "", followed.append)
        assert turned.closed
        with pytest.raises(BenchError, match=r"no button is wired; see \[line\] button"):
            turned.press()
        turned.close()
        port.close()


def test_a_port_without_lines_is_refused(pty: tuple[int, str]) -> None:
    with serial.Serial(pty[1]) as port, pytest.raises(BenchError, match='driver = "console"'):
        ModemLine(port, "cts", "", lambda _closed: None)


def test_the_console_line_believes_what_the_meter_says() -> None:
    meter = SimpleNamespace(listeners=[])
    line = ConsoleLine(meter, lambda _closed: None)  # type: ignore[arg-type]
    hear = meter.listeners[0]
    assert not line.watched
    hear("1.228 info control: supply: event 10, 6, 1800000206, 0\r")
    assert line.closed
    hear("2.004 info app: status next=6 oldest=1 control=1 restarts=0\r")
    hear("3.004 info uplink: event 9 was heard of\r")
    assert line.closed
    hear("4.228 info control: supply: event 9, 2, 1800000206, 0\r")
    assert [closed for _, closed in line.changes] == [True, False]


@pytest.mark.parametrize("lines", [None, modem()], ids=["socket", "rfc2217"])
def test_the_pzem_answers_over_tcp(pty: tuple[int, str], lines: SimpleNamespace | None) -> None:
    near, far = pty
    os.set_blocking(near, True)
    with Bridge(far, lines) as bridge:
        load = EmulatedLoad(bridge.url, WorldClock())
        load.follow(True)
        load.draw(460)
        wait_until(lambda: bridge.clients, "the emulator", 5)
        time.sleep(0.3)  # for RFC 2217 to be agreed upon
        request = b"\x01\x04\x00\x00\x00\x0a"
        os.write(near, request + crc16(request))
        answer = b""
        while len(answer) < 25:
            answer += os.read(near, 64)
        assert answer[:3] == b"\x01\x04\x14"
        assert answer[9:11] == (4600).to_bytes(2, "big")
        assert load.requests == len(load.request_times_s) == 1
        load.close()


# --- the meter ---


def test_a_wait_says_what_came_instead_and_where_the_log_is(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with powered_board(tmp_path / "board") as board, Bridge(board.serial_port) as bridge:
        meter = SerialMeter(bridge.url, log)
        meter.type(b"6 * 7\r")
        assert meter.wait_for(r"\n(\d+)\r", 10)[1] == b"42"
        meter.type(b"'a' + 'pple'\r")
        with pytest.raises(TimeoutError) as caught:
            meter.wait_for("pear", 0.5)
        assert "apple" in str(caught.value)
        assert str(log) in str(caught.value)
        board.power_off()
        meter.close()
    assert "apple" in log.read_text()


@pytest.mark.parametrize("lines", [None, modem()], ids=["socket", "rfc2217"])
def test_the_repl_is_there_over_tcp(tmp_path: Path, lines: SimpleNamespace | None) -> None:
    with (
        powered_board(tmp_path / "board") as board,
        Bridge(board.serial_port, lines) as bridge,
    ):
        meter = SerialMeter(bridge.url, tmp_path / "console.log")
        with meter.repl() as repl:
            assert repl.ask("6 * 7") == 42
            repl.write("/bytes", bytes(range(256)) * 9)
            assert repl.read("/bytes") == bytes(range(256)) * 9
        meter.close()


def test_secrets_of_the_configuration_are_not_logged(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with powered_board(tmp_path / "board") as board:
        store(board, "/config.json", '{"password": "hush-hush"}')
        meter = SerialMeter(board.serial_port, log)
        with meter.repl() as repl:
            assert repl.read("/config.json") == b'{"password": "hush-hush"}'
        meter.close()
    text = log.read_text(errors="replace")
    assert "raw REPL" in text
    assert "hush" not in text


def test_somebody_elses_meter_is_not_wiped(tmp_path: Path) -> None:
    with powered_board(tmp_path / "board") as board:
        store(board, "/config.json", '{"utility_id": "kalpa"}')
        meter = SerialMeter(board.serial_port, tmp_path / "console.log")
        bench = benches.Bench(meter, None, None, None, None, WorldClock())
        with pytest.raises(BenchError, match="belongs to somebody"):
            bench.fresh()
        meter.close()


def test_a_port_that_comes_back_is_opened_again(tmp_path: Path, pty: tuple[int, str]) -> None:
    near, far = pty
    log = tmp_path / "console.log"
    with Bridge(far) as first:
        meter = SerialMeter(first.url, log)
    wait_until(lambda: "the port is gone" in log.read_text(), "the port to go", 10)
    with Bridge(far, tcp_port=first.tcp_port):
        wait_until(lambda: "the port is back" in log.read_text(), "the port to return", 10)
        os.write(near, b"hello again\r\n")
        meter.wait_for("hello again", 10)
        meter.close()
    with pytest.raises(MeterError):
        SerialMeter(str(tmp_path / "nowhere"), log)


def test_the_network_carries_to_the_store_and_back(tmp_path: Path) -> None:
    with Network(tmp_path, "127.0.0.1", free_port(), "bench", WorldClock()) as network:
        network.start(bytes(20))
        network.send(bytes(20), bytes(105))
        assert network.store.runs(bytes(20)) == []


# --- bench.toml ---


def test_a_bench_is_put_together_from_its_file(tmp_path: Path, pty: tuple[int, str]) -> None:
    file = tmp_path / "bench.toml"
    with powered_board(tmp_path / "board") as board:
        file.write_text(
            f'[meter]\nport = "{board.serial_port}"\ncontactor = "plain"\n'
            f'[power]\ndriver = "lcus"\nport = "{pty[1]}"\n'
            '[load]\ndriver = "real"\nwatts = 60\n[line]\ndriver = "console"\n'
        )
        bench = benches.from_file(file, tmp_path)
        assert isinstance(bench.power, RelayPower)
        assert isinstance(bench.line, ConsoleLine)
        assert isinstance(bench.load, RealLoad)
        assert (bench.load.watts, bench.load.tolerance, bench.blind) == (60, 0.05, False)
        assert bench.configuration(bytes(20))["contactor"] == "plain"
        assert bench.why == {"network": "none in bench.toml; see docs/bench.md"}
        bench.close()
        file.write_text(
            f'[meter]\nport = "{board.serial_port}"\n'
            f'[line]\ndriver = "modem"\nport = "{pty[1]}"\ncontact = "cts"\n'
        )
        with pytest.raises(BenchError, match="tells no cts"):
            benches.from_file(file, tmp_path)


def test_the_example_is_a_bench() -> None:
    parts = config.load(EXAMPLE)
    assert parts.meter.port
    assert isinstance(parts.load, config.PzemPart)


def test_a_bench_may_lack_everything_but_its_meter() -> None:
    parts = config.parse({"meter": {"port": "/dev/ttyUSB0"}, "power": {"driver": "none"}})
    assert (parts.load, parts.power, parts.line, parts.network) == (None,) * 4


METER = {"meter": {"port": "x"}}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, r"\[meter\] is missing"),
        ({"meter": {}}, r"\[meter\] port: missing; write a text"),
        ({"meter": {"port": 3}}, r"\[meter\] port: write a text"),
        ({"meter": {"port": "x", "baud": 9600}}, r"no key 'baud'; there are: port, contactor"),
        ({"meter": {"port": "x", "contactor": "big"}}, "contactor: write"),
        ({"meter": {"port": "x", "pins": {"button": "33"}}}, "pins: write a table of GPIO"),
        ({"metre": {"port": "x"}}, r"no section \[metre\]; there are meter, load"),
        ({**METER, "load": 3}, r"write \[load\] as a section"),
        ({**METER, "load": {"driver": "lamp"}}, r"\[load\] driver: write one of pzem, real, none"),
        ({**METER, "load": {"port": "y"}}, r"\[load\] driver: write one of"),
        ({**METER, "load": {"driver": ["pzem"]}}, r"\[load\] driver: write one of"),
        ({**METER, "load": {"driver": "pzem"}}, r"\[load\] port: missing"),
        ({**METER, "load": {"driver": "pzem", "port": "y", "unit_id": 300}}, "1 to 247"),
        ({**METER, "load": {"driver": "real", "watts": True}}, "watts: write a number"),
        ({**METER, "power": {"driver": "none", "on": ["x"]}}, "driver: write one of"),
        ({**METER, "power": {"driver": "command", "on": "x", "off": []}}, "on: write a list"),
        ({**METER, "power": {"driver": "command", "on": [], "off": []}}, "write a command"),
        ({**METER, "power": {"driver": "lcus", "port": "y", "relay": 9}}, "relay: write 1 to 8"),
        ({**METER, "line": {"driver": "modem", "contact": "pin"}}, "contact: write one of cts"),
        ({**METER, "line": {"driver": "modem", "contact": "cts"}}, r"\[line\] port: missing"),
        (
            {**METER, "line": {"driver": "modem", "contact": "cts", "port": "y", "button": "cts"}},
            "button: write one of rts, dtr",
        ),
        ({**METER, "network": {"driver": "wifi", "ssid": "home"}}, r"host: missing"),
        ({**METER, "world": {"clock": "fast"}}, "start_s:real_start_s:factor"),
    ],
)
def test_what_is_not_understood_is_refused(data: dict[str, object], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        config.parse(data)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"there is no .*; copy hil_tests/bench.toml.example"):
        config.load(tmp_path / "bench.toml")
    with pytest.raises(BenchError, match="cannot be read: Is a directory"):
        config.load(tmp_path)
    (tmp_path / "bench.toml").write_text("[meter")
    with pytest.raises(BenchError, match="is not TOML"):
        config.load(tmp_path / "bench.toml")
