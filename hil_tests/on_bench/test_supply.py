"""The contactor obeys permits and nothing else."""

import random
import time

import wire
from hil_tests.bench.bench import DAY_S, HOLD_S, Bench
from hil_tests.bench.line import Watched
from hil_tests.bench.load import EmulatedLoad
from hil_tests.bench.meter import SerialMeter

PERMIT_S = 2.0  # docs/supply.md
START_S = 3.0  # from the firmware's first line until its loops run, on the slowest board
FLIPS = 4
KIND_AT = 1  # in a frame


def test_without_a_permit_it_stays_open(
    bench: Bench, meter: SerialMeter, contact: Watched
) -> None:
    bench.fresh()
    moved = len(contact.changes)
    for _ in range(3):
        assert meter.status()["control"] == wire.CONTROL_DISCONNECTED
    assert not contact.closed
    assert len(contact.changes) == moved


def test_a_pasted_permit_connects_within_two_seconds(
    bench: Bench, meter: SerialMeter, line: Watched
) -> None:
    bench.fresh()
    meter.status()
    bundle = bench.permit(flags=wire.PERMIT_COMMISSIONING)
    meter.paste(bundle)
    pasted_s = time.monotonic()
    assert bench.wait_closed() - pasted_s < PERMIT_S
    serial = meter.wait_for_event(wire.EVENT_PERMIT_ACCEPTED)[0]
    assert serial == int.from_bytes(bundle[4:8], "big")
    assert line.closed
    assert meter.status()["control"] == wire.CONTROL_CONNECTED


def test_a_permit_left_in_a_file_connects_at_the_next_start(
    bench: Bench, meter: SerialMeter, line: Watched
) -> None:
    bench.fresh()
    meter.load_permit(bench.permit(flags=wire.PERMIT_COMMISSIONING))
    started_s = time.monotonic()
    hold_s = HOLD_S if bench.blind else 0
    assert bench.wait_closed() - started_s < START_S + PERMIT_S + hold_s
    assert line.closed
    with meter.repl() as repl:
        assert repl.read("/permit.new") is None


def test_the_best_permit_carries_the_supply_to_its_end(
    bench: Bench, meter: SerialMeter, line: Watched, sensor: EmulatedLoad
) -> None:
    bench.fresh(permit=True)
    over_s = time.monotonic() + HOLD_S + 2
    bench.wait(lambda: sensor.closed, "the current")
    moved = len(line.changes)
    meter.paste(bench.permit(days=1, power_limit_dw=1))  # a worse one takes nothing
    assert meter.wait_for_event(wire.EVENT_PERMIT_ACCEPTED)[2] == 1
    meter.paste(bench.time(ahead_s=2 * DAY_S))
    meter.wait_for_time()
    bench.wait(lambda: time.monotonic() > over_s, "the hold to pass", HOLD_S + 10)
    assert meter.status()["control"] == wire.CONTROL_CONNECTED
    meter.paste(bench.time(ahead_s=29 * DAY_S))
    assert meter.wait_for_event(wire.EVENT_EXPIRY_WARNING)[0] == 1
    assert len(line.changes) == moved
    assert line.closed
    meter.paste(bench.time(ahead_s=31 * DAY_S))
    assert meter.wait_for_event(wire.EVENT_DISCONNECTED)[0] == wire.REASON_EXPIRED
    bench.wait_closed(False)
    bench.wait(lambda: not sensor.closed, "the current to stop")
    meter.paste(bench.permit())  # one that has expired meanwhile gives nothing
    assert meter.wait_for_refusal() == wire.REFUSED_EXPIRED
    assert not line.closed


def flipped(bundle: bytes, bit: int) -> bytes:
    """Return the bundle with one bit turned round."""
    data = bytearray(bundle)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def test_refused_permits_leave_it_open(bench: Bench, meter: SerialMeter, line: Watched) -> None:
    bench.fresh()
    good = bench.permit()
    moved = len(line.changes)
    # Of another kind it may be a time, which is not refused if it is old.
    for bit in sorted(random.sample(range(8 * KIND_AT + 8, 8 * len(good)), FLIPS)):
        meter.note(f"bit {bit} turned round")
        meter.paste(flipped(good, bit))
        meter.wait_for_refusal()
    for bundle, reason in (
        (bench.permit(address=bytes(range(20))), wire.REFUSED_SIGNATURE),
        (bench.permit(signers=1), wire.REFUSED_TOO_FEW),
    ):
        meter.paste(bundle)
        assert meter.wait_for_refusal() == reason
    assert meter.status()["control"] == wire.CONTROL_DISCONNECTED
    assert len(line.changes) == moved
    meter.paste(good)
    bench.wait_closed()
    assert len(bench.events(wire.EVENT_PERMIT_REFUSED)) == 1  # no flood of them


def test_a_permit_that_asks_for_a_hand_waits_for_the_button(
    bench: Bench, meter: SerialMeter, button: Watched
) -> None:
    bench.fresh()
    meter.paste(bench.permit(flags=wire.PERMIT_BUTTON))
    meter.wait_for_event(wire.EVENT_READY_FOR_RECONNECTION)
    assert meter.status()["control"] == wire.CONTROL_READY
    assert not button.closed
    button.press()
    try:
        assert meter.wait_for_event(wire.EVENT_RECONNECTED)[0] == wire.REASON_BUTTON
        bench.wait_closed()
    finally:
        button.release()


def test_an_overload_disconnects_after_ten_seconds(
    bench: Bench, meter: SerialMeter, line: Watched, sensor: EmulatedLoad
) -> None:
    bench.fresh()
    sensor.draw(1900)
    meter.paste(bench.permit(power_limit_dw=20000))
    bench.wait_closed()
    meter.status()
    assert line.closed
    sensor.draw(2100)
    began_s = time.monotonic()
    assert meter.wait_for_event(wire.EVENT_DISCONNECTED, 30)[0] == wire.REASON_OVERLOAD
    assert time.monotonic() - began_s > HOLD_S - 1
    bench.wait_closed(False)
