"""Who waits for whom at the end of a period, and what is said of it."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from parwana.chain.deployment import Period
from parwana.relay.gathering import Gathering, Wait

PERIODS = Period("days", 1, 0)
OVER = 20_000
END_S = PERIODS.start(OVER + 1)
GATHER_S = 3600


def meter(number: int) -> bytes:
    return number.to_bytes(20, "big")


def name(number: int) -> str:
    return "0x" + meter(number).hex()


class Night:
    """Feeders 100 (houses 1, 2, 3) and 200 (house 4, below 100), house 5 on none."""

    def __init__(self) -> None:
        self.now_s = float(END_S + 120)
        self.gathering = Gathering(PERIODS, lambda: self.now_s, GATHER_S)
        places = [(1, 100), (2, 100), (3, 100), (4, 200), (5, 0), (100, 0), (200, 100)]
        self.rows: dict[bytes, Any] = {
            meter(number): SimpleNamespace(
                number=number, kind=2 if number >= 100 else 1, feeder=feeder, in_service=True
            )
            for number, feeder in places
        }
        self.due = dict.fromkeys(self.rows, OVER)

    def ready(self, *numbers: int, **periods: int) -> set[int]:
        """Return whose closings are ready when these meters' are there."""
        found = {meter(number): OVER for number in numbers}
        found |= {meter(int(number[1:])): period for number, period in periods.items()}
        ready = self.gathering.ready(self.rows, self.due, found)
        self.gathering.tell(self.rows)
        return {int.from_bytes(address, "big") for address in ready}


def test_a_feeder_whose_meters_are_all_there_waits_for_no_other() -> None:
    night = Night()
    assert night.ready(4, 200) == {4, 200}
    assert night.gathering.waits == [
        Wait(100, OVER, END_S + GATHER_S, [name(n) for n in (1, 2, 3, 100)])
    ]


def test_a_meter_that_lacks_holds_its_own_feeder_alone() -> None:
    night = Night()
    assert night.ready(1, 2, 4, 100, 200) == {4, 200}
    assert night.gathering.waits == [Wait(100, OVER, END_S + GATHER_S, [name(3)])]
    night.now_s = END_S + GATHER_S - 1
    assert night.ready(1, 2, 100) == set()
    night.now_s = END_S + GATHER_S
    assert night.ready(1, 2, 100) == {1, 2, 100}
    assert night.gathering.waits == []


def test_a_feeder_waits_for_its_own_meter_too() -> None:
    night = Night()
    assert night.ready(4) == set()
    assert night.gathering.waits == [Wait(200, OVER, END_S + GATHER_S, [name(200)])]


def test_a_house_on_no_feeder_waits_for_nobody() -> None:
    assert Night().ready(5) == {5}


def test_who_missed_the_period_before_is_not_waited_for() -> None:
    night = Night()
    night.due[meter(3)] = OVER - 1
    assert night.ready(1, 2, 100, 200, 4) == {1, 2, 100, 200, 4}
    # Its old closing is landed first, then it closes the period as the others do.
    night.due[meter(3)] = OVER - 2
    assert night.ready(1, 2, 100, 200, _3=OVER - 2) == {3}


def test_who_left_service_is_not_waited_for() -> None:
    night = Night()
    night.rows[meter(3)].in_service = False
    assert night.ready(1, 2, 100, 200) == {1, 2, 100, 200}


def test_it_is_told_once_and_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    night = Night()
    night.now_s = END_S + 5
    night.ready(1, 4, 100, 200)
    assert caplog.messages == []
    night.now_s = END_S + 61
    for _ in range(3):
        night.ready(1, 4, 100, 200)
    assert caplog.messages == [
        "feeder 100 waits until 2024-10-05 01:00 UTC for 2 closings of period 20000 (2024-10-04): "
        f"{name(2)} (point 2), {name(3)} (point 3)"
    ]
    night.ready(1, 2, 4, 100, 200)
    assert "for 1 closing of period" in caplog.messages[1]
    night.ready(1, 2, 3, 4, 100, 200)
    assert caplog.messages[2:] == ["feeder 100: all closings of period 20000 (2024-10-04)"]


def test_a_wait_in_vain_is_told(caplog: pytest.LogCaptureFixture) -> None:
    night = Night()
    night.ready(1, 2, 4, 100, 200)
    night.now_s = END_S + GATHER_S
    night.ready(1, 2, 4, 100, 200)
    assert caplog.messages[1:] == [
        "feeder 100: waited long enough for closings of period 20000 (2024-10-04): "
        f"{name(3)} (point 3)"
    ]
