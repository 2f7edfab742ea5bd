"""A store of yesterday: with the recipe of docs/deploying.md nothing is lost, nothing doubled."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.postgresql import Server
from hil_tests.relay.test_carrier import FakeMeter
from hil_tests.relay.test_service import publish, running
from hil_tests.services import Broker, wait_until
from parwana import REPO
from parwana.audit.command import audit
from parwana.store.reader import Store

RECIPE = re.findall(
    r"^```\n(.*?)^```",
    (REPO / "docs/deploying.md").read_text().split("## Backup and restore")[1],
    re.M | re.S,
)
Recipe = Callable[[str], None]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.sqlite"
    server: Server = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture
def recipe(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Recipe:
    """Give what runs the part of the recipe, for this kind of store, that begins with a word."""
    sqlite = url.startswith("sqlite")
    parts = [RECIPE[0], RECIPE[2]] if sqlite else [RECIPE[1], RECIPE[3]]
    path = "" if sqlite else f"PATH={shlex.quote(str(_programs(request)))}:$PATH\n"

    def run(what: str) -> None:
        commands = parts[what == "restore"].replace("postgresql://kalpa@db.example/kalpa", url)
        script = f"set -e\n{path}{commands}"
        subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, timeout=60)

    return run


def _programs(request: pytest.FixtureRequest) -> Path:
    server: Server = request.getfixturevalue("postgresql")
    return server.programs


class Remembering(FakeMeter):
    """A meter that sends a frame the same whenever it is asked; its tenth closes a period."""

    def __init__(self, world: Utility, broker: Broker, seed: int) -> None:
        super().__init__(seed, broker, world.deployment.utility_id)
        periods = world.deployment.periods
        self.closes_s = periods.start(periods.of(world.clock.time_s) + 1)

    def reading(self, sequence: int, **_: int) -> tuple[bytes, bytes]:
        """Return a signed reading."""
        time_s = self.closes_s + 900 * (sequence - 10)
        flags = wire.FLAG_CLOSING if sequence == 10 else 0
        return super().reading(sequence, time_s=time_s, energy_wh=sequence, flags=flags)

    def catch_up(self, newest: int) -> list[int]:
        """Send the newest frame, then what is wanted until nothing is; return what was wanted."""
        while not self.received.empty():
            self.received.get()
        self.insist(newest)
        asked: list[int] = []
        while not asked or asked[-1] <= newest:
            leaf, value = self.next()
            if leaf == "down":
                asked.append(value)
            if leaf == "down" and value <= newest:
                self.send(*range(value, min(value + 8, newest + 1)))
        return asked


def everything(store: Store, *meters: FakeMeter) -> object:
    """Return what a restored store must hold again."""
    frames = [[(f.sequence, f.frame) for f in store.frames(m.address)] for m in meters]
    rows = [(row.meter, row.number, row.in_service) for row in store.meters()]
    return frames, rows, [row.bundle for row in store.permits()], store.contradictions()


def test_what_came_after_the_backup_comes_back(
    world: Utility, broker: Broker, url: str, recipe: Recipe, tmp_path: Path
) -> None:
    store = Store(url)
    meter, late = (Remembering(world, broker, seed) for seed in (41, 42))
    world.enrol(41)
    rpc = world.deployment.rpc
    with running(world, broker, store, lambda: rpc) as states:
        meter.catch_up(5)
        recipe("backup")
        meter.catch_up(9)
        world.clock.time_s = meter.closes_s + 60
        world.node.mine()
        meter.catch_up(10)
        wait_until(lambda: states[-1]["bills"] == 1, "the bill")
        bundle = publish(world, meter)
        world.enrol(42)
        late.catch_up(3)
        meter.catch_up(20)
        wait_until(lambda: store.permits(), "the permit")
    before = everything(store, meter, late)
    beside = tmp_path / "store.sqlite-wal"
    if beside.exists():
        shutil.copy(beside, tmp_path / "crash")
    store.close()
    if (tmp_path / "crash").exists():
        shutil.copy(tmp_path / "crash", beside)

    recipe("restore")
    store = Store(url)
    assert store.runs(meter.address) == [(1, 5)]
    assert [row.number for row in store.meters()] == [41]
    assert (store.permits(), list(store.frames(late.address))) == ([], [])

    with running(world, broker, store, lambda: rpc) as states:
        assert meter.catch_up(20)[0] == 6
        assert late.catch_up(3)[0] == 1
        wait_until(lambda: store.permits(), "the permit")
        meter.publish(wire.pack_hello(1, 21, 0, 0, 2, 0x000100, wire.CONTROL_CONNECTED))
        wait_until(lambda: ("permit", bundle) in _all(meter), "the permit, handed out again")
    assert everything(store, meter, late) == before
    assert states[-1]["frames_new"] == 15 + 3
    assert (states[-1]["closings"], states[-1]["bills"]) == (0, 0)
    assert audit(world.deployment, world.chain, store).findings == []
    store.close()
    for each in (meter, late):
        each.close()


def _all(meter: FakeMeter) -> list[tuple[str, object]]:
    return [meter.next() for _ in range(meter.received.qsize())]
