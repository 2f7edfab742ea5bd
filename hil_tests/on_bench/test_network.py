"""Over a real broker and a relay's own code: nothing is lost offline, nothing forged is obeyed."""

import random
import time

import wire
from hil_tests.bench.bench import Bench
from hil_tests.bench.line import Watched
from hil_tests.bench.load import EmulatedLoad
from hil_tests.bench.meter import SerialMeter
from hil_tests.bench.network import Network

CONNECT_S = 60  # Wi-Fi, back-off, hello
PERMIT_S = 2.0  # docs/supply.md
BACKLOG = 240
FORGERIES = 3
POLL_S = 1.0
RESERVE = """
import wire
from journal import Journal
j = Journal('/journal', {capacity})
e = wire.parse(j.read(j.next - 1))
while j.next <= {last}:
 print('.', end='')
 j.append(wire.pack_event({tamper}, j.next, e.time_s, e.energy_wh, j.next & 1, 0, 0, 0))
j.close()
"""


def wait_until_held(bench: Bench, network: Network, last: int, timeout_s: float = 60) -> None:
    """Wait until the store holds all of the meter's frames up to `last`."""

    def held() -> bool:
        runs = network.store.runs(bench.address)
        return len(runs) == 1 and runs[0][0] == 1 and runs[0][1] >= last

    bench.wait(held, f"frames 1 to {last} in the store", timeout_s)


def test_what_was_measured_offline_comes_later_and_whole(
    bench: Bench, meter: SerialMeter, network: Network
) -> None:
    bench.commission()
    for _ in range(3):
        meter.wait_for_reading(bench.intervals_s(2))
    status = meter.status()
    assert status["pointer"] is None
    network.start(bench.address)
    next_sequence = status["next"]
    assert next_sequence is not None
    wait_until_held(bench, network, next_sequence - 1, CONNECT_S)
    network.broker.stop()
    meter.wait_for_reading(bench.intervals_s(2))
    network.broker.start()
    later = meter.status()["next"]
    assert later is not None
    assert later > next_sequence
    wait_until_held(bench, network, later - 1, CONNECT_S)
    stored = {f.sequence: f.frame for f in network.store.frames(bench.address)}
    journal = bench.frames()
    assert [stored[sequence] for sequence in range(1, later)] == journal[: later - 1]
    assert network.store.quarantined() == []


def test_a_permit_over_the_network_connects_within_two_seconds(
    bench: Bench, meter: SerialMeter, network: Network, line: Watched
) -> None:
    bench.fresh()
    network.start(bench.address)
    meter.wait_for("connected to ", CONNECT_S)
    bundle = bench.permit()
    sent_s = network.send(bench.address, bundle)
    assert bench.wait_closed() - sent_s < PERMIT_S
    assert line.closed
    assert meter.wait_for_event(wire.EVENT_RECONNECTED)[0] == wire.REASON_NEW_PERMIT


def test_forged_permits_over_the_network_change_nothing(
    bench: Bench, meter: SerialMeter, network: Network, line: Watched
) -> None:
    bench.fresh()
    network.start(bench.address)
    meter.wait_for("connected to ", CONNECT_S)
    moved = len(line.changes)
    good = bench.permit()
    for bit in sorted(random.sample(range(8 * len(good)), FORGERIES)):
        forged = bytearray(good)
        forged[bit // 8] ^= 1 << bit % 8
        meter.note(f"bit {bit}")
        network.send(bench.address, bytes(forged))
        meter.wait_for_refusal()
    network.send(bench.address, bench.permit(address=bytes(20)))
    assert meter.wait_for_refusal() == wire.REFUSED_SIGNATURE
    assert meter.status()["control"] == wire.CONTROL_DISCONNECTED
    assert len(line.changes) == moved
    network.send(bench.address, good)
    assert meter.wait_for_event(wire.EVENT_PERMIT_ACCEPTED)
    bench.wait_closed()


def test_signing_a_backlog_never_delays_a_poll_by_more_than_a_period(
    bench: Bench, meter: SerialMeter, network: Network, sensor: EmulatedLoad
) -> None:
    bench.fresh(poll_ms=int(1000 * POLL_S))
    meter.status()  # it has written its first frame by now
    with meter.service() as repl:
        capacity = bench.configuration(b"")["journal_frames"]
        repl.run(RESERVE.format(capacity=capacity, last=BACKLOG, tamper=wire.EVENT_TAMPER))
    network.start(bench.address)
    first = next_of(meter)
    meter.wait_for("connected to ", CONNECT_S)
    began_s = time.monotonic()
    wait_until_held(bench, network, BACKLOG, 120)
    ended_s = time.monotonic()
    bench.wait(lambda: time.monotonic() > ended_s + 2 * POLL_S, "two more polls")
    times_s = [t for t in sensor.request_times_s if began_s - 2 * POLL_S < t]
    gaps_s = [later - earlier for earlier, later in zip(times_s, times_s[1:], strict=False)]
    meter.note(f"backlog of {BACKLOG} in {ended_s - began_s:.1f} s, gaps {gaps_s}")
    assert first > BACKLOG
    assert len(gaps_s) >= (ended_s - began_s) / (2 * POLL_S)
    assert max(gaps_s) < 2 * POLL_S
    late_ms = meter.status()["late_ms"]
    assert late_ms is not None
    assert late_ms < 1000 * POLL_S


def next_of(meter: SerialMeter) -> int:
    """Return the meter's next sequence."""
    sequence = meter.status()["next"]
    assert sequence is not None
    return sequence
