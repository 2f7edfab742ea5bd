"""The whole firmware on a virtual board: what it sends, and what it keeps through trouble."""

import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import wire
from hil_tests.boardkit import mpremote
from hil_tests.meterkit import (
    CHAIN_ID,
    LEDGER,
    SIGNERS,
    Meter,
    firmware_files,
    permit,
    running_meter,
    sign,
)
from hil_tests.services import wait_until

HEAP_LEAST = 24_000
SEED = 20261122


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return firmware_files("x86")


@pytest.fixture
def meter(tmp_path: Path, files: dict[str, bytes]) -> Iterator[Meter]:
    with running_meter(tmp_path, files) as meter:
        yield meter


def told(meter: Meter, name: str) -> list[int]:
    """Return the values of a name in the status lines on the console."""
    log = meter.board.log_path.read_text(errors="replace")
    return [int(number) for number in re.findall(rf" {name}=(\d+)", log)]


def connect(meter: Meter) -> None:
    """Give the meter a permit and wait until the house is supplied."""
    now_s = int(meter.clock.now())
    meter.relay.publish("permit", wire.pack_bundle_message(permit(now_s, now_s)), retain=True)
    wait_until(lambda: meter.board.contactor, "the contactor to close", 30)


def assert_nothing_lost(meter: Meter) -> None:
    """Check what a relay can check: every sequence is there, once, and the energy never falls."""
    relay = meter.relay
    wait_until(lambda: relay.complete, "the missing frames")
    assert relay.contradictions == []
    energies = [int.from_bytes(relay.frames[s][12:20], "big") for s in sorted(relay.frames)]
    assert energies == sorted(energies)
    times = [reading.time_s for reading in relay.readings]
    assert len(set(times)) == len(times)
    assert all(time_s % 900 == 0 for time_s in times)


def test_readings_arrive_signed_by_the_key_on_the_flash(meter: Meter) -> None:
    connect(meter)
    meter.wait_frames(4)
    relay = meter.relay
    assert relay.status == wire.STATUS_ONLINE
    boot = relay.events[0]
    assert (boot.code, boot.sequence, boot.c) == (wire.EVENT_BOOT, 1, 1)
    first, last = relay.readings[0], relay.readings[-1]
    assert first.flags & (wire.FLAG_BOOT | wire.FLAG_CLOSING) == first.flags & 3 == 3
    assert last.clock_trust == wire.TRUST_NETWORK
    assert last.flags == wire.FLAG_OUTPUT_CLOSED | wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT
    assert (last.power_dw, last.voltage_dv, last.frequency_dhz) == (8000, 2300, 500)
    # Sensor and poll go by the second, in which this world's house uses 133 Wh.
    assert 0 <= meter.sensor.energy_wh() - last.energy_wh <= 3 * 134
    assert last.energy_wh > first.energy_wh
    assert_nothing_lost(meter)
    meter.board.power_off()
    assert relay.signers == {meter.public_key()}
    wait_until(lambda: relay.status == wire.STATUS_OFFLINE, "the last will", 100)


@pytest.mark.long
def test_heap_leaves_room(meter: Meter) -> None:
    connect(meter)
    meter.wait_frames(8)
    free = told(meter, "heap_free")
    assert len(free) >= 8
    assert min(free) > HEAP_LEAST, free
    assert min(free[-3:]) > min(free[:3]) - 6000, free


@pytest.mark.long
def test_closing_comes_once_a_day(tmp_path: Path, files: dict[str, bytes]) -> None:
    with running_meter(tmp_path, files, factor=4000, poll_ms=200, utc_offset_s=19800) as meter:
        meter.wait_frames(110, 60)
        assert_nothing_lost(meter)
        readings = meter.relay.readings
        closings = [reading.time_s for reading in readings if reading.flags & wire.FLAG_CLOSING]
        days = sorted({(reading.time_s + 19800) // 86400 for reading in readings})
        assert [(time_s + 19800) // 86400 for time_s in closings] == days
        assert all((time_s + 19800) % 86400 == 0 for time_s in closings[1:])
        assert len(closings) >= 2


def test_outage_of_network_broker_and_relay_is_backfilled(meter: Meter) -> None:
    meter.wait_frames(2)
    meter.board.network_up = False
    held = len(meter.relay.frames)
    meter.board.wait_console("reading at", 20)
    meter.board.wait_console("reading at", 20)
    assert len(meter.relay.frames) == held
    meter.board.network_up = True
    meter.wait_frames(3, 60)
    meter.broker.stop()
    meter.board.wait_console("reading at", 20)
    meter.broker.start()
    meter.wait_frames(2, 60)
    meter.relay.answers = False
    meter.wait_frames(1, 60)
    meter.board.wait_console("reading at", 20)
    meter.relay.answers = True
    meter.wait_frames(3, 60)
    assert_nothing_lost(meter)
    # None of it kept measuring waiting for as long as a poll.
    assert told(meter, "late_ms")
    assert max(told(meter, "late_ms")) < 1000


@pytest.mark.long
def test_power_cuts_at_flash_writes_lose_and_repeat_nothing(meter: Meter) -> None:
    chance, cuts = random.Random(SEED), 12
    connect(meter)
    for _ in range(cuts):
        hellos = len(meter.relay.hellos)
        meter.board.cut_power_at_flash_write(chance.randrange(1, 40))
        wait_until(lambda: not meter.board.powered, "the power cut", 60)
        meter.board.power_on()
        meter.wait_hello(hellos)
    meter.wait_frames(2, 60)
    assert_nothing_lost(meter)
    boots = [event.c for event in meter.relay.events if event.code == wire.EVENT_BOOT]
    assert boots == list(range(1, len(boots) + 1))
    assert len(boots) >= cuts
    assert meter.board.contactor
    lost = [event for event in meter.relay.events if event.code == wire.EVENT_STATE_LOST]
    assert lost == []


@pytest.mark.long
def test_sensor_faults_and_silence(meter: Meter) -> None:
    connect(meter)
    for fault in ("bad_crc", "wrong_address", "stale_bytes", "truncate"):
        meter.pzem.inject(fault)
        meter.wait_frames(1)
    assert [e for e in meter.relay.events if e.code == wire.EVENT_SENSOR_SILENT] == []
    meter.pzem.silent = True
    wait_until(
        lambda: [e for e in meter.relay.events if e.code == wire.EVENT_SENSOR_SILENT],
        "event 7",
        30,
    )
    meter.wait_frames(2)
    meter.pzem.silent = False
    wait_until(
        lambda: [e for e in meter.relay.events if e.code == wire.EVENT_SENSOR_BACK], "event 8", 30
    )
    silent = [r for r in meter.relay.readings if r.flags & wire.FLAG_SENSOR_SILENT]
    assert silent
    assert meter.board.contactor
    meter.sensor.set_energy_wh(5_000_000)
    wait_until(
        lambda: [e for e in meter.relay.events if e.code == wire.EVENT_STEP_HELD], "event 6", 30
    )
    assert_nothing_lost(meter)


def test_hostile_messages_change_nothing(meter: Meter) -> None:
    connect(meter)
    chance = random.Random(SEED)
    now_s = int(meter.clock.now())
    hostile = [b"", b"\x00", b"\x01" * 105, b"\x02" * 26, b"\x03", b"\x04", b"\x04" + b"z" * 600]
    hostile += [chance.randbytes(chance.randrange(1, 1200)) for _ in range(20)]
    hostile.append(wire.pack_bundle_message(permit(now_s + 9, now_s, meter=LEDGER)))
    hostile.append(wire.pack_want(0xFFFFFFFF))
    for payload in hostile:
        meter.relay.publish("down", payload)
        meter.relay.publish("permit", payload)
        meter.relay.publish_time(payload)
    meter.wait_frames(3, 60)
    assert meter.board.contactor
    assert_nothing_lost(meter)
    refused = [e for e in meter.relay.events if e.code == wire.EVENT_PERMIT_REFUSED]
    assert 1 <= len(refused) <= 2
    restarted = [e for e in meter.relay.events if e.code == wire.EVENT_TASK_RESTARTED]
    assert restarted == []
    assert [cause for _, cause in meter.board.resets] == ["power on"]


def test_messages_too_long_end_no_session(meter: Meter) -> None:
    """A retained one for all, of a few kilobytes, would end each session anew."""
    connect(meter)
    sessions = len(meter.relay.hellos)
    meter.relay.publish_time(os.urandom(3000))
    meter.relay.publish("permit", os.urandom(1100))
    meter.relay.publish("down", os.urandom(100_000))
    now_s = int(meter.clock.now())
    bundle = sign(wire.pack_time(now_s, now_s), SIGNERS[:2], wire.time_domain(CHAIN_ID, LEDGER))
    meter.relay.publish_time(wire.pack_bundle_message(bundle))  # is heard behind them
    wait_until(lambda: meter.relay.readings[-1].clock_trust == 2, "a reading with trust 2", 30)
    assert "messages ignored: too long" in meter.board.log_path.read_text()
    assert len(meter.relay.hellos) == sessions
    assert_nothing_lost(meter)


def test_service_mode_leaves_the_contactor_and_tells(meter: Meter) -> None:
    connect(meter)
    answer = mpremote(meter.board, "resume", "exec", "print(app.status()); print(app.last()[-1])")
    assert "'control': 1" in answer
    assert "info" in answer
    assert meter.board.contactor
    before = len(meter.relay.hellos)
    mpremote(meter.board, "reset")
    meter.wait_hello(before)
    meter.wait_frames(2)
    assert meter.board.contactor
    assert_nothing_lost(meter)


def test_plain_contactor_holds_through_a_reset(tmp_path: Path, files: dict[str, bytes]) -> None:
    with running_meter(tmp_path, files, contactor="plain") as meter:
        connect(meter)
        changes = len(meter.board.contactor_changes)
        before = len(meter.relay.hellos)
        meter.board.reset()
        meter.wait_hello(before)
        meter.wait_frames(1)
        assert meter.board.contactor
        assert len(meter.board.contactor_changes) == changes
        assert_nothing_lost(meter)


def test_signed_time_raises_the_trust(meter: Meter) -> None:
    meter.wait_frames(1)
    now_s = int(meter.clock.now())
    bundle = sign(wire.pack_time(now_s, now_s), SIGNERS[:2], wire.time_domain(CHAIN_ID, LEDGER))
    meter.relay.publish_time(wire.pack_bundle_message(bundle))
    wait_until(
        lambda: meter.relay.readings and meter.relay.readings[-1].clock_trust == 2,
        "a reading with trust 2",
        30,
    )


@pytest.mark.long
def test_a_slow_flash_stops_nobody_and_loses_nothing(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """An emulated ESP32 takes 150 to 530 ms to append 128 bytes to a file, and so here."""
    with running_meter(tmp_path, files, factor=200, contactor="plain") as meter:
        meter.board.slow_flash(erase_ms=150, write_ms=50)
        meter.board.reset()
        meter.wait_hello(1, 60)
        began_s = time.monotonic()
        connect(meter)
        assert time.monotonic() - began_s < 5
        meter.wait_frames(5)
        meter.board.skip_console()
        meter.board.wait_console(" late_ms=")
        assert told(meter, "late_ms")[-1] < 2000
        assert told(meter, "restarts")[-1] == 0
        assert_nothing_lost(meter)
