"""Whatever restarts the meter, the house keeps its light and the journal its frames."""

import random
import time

import pytest

import wire
from hil_tests.bench.bench import Bench, events_of
from hil_tests.bench.line import Watched
from hil_tests.bench.meter import SerialMeter
from hil_tests.bench.protocols import Power
from parwana.meter.repl import RUNS

BITES_S = 6  # the configuration's least is 20 s
HANG = (
    b"import main, pzem004t, board, time",
    b"pzem004t.Pzem004T.receive = lambda self: time.sleep(3600)",
    b"start = board.Watchdog.start",
    b"board.Watchdog.start = lambda self, s: start(self, %d)" % BITES_S,
    b"main.start()",
)
WDT_RESET = 3


@pytest.mark.parametrize("closed", [True, False], ids=["connected", "disconnected"])
def test_a_reset_moves_nothing(
    bench: Bench, meter: SerialMeter, contact: Watched, closed: bool
) -> None:
    bench.fresh(permit=closed)
    bench.wait_closed(closed)
    moved = len(contact.changes)
    for _ in range(2):
        meter.reset()
        meter.status()
        time.sleep(random.random())
    assert contact.closed == closed
    assert len(contact.changes) == moved


@pytest.mark.parametrize("closed", [True, False], ids=["connected", "disconnected"])
def test_a_power_cut_moves_no_latching_contactor(
    bench: Bench, meter: SerialMeter, contact: Watched, power: Power, closed: bool
) -> None:
    bench.fresh(permit=closed)
    bench.wait_closed(closed)
    moved = len(contact.changes)
    time.sleep(random.random())
    meter.skip()
    power.cycle()
    meter.wait_for_start()
    meter.status()
    if bench.contactor == "latching":
        assert len(contact.changes) == moved
    bench.wait_closed(closed)


def test_the_journal_survives_power_cuts(bench: Bench, meter: SerialMeter, power: Power) -> None:
    bench.commission()
    meter.wait_for_reading(bench.intervals_s(2))
    before = bench.frames()
    meter.reset()
    for _ in range(3):
        time.sleep(bench.clock.real_seconds(60) * random.random())
        meter.skip()
        power.cycle(0.2)
        meter.wait_for_start()
    meter.status()
    after = bench.frames()
    assert after[: len(before)] == before
    sequences = [int.from_bytes(frame[4:8], "big") for frame in after]
    assert sequences == list(range(1, len(after) + 1))
    boots = [event.c for event in events_of(after, wire.EVENT_BOOT)]
    assert boots == list(range(1, len(boots) + 1))
    assert len(boots) >= 3  # a cut may come before a start is recorded
    energies_wh = [int.from_bytes(frame[12:20], "big") for frame in after]
    assert energies_wh == sorted(energies_wh)


def test_ctrl_c_is_service_and_touches_nothing(
    bench: Bench, meter: SerialMeter, contact: Watched
) -> None:
    bench.fresh(permit=True)
    bench.wait_closed()
    moved = len(contact.changes)
    asked = meter.status()["next"]
    meter.interrupt()
    meter.wait_for("service mode; the contactor is not touched")
    meter.wait_for(">>> ")
    meter.type(b"app.status()['next']\r")
    assert asked is not None
    assert int(meter.wait_for(r"\r\n(\d+)\r\n")[1]) >= asked
    meter.reset()
    meter.status()
    assert contact.closed
    assert len(contact.changes) == moved


def test_ctrl_c_in_the_first_half_second_keeps_the_firmware_from_starting(
    bench: Bench, meter: SerialMeter
) -> None:
    bench.fresh()
    with meter.repl() as repl:
        meter.skip()
        repl.reset()
    meter.wait_for("Ctrl-C or the button now for service", 60)
    meter.interrupt()
    said = meter.wait_for(r"service mode[^\r]*\r\n(?s:(.*))>>> ", 60)
    assert b"parwana " + meter.version.encode() not in said[1]
    meter.reset()


def test_the_button_held_at_the_start_asks_for_service(
    bench: Bench, meter: SerialMeter, button: Watched
) -> None:
    bench.fresh()
    with meter.repl() as repl:
        button.press()
        meter.skip()
        repl.reset()
    try:
        meter.wait_for("let the button go for service", 60)
    finally:
        button.release()
    meter.wait_for("service mode; the contactor is not touched")
    meter.reset()


def test_the_watchdog_ends_a_hanging_firmware(
    bench: Bench, meter: SerialMeter, contact: Watched
) -> None:
    bench.fresh(permit=True)
    bench.wait_closed()
    moved = len(contact.changes)
    with meter.repl():
        meter.skip()
    meter.type(b"\x02")
    for line in HANG:
        meter.wait_for(">>> ")
        meter.type(line + b"\r")
    meter.wait_for(RUNS)
    began_s = time.monotonic()
    meter.wait_for_start()
    took_s = time.monotonic() - began_s
    assert BITES_S - 1 < took_s < BITES_S + 15
    assert meter.status()["restarts"] == 0
    assert contact.closed
    assert len(contact.changes) == moved
    causes = [event.a for event in bench.events(wire.EVENT_BOOT)]
    assert WDT_RESET in causes
