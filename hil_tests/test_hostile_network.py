"""A whole meter on a hostile network: what is measured arrives, and polls keep their second.

hil_tests/hostilities.py has the faults. The short form lives through a sample of them on one
board, over TLS; with --long each is tried, and weeks of them. docs/reliability.md has figures.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil_tests import hostilities
from hil_tests.beset import BROKER, Beset, beset
from hil_tests.brokers import Authority, SealedBroker
from hil_tests.hostilities import FAMILIES, FLOODS, ROAD, Table, Took
from hil_tests.nameserver import LIES
from hil_tests.reliability import record
from hil_tests.road import DOWN, UP, Fault

Tls = tuple[Path, Path]
SHORT: Table = {
    "reset": (Fault("reset"), 1), "half-close": (Fault("half-close", DOWN), 1),
    "garbled": (Fault("garble", UP), 1), "slow": (Fault("delay", seconds=0.2), 2),
}  # fmt: skip
ENDS = ("garble", "truncate", "half-close", "reset", "hole")
SEALED: Table = {
    **{f"{kind}, {way}": (Fault(kind, way), 3) for kind in ENDS for way in (UP, DOWN)},
    **{f"{kind} after {n}, {way}, afresh": (Fault(kind, way, after=n), 12)
       for n in (0, 1) for kind in ENDS for way in (UP, DOWN)},
    "slow": (Fault("delay", seconds=0.4), 8),
    "a byte at a time": (Fault("trickle", seconds=0.002), 8),
}  # fmt: skip
WEEKS = 4
WEEK_S = 7 * 86400
FACTOR = 2880.0
HEAP_MORE = 1024  # bytes, that the last week may take more than the first


class Certificates:
    """What a broker may show, by name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        name = f"DNS:{BROKER}"
        self.authority, self.next = Authority(folder / "ca"), Authority(folder / "next")
        other = Authority(folder / "other")
        self.good = self.authority.issue("good", name, 3650)
        self.renewed = self.authority.issue("renewed", name, 3650)
        self.of_the_next = self.next.issue("good", name, 3650)
        self.wrong = {
            "of another CA": other.issue("other", name, 3650),
            "for another name": self.authority.issue("name", "DNS:elsewhere.example", 3650),
            "expired": self.authority.issue("expired", name, 0),
        }

    @property
    def trusted(self) -> bytes:
        """What a meter trusts: the CA of today and the next one."""
        return self.authority.certificate.read_bytes() + self.next.certificate.read_bytes()


@contextmanager
def sealed(folder: Path, certificates: Certificates, **options: Any) -> Iterator[Beset]:
    broker = SealedBroker(folder / "broker", certificates.good)
    ca = certificates.trusted
    with beset(folder, broker=broker, ca=ca, port=broker.tls_port, **options) as meter:
        yield meter


def show(meter: Beset, tls: Tls) -> None:
    """Have the broker show a certificate, to a new connection."""
    broker = meter.broker
    assert isinstance(broker, SealedBroker)
    broker.show(tls)
    time.sleep(0.3)
    meter.road.reset()


def refused(meter: Beset, certificates: Certificates, names: Iterable[str]) -> Took:
    """Show what it must refuse, until it has come back for it twice."""
    took = {}
    for name in names:
        sessions = len(meter.relay.hellos)
        show(meter, certificates.wrong[name])
        meter.wait_asked()
        assert len(meter.relay.hellos) == sessions, name
        show(meter, certificates.good)
        took[name] = meter.back(name)
    return took


def renewed(meter: Beset, certificates: Certificates) -> Took:
    """Show what it must take: a new certificate, and one of the next CA."""
    took = {}
    for name, tls in (("renewed", certificates.renewed), ("next CA", certificates.of_the_next)):
        show(meter, tls)
        took[name] = meter.back(name)
    return took


def keep(family: str, meter: Beset, took: Took, **more: object) -> None:
    """Check what must hold; keep the figures."""
    time.sleep(2)
    meter.back("all of it")
    meter.check()
    gaps_s = sorted(meter.gaps_s())
    status = meter.statuses()[-1]
    assert status.restarts == 0
    assert max(took.values()) < meter.back_s
    figures = {
        "faults": len(took),
        "frames": len(meter.relay.frames),
        "connections": meter.road.connections,
        "back_s_most": round(max(took.values()), 1),
        "back_s_median": round(statistics.median(took.values()), 1),
        "polls": len(gaps_s) + 1,
        "poll_gap_ms": {
            name: round(1000 * gaps_s[int(share * (len(gaps_s) - 1))])
            for name, share in (("median", 0.5), ("p99", 0.99), ("most", 1))
        },
        "poll_late_ms_most": status.late_ms,
        **more,
    }
    print(family, figures, took)
    record(f"hostile network: {family}", **figures)


def test_a_sample_of_all_that_a_network_can_do(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "certificates")
    with sealed(tmp_path / "meter", certificates, cap_s=1) as meter:
        took = hostilities.road(meter, SHORT)
        took |= hostilities.names(meter, ["failure"], [])
        took |= hostilities.flaps(meter, [(1, 0, 1)])
        took |= hostilities.messages(meter, ["time"], (0, 44, 1025))
        took |= hostilities.floods(meter, ["permit"], ["forged permits"], [0], 0.5)
        took |= refused(meter, certificates, ["for another name"])
        took |= renewed(meter, certificates)
        keep("a sample", meter, took)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_faults(tmp_path: Path, family: str) -> None:
    with beset(tmp_path) as meter:
        keep(family, meter, FAMILIES[family](meter))


@pytest.mark.long
def test_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "certificates")
    with sealed(tmp_path / "meter", certificates) as meter:
        took = hostilities.road(meter, SEALED)
        took |= refused(meter, certificates, certificates.wrong)
        took |= renewed(meter, certificates)
        keep("TLS", meter, took)


@pytest.mark.long
def test_with_the_longest_pauses_it_is_back_in_the_time_that_is_promised(tmp_path: Path) -> None:
    """After many failures a pause is as long as the configuration allows: a minute."""
    with beset(tmp_path, cap_s=60) as meter:
        took = {}
        for way in (UP, DOWN):
            meter.suffer(Fault("refuse"), 150, afresh=True)
            took[f"refused, {way}"] = meter.back("refused")
            # The session is young, so the next pause is a minute again.
            meter.suffer(Fault("hole", way), 5)
            took[f"a black hole, {way}"] = meter.back("a black hole")
            meter.suffer(Fault("hole", way, after=1), 20, afresh=True)
            took[f"a hole after the greeting, {way}"] = meter.back("a hole after the greeting")
        keep("the longest pauses", meter, took)


def anything(dice: random.Random) -> Callable[[Beset], Took]:
    """Return something that a network may do any day."""
    quick = {name: way for name, way in ROAD.items() if way[1] <= 6}
    name = dice.choice(list(quick))
    return dice.choice(
        [
            lambda meter: hostilities.road(meter, {name: quick[name]}),
            lambda meter: hostilities.flaps(meter, [(dice.uniform(0, 4), 0, 1)]),
            lambda meter: hostilities.names(meter, [dice.choice(LIES)], []),
            lambda meter: hostilities.broker(meter, [dice.choice(list(hostilities.BROKER))]),
            lambda meter: hostilities.messages(meter, [dice.choice(list(hostilities.HEARD))]),
            lambda meter: hostilities.floods(
                meter,
                [dice.choice(list(hostilities.HEARD))],
                [dice.choice(list(FLOODS))],
                seconds=1,
            ),
        ]
    )


@pytest.mark.long
def test_weeks_of_it_take_no_more_memory(tmp_path: Path) -> None:
    dice = random.Random(2027)
    with beset(tmp_path, factor=FACTOR, interval_s=3600) as meter:
        took: Took = {}
        free: list[list[int]] = []
        began_s = meter.clock.now()
        for week in range(1, WEEKS + 1):
            known = len(meter.statuses())
            while meter.clock.now() < began_s + week * WEEK_S:
                for name, seconds in anything(dice)(meter).items():
                    took[f"{len(took)}: {name}"] = seconds
            free.append([status.heap_free for status in meter.statuses()[known:]])
        medians = [round(statistics.median(week)) for week in free]
        keep("weeks", meter, took, weeks=WEEKS, heap_free_median=medians,
             heap_free_least=[min(week) for week in free])  # fmt: skip
        assert medians[0] - medians[-1] <= HEAP_MORE
