"""A town, and its pages served as `parwana serve` serves them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests

import wire
from hil_tests.chainkit import utility
from hil_tests.permits.test_command import one
from hil_tests.rights.conftest import Run, runner
from hil_tests.services import SignedMeter, wait_until
from hil_tests.town import Town
from hil_tests.web.browser import browser
from parwana.store.reader import Store
from parwana.web import assets, service
from parwana.web.render import VENDOR
from parwana.web.service import Options
from parwana.web.site import Public, Site
from parwana.web.watch import Watch
from parwana.world.runtime import RuntimeMissing

WH = 5000


@dataclass
class Window:
    """Pages that are served: `get` a path; `site` is what they are made of."""

    url: str
    site: Site
    session: requests.Session

    def get(self, path: str, **options: Any) -> requests.Response:
        """Ask for a path."""
        options.setdefault("allow_redirects", False)
        return self.session.get(self.url + path, timeout=20, **options)

    def look(self) -> None:
        """Read chain and store now."""
        self.site.outlook.follow()
        self.site.outlook.look()


@contextmanager
def served(of: Options, clock: Any) -> Iterator[Window]:
    """Serve pages that have read chain and store."""
    # It waits 5 s for a broker that is not there; a test that wants it calls its `look`.
    unwatched = patch.object(Watch, "start")
    with unwatched, service.site(of, clock) as site, service.listening("127.0.0.1", 0) as sock:
        server = service.server(site)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        with requests.Session() as session:
            made = Window(f"http://127.0.0.1:{sock.getsockname()[1]}", site, session)
            try:
                wait_until(lambda: server.started, "the server")
                made.look()
                yield made
            finally:
                server.should_exit = True
                thread.join(20)


def window(
    town: Town, folder: Path, public: Public = Public.ALL, **options: Any
) -> AbstractContextManager[Window]:
    """Serve a town's pages."""
    file, state = folder / "deployment.json", folder / "web"
    of = Options(file, state, public=public, every_s=3600, **options)
    return served(of, town.world.clock)


Serve = Callable[..., AbstractContextManager[Window]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the town's files."""
    return tmp_path_factory.mktemp("town")


@pytest.fixture(scope="session")
def lived(folder: Path) -> Iterator[Town]:
    """Lend a town of which three days are closed; house 101 paid, nobody else did.

    Every test of this process has the same: it may let days pass, no more.
    """
    url = f"sqlite:///{folder}/store.db"
    with utility(url) as world, closing(Store(url)) as store:
        world.deployment.save(folder / "deployment.json")
        town = Town(world, store)
        town.settle_in()
        for day in range(1, 4):
            live_a_day(town, day)
        yield town


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Lend a Chromium."""
    if not assets.urls(VENDOR):
        pytest.skip("npm is missing: there is nothing to look at in a browser")
    try:
        with browser() as started:
            yield started
    except RuntimeMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def serve(lived: Town, folder: Path) -> Serve:
    """Serve the pages of `lived`: `with serve(Public.ALL) as window:`."""
    return lambda public=Public.ALL, **more: window(lived, folder, public, **more)


@pytest.fixture
def run(
    lived: Town,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run `parwana` on the town's deployment, at the time of its chain."""
    return runner(lived.world, folder / "deployment.json", capsys, monkeypatch)


def live_a_day(town: Town, day: int = 0, tapped: bool = False) -> None:
    """Let all meters measure a day, close, bill and balance it; house 101 pays."""
    period, world = town.first, town.world
    day = day or 1 + town.energy_wh[town.houses[0].address] // WH
    start_s = town.periods.start(period)
    for hour in (6, 12, 18):
        for i, house in enumerate(town.houses, 1):
            used = WH * i * (day - 1) + WH * i * hour // 24
            town.read(house, start_s + hour * 3600, used)
    town.go_to(town.periods.start(period + 1) + 60)
    for i, house in enumerate(town.houses, 1):
        town.close(house, period, WH * i * day)
    town.close(town.feeder, period, (WH * 10 + (9000 if tapped else 100)) * day)
    landing = town.landing()
    landing.step()
    landing.step()
    world.pay(town.houses[0].key)
    claim(town, town.houses[0])
    town.first += 1


def claim(town: Town, house: SignedMeter) -> None:
    """Let the signers exchange what a house locked for its permit, which the meter takes."""
    town.world.node.mine(2)
    assert one(town.world, town.store, 1, 2).step().claimed >= 1
    town.follow()
    row = town.store.newest_permit(house.address)
    assert row is not None
    permit: Any = wire.parse(row.bundle[:40])
    now_s = int(town.world.clock.now())
    town.event(house, wire.EVENT_PERMIT_ACCEPTED, now_s, permit.serial, permit.valid_until_s)
    with town.store.transaction() as tx:
        tx.heard([{"meter": house.address, "permit_serial": permit.serial}])
