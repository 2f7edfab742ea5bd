"""`parwana relay`: carry readings from the broker to the store and the chain, and permits back.

A relay believes nothing and owns nothing: several may share one subscription and one store. Four
threads: the broker's network, the store (verify, commit, then answer), the chain's reader, and the
landing of closings. The first two never wait for a chain.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from parwana.chain import contracts
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, ChainError
from parwana.relay.carrier import Carrier
from parwana.relay.follower import Follower
from parwana.relay.intake import Counters
from parwana.relay.landing import Landing
from parwana.relay.waits import GATHER_S, ROOT_WAIT_S
from parwana.store.reader import Store, StoreError
from parwana.world import logs
from parwana.world.clock import WorldClock
from parwana.world.progress import Told, untold

log = logging.getLogger("parwana.relay")


class Repeated:
    """Run a step of chain work in a thread every `pause_s`; count a failure and try again."""

    def __init__(
        self, name: str, step: Callable[[], Any], pause_s: float, failed: Callable[[], None]
    ) -> None:
        self.name = name
        self._step = step
        self._pause_s = pause_s
        self._failed = failed
        self.wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.trouble = logs.Trouble(log, name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask to end after the step in hand."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for the end, half a minute at most."""
        self._thread.join(30)

    def _run(self) -> None:
        pause_s = self._pause_s
        while not self._stopping.is_set():
            try:
                self._step()
                self.trouble.over()
                pause_s = self._pause_s
            except (ChainError, StoreError) as error:
                self.trouble.failed(str(error))
                pause_s = min(30.0, pause_s * 2)
                self._failed()
            except Exception as error:  # a bug in chain work must not stop the metering data
                self.trouble.failed(f"this is a bug, please report it: {error!r}", bug=error)
                pause_s = 30.0
            self._wait(pause_s)

    def _wait(self, pause_s: float) -> None:
        deadline = time.monotonic() + pause_s
        while not self._stopping.wait(min(0.2, self._pause_s)) and time.monotonic() < deadline:
            if self.wake.is_set() and not self.trouble.text:
                self.wake.clear()
                return


def run(
    deployment: Deployment,
    *,
    broker_url: str,
    store: Store,
    connect: Callable[[], Chain],
    land: bool,
    stop: threading.Event,
    clock: WorldClock,
    report: Callable[[dict[str, Any]], None],
    pause_s: float = 1.0,
    report_s: float = 10.0,
    gather_s: int = GATHER_S,
    root_wait_s: int = ROOT_WAIT_S,
    connect_energy: Callable[[], Chain] | None = None,
    watch: Callable[[Callable[[], dict[str, Any]]], None] = lambda _state: None,
) -> None:
    """Relay until `stop`; `report` gets the counters every `report_s`. Raises BrokerError.

    `connect` reaches the payment chain, `connect_energy` the energy chain where it is another.
    `watch` gets what returns the state that is reported, for who wants it at other times.
    """
    for name in contracts.NAMES:
        contracts.load(name)  # now: the compiler must not run in two threads
    carrier = Carrier(deployment.utility_id, broker_url, store, clock.now)
    follower = Follower(deployment, store, connect, carrier.deliver)

    def failed() -> None:
        carrier.count(Counters(chain_failures=1))

    chores = [
        Repeated("chain", follower.step, pause_s, failed),
        Repeated("trust", carrier.tell_new, 5 * pause_s, failed),
        Repeated("updates", carrier.roll_out, 5 * pause_s, failed),
    ]
    carrier.unknown_heard = chores[0].wake
    waits = gather_s, root_wait_s
    landings = (
        landings_of(deployment, store, connect, connect_energy, clock.now, *waits) if land else {}
    )

    def lands(landing: Landing) -> Callable[[], None]:
        return lambda: carrier.count(Counters(**asdict(landing.step())))

    chores += [Repeated(name, lands(one), pause_s, failed) for name, one in landings.items()]

    def state() -> dict[str, Any]:
        failures = {chore.name: chore.trouble.text for chore in chores if chore.trouble.text}
        failures |= carrier.failures
        waits = [asdict(wait) for landing in landings.values() for wait in landing.waits]
        waiting = [wait for at, wait in enumerate(waits) if wait not in waits[:at]]
        progress = {
            name: {what: list(of) for what, of in landing.progress.items()}
            for name, landing in landings.items()
            if landing.progress
        }
        return {
            "broker": carrier.connected,
            **asdict(carrier.counters),
            "progress": progress,
            "waiting": waiting,
            "failures": failures,
        }

    watch(state)
    carrier.start()
    for chore in chores:
        chore.start()
    try:
        while not stop.wait(report_s):
            report(state())
            if carrier.bug is not None:
                raise carrier.bug
    finally:
        for chore in chores:
            chore.stop()
        carrier.stop()
        for chore in chores:
            chore.join()
        report(state())


def landings_of(
    deployment: Deployment,
    store: Store,
    connect: Callable[[], Chain],
    connect_energy: Callable[[], Chain] | None,
    now: Callable[[], float],
    gather_s: int,
    root_wait_s: int,
    told: Told = untold,
) -> dict[str, Landing]:
    """Return what lands on the deployment's chain, or on each of two, by the chore's name."""
    waits = gather_s, root_wait_s
    if connect_energy is None:
        return {"landing": Landing(deployment, store, connect, now, *waits, told=told)}
    there = deployment.on_energy_chain
    return {
        "landing energy": Landing(
            there, store, connect_energy, now, *waits, bills=False, told=told
        ),
        "landing": Landing(deployment, store, connect, now, *waits, balances=False, told=told),
    }
