"""What a network can do to a meter: the tables are the faults, a function a family of them.

Each tries its faults one after the other and returns how long the meter took to be back.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping

import wire
from hil_tests.beset import CLIENT_ID, Beset
from hil_tests.brokers import stranger
from hil_tests.meterkit import METER, UTILITY, permit
from hil_tests.mischief import Flood, Rival
from hil_tests.nameserver import LIES
from hil_tests.road import BOTH, DOWN, UP, Fault, Road
from hil_tests.services import wait_until

Table = Mapping[str, tuple[Fault, float]]
Took = dict[str, float]

WAYS = (UP, DOWN, BOTH)
ROAD: Table = {
    **{f"slow, {w}": (Fault("delay", w, seconds=0.4), 6) for w in WAYS},
    **{f"a byte at a time, {w}": (Fault("trickle", w, seconds=0.01), 6) for w in WAYS},
    **{f"each third packet lost, {w}": (Fault("drop", w, every=3), 15) for w in WAYS},
    **{f"packets twice, {w}": (Fault("duplicate", w), 6) for w in WAYS},
    **{f"packets change places, {w}": (Fault("reorder", w), 6) for w in WAYS},
    **{f"garbled, {w}": (Fault("garble", w), 4) for w in WAYS},
    **{f"now and then garbled, {w}": (Fault("garble", w, every=5), 20) for w in WAYS},
    **{f"{k}, {w}": (Fault(k, w), 3) for k in ("truncate", "half-close", "reset") for w in WAYS},
    **{f"a black hole, {w}": (Fault("hole", w), 50) for w in WAYS},
    **{f"a hole after {n}, {w}": (Fault("hole", w, after=n), 12) for n in (1, 2, 4) for w in WAYS},
    "refused": (Fault("refuse"), 6),
}  # fmt: skip
AFRESH = ("after", "garbled", "refused")  # begin with a connection of their own
ELSEWHERE = {"nobody listens": "127.0.0.9", "no way there": "192.0.2.1"}
FLAPS = ((0.2, 0.2, 6), (1, 1, 4), (5, 3, 3), (50, 1, 1))  # seconds away, there; how often
HEARD = {
    "down": wire.topic(UTILITY, METER, "down"),
    "permit": wire.topic(UTILITY, METER, "permit"),
    "time": wire.time_topic(UTILITY),
}
SIZES = (0, 1, 4, 5, 44, 104, 520, 960, 1023, 1024, 1025, 4096, 65_535, 200_000)
FLOOD_S = 8
FORGED = wire.pack_bundle_message(permit(2, 2, meter=bytes(20)))
FLOODS = {"forged permits": FORGED, "tiny": b"\xff", "long": bytes(900), "too long": bytes(20_000)}


def road(meter: Beset, table: Table = ROAD) -> Took:
    """Spoil the road."""
    took = {}
    for name, (fault, seconds) in table.items():
        meter.suffer(fault, seconds, afresh=any(word in name for word in AFRESH))
        took[name] = meter.back(name)
    return took


def names(meter: Beset, lies: Iterable[str] = LIES, where: Iterable[str] = ELSEWHERE) -> Took:
    """Have the name server fail, or lie, just when the name is asked for."""
    took = {}
    for lie in lies:
        meter.names.lie = lie
        meter.wait_asked()
        meter.names.lie = ""
        took[lie] = meter.back(lie)
    for name in where:
        meter.names.address = ELSEWHERE[name]
        meter.wait_asked()
        meter.names.address = "127.0.0.1"
        took[name] = meter.back(name)
        meter.names.address = f"{ELSEWHERE[name]} 127.0.0.1"
        meter.road.reset()
        took[f"{name}, at one of two addresses"] = meter.back(name)
        meter.names.address = "127.0.0.1"
    return took


def flaps(meter: Beset, series: Iterable[tuple[float, float, int]] = FLAPS) -> Took:
    """Take the Wi-Fi away, again and again."""
    took = {}
    for away_s, there_s, often in series:
        for flap in range(often):
            time.sleep(there_s if flap else 0)
            meter.board.network_up = False
            time.sleep(away_s)
            meter.board.network_up = True
        name = f"Wi-Fi {often} times {away_s:g} s away"
        took[name] = meter.back(name)
    return took


def _restarts(meter: Beset) -> None:
    meter.broker.stop()
    meter.broker.start()


def _goes_away(meter: Beset) -> None:
    meter.broker.stop()
    time.sleep(20)
    meter.broker.start()


def _moves(meter: Beset) -> None:
    """Have the name lead to another address, and the old one refuse; then back."""
    with Road(meter.road.target, "127.0.0.2", meter.road.port) as moved:
        meter.road.fault, meter.names.address = Fault("refuse"), moved.host
        meter.road.reset()
        meter.back("another address")
        assert moved.connections
        meter.road.fault, meter.names.address = None, "127.0.0.1"


def _is_a_stranger(code: int | None, **answers: int) -> Callable[[Beset], None]:
    def act(meter: Beset) -> None:
        before = meter.road.target
        with stranger(code, old=True, **answers) as other:
            meter.road.target = other.port
            meter.road.reset()
            wait_until(lambda: other.connections > 1, "two calls", 90, meter.told)
        meter.road.target = before
        meter.road.reset()

    return act


BROKER = {
    "restarts": _restarts,
    "is away": _goes_away,
    "has another address": _moves,
    **{f"refuses by {code}": _is_a_stranger(code) for code in (1, 2, 3, 4, 5, 6, 255)},
    "hangs up": _is_a_stranger(None),
    "denies a topic": _is_a_stranger(0, suback=0x80),
}


def broker(meter: Beset, names: Iterable[str] = BROKER) -> Took:
    """Have the broker restart, move, refuse, be a stranger."""
    took = {}
    for name in names:
        BROKER[name](meter)
        took[name] = meter.back(name)
    return took


def rivals(meter: Beset, seconds: float = 30) -> Took:
    """Have somebody use the meter's client id; what it measures arrives even so."""
    with Rival(meter.broker.port, CLIENT_ID) as rival:
        wait_until(lambda: rival.kicked, "the meter to kick its rival", 30)
        while_it_is_there = meter.back("a rival with its client id")
        time.sleep(seconds)
        assert rival.kicked < seconds
    return {"a rival, still there": while_it_is_there, "a rival": meter.back("a rival")}


def _anew(meter: Beset) -> None:
    """End the session, and with it what a flood left for it in the broker's queue."""
    sessions = len(meter.relay.hellos)
    meter.road.reset()
    wait_until(lambda: len(meter.relay.hellos) > sessions, "a new session", 90)


def messages(meter: Beset, leaves: Iterable[str] = HEARD, sizes: Iterable[int] = SIZES) -> Took:
    """Send what is malformed, or too long, on every topic that it hears; and retain some."""
    dice = random.Random(10)
    took = {}
    for leaf in leaves:
        _anew(meter)
        connections = meter.road.connections
        for size in sizes:
            for first in (b"", *(bytes([kind]) for kind in range(8))):
                meter.relay.send(HEARD[leaf], (first + dice.randbytes(size))[:size])
        for at in range(0, len(FORGED), 7):
            meter.relay.send(HEARD[leaf], FORGED[:at])
            meter.relay.send(HEARD[leaf], FORGED[:at] + dice.randbytes(1) + FORGED[at + 1 :])
        took[f"malformed on {leaf}"] = meter.back(leaf)
        assert meter.road.connections == connections
        meter.relay.send(HEARD[leaf], dice.randbytes(5000), retain=True)
        meter.road.reset()
        took[f"too long and retained on {leaf}"] = meter.back(leaf)
        meter.relay.send(HEARD[leaf], b"", retain=True)
    return took


def floods(
    meter: Beset, leaves: Iterable[str] = HEARD, kinds: Iterable[str] = FLOODS,
    levels: Iterable[int] = (0, 1), seconds: float = FLOOD_S,
) -> Took:  # fmt: skip
    """Flood every topic that it hears."""
    took = {}
    for leaf in leaves:
        for kind in kinds:
            for qos in levels:
                name = f"{kind} at QoS {qos} on {leaf}"
                with Flood(meter.broker.port, HEARD[leaf], FLOODS[kind], qos) as flood:
                    time.sleep(seconds)
                took[name] = meter.back(name)
                print(f"{name}: {flood.sent} sent, {took[name]:.1f} s")
    return took


FAMILIES: dict[str, Callable[[Beset], Took]] = {
    "road": road, "names": names, "Wi-Fi": flaps, "broker": broker, "rival": rivals,
    "messages": messages, "floods": floods,
}  # fmt: skip
