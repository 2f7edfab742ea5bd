"""`parwana demo`: a whole feeder lives through three short months on this computer.

The story: every household pays its bills but one, which pays late. One house loses its network and
backfills, one loses power in the middle of a flash write, and somebody taps the feeder for one
month. What the summary says is read back from the chain, the store and the boards.
"""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parwana import BUILD
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.demo import report as demo_report
from parwana.demo.evidence import paid_up, settled
from parwana.demo.rehearsal import HOUSEHOLD, TRANSFORMER_NUMBER, Meter, Rehearsal

DAY_S, HOUR_S = 86400, 3600
MONTHS = 3
START_S = 1_767_205_800  # 2026-01-01 00:00 in India
PAYMENT_WINDOW_S = 6 * HOUR_S
LATE, OFFLINE, CUT = 2, 3, 4  # house numbers
TAPPED_MONTH = 2
SKIPPED_TO_S = 2 * HOUR_S  # before the first month
_SETTLED_S = 90


class Household:
    """Somebody who pays what the contract says is due."""

    def __init__(self, world: Rehearsal, meter: Meter) -> None:
        self.meter = meter
        self._chain = Chain.of(world.deployment, dev_key(HOUSEHOLD + meter.number))
        self._ledger = self._chain.ledgers(world.deployment).payment

    def pay(self) -> int:
        """Pay what is due; return it in wei, 0 when nothing is or a payment waits still."""
        functions, meter = self._ledger.functions, self.meter.address
        due = self._chain.call(functions.account(meter)).due
        if due and self._chain.call(functions.locked(meter)).amount:
            return 0
        if due:
            self._chain.send(self._ledger.functions.pay(self.meter.address, due), value=due)
        return int(due)


@dataclass
class Story:
    """What has happened and what is yet to happen: (world time, text, action)."""

    events: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)

    def at(self, time_s: float, text: str, action: Callable[[], None]) -> None:
        """Plan an event."""
        self.events.append((time_s, text, action))
        self.events.sort(key=lambda event: event[0])

    def due(self, now_s: float) -> tuple[str, Callable[[], None]] | None:
        """Take the next event whose time has come."""
        if self.events and self.events[0][0] <= now_s:
            return self.events.pop(0)[1:]
        return None


def plan(world: Rehearsal, first: int) -> Story:
    """Plan the three months that begin with period `first`."""
    start, story = world.deployment.periods.start, Story()
    board = {meter.number: meter.board for meter in world.meters}

    def network(up: bool) -> None:
        board[OFFLINE].network_up = up

    def tap(closed: bool) -> None:
        world.tap.closed = closed

    def cut() -> None:
        board[CUT].cut_power_at_flash_write(2)

    from_s, to_s = offline_hours(world, first)
    story.at(from_s, f"house {OFFLINE} loses its network", lambda: network(False))
    story.at(to_s, f"house {OFFLINE} has its network again", lambda: network(True))
    tapped_s = start(first + TAPPED_MONTH - 1)
    story.at(tapped_s, "somebody taps the feeder", lambda: tap(True))
    story.at(start(first + TAPPED_MONTH), "the tap is gone", lambda: tap(False))
    cut_s = start(first + 2) + 8 * HOUR_S
    story.at(cut_s, f"house {CUT} will lose power in the middle of a flash write", cut)
    story.at(cut_s + 5 * HOUR_S, f"house {CUT} has power again", board[CUT].power_on)
    for month in range(MONTHS):
        story.at(start(first + month), f"month {month + 1} begins", lambda: None)
    story.at(start(first + MONTHS), "the last month is over", lambda: None)
    return story


def offline_hours(world: Rehearsal, first: int) -> tuple[float, float]:
    """Return from when to when one house has no network."""
    start_s = world.deployment.periods.start(first)
    return start_s + 6.5 * HOUR_S, start_s + 18.5 * HOUR_S


def command(
    factor: Annotated[
        float, typer.Option(min=60, max=3600, help="How much faster time runs.")
    ] = 1440,
    houses: Annotated[int, typer.Option(min=6, max=10)] = 6,
    folder: Annotated[
        Path, typer.Option(help="Where it leaves its files.", show_default="build/demo")
    ] = BUILD / "demo",
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep everything up afterwards, until Ctrl-C.")
    ] = False,
) -> None:
    """Show a whole feeder living through three short months, from sensor to chain to contactor.

    Example: parwana demo --factor 1440
    """
    began_s = time.monotonic()
    console = Console(highlight=False)

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  {text}")

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(0o700, parents=True)  # it will hold meters' keys and a Wi-Fi password
    with Rehearsal(folder, houses, say) as world:
        say(f"flashing {houses + 2} blank boards with flash.sh")
        world.flash()
        say(f"starting the world: one hour takes {HOUR_S / factor:.1f} s")
        world.start_world(START_S + HOUR_S, factor)
        world.start_services(payment_window_s=PAYMENT_WINDOW_S)
        say("broker, chain, contracts, relay and two permit signers are up")
        say(f"watch it: {world.show()}")
        first = live(world, say)
        say("reading the boards' flash, the store and the chain")
        offline = (OFFLINE, *offline_hours(world, first))
        tapped = (TRANSFORMER_NUMBER, TAPPED_MONTH)
        report = demo_report.collect(world, first, offline, CUT, tapped)
        report["wall_s"] = round(time.monotonic() - began_s, 1)
        demo_report.save(report, folder / "report.json")
        demo_report.show(report, console, folder / "report.json")
        wrong = demo_report.unfulfilled(
            report, late=LATE, tapped_month=TAPPED_MONTH, feeder=TRANSFORMER_NUMBER
        )
        for line in wrong:
            console.print(f"[red]not as it should be:[/] {line}")
        if hold:
            _hold(say)
    raise typer.Exit(1 if wrong else 0)


def _hold(say: Callable[[str], None]) -> None:
    """Wait for Ctrl-C, while the feeder lives on."""
    say("the feeder lives on, nobody pays any more; Ctrl-C ends it")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def live(world: Rehearsal, say: Callable[[str], None]) -> int:
    """Pair all meters, let three whole periods pass; return the first of them.

    Households pay from the first bill on; things go wrong.
    """
    payers = Payers(world, say)
    with ThreadPoolExecutor(1) as pool:
        pairing = pool.submit(world.pair)
        while not pairing.done():
            payers.turn()
        pairing.result()
    periods = world.deployment.periods
    first = periods.of(int(world.clock.now())) + 1
    skip_to_s = periods.start(first) - SKIPPED_TO_S
    while world.clock.now() < skip_to_s and not paid_up(world, first - 2):
        payers.turn()
    if world.clock.now() < skip_to_s:
        say("the clock is set to two hours before midnight")
        world.skip_to(skip_to_s)
    payers.late_from_s = periods.start(first + 1)
    story = plan(world, first)
    patience_s = time.monotonic() + world.clock.real_seconds((MONTHS + 1) * DAY_S) + _SETTLED_S
    while story.events or not settled(world, first + MONTHS - 1):
        while event := story.due(world.clock.now()):
            say(event[0])
            event[1]()
        payers.turn()
        if time.monotonic() > patience_s:
            say("the last bills were not settled in time")
            break
    return first


class Payers:
    """All households; one of them pays late from `late_from_s` on."""

    def __init__(self, world: Rehearsal, say: Callable[[str], None]) -> None:
        self.late_from_s = float("inf")
        self._world, self._say = world, say
        self._households: dict[int, Household] = {}

    def turn(self) -> None:
        """Let everyone who will pay what is due."""
        self._world.check_programs()
        for meter in self._world.meters:
            if meter.kind != "house" or not meter.address:
                continue
            if meter.number == LATE and self._withholds(meter):
                continue
            if meter.number not in self._households:
                self._households[meter.number] = Household(self._world, meter)
            paid = self._households[meter.number].pay()
            if paid:
                self._say(f"{meter.name} pays {paid / 1e18:.4f}")
        time.sleep(0.2)

    def _withholds(self, late: Meter) -> bool:
        """Return whether the late one still waits: until the house has been dark for an hour."""
        now = self._world.clock.now()
        if now < self.late_from_s:
            return False
        changes = late.board.contactor_changes
        cuts = [at for at, closed in changes if not closed and at > self.late_from_s]
        return not cuts or now < cuts[0] + HOUR_S
