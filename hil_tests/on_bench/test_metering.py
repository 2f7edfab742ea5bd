"""What the meter signs is what flowed: energy, silence, and answers that must not be believed."""

import pytest

import wire
from boards.virtual.pzem import FAULTS
from hil_tests.bench.bench import INTERVAL_S, POLL_MS, Bench, events_of, readings_of
from hil_tests.bench.line import Watched
from hil_tests.bench.load import EmulatedLoad, RealLoad
from hil_tests.bench.meter import SerialMeter

INTERVALS = 4
SENSOR_S = 0.3


def wait_for_readings(bench: Bench, count: int) -> list[tuple[int, int, int]]:
    """Wait for the next `count` readings; return time, energy and flags of each."""
    return [bench.meter.wait_for_reading(bench.intervals_s(2)) for _ in range(count)]


@pytest.mark.usefixtures("line")
def test_readings_show_the_load(bench: Bench, load: EmulatedLoad | RealLoad) -> None:
    bench.commission()
    told = wait_for_readings(bench, INTERVALS + 1)[1:]  # the first interval was no whole one
    readings = [r for r in bench.readings() if r.time_s >= told[0][0]][:INTERVALS]
    assert [(r.time_s, r.energy_wh, r.flags) for r in readings] == told
    for reading in readings:
        assert reading.power_dw == pytest.approx(10 * load.watts, rel=load.tolerance)
        assert reading.power_max_dw >= reading.power_dw
        assert reading.flags & wire.FLAG_OUTPUT_CLOSED
        assert not reading.flags & wire.FLAG_SENSOR_SILENT
        assert reading.clock_trust == wire.TRUST_SIGNED
        assert reading.time_s % INTERVAL_S == 0
    first, last = readings[0], readings[-1]
    hours = (last.time_s - first.time_s) / 3600
    assert last.time_s - first.time_s == (len(readings) - 1) * INTERVAL_S
    # Between the clock's minute and what is read at it lie a poll, the sensor's refreshing, and
    # the rest of a Wh.
    late_h = bench.clock.factor * (POLL_MS / 1000 + SENSOR_S) / 3600
    slack_wh = load.watts * (late_h + hours * load.tolerance) + 1
    assert last.energy_wh - first.energy_wh == pytest.approx(load.watts * hours, abs=slack_wh)


@pytest.mark.usefixtures("line")
def test_no_energy_is_lost_or_invented(
    bench: Bench, meter: SerialMeter, sensor: EmulatedLoad
) -> None:
    bench.fresh()
    sensor.draw(0)
    meter.status()
    before_wh, metered_wh = sensor.energy_wh(), meter.status()["energy_wh"]
    assert metered_wh is not None
    meter.paste(bench.permit())
    bench.wait_closed()
    sensor.draw(3000)
    wait_for_polls(bench, sensor, 16)
    sensor.draw(0)
    flowed_wh = sensor.energy_wh() - before_wh
    wait_for_polls(bench, sensor, 3)
    counted_wh = meter.status()["energy_wh"]
    assert counted_wh is not None
    assert flowed_wh > 3
    assert counted_wh - metered_wh == pytest.approx(flowed_wh, abs=2)


def wait_for_polls(bench: Bench, sensor: EmulatedLoad, count: int) -> None:
    """Wait until the sensor was asked `count` times more."""
    wanted = sensor.requests + count
    bench.wait(lambda: sensor.requests >= wanted, f"{count} requests at the sensor", count + 20)


def test_a_silent_sensor_is_a_flag_and_no_zero(
    bench: Bench, meter: SerialMeter, line: Watched, sensor: EmulatedLoad
) -> None:
    bench.commission()
    wait_for_readings(bench, 1)
    sensor.silent = True
    assert meter.wait_for_event(wire.EVENT_SENSOR_SILENT, 30)[0] == 1
    silent = wait_for_readings(bench, 2)
    moved = len(line.changes)
    sensor.silent = False
    meter.wait_for_event(wire.EVENT_SENSOR_BACK)
    after = wait_for_readings(bench, 2)[-1]
    assert len(line.changes) == moved
    assert all(flags & wire.FLAG_SENSOR_SILENT for _, _, flags in silent)
    assert not after[2] & wire.FLAG_SENSOR_SILENT
    frames = bench.frames()
    by_time = {reading.time_s: reading for reading in readings_of(frames)}
    whole_wh = by_time[after[0]].energy_wh - by_time[silent[0][0]].energy_wh
    assert whole_wh > 0  # the sensor counted on, and what it counted is not lost
    for time_s, _, _ in silent[1:]:
        quiet = by_time[time_s]
        assert (quiet.power_dw, quiet.voltage_dv) == (0, 0)  # "no sample", as bit 2 says
        assert quiet.energy_wh == by_time[silent[0][0]].energy_wh
    assert len(events_of(frames, wire.EVENT_SENSOR_SILENT)) == 1


@pytest.mark.usefixtures("line")
def test_damaged_answers_are_not_believed(bench: Bench, sensor: EmulatedLoad) -> None:
    bench.commission()
    ((begun_s, _, _),) = wait_for_readings(bench, 1)  # of an interval that was no whole one
    for fault in FAULTS:
        sensor.inject(fault)
        wait_for_polls(bench, sensor, 3)
    assert not sensor.emulator.faults
    wait_for_readings(bench, 1)
    readings = bench.readings()
    energies = [reading.energy_wh for reading in readings]
    assert energies == sorted(energies)
    whole = [reading for reading in readings if reading.time_s > begun_s]
    assert whole
    for reading in whole:
        assert reading.power_max_dw == pytest.approx(10 * sensor.watts, rel=sensor.tolerance)
        assert reading.power_dw == pytest.approx(10 * sensor.watts, rel=sensor.tolerance)
        assert not reading.flags & (wire.FLAG_REGISTER_EVENT | wire.FLAG_STEP_HELD)


@pytest.mark.usefixtures("line")
def test_a_sensor_reset_is_an_event_and_takes_nothing_back(
    bench: Bench, meter: SerialMeter, sensor: EmulatedLoad
) -> None:
    sensor.set_register_wh(5_000)
    bench.commission()
    before_wh = meter.status()["energy_wh"]
    sensor.set_register_wh(0)
    unit_id, before, after = meter.wait_for_event(wire.EVENT_REGISTER_RESET)
    assert unit_id == 1
    assert before >= 5_000
    assert after < 5_000
    _, _, flags = wait_for_readings(bench, 1)[0]
    assert flags & wire.FLAG_REGISTER_EVENT
    counted_wh = meter.status()["energy_wh"]
    assert before_wh is not None
    assert counted_wh is not None
    assert before_wh <= counted_wh < before_wh + 2_000
