"""Relays that are killed between any two things that they do: nothing lost, nothing counted twice.

A meter sends a day's readings, the last of which closes a period, to a real broker until a relay
answers that it wants no more. The relay takes its enrolment from the chain, verifies, commits,
answers, acknowledges, lands the closing and the bill. It is killed (SIGKILL) on the way; so is the
one after it (with --long), or another relay of the same subscription and store goes on.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil_tests.chainkit import Utility
from hil_tests.kills import Ended, Killable, Place, Running
from hil_tests.postgresql import Server
from hil_tests.relay.killable import relay
from hil_tests.relay.test_restore import Remembering
from hil_tests.reliability import record
from hil_tests.services import Broker
from parwana.audit.command import audit
from parwana.chain import outbox
from parwana.chain.contracts import Closing, unpack_results
from parwana.store.reader import Store
from parwana.world.clock import VARIABLE, WorldClock

MODULES = (
    *(f"parwana.relay.{name}" for name in ("carrier", "intake", "follower", "landing", "closer")),
    *(f"parwana.store.{name}" for name in ("letters", "writer", "reader")),
    *(f"parwana.chain.{name}" for name in ("sender", "desk", "outbox")),
)
FRAMES = 10
SEED = 41


class Sending(Remembering):
    """A meter that sends what is wanted, again and again while nothing comes down."""

    def __init__(self, world: Utility, broker: Broker, seed: int) -> None:
        super().__init__(world, broker, seed)
        self.wanted = 1

    def go_on(self, until: Callable[[], bool]) -> None:
        """Send until all is held, or `until` says so."""
        deadline_s = time.monotonic() + 60
        while self.wanted <= FRAMES and not until():
            assert time.monotonic() < deadline_s, f"still wanted: {self.wanted}"
            self.send(*range(self.wanted, min(self.wanted + 4, FRAMES + 1)))
            try:
                leaf, value = self.next(0.2)
            except TimeoutError:
                continue
            if leaf == "down":
                self.wanted = max(self.wanted, value)  # an answer that comes late is an older one


class Case:
    """A chain and a store on which nothing has happened yet, and the relays that use them."""

    def __init__(
        self, world: Utility, broker: Broker, url: str, folder: Path, period: int
    ) -> None:
        self.world, self.broker, self.url, self.folder = world, broker, url, folder
        self._period = period
        self.meter = Sending(world, broker, SEED)
        self.meter.closes_s = world.deployment.periods.start(period + 1)
        self._env = {
            VARIABLE: str(WorldClock(world.clock.now(), time.time(), 1.0)),
            outbox.VARIABLE: str(folder / "state"),
        }
        (folder / "state").mkdir(parents=True)
        self._runs = 0
        self._first = world.chain.head()

    def start(self, at: Place | None = None, key: int = 9) -> Running:
        """Start a relay that is killed at a place, if any."""
        self._runs += 1
        path = self.folder.parent / "deployment.json"
        program = Killable(relay, [path, self.broker.url, self.url, key], MODULES, self.folder)
        return program.start(self._env, self.folder / f"run {self._runs}", at)

    def live(self, at: Place | None = None) -> Ended:
        """Run a relay until its end, or until all is done; what it answered must be durable."""
        running = self.start(at)
        self.meter.go_on(lambda: not running.process.is_alive())
        deadline_s = time.monotonic() + 60
        while running.process.is_alive() and not self.landed():
            assert time.monotonic() < deadline_s, (running.beside / "log").read_text()
            time.sleep(0.02)
        if running.process.is_alive():
            running.process.terminate()
        ended = running.wait()
        if ended.code == -9:
            self.its_word_is_kept()
        return ended

    def its_word_is_kept(self) -> None:
        """Check that what the meter was told to be held is held."""
        store = Store(self.url)
        assert store.lowest_missing(self.meter.address, 1) >= self.meter.wanted
        store.close()

    def landed(self) -> bool:
        functions = self.world.ledgers.payment.functions
        account = self.world.chain.call(functions.account(self.meter.key.address))
        return bool(account.period == self._period)

    def settled(self, transactions: int | None) -> None:
        """Check that all is there, once."""
        chain, ledgers, made = self.world.chain, self.world.ledgers, self.world.deployment
        store = Store(self.url)
        held = [(f.sequence, f.frame, f.signature) for f in store.frames(self.meter.address)]
        wanted = [(n, *self.meter.reading(n)) for n in range(1, FRAMES + 1)]
        assert held == wanted
        assert store.runs(self.meter.address) == [(1, FRAMES)]
        assert store.contradictions() == {}
        logs = chain.logs(ledgers.energy.events.Closed, self._first)
        results = [one for log in logs for one in unpack_results(log["args"]["results"])]
        closed = [one.meter for one in results if isinstance(one, Closing)]
        assert closed == [self.meter.address]
        bills = chain.logs(ledgers.payment.events.Billed, self._first)
        assert [log["args"]["meter"] for log in bills] == [self.meter.key.address]
        if transactions is not None:
            assert chain.head() - self._first == transactions
        assert audit(made, chain, store).findings == []
        store.close()


@pytest.fixture
def cases(
    world: Utility, broker: Broker, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Case]]:
    """Give what begins anew, with an empty store of a kind."""
    made: list[Case] = []
    world.enrol(SEED)
    periods = world.deployment.periods
    period = periods.of(world.clock.time_s)
    world.clock.time_s = periods.start(period + 1) + 60
    world.node.mine(3)
    before = world.chain.head()

    def new(kind: str) -> Case:
        folder = tmp_path / f"case {len(made)}"
        folder.mkdir()
        url = f"sqlite:///{folder}/store.db"
        if kind == "postgresql":
            server: Server = request.getfixturevalue("postgresql")
            url = server.database()
        world.node.rewind(before)
        if made:
            made[-1].meter.close()
        made.append(Case(world, broker, url, folder, period))
        return made[-1]

    yield new
    made[-1].meter.close()


def once_each(places: list[Place]) -> list[Place]:
    """Return the first place of each line: idle relays come by for ever."""
    first: dict[tuple[str, int], Place] = {}
    for place in places:
        first.setdefault(place[:2], place)
    return list(first.values())


def test_a_relay_that_is_killed_anywhere_loses_and_repeats_nothing(
    cases: Callable[[str], Case], long: bool
) -> None:
    chance = random.Random(41)
    case = cases("sqlite")
    places = once_each(case.live().places)
    case.settled(2)
    # A relay does several things at once, and does not come to each place each time.
    sure = [p for p in places if p[0].endswith((".carrier", ".intake")) and p[2] == 1]
    figures = dict.fromkeys(("places", "killed", "killed again", "killed beside another"), 0)
    for place in places if long else chance.sample(sure, min(4, len(sure))):
        kinds = ["sqlite", "postgresql"]
        chance.shuffle(kinds)
        case = cases(kinds[0])
        figures["killed"] += case.live(place).code == -9
        if long:
            figures["killed again"] += case.live(chance.choice(places)).code == -9
        case.live()
        case.settled(2)
        figures["killed beside another"] += _beside_another(cases(kinds[1]), place)
        figures["places"] += 1
        print(figures, flush=True)
        if figures["killed"] and not long:
            break
    record("killed relays" if long else "killed relays, sampled", **figures)
    assert figures["killed"] > (figures["places"] // 2 if long else 0)


def _beside_another(case: Case, place: Place) -> bool:
    """Kill one of two relays of one subscription and store; say whether it came to the place."""
    killed, other = case.start(place), case.start(key=8)
    case.meter.go_on(lambda: False)
    deadline_s = time.monotonic() + 60
    while not case.landed():
        assert time.monotonic() < deadline_s, (other.beside / "log").read_text()
        time.sleep(0.02)
    for one in (killed, other):
        one.process.terminate()
    codes = killed.wait().code, other.wait().code
    assert codes[1] == 0
    case.its_word_is_kept()
    case.settled(None)
    return codes[0] == -9
