"""The contactor obeys permits and nothing else."""

import random
import time

import pytest

import wire
from hil_tests.bench.bench import DAY_S, Bench
from hil_tests.bench.line import Watched
from hil_tests.bench.load import EmulatedLoad
from hil_tests.bench.meter import SerialMeter

PERMIT_S = 2.0  # DESIGN section 6
HOLD_S = 10.0  # the least between two operations of the contactor
CONTROL_S = 2.5  # from the firmware's first line to its control loop, on the slowest board
BUSY_S = 1.0  # what a loaded computer may add


def test_without_a_permit_it_stays_open(
    bench: Bench, meter: SerialMeter, contact: Watched
) -> None:
    bench.fresh()
    moved = len(contact.changes)
    for _ in range(3):
        assert meter.status()["control"] == wire.CONTROL_DISCONNECTED
    assert not contact.closed
    assert len(contact.changes) == moved


def test_a_commissioning_permit_through_the_serial_port_connects(
    bench: Bench, meter: SerialMeter, line: Watched
) -> None:
    bench.fresh()
    bundle = bench.permit(flags=wire.PERMIT_COMMISSIONING)
    serial = int.from_bytes(bundle[4:8], "big")
    meter.load_permit(bundle)
    started_s = time.monotonic()
    assert meter.wait_for_event(wire.EVENT_PERMIT_ACCEPTED)[0] == serial
    accepted_s = time.monotonic()
    closed_s = bench.wait_closed()
    assert closed_s - started_s < PERMIT_S + CONTROL_S + BUSY_S
    assert closed_s - accepted_s < PERMIT_S
    assert line.closed
    assert meter.status()["control"] == wire.CONTROL_CONNECTED


def test_an_expired_permit_disconnects_and_is_refused_again(
    bench: Bench, meter: SerialMeter, line: Watched, sensor: EmulatedLoad
) -> None:
    bench.fresh(permit=True)
    bench.wait_closed()
    bench.wait(lambda: sensor.closed, "the current")
    meter.load_permit(bench.time(ahead_s=29 * DAY_S))
    assert meter.wait_for_event(wire.EVENT_EXPIRY_WARNING)[0] == 1
    assert line.closed
    meter.load_permit(bench.time(ahead_s=31 * DAY_S))
    assert meter.wait_for_event(wire.EVENT_DISCONNECTED, 30)[0] == wire.REASON_EXPIRED
    bench.wait_closed(False)
    meter.load_permit(bench.permit(days=1, issued_at_s=bench.now_s() - 2 * DAY_S))
    assert meter.wait_for_refusal() == wire.REFUSED_EXPIRED
    assert not line.closed
    assert not sensor.closed


def test_a_worse_permit_takes_nothing_before_the_better_ones_end(
    bench: Bench, meter: SerialMeter, line: Watched
) -> None:
    bench.fresh(permit=True)
    bench.wait_closed()
    meter.load_permit(bench.permit(days=1, power_limit_dw=1))
    assert meter.wait_for_event(wire.EVENT_PERMIT_ACCEPTED)[2] == 1
    meter.load_permit(bench.time(ahead_s=2 * DAY_S))
    began_s = time.monotonic()
    meter.wait_for_time()
    moved = len(line.changes)
    bench.wait(lambda: time.monotonic() - began_s > HOLD_S + 2, "the hold to pass", HOLD_S + 10)
    assert meter.status()["control"] == wire.CONTROL_CONNECTED
    assert len(line.changes) == moved
    assert line.closed


def flipped(bundle: bytes, bit: int) -> bytes:
    """Return the bundle with one bit turned round."""
    data = bytearray(bundle)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@pytest.mark.parametrize("spoilt", ["frame", "signature", "other meter", "one signer"])
def test_a_refused_permit_leaves_it_open(
    bench: Bench, meter: SerialMeter, line: Watched, spoilt: str
) -> None:
    bench.fresh()
    good = bench.permit()
    bad = {
        "frame": flipped(good, random.randrange(96, 320)),
        "signature": flipped(good, random.randrange(328, 840)),
        "other meter": bench.permit(address=bytes(range(20))),
        "one signer": bench.permit(signers=1),
    }[spoilt]
    moved = len(line.changes)
    meter.note(bad.hex())
    meter.load_permit(bad)
    reason = meter.wait_for_refusal()
    assert (
        reason
        in {
            "frame": (wire.REFUSED_SIGNATURE, wire.REFUSED_MALFORMED),
            "signature": (wire.REFUSED_SIGNATURE, wire.REFUSED_MALFORMED),
            "other meter": (wire.REFUSED_SIGNATURE,),
            "one signer": (wire.REFUSED_TOO_FEW,),
        }[spoilt]
    )
    assert meter.status()["control"] == wire.CONTROL_DISCONNECTED
    assert len(line.changes) == moved


def test_a_permit_that_asks_for_a_hand_waits_for_the_button(
    bench: Bench, meter: SerialMeter, button: Watched
) -> None:
    bench.fresh()
    meter.load_permit(bench.permit(flags=wire.PERMIT_BUTTON))
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
    meter.load_permit(bench.permit(power_limit_dw=20000))
    bench.wait_closed()
    sensor.draw(1900)
    meter.status()
    sensor.draw(2100)
    began_s = time.monotonic()
    assert meter.wait_for_event(wire.EVENT_DISCONNECTED, 30)[0] == wire.REASON_OVERLOAD
    assert time.monotonic() - began_s > HOLD_S - 1
    bench.wait_closed(False)
    assert not line.closed
