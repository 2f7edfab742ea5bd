"""Run many simulated meters in one process: their clock, what befalls them, who is next."""

import heapq
import itertools
import random
import select
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing.connection import Connection
from types import SimpleNamespace

from parwana.chain.periods import DAY_S
from parwana.loadtest import firmware
from parwana.loadtest.figures import Figures
from parwana.loadtest.link import watched
from parwana.loadtest.meter import BACKOFF_CAP_S, Life, Meter
from parwana.world.clock import WorldClock

RAMP_S = 60  # in which the meters start
KILLS = 4  # of the connection of one that suffers that, about
_TELL_MS = 500  # real ones, between two looks at all of them


@dataclass(frozen=True)
class Faults:
    """Which share of the meters, 0 to 1, suffers what."""

    silent: float = 0.0  # never has a network
    offline: float = 0.0  # has none for a while
    repeating: float = 0.0  # publishes each message of frames twice
    killed: float = 0.0  # loses its connection again and again


@dataclass(frozen=True)
class Plan:
    """What a fleet does. Times are seconds of the meters' life."""

    utility_id: str
    host: str  # dotted quad
    port: int
    user: str
    password: str
    seed: bytes
    meters: int
    for_s: int
    drain_s: int  # after that, until all is acknowledged
    interval_s: int
    clock: WorldClock
    faults: Faults

    def secret(self, number: int) -> bytes:
        """Return the key of a meter, numbered from 0."""
        return sha256(self.seed + number.to_bytes(4, "big")).digest()


def work(plan: Plan, first: int, step: int, pipe: Connection) -> None:
    """Run a part of a fleet in a process of its own: ready, started by a time, figures, the last.

    It sends None and then (whether these are the last, Figures).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to take
    crowd = Crowd(plan, first, step)
    pipe.send(None)
    pipe.send((True, crowd.run(pipe.recv(), lambda now: pipe.send((False, now)))))


class Crowd:
    """The meters `first`, `first + step` ... of a plan."""

    def __init__(self, plan: Plan, first: int, step: int) -> None:
        self._plan = plan
        self.uplink, self.umqtt = firmware.load(watched)
        self.poller = select.epoll()
        self.life = Life(plan.clock.now)
        self.figures = Figures()
        self._fds: dict[int, Meter] = {}
        self._fd_of: dict[Meter, int] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._silent: set[Meter] = set()
        settings = SimpleNamespace(
            utility_id=plan.utility_id,
            broker_host=plan.host,
            broker_port=plan.port,
            broker_user=plan.user,
            broker_password=plan.password,
            broker_tls=False,
            broker_ca="",
            broker_backoff_cap_s=BACKOFF_CAP_S,
            interval_s=plan.interval_s,
        )
        self._meters = [
            Meter(self, plan.secret(n), settings, random.random() < plan.faults.repeating)
            for n in range(first, plan.meters, step)
        ]
        for meter in self._meters:
            self._befall(meter)

    def watch(self, meter: Meter, fd: int | None) -> None:
        """Have the meter look when something comes on `fd`; None: no more."""
        self._fds.pop(self._fd_of.pop(meter, -1), None)
        if fd is not None:
            self._fds[fd], self._fd_of[meter] = meter, fd

    def run(self, start_s: int, tell: Callable[[Figures], None]) -> Figures:
        """Live from `start_s` on; `tell` gets the figures now and then, without what was when."""
        self.life.start_s = start_s
        end_ms, told_ms = 1000 * self._plan.for_s, 0.0
        factor = self._plan.clock.factor
        while True:
            now_ms = self.life.ms
            if now_ms >= told_ms:
                told_ms = now_ms + _TELL_MS * factor
                figures = self._snapshot()
                tell(replace(figures, sent_at=Counter(), hello_at=Counter()))
                drained = now_ms >= end_ms and not figures.waiting
                if drained or now_ms >= end_ms + 1000 * self._plan.drain_s:
                    return figures
            next_ms = min(self._heap[0][0], told_ms) if self._heap else told_ms
            for fd, events in self.poller.poll(max(0, next_ms - now_ms) / factor / 1000):
                if meter := self._fds.get(fd):
                    meter.link.ready(events)
                    self._go_on(meter)
            now_ms = self.life.ms
            while self._heap and self._heap[0][0] <= now_ms:
                heapq.heappop(self._heap)[2]()

    def _snapshot(self) -> Figures:
        heard = [meter for meter in self._meters if meter not in self._silent]
        figures = self.figures
        figures.connected = sum(meter.connected for meter in heard)
        figures.waiting = sum(meter.waiting for meter in heard)
        figures.unheard = sum(meter.waiting for meter in self._silent)
        return figures

    def _at(self, ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (int(ms), next(self._count), act))

    def _befall(self, meter: Meter) -> None:
        """Set what will happen to a meter."""
        plan, faults = self._plan, self._plan.faults
        start_ms = random.uniform(0, 1000 * min(RAMP_S, plan.for_s))
        self._at(start_ms, lambda: self._start(meter))
        if random.random() < faults.silent:
            meter.link.lose()
            self._silent.add(meter)
            return
        if random.random() < faults.offline:
            lost_s = random.uniform(0.1, 0.6) * plan.for_s
            self._at(1000 * lost_s, meter.link.lose)
            back_s = lost_s + random.uniform(0.02, 0.3) * plan.for_s
            self._at(1000 * back_s, meter.link.regain)
        if random.random() < faults.killed:
            for _ in range(KILLS):
                self._at(1000 * random.uniform(0, plan.for_s), lambda: self._kill(meter))

    def _kill(self, meter: Meter) -> None:
        meter.link.kill()
        if meter.polls:
            self._go_on(meter)

    def _start(self, meter: Meter) -> None:
        meter.boot()
        interval_s = self._plan.interval_s
        next_s = (self.life.ran() // interval_s + 1) * interval_s
        # A poll, once a second, sees that the interval is over.
        self._ends(meter, next_s, random.randrange(1000))
        self._go_on(meter)

    def _ends(self, meter: Meter, time_s: int, phase_ms: int) -> None:
        """Have an interval end."""
        plan = self._plan
        ms = 1000 * (time_s - self.life.start_s) + phase_ms

        def end() -> None:
            meter.measure(time_s, plan.interval_s, closing=time_s % DAY_S == 0)
            self._ends(meter, time_s + plan.interval_s, phase_ms)
            if meter.polls:
                self._go_on(meter)

        if ms < 1000 * plan.for_s:
            self._at(ms, end)

    def _go_on(self, meter: Meter) -> None:
        """Let a meter go on, and set when it does next."""
        due_ms = meter.due_ms = self.life.ms + meter.run()

        def again() -> None:
            if meter.due_ms == due_ms:
                self._go_on(meter)

        self._at(due_ms, again)
