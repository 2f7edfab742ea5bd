"""Run a plan in several processes, and put together what they did."""

import ipaddress
import multiprocessing
import resource
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from coincurve import PrivateKey

from parwana.loadtest.crowd import RAMP_S, Plan, work
from parwana.loadtest.figures import Figures, peak
from parwana.loadtest.meter import address_of
from parwana.store.reader import Store

METERS_MOST = 25_000  # a machine has some 28,000 ports towards one broker
FIRST_NUMBER = 10**12  # of the points of simulated meters
_HOUSE = 1
_ENROLLED = 200  # at once, so that relays of the same store have their turn
_FILES_MORE = 64


class FleetError(Exception):
    """A fleet cannot be run so; the text says what to do."""


def place_of(host: str, mine: bool) -> str:
    """Return the broker's address (dotted quad), if it may be tried. Raises FleetError."""
    try:
        address = socket.gethostbyname(host)
    except OSError:
        raise FleetError(f"the broker {host} is not found; check its name") from None
    if not ipaddress.ip_address(address).is_loopback and not mine:
        raise FleetError(
            f"the broker {host} is not on this machine's loopback, and a fleet can keep everybody "
            "else from it: where it is yours and nobody needs it, say --i-own-this-broker"
        )
    return address


def allow_files(meters: int) -> None:
    """Let this process, and those that it starts, hold a socket a meter. Raises FleetError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = meters + _FILES_MORE
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise FleetError(
            f"{meters} meters of one process want {wanted} open files, and the system allows "
            f"{hard}: raise that (ulimit -Hn, or LimitNOFILE), or run fewer meters or more "
            "--processes"
        )
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def enrol(plan: Plan, store: Store) -> list[bytes]:
    """Have relays take what the plan's meters send; return their addresses.

    Raises FleetError for a store of real meters, whose audit would find strangers in it.
    """
    before = store.meters()
    if any(row.number is None or row.number < FIRST_NUMBER for row in before):
        raise FleetError(
            f"the store {store.name} holds meters that are not simulated: give the fleet, and a "
            "relay, a store of their own with --store"
        )
    first = FIRST_NUMBER + len(before)
    secrets = [plan.secret(number) for number in range(plan.meters)]
    addresses = [address_of(PrivateKey(secret)) for secret in secrets]
    for at in range(0, len(addresses), _ENROLLED):
        with store.transaction() as writer:
            for number, address in enumerate(addresses[at : at + _ENROLLED], first + at):
                writer.enrol(address, number, _HOUSE, 0)
    return addresses


def run(
    plan: Plan,
    processes: int,
    tell: Callable[[int, Figures], None],
    began: Callable[[], None] = lambda: None,
) -> tuple[int, Figures]:
    """Let the fleet live; return when it began, and all figures, which `tell` gets meanwhile.

    `began` is called once they do. Raises FleetError.
    """
    allow_files(-(-plan.meters // processes))
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    newest: dict[Connection, Figures] = {}
    try:
        for first in range(processes):
            mine, theirs = context.Pipe()
            worker = context.Process(target=work, args=(plan, first, processes, theirs))
            worker.start()
            theirs.close()
            pipes.append(mine)
            workers.append(worker)
        for pipe in pipes:
            pipe.recv()
        start_s = int(plan.clock.now()) + 1
        for pipe in pipes:
            pipe.send(start_s)
        began()
        live = list(pipes)
        while live:
            heard = wait(live)
            for pipe in [pipe for pipe in live if pipe in heard]:
                ended, newest[pipe] = pipe.recv()
                if ended:
                    live.remove(pipe)
            tell(start_s, total(newest.values()))
        return start_s, total(newest.values())
    except EOFError:
        raise FleetError("a process of the fleet ended; its traceback is above") from None
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def total(parts: Any) -> Figures:
    """Add up the figures of all processes."""
    figures = Figures()
    for part in parts:
        figures.add(part)
    return figures


def report(plan: Plan, start_s: int, figures: Figures, stored: int) -> dict[str, Any]:
    """Return what a fleet did, as JSON has it. Peaks are of whole intervals, after the start.

    `ok`: all that was signed by meters with a network has been acknowledged, and is stored.
    """
    first = -(-(start_s + RAMP_S) // plan.interval_s) * plan.interval_s - start_s
    whole = max(0, plan.for_s - first) // plan.interval_s * plan.interval_s
    lost = figures.acknowledged - stored
    return {
        "ok": not figures.waiting and lost <= 0 and figures.acknowledged > 0,
        "meters": plan.meters,
        "life_s": plan.for_s,
        "interval_s": plan.interval_s,
        "factor": plan.clock.factor,
        "faults": vars(plan.faults),
        "readings": figures.readings,
        "signed": figures.signed,
        "acknowledged": figures.acknowledged,
        "stored": stored,
        "waiting": figures.waiting,
        "of_silent_meters": figures.unheard,
        "messages": figures.sent,
        "sent_again": figures.again,
        "hellos": figures.hellos,
        "sessions": figures.sessions,
        "lost_sessions": figures.lost_sessions,
        "bundles": figures.bundles,
        "ack_ms": figures.ack_ms.told(),
        "age_s": {
            name: round(value / 1000, 1) if name != "count" else value
            for name, value in figures.age_ms.told().items()
        },
        "messages_a_second": peak(figures.sent_at, first, first + whole),
        "hellos_a_second": peak(figures.hello_at, first, first + whole),
    }
