"""pytest's side of a bench: --bench, a fixture for each noun, a log and a JUnit entry a test.

What drives a bench is imported by the first test that uses it: every other run does without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parwana import REPO

if TYPE_CHECKING:
    from hil_tests.bench.bench import Bench
    from hil_tests.bench.line import Watched
    from hil_tests.bench.load import EmulatedLoad, RealLoad
    from hil_tests.bench.meter import SerialMeter
    from hil_tests.bench.network import Network
    from hil_tests.bench.protocols import Power

ON_BENCH = "on_bench"
_BENCH: pytest.StashKey[Bench] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --bench and --bench-logs."""
    group = parser.getgroup("bench")
    group.addoption(
        "--bench",
        metavar="FILE",
        help='"virtual" (the default), or a bench.toml: then only the tests of hil_tests/on_bench '
        "run, on the hardware it describes (docs/bench.md)",
    )
    group.addoption(
        "--bench-logs",
        metavar="FOLDER",
        type=Path,
        default=REPO / "build" / "bench",
        help="where the board's log of each test goes; default: build/bench",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep a JUnit report."""
    # pyserial 3.5 opens rfc2217:// with calls that Python would rather not hear.
    deprecated = "ignore:set(Daemon|Name).. is deprecated:DeprecationWarning"
    config.addinivalue_line("filterwarnings", deprecated)
    if not config.option.xmlpath:
        config.option.xmlpath = str(config.getoption("--bench-logs") / "junit.xml")


def _virtual(config: pytest.Config) -> bool:
    return config.getoption("--bench") in (None, "virtual")


def pytest_report_header(config: pytest.Config) -> str:
    """Tell which bench the tests run on."""
    name = config.getoption("--bench") or "virtual"
    return f"bench: {name}, logs: {config.getoption('--bench-logs')}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """On hardware, leave out what does not look at it."""
    elsewhere = collection_path.is_file() and collection_path.parent.name != ON_BENCH
    return True if elsewhere and not _virtual(config) else None


@pytest.fixture(scope="session")
def whole_bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Open the bench, flash the board: what was on it is not what is tested."""
    from hil_tests.bench import bench as benches
    from hil_tests.bench.protocols import BenchError
    from hil_tests.bench.virtual import virtual_bench
    from parwana.meter.repl import MeterError
    from parwana.world.programs import ProgramError

    config = request.config
    logs = config.getoption("--bench-logs") / "session"
    logs.mkdir(parents=True, exist_ok=True)
    if _virtual(config):
        made = virtual_bench(tmp_path_factory.mktemp("board"), logs / "console.log")
    else:
        try:
            made = benches.from_file(Path(config.getoption("--bench")), logs)
        except (BenchError, MeterError) as error:
            pytest.exit(f"bench: {error}", returncode=4)
    config.stash[_BENCH] = made
    try:
        try:
            made.flashed = made.meter.flash()
        except (MeterError, ProgramError) as error:
            if _virtual(config):
                raise
            pytest.exit(f"bench: {error}", returncode=4)
        yield made
    finally:
        made.close()
        del config.stash[_BENCH]


@pytest.fixture
def bench(whole_bench: Bench, request: pytest.FixtureRequest) -> Bench:
    """Lend the bench; what the board says meanwhile goes to a log of the test's own."""
    folder = request.config.getoption("--bench-logs") / folder_name(request.node.nodeid)
    folder.mkdir(parents=True, exist_ok=True)
    whole_bench.meter.log_to(folder / "console.log")
    request.node.user_properties.append(("console", str(folder / "console.log")))
    if whole_bench.line:
        whole_bench.line.release()
    return whole_bench


def folder_name(nodeid: str) -> str:
    """Return a folder's name for a test."""
    name = nodeid.rpartition("/")[2].replace(".py::", ".")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what a failed test's board said last."""
    bench = item.config.stash.get(_BENCH, None)
    if bench and call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.add_report_section(call.when, "console of the board", bench.meter.tail())
    return (yield)


def _missing(bench: Bench, noun: str) -> None:
    pytest.skip(f"{noun}: {bench.why.get(noun, 'none on this bench')}")


@pytest.fixture
def meter(bench: Bench) -> SerialMeter:
    """Lend the meter's console."""
    return bench.meter


@pytest.fixture
def power(bench: Bench) -> Power:
    """Lend the board's supply."""
    if bench.power is None:
        _missing(bench, "power")
    assert bench.power
    return bench.power


@pytest.fixture
def load(bench: Bench) -> EmulatedLoad | RealLoad:
    """Lend what the sensor sees, which may be a real load."""
    if bench.load is None:
        _missing(bench, "load")
    assert bench.load
    return bench.load


@pytest.fixture
def sensor(load: EmulatedLoad | RealLoad) -> EmulatedLoad:
    """Lend an emulated sensor."""
    from hil_tests.bench.load import EmulatedLoad

    if not isinstance(load, EmulatedLoad):
        pytest.skip("load: a real PZEM cannot be spoilt; wire the emulator in its place")
    return load


@pytest.fixture
def line(bench: Bench) -> Watched:
    """Lend the contactor's position, be it in the meter's own words."""
    if bench.line is None:
        _missing(bench, "line")
    assert bench.line
    return bench.line


@pytest.fixture
def contact(line: Watched) -> Watched:
    """Lend a contactor that is seen by itself."""
    if not line.watched:
        pytest.skip("line: only the meter's own words tell of the contactor; wire its contact")
    return line


@pytest.fixture
def button(contact: Watched) -> Watched:
    """Lend a line with a button."""
    if not contact.has_button:
        pytest.skip("line: no button is wired; see [line] button")
    return contact


@pytest.fixture
def network(bench: Bench, tmp_path: Path) -> Iterator[Network]:
    """Lend a network in which no broker runs yet."""
    from hil_tests.bench.bench import UTILITY
    from hil_tests.bench.network import Network

    if bench.network is None:
        _missing(bench, "network")
    assert bench.network
    host, port = bench.network.host, bench.network.port
    with Network(tmp_path, host, port, UTILITY, bench.clock) as network:
        yield network
