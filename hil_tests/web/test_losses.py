"""What pages say of losses: what `parwana losses` says, to who may know it, and no name else."""

import re
import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from bench.losses.world import START_S, World
from hil_tests.losses.worlds import DAYS, low, stored
from hil_tests.town import FEEDER
from hil_tests.web.browser import SIZES, Looker
from hil_tests.web.conftest import Serve
from hil_tests.web.test_pages import words
from parwana.chain.periods import DAY_S
from parwana.losses.inspections import WHAT
from parwana.web.asking import AskError, answer
from parwana.web.searcher import Searched, Searcher
from parwana.web.site import Public
from parwana.world.clock import VARIABLE, WorldClock

NOW_S = START_S + (DAYS + 30) * DAY_S  # the window of 30 days begins where the meter reads low


@pytest.fixture(scope="module")
def lossy() -> World:
    return low()


@pytest.fixture(scope="module")
def searched(lossy: World, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Searched]:
    """Search a feeder with a meter that reads low, and one of which the store knows nothing."""
    file = stored(lossy.series, tmp_path_factory.mktemp("losses"))
    clock = WorldClock(NOW_S, time.time(), 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(clock))
        searcher = Searcher(file, [], lambda: {FEEDER, 7}, 0, clock)
        searcher.search()
    return searcher.found


def test_a_search_keeps_the_verdict_or_why_there_is_none(
    searched: dict[int, Searched], lossy: World
) -> None:
    assert "no feeder 7 in the store" in searched[7].why
    assert searched[7].verdict is None
    verdict = searched[FEEDER].verdict
    assert verdict is not None
    assert lossy.house is not None
    assert [one["numbers"] for one in verdict["suspects"]] == [[lossy.house + 1]]


def test_pages_say_it_to_who_may_see_houses(serve: Serve, searched: dict[int, Searched]) -> None:
    verdict: Any = searched[FEEDER].verdict
    [suspect] = verdict["suspects"]
    paths = (f"/feeder/{FEEDER}", "/", "/office")
    with serve() as window:
        window.site.searcher.found = searched
        feeder, home, office = (words(window.get(path).text) for path in paths)
        chart = window.get(paths[0]).text
    [number] = suspect["numbers"]
    sure = f"{100 * suspect['probability']:.1f} %"
    assert f"house {number} : {WHAT[suspect['kind']]}, {sure}" in feeder
    assert f"Look first at house {number}: {sure} sure." in home
    assert f"Feeder {FEEDER}: look first" in office
    assert f"Missing {verdict['missing_w']:.1f} W ± {verdict['error_w']:.1f} W" in feeder
    assert f"Lines and meters lose {verdict['loss_w']:.1f} W" in feeder
    share = 100 * verdict["loss_w"] / verdict["feeder_w"]
    assert f"{share:.2f} %" in feeder
    assert all(text in feeder for text in suspect["why"])
    for name, watts in verdict["limits_w"].items():
        assert f"{watts:.0f} W in a {name}" in feeder
    assert "most that is allowed" in chart
    assert "lines and meters" in chart
    for public in (Public.AGGREGATE, Public.OWNER):
        with serve(public) as window:
            window.site.searcher.found = searched
            said = [words(window.get(path).text) for path in paths[:2]]
        assert all("ook first" not in text and sure not in text for text in said)


def test_who_is_not_named_by_losses_is_on_no_page(
    serve: Serve, searched: dict[int, Searched]
) -> None:
    verdict: Any = searched[FEEDER].verdict
    likely = dict.fromkeys(verdict["houses"], 0.0) | {"777777": 0.949}
    unsure = verdict | {"suspects": [], "innocent": [], "houses": likely, "alarm": True}
    with serve() as window:
        window.site.searcher.found = {FEEDER: replace(searched[FEEDER], verdict=unsure)}
        pages = [window.get(path).text for path in (f"/feeder/{FEEDER}", "/", "/office")]
    assert "nobody can be named surely enough" in pages[0]
    assert not any(re.search("777777|94.9", page) for page in pages)
    assert not any("ook first at" in page for page in pages)


@pytest.mark.parametrize("size", SIZES)
def test_a_browser_shows_it_without_fault(
    serve: Serve, searched: dict[int, Searched], chromium: Any, size: str
) -> None:
    with serve() as window:
        window.site.searcher.found = searched
        looker = Looker(chromium, size)
        page = looker.go(f"{window.url}/feeder/{FEEDER}?lang=hi")
        page.wait_for_selector(".uplot")
        looker.shoot("losses")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert looker.faults() == []
        assert looker.said == []
        looker.close()


def test_why_nothing_can_be_said_is_said(serve: Serve, searched: dict[int, Searched]) -> None:
    with serve() as window:
        window.site.searcher.found = {FEEDER: searched[7]}
        page = words(window.get(f"/feeder/{FEEDER}").text)
    assert "Nothing can be said of it: no feeder 7 in the store" in page


def test_a_command_that_fails_is_told_and_one_that_is_stopped_is_ended(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="nothing.json"):
        answer(["audit", "--deployment", str(tmp_path / "nothing.json")], Event())
    ending = Event()
    ending.set()
    assert answer(["audit", "--deployment", str(tmp_path / "nothing.json")], ending) is None
