"""Inside a virtual board, Wi-Fi, sockets and NTP are an ESP32's, and can be lost."""

import socket
import time
from collections.abc import Iterator

import pytest

from boards.virtual.board import VirtualBoard
from hil_tests.boardkit import (
    JOIN,
    execute,
    executing,
    mpremote,
)
from hil_tests.nameserver import NameServer
from parwana import REPO

QUERY = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\6broker\7example\0\0\1\0\1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.mark.parametrize(
    ("arguments", "status"),
    [("'parwana', 'parwana-bench'", 1010), ("'parwana', 'wrong'", 202), ("'elsewhere', ''", 201)],
)
def test_the_station_joins_only_with_the_right_words(
    board: VirtualBoard, arguments: str, status: int
) -> None:
    said = execute(
        board,
        "import network, time\nw = network.WLAN(network.STA_IF); w.active(True)\n"
        f"w.config(reconnects=0); print(w.status()); w.connect({arguments}); print(w.status())\n"
        "time.sleep_ms(600); print(w.status(), w.isconnected(), w.ifconfig()[0])",
    )
    address = "127.0.0.1" if status == 1010 else "0.0.0.0"
    assert said == f"1000\n1001\n{status} {status == 1010} {address}\n"


def test_a_station_that_tries_for_ever_tells_no_reason_and_takes_no_other_network(
    board: VirtualBoard,
) -> None:
    said = execute(
        board,
        "import network, time\nw = network.WLAN(network.STA_IF); w.active(True)\n"
        "w.connect('elsewhere', ''); time.sleep_ms(600); print(w.status())\n"
        "try: w.connect('parwana', 'parwana-bench')\nexcept OSError as e: print(e)\n"
        "w.disconnect(); w.connect('parwana', 'parwana-bench'); time.sleep_ms(600)\n"
        "print(w.status())",
    )
    assert said == "1001\nWifi Internal State Error\n1010\n"


def test_the_firmwares_link_joins_though_the_station_still_tries_another_network(
    board: VirtualBoard,
) -> None:
    """As after a soft reset, which on an ESP32 leaves the radio as it was."""
    mpremote(board, "cp", str(REPO / "boards/esp32/board.py"), ":board.py")
    said = execute(
        board,
        "import board, network, time\nw = network.WLAN(network.STA_IF); w.active(True)\n"
        "w.connect('elsewhere', ''); link = board.Link('parwana', 'parwana-bench')\n"
        "link.keep(); time.sleep_ms(600); print(link.up)",
    )
    assert said == "True\n"


def test_the_firmwares_link_joins_anew_after_days_of_network(board: VirtualBoard) -> None:
    """Ticks come round in 12.4 days: by them, what was a week ago is yet to come."""
    mpremote(board, "cp", str(REPO / "boards/esp32/board.py"), ":board.py")
    said = execute(
        board,
        "import board, network, time\nlink = board.Link('parwana', 'parwana-bench')\n"
        "link.keep(); time.sleep_ms(600); print(link.up); link.keep()\n"
        "class Later:\n"
        " ticks_diff = time.ticks_diff\n"
        " def ticks_ms(): return (time.ticks_ms() + 7 * 86400000) & 0x3fffffff\n"
        "board.time = Later; network.WLAN(network.STA_IF).disconnect(); print(link.up)\n"
        "link.keep(); time.sleep_ms(600); print(link.up)",
    )
    assert said == "True\nFalse\nTrue\n"


def test_sockets_work_and_hear_nothing_when_the_network_is_lost(
    board: VirtualBoard, listener: socket.socket
) -> None:
    target = f"socket.getaddrinfo('127.0.0.1', {listener.getsockname()[1]})[0][-1]"
    code = (
        JOIN
        + f"""
import socket, ntptime
def attempt(name, call):
    try: print(name, call())
    except OSError as e: print(name, 'OSError')
s = socket.socket(); s.connect({target}); s.settimeout(1)
s.write(b'hello'); print('heard', s.read(2))
while w.isconnected(): time.sleep_ms(10)
print('lost', w.status(), s.write(b'into the void'))
attempt('read', lambda: s.read(2))
attempt('ntp', ntptime.time)
attempt('name', lambda: socket.getaddrinfo('broker.example', 1883))
q = socket.socket(); q.settimeout(1)
attempt('connect', lambda: q.connect({target}))
print('deaf')
while not w.isconnected(): time.sleep_ms(10)
attempt('old', lambda: s.read(2))
s = socket.socket(); s.connect({target}); s.write(b'again'); print('ntp', ntptime.time() > 0)
"""
    )
    with executing(board, code) as process:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(0.2)
            assert peer.recv(5) == b"hello"
            peer.send(b"ok")
            board.wait_console("heard b'ok'", 5)
            board.network_up = False
            for line in ("lost 1001 13", "read OSError", "ntp OSError", "name OSError"):
                board.wait_console(line, 5)
            board.wait_console("connect OSError\r\ndeaf", 5)
            with pytest.raises(TimeoutError):
                peer.recv(1)  # the peer is told nothing, as over a lost radio link
            board.network_up = True
            board.wait_console("old", 5)
            peer.settimeout(5)
            assert peer.recv(99) == b""
        again, _ = listener.accept()
        with again:
            again.settimeout(5)
            assert again.recv(5) == b"again"
        board.wait_console("ntp True", 5)
        assert process.wait(5) == 0


def test_without_joining_there_is_no_network(board: VirtualBoard) -> None:
    said = execute(
        board,
        "import ntptime\nntptime.timeout = 0.3\n"
        "try: ntptime.time()\nexcept OSError: print('no answer')",
    )
    assert said == "no answer\n"


def test_the_time_server_may_lie_or_be_silent(board: VirtualBoard) -> None:
    ask = JOIN + "import ntptime; ntptime.timeout = 0.3; print(ntptime.time() + 946684800)"
    assert abs(int(execute(board, ask)) - time.time()) < 5
    board.ntp_offset_s = 86400
    assert abs(int(execute(board, ask)) - 86400 - time.time()) < 5
    board.ntp_silent = True
    assert "OSError" in execute(board, ask, fails=True)


def test_a_kiss_of_death_is_2036_to_ntptime_as_on_the_chip(board: VirtualBoard) -> None:
    """The answer's zeros are taken for the era that begins on 2036-02-07 at 06:28:16."""
    board.ntp.kod = True
    code = "import ntptime, time; s = ntptime.time(); print(s, time.gmtime(s)[:6])"
    assert execute(board, JOIN + code) == "1139293696 (2036, 2, 7, 6, 28, 16)\n"


def test_the_firmware_takes_no_time_from_an_answer_that_has_none(board: VirtualBoard) -> None:
    for name in ("boards/esp32/board.py", "firmware/timesync.py", "firmware/lib/sntp.py"):
        mpremote(board, "cp", str(REPO / name), f":{name.rpartition('/')[2]}")
    ask = JOIN + (
        "import asyncio, board, os, timesync\nlink = board.Link('parwana', 'parwana-bench')\n"
        "try: print(asyncio.run(timesync.network_time(link, os.urandom, '127.0.0.1')))\n"
        "except OSError as e: print(e)"
    )
    assert abs(int(execute(board, ask)) - time.time()) < 5
    board.ntp.kod = True
    assert execute(board, ask) == "the time server gives none\n"
    board.ntp.torn = True
    assert execute(board, ask) == "the time server gives none\n"


def test_a_station_that_is_not_started_refuses_what_an_esp32_refuses(board: VirtualBoard) -> None:
    said = execute(
        board,
        "import network\nw = network.WLAN(network.STA_IF)\n"
        "def attempt(call):\n try: print(call())\n except (OSError, ValueError) as e: print(e)\n"
        "attempt(w.disconnect); attempt(w.scan); attempt(lambda: w.connect('parwana', ''))\n"
        "w.active(True); attempt(w.disconnect); attempt(lambda: w.status('rssi'))\n"
        "attempt(lambda: w.config(pm=w.PM_NONE)); attempt(lambda: w.config(power=1))\n"
        "w.active(False); w.active(False)",
    )
    assert said.splitlines() == [
        "Wifi Not Started",
        "STA must be active",
        "Wifi Not Started",
        "None",
        "Wifi Not Connected",
        "None",
        "unknown config param",
    ]


def test_there_are_ten_sockets(board: VirtualBoard) -> None:
    code = """
import socket
made = [socket.socket() for _ in range(10)]
try: socket.socket()
except OSError as e: print(e.errno)
made.pop().close()
print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM) is not None)
"""
    assert execute(board, JOIN + code) == "23\nTrue\n"


def test_every_name_leads_to_the_time_server(board: VirtualBoard) -> None:
    ask = JOIN + (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)\n"
        "s.connect(socket.getaddrinfo('192.0.2.7', 123)[0][-1])\n"
        "s.write(b'\\x23' + bytes(47)); print(int.from_bytes(s.read(48)[40:44], 'big'))"
    )
    assert abs(int(execute(board, ask)) - 2208988800 - time.time()) < 5


def test_its_name_server_may_be_the_tests_own(board: VirtualBoard) -> None:
    with NameServer("127.0.0.3") as names:
        board.name_port = names.port
        ask = JOIN + (
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.settimeout(2); s.connect(socket.getaddrinfo('192.0.2.7', 53)[0][-1])\n"
            f"s.write(bytes({list(QUERY)})); print(list(s.recv(99)[-4:]))"
        )
        assert execute(board, ask) == "[127, 0, 0, 3]\n"
