"""A real Chromium that looks at pages: what it logged, and what axe-core finds on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from playwright.sync_api import BrowserContext, Page, sync_playwright

from hil_tests import chromium
from parwana import BUILD
from parwana.world.npm import Package

SIZES = {"phone": (390, 844), "desk": (1280, 900)}
SHOTS = BUILD / "screenshots"
AXE = Package(
    "axe-core",
    "4.14.1",
    "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
    ["axe.min.js", "LICENSE"],
)


@contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium."""
    with sync_playwright() as play:
        # The sandbox refuses root, as in CI; what it looks at is our own.
        started = play.chromium.launch(
            executable_path=str(chromium.program()), args=["--no-sandbox"]
        )
        try:
            yield started
        finally:
            started.close()


@cache
def _axe() -> str:
    return (AXE.fetched(BUILD / "runtime") / "axe.min.js").read_text()


class Looker:
    """One window of the browser; `said` is what its console and its page's errors said."""

    def __init__(self, started: Any, size: str, **options: Any) -> None:
        width, height = SIZES[size]
        self.size = size
        self.context: BrowserContext = started.new_context(
            viewport={"width": width, "height": height}, **options
        )
        self.said: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda m: self.said.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))

    def go(self, url: str) -> Page:
        """Open a page, and wait until it asks for nothing more."""
        self.page.goto(url)
        self.page.wait_for_load_state("load")
        return self.page

    def faults(self) -> list[str]:
        """Return what axe-core finds serious or critical."""
        # Not as a script element, which the page's policy refuses: as a debugger would.
        self.page.evaluate(_axe() + "\n;0")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:120]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page in build/screenshots."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}-{self.size}.png"), full_page=True)

    def close(self) -> None:
        """Close the window."""
        self.context.close()
