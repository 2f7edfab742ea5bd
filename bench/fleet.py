"""Have a fleet live an hour on this machine, with a relay killed and the broker restarted.

    python -m bench.fleet [--meters 10000] [--for 3600] [--factor 2] [--postgresql]

A mosquitto as `parwana broker acl` has it, two relays (their carriers: no chain is asked) on one
store, and `parwana fleet`'s meters. After a third of the time one relay is killed, and another
started a minute later; after two thirds the broker is away for ten seconds. Times are of the
meters' life. Exit code 1 where a frame is lost, an acknowledgement takes more than ACK_MS for more
than 1 %, or a second has more than PEAK times the mean of messages, or of a minute's hellos.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Thread

from bench.processes import resident_mb, worked_s
from hil_tests import postgresql
from hil_tests.services import UTILITY, Broker
from parwana.loadtest.command import live
from parwana.loadtest.crowd import Faults, Plan
from parwana.loadtest.fleet import allow_files
from parwana.loadtest.meter import BACKOFF_CAP_S
from parwana.relay.carrier import Carrier
from parwana.store.reader import Store
from parwana.world import runtime
from parwana.world.clock import WorldClock
from parwana.world.programs import Program

ACK_MS = 2000
PEAK = 3.0
INTERVAL_S = 900
FAULTS = Faults(silent=0.01, offline=0.02, repeating=0.02, killed=0.02)
AWAY_S = 10
_CONTEXT = multiprocessing.get_context("spawn")


class QuietBroker(Broker):
    """A mosquitto that does not log each packet, and may have a socket for each meter."""

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._program.pid

    def start(self) -> None:
        config = self._folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} {self.host}\n{self.settings}")
        command = (runtime.mosquitto(), "-c", config)
        self._program = Program("mosquitto", command, self._folder / "mosquitto.log")
        self._program.wait_for("running", 20)


def relay(broker: str, url: str, clock: WorldClock) -> None:
    """Carry until killed."""
    Carrier(UTILITY, broker, Store(url, patient=True), clock.now).start()


def started(*arguments: object) -> BaseProcess:
    process = _CONTEXT.Process(target=relay, args=arguments, daemon=True)
    process.start()
    return process


def end(relays: list[BaseProcess]) -> None:
    for process in relays:
        process.kill()


class Sabotage(Thread):
    """Kill a relay and start another, and the broker."""

    def __init__(self, plan: Plan, broker: Broker, relays: list[BaseProcess], url: str) -> None:
        super().__init__(daemon=True)
        self._plan, self._broker, self._relays, self._url = plan, broker, relays, url
        self.begin = Event()
        self.done: list[str] = []

    def run(self) -> None:
        self.begin.wait()
        plan = self._plan
        plan.clock.sleep(plan.for_s / 3)
        self._relays[0].kill()
        self.done.append("a relay killed")
        plan.clock.sleep(60)
        self._relays.append(started(self._broker.url, self._url, plan.clock))
        plan.clock.sleep(plan.for_s / 3 - 60)
        self._broker.stop()
        plan.clock.sleep(AWAY_S)
        self._broker.start()
        self.done.append("the broker restarted")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meters", type=int, default=10_000)
    parser.add_argument("--for", type=int, default=3600, dest="for_s")
    parser.add_argument("--factor", type=float, default=2.0, help="how much faster than life")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    allow_files(told.meters)
    clock = WorldClock.starting(time.time(), told.factor)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = f"sqlite:///{folder}/store.db"
        if told.postgresql:
            server = postgresql.Server(folder / "server")
            stack.callback(server.stop)
            url = server.database()
        broker = QuietBroker(folder)
        stack.callback(lambda: broker.stop())
        plan = Plan(
            utility_id=UTILITY, host="127.0.0.1", port=broker.port, user="", password="",
            seed=os.urandom(32), meters=told.meters, for_s=told.for_s,
            drain_s=2 * INTERVAL_S, interval_s=INTERVAL_S, clock=clock, faults=FAULTS,
        )  # fmt: skip
        store = Store(url)
        stack.callback(store.close)
        relays = [started(broker.url, url, clock) for _ in range(2)]
        stack.callback(lambda: end(relays))
        sabotage = Sabotage(plan, broker, relays, url)
        sabotage.start()
        report = live(plan, store, told.processes, quiet=False, began=sabotage.begin.set)
        if not all(process.is_alive() for process in relays[1:]):
            raise SystemExit("bench: a relay ended by itself; its traceback is above")
        report["contradictions"] = len(store.contradictions())
        report["quarantined"] = len(store.quarantined())
        report["suffered"] = sabotage.done
        pids = [broker.pid, *(process.pid for process in relays[1:] if process.pid)]
        report["broker_and_relays"] = [  # the broker since it was restarted
            {"cpu_s": round(worked_s(pid), 1), "mb": round(resident_mb(pid))} for pid in pids
        ]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    report["cpu_s"] = round(children.ru_utime + children.ru_stime)
    report["load"] = os.getloadavg()
    print(json.dumps(report))
    if told.out:
        told.out.write_text(json.dumps(report, indent=1) + "\n")
    messages, hellos = report["messages_a_second"], PEAK * told.meters / BACKOFF_CAP_S
    wrong = [
        text
        for text, good in (
            ("frames were lost", report["ok"]),
            ("frames were refused", not report["contradictions"] and not report["quarantined"]),
            (f"1 % waited more than {ACK_MS} ms", report["ack_ms"]["p99"] <= ACK_MS),
            ("a second had too many messages", 0 < (messages["ratio"] or 0) <= PEAK),
            ("a second had too many hellos", report["hellos_a_second"]["most"] <= hellos),
            ("not all was suffered", len(sabotage.done) == 2),
        )
        if not good
    ]
    print("; ".join(wrong) or "it holds")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
