"""Which port a board is on: given, found, asked for, or listed."""

from dataclasses import dataclass

import pytest
import serial.tools.list_ports

from parwana.meter import ports
from parwana.meter.ports import PortError


@dataclass
class Port:
    device: str
    vid: int | None = 0x10C4
    manufacturer: str | None = "Silicon Labs"
    description: str = "CP2102 USB to UART"
    serial_number: str | None = None


ONE = Port("/dev/ttyUSB0", serial_number="0001")
TWO = Port("/dev/ttyACM0", 0x303A, "Espressif", "USB JTAG/serial debug unit", "AA:BB")
MODEM = Port("/dev/ttyS0", None, None, "n/a")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Port]:
    found: list[Port] = []
    monkeypatch.setattr(serial.tools.list_ports, "comports", lambda: found)
    return found


def never(text: str) -> str:
    raise AssertionError(f"asked: {text}")


@pytest.mark.parametrize(
    ("port", "device"),
    [
        ("/dev/ttyUSB7", "/dev/ttyUSB7"),
        ("port:COM3", "COM3"),
        ("socket://bench:4000", "socket://bench:4000"),
        ("rfc2217://bench:4000", "rfc2217://bench:4000"),
    ],
)
def test_a_port_that_is_given_is_taken(here: list[Port], port: str, device: str) -> None:
    here[:] = [ONE, TWO]
    assert ports.resolve(port, never) == device


def test_the_only_board_is_taken(here: list[Port]) -> None:
    here[:] = [MODEM, ONE]
    assert ports.resolve("auto", never) == "/dev/ttyUSB0"


def test_no_board_is_told(here: list[Port]) -> None:
    here[:] = [MODEM]
    with pytest.raises(PortError, match=r"plug the board in, or give --port.*socket://"):
        ports.resolve("auto", never)


def test_several_boards_are_listed_with_what_they_say_of_themselves(here: list[Port]) -> None:
    here[:] = [ONE, MODEM, TWO]
    with pytest.raises(PortError) as error:
        ports.resolve("auto")
    assert str(error.value).splitlines()[1:] == [
        "  1  /dev/ttyACM0  Espressif USB JTAG/serial debug unit, id:AA:BB",
        "  2  /dev/ttyUSB0  Silicon Labs CP2102 USB to UART, id:0001",
    ]


@pytest.mark.parametrize(
    ("answer", "device"),
    [("2", "/dev/ttyUSB0"), (" 1\n", "/dev/ttyACM0"), ("id:AA:BB", "/dev/ttyACM0"), ("/x", "/x")],
)
def test_among_several_one_is_asked_for(here: list[Port], answer: str, device: str) -> None:
    here[:] = [ONE, TWO]
    asked = []

    def ask(text: str) -> str:
        asked.append(text)
        return answer

    assert ports.resolve("auto", ask) == device
    assert "/dev/ttyACM0" in asked[0]


@pytest.mark.parametrize("answer", ["0", "3", "", "99999"])
def test_an_answer_that_is_not_in_the_list_is_refused(here: list[Port], answer: str) -> None:
    here[:] = [ONE, TWO]
    with pytest.raises(PortError, match="in the list"):
        ports.resolve("auto", lambda _: answer)


def test_a_serial_number_names_a_board(here: list[Port]) -> None:
    here[:] = [ONE, TWO]
    assert ports.resolve("id:AA:BB", never) == "/dev/ttyACM0"
    with pytest.raises(PortError, match=r"number 77; here are: /dev/ttyACM0 .*ttyUSB0"):
        ports.resolve("id:77", never)
    here.clear()
    with pytest.raises(PortError, match="here are: none"):
        ports.resolve("id:77", never)
