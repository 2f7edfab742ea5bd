"""A meter whose network is the test's to spoil: a road, a name server, a rival, a flood.

Whatever is done to it, it polls each second, its relay ends up with every frame, and it is back
within the cap of its pauses and BACK_S of the moment when all is well again.
"""

import itertools
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import wire
from hil_tests import meterkit
from hil_tests.meterkit import METER, Meter, configuration, make_image
from hil_tests.nameserver import NameServer
from hil_tests.road import Fault, Road
from hil_tests.services import Broker, wait_until

BROKER = "broker.example"
BACK_S = 60  # and broker.backoff_cap_s: promised in docs/reliability.md
LATE_S = 2.0  # the next poll
TOO_LATE_S = 5.0  # and shorter than whatever the network is waited for
CLIENT_ID = f"parwana-{METER.hex()}"
_STATUS = re.compile(r"status next=(\d+) .*restarts=(\d+) late_ms=(\d+) heap_free=(\d+)")
_TROUBLE = re.compile(r".*(?:Traceback|MemoryError|stopped: | ended\b).*")


class Status(NamedTuple):
    """Of a status line."""

    next: int
    restarts: int
    late_ms: int
    heap_free: int


class Beset(Meter):
    """A meter that finds its broker by a name, over a road."""

    road: Road
    names: NameServer
    back_s: float

    def suffer(self, fault: Fault, seconds: float, afresh: bool = False) -> None:
        """Set a fault on the road for so long, `afresh`: for new connections alone."""
        self.road.fault = fault
        if afresh:
            self.road.reset()
        time.sleep(seconds)
        self.road.fault = None

    def back(self, what: str) -> float:
        """Wait until all frames there are now have come, and one more; return how long it took.

        Raises TimeoutError after `back_s`, with `what` was suffered.
        """
        began_s, wanted = time.monotonic(), self.relay.wanted
        newest = max(self.statuses()[-1].next, wanted, *self.relay.frames)
        wait_until(
            lambda: self.relay.wanted > newest,
            f"frames {wanted} to {newest}: {what}",
            self.back_s,
            self.told,
        )
        return time.monotonic() - began_s

    def wait_asked(self) -> None:
        """Have it ask for the broker's name, twice."""
        before = self.names.asked
        self.road.reset()
        wait_until(lambda: self.names.asked > before + 1, "two questions", 90, self.told)

    @property
    def console(self) -> str:
        """What it printed."""
        return self.board.log_path.read_text(errors="replace")

    def told(self) -> str:
        """Return the end of that."""
        return self.console[-1500:]

    def statuses(self) -> list[Status]:
        """Return what its status lines tell, the newest last."""
        return [Status(*map(int, found)) for found in _STATUS.findall(self.console)]

    def gaps_s(self, since: int = 0) -> list[float]:
        """Return the times between polls, from the poll `since` on."""
        times_s = list(self.pzem.request_times_s)[since:]
        return [later - sooner for sooner, later in itertools.pairwise(times_s)]

    def check(self) -> None:
        """Assert what must hold of it, whatever happened."""
        trouble = _TROUBLE.search(self.console)
        assert not trouble, self.console[trouble.start() :][:2000]
        assert len(self.board.resets) == 1, self.board.resets
        assert [closed for _, closed in self.board.contactor_changes] == [True]
        assert self.relay.complete
        assert self.relay.contradictions == []
        assert len(self.relay.signers) == 1
        gaps_s = self.gaps_s()
        late_s = [gap for gap in gaps_s if gap >= LATE_S]
        assert len(late_s) <= len(gaps_s) / 100, late_s  # of a computer that is busy elsewhere
        assert max(gaps_s) < TOO_LATE_S


@contextmanager
def beset(
    folder: Path,
    *,
    broker: Broker | None = None,
    ca: bytes = b"",
    port: int = 0,
    cap_s: int = 4,
    factor: float = 600,
    settled: bool = True,
    **changes: Any,
) -> Iterator[Beset]:
    """Lend a meter that has said hello, unless `settled` is False.

    `port` of the broker for meters, if it is another than the relay's; `ca` for TLS there.
    """
    (folder / "board").mkdir(parents=True)
    with ExitStack() as stack:
        meter = Beset(folder, stack, factor, "latching", broker)
        meter.back_s = cap_s + BACK_S
        meter.names = stack.enter_context(NameServer())
        target = port or meter.broker.port
        meter.road = stack.enter_context(Road(target, sealed=bool(ca)))
        meter.board.name_port = meter.names.port
        tls = {"tls": True, "ca": "/ca.der"} if ca else {}
        config = configuration(
            0,
            broker={"host": BROKER, "port": meter.road.port, "backoff_cap_s": cap_s, **tls},
            **changes,
        )
        files = {**meterkit.firmware_files("x86"), "/config.json": json.dumps(config).encode()}
        if ca:
            files["/ca.der"] = ca
        (folder / "board" / "flash.img").write_bytes(make_image(files))
        meter.board.power_on()
        if settled:
            meter.wait_hello(0)
            bundle = meterkit.permit(1, meterkit.START_S, days=10_000)
            meter.relay.publish("permit", wire.pack_bundle_message(bundle), retain=True)
            wait_until(lambda: meter.board.contactor, "the contactor to close", 20, meter.told)
            meter.wait_frames(2)
        yield meter
