"""The pages in a real Chromium: no error, no serious fault of accessibility, small, by policy."""

from collections.abc import Iterator
from typing import Any

import pytest

from hil_tests.town import FEEDER, Town
from hil_tests.web.browser import SIZES, Looker
from hil_tests.web.conftest import Window

FIRST_VIEW_MOST = 100_000  # bytes over the wire


@pytest.fixture(scope="module")
def window(lived: Town, folder: Any) -> Iterator[Window]:
    from hil_tests.web.conftest import window as served

    with served(lived, folder) as made:
        yield made


def pages(town: Town) -> dict[str, str]:
    """Return the paths of all pages, by name."""
    house = town.houses[0].key.address
    return {
        "feeders": "/",
        "feeder": f"/feeder/{FEEDER}",
        "meters": "/meters",
        "office": "/office",
        "audit": "/audit",
        "coverage": "/coverage",
        "login": "/login",
        "journal": f"/m/{house}/journal",
        "house": f"/m/{house}",
        "hindi": f"/m/{house}?lang=hi",
        "feeders-hindi": "/?lang=hi",
        "error": "/nothing",
    }


@pytest.mark.parametrize("size", SIZES)
def test_each_page_is_without_error_and_serious_fault(
    lived: Town, window: Window, chromium: Any, size: str
) -> None:
    looker = Looker(chromium, size)
    for name, path in pages(lived).items():
        page = looker.go(window.url + path)
        looker.shoot(name)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} px too wide"
        assert looker.faults() == [], name
    said = [line for line in looker.said if "404" not in line]  # of the page that is not there
    assert said == []
    looker.close()


def test_a_first_view_is_small_and_asks_for_little(
    lived: Town, window: Window, chromium: Any
) -> None:
    looker = Looker(chromium, "phone")
    tools = looker.context.new_cdp_session(looker.page)
    tools.send("Network.enable")
    sizes: dict[str, float] = {}
    tools.on(
        "Network.loadingFinished",
        lambda event: sizes.__setitem__(event["requestId"], event["encodedDataLength"]),
    )
    page = looker.go(window.url + pages(lived)["house"])
    page.wait_for_selector(".uplot")
    assert 0 < sum(sizes.values()) <= FIRST_VIEW_MOST
    assert len(sizes) <= 8
    assert looker.said == []
    looker.close()


def test_without_javascript_a_house_is_readable(
    lived: Town, window: Window, chromium: Any
) -> None:
    looker = Looker(chromium, "phone", java_script_enabled=False)
    page = looker.go(window.url + pages(lived)["house"])
    looker.shoot("house-without-javascript")
    for words in ("Due now", "The permit carries this house until", "Bills and payments"):
        assert words in page.inner_text("main")
    assert page.locator("svg.bars rect").count() >= 3
    page.get_by_text("As a table").first.click()
    assert page.get_by_text("5.000 kWh").first.is_visible()
    looker.close()


def test_what_the_policy_forbids_does_not_run(window: Window, chromium: Any) -> None:
    looker = Looker(chromium, "desk")
    page = looker.go(window.url + "/")
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); }"
    )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in looker.said)
    looker.close()


def test_filters_keep_their_place_in_the_url(window: Window, chromium: Any) -> None:
    looker = Looker(chromium, "desk")
    page = looker.go(window.url + "/meters")
    page.select_option("select[name=kind]", "transformer")
    page.get_by_role("button").click()
    page.wait_for_url("**kind=transformer**")
    assert page.locator("#meters tbody tr").count() == 1
    page.reload()
    assert page.locator("select[name=kind]").input_value() == "transformer"
    looker.close()
