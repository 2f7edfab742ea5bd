"""The page that verifies: the server is not believed, and a forged reading is called forged."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic

import wire
from hil_tests.rights.conftest import Run
from hil_tests.services import OF, SignedMeter, wait_until
from hil_tests.town import FEEDER, Town
from hil_tests.web.browser import Looker
from hil_tests.web.conftest import Serve, Window
from hil_tests.web.test_pages import words
from parwana.chain import contracts
from parwana.relay.roots import Roots
from parwana.store.rows import packed
from parwana.web.render import STATIC
from parwana.web.site import Public

Spoil = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def rooted(lived: Town) -> Town:
    """Lend the town with daily roots on its chain."""
    world = lived.world
    made = world.chain, world.ledgers, lived.store, world.deployment
    Roots(*made, world.clock.now, wait_s=0).land()
    return lived


def verdicts(looker: Looker, window: Window, meter: SignedMeter, node: str) -> dict[str, bool]:
    """Let the page verify a meter against a node; return what it says of each check."""
    page = looker.go(f"{window.url}/m/{meter.key.address.lower()}/verify?node={node}")
    page.wait_for_selector("#verify[data-ended]", state="attached", timeout=30_000)
    found: dict[str, bool] = {}
    for item in page.locator("#checks li").all():
        key = str(item.get_attribute("data-check"))
        found[key] = found.get(key, True) and item.get_attribute("class") == "good"
    return found


def test_an_honest_server_is_found_honest(rooted: Town, serve: Serve, chromium: Any) -> None:
    node = rooted.world.node.url
    with serve(Public.ALL) as window:
        looker = Looker(chromium, "desk")
        found = verdicts(looker, window, rooted.houses[0], node)
        assert found == dict.fromkeys(
            ("chain", "domain", "enrolled", "signed", "rises", "closing", "bill", "root"), True
        )
        assert looker.page.locator("[data-check=bill]").count() == 3
        looker.page.click("text=Each frame")
        assert looker.page.locator("#frames tr").count() >= 12
        looker.shoot("verified")
        assert looker.faults() == []
        assert looker.said == []
        looker.close()


def test_a_forged_reading_is_called_forged(
    rooted: Town, serve: Serve, chromium: Any, tmp_path: Path
) -> None:
    """The store is another one: a reading says less, and nobody re-signed it."""
    house = rooted.houses[0]
    spoilt = rooted.copy_store(tmp_path / "spoilt.db")
    last = next(one for one in rooted.store.latest(house.address, 20) if one.kind == 1)
    frame = packed(last.frame[:19] + bytes([last.frame[19] ^ 1]) + last.frame[20:])
    with sqlite3.connect(spoilt) as db:
        db.execute(
            f"UPDATE frames SET frame = ? WHERE meter = {OF} AND sequence = ?",
            (frame, house.address, last.sequence),
        )
    db.close()
    with serve(Public.ALL, store_url=f"sqlite:///{spoilt}") as window:
        looker = Looker(chromium, "phone")
        found = verdicts(looker, window, house, rooted.world.node.url)
        assert found["signed"] is False
        assert found["chain"]
        assert found["enrolled"]
        said = looker.page.inner_text("[data-check=signed]")
        assert "FORGED" in said
        assert str(last.sequence) in said
        looker.shoot("forged")
        looker.close()


def by_another_key(evidence: dict[str, Any]) -> None:
    """Sign the newest frame with the server's own key."""
    liar = SignedMeter(4711, wire.reading_domain("test"))
    newest = evidence["frames"][-1]
    frame = bytes.fromhex(newest["frame"][2:])
    newest["signature"] = "0x" + liar.sign(frame)[1].hex()


LIES: list[tuple[str, str, Spoil]] = [
    ("evidence", "signed", by_another_key),
    ("evidence", "bill", lambda e: e["bills"][0].update(amount="1")),
    ("evidence", "bill", lambda e: e["closings"][-1].update(energy_wh="1")),
    ("evidence", "domain", lambda e: e.update(utility_id="other")),
    ("evidence", "closing", lambda e: e.update(frames=e["frames"][:2])),
    ("proof", "root", lambda p: p["proof"].update(root="0x" + "11" * 32)),
    ("proof", "root", lambda p: p["proof"].update(index=p["proof"]["index"] ^ 1)),
    ("proof", "root", lambda p: p["proof"]["path"].pop()),
    ("proof", "root", lambda p: p["proof"].update(day=p["proof"]["day"] + 1)),
]


@pytest.mark.parametrize(
    ("what", "check", "spoil"),
    [pytest.param(*lie, marks=pytest.mark.long if i % 3 else ()) for i, lie in enumerate(LIES)],
)
def test_a_server_that_lies_is_found_out(
    liar: Callable[[str, Spoil], dict[str, bool]], what: str, check: str, spoil: Spoil
) -> None:
    found = liar(what, spoil)
    assert [key for key, good in found.items() if not good][:1] == [check]


@pytest.fixture(scope="module")
def liar(rooted: Town, folder: Path, chromium: Any) -> Any:
    """Lend a server whose answers a test spoils on their way."""
    from hil_tests.web.conftest import window

    with window(rooted, folder) as served:

        def lie(what: str, spoil: Spoil) -> dict[str, bool]:
            looker = Looker(chromium, "phone")

            def spoilt(route: Any) -> None:
                values = route.fetch().json()
                spoil(values)
                route.fulfill(body=json.dumps(values), content_type="application/json")

            looker.page.route(f"**/{what}.json", spoilt)
            try:
                return verdicts(looker, served, rooted.houses[0], rooted.world.node.url)
            finally:
                looker.close()

        yield lie


def test_only_the_readers_node_may_be_asked(rooted: Town, serve: Serve, chromium: Any) -> None:
    house = rooted.houses[0].key.address.lower()
    with serve(Public.ALL) as window:
        answer = window.get(f"/m/{house}/verify?node=https://node.example:8545")
        policy = answer.headers["Content-Security-Policy"]
        assert "connect-src 'self' https://node.example:8545;" in policy
        for wrong in ("https://*", "https://a b", "javascript:1", "https://a;script-src *", "*"):
            answer = window.get(f"/m/{house}/verify", params={"node": wrong})
            assert "connect-src 'self';" in answer.headers["Content-Security-Policy"]
            assert "Write the node" in words(answer.text)
        looker = Looker(chromium, "phone")
        page = looker.go(f"{window.url}/m/{house}/verify")
        page.fill("input[name=url]", rooted.world.node.url + "/?key=secret")
        page.click("button")
        page.wait_for_selector("#verify[data-ended=good]", state="attached", timeout=30_000)
        assert "secret" not in page.url
        looker.close()


def test_a_node_of_another_chain_verifies_nothing(
    rooted: Town, serve: Serve, chromium: Any
) -> None:
    from parwana.devchain.server import DevChain

    with serve(Public.ALL) as window, DevChain(chain_id=31338) as other:
        looker = Looker(chromium, "phone")
        assert verdicts(looker, window, rooted.houses[0], other.url) == {"chain": False}
        looker.close()


def test_evidence_of_a_house_is_its_own_and_a_feeders_everybodys(
    rooted: Town, serve: Serve
) -> None:
    house, feeder = (m.key.address.lower() for m in (rooted.houses[0], rooted.feeder))
    with serve(Public.AGGREGATE) as window:
        for path in ("verify", "evidence.json", "proof.json"):
            assert window.get(f"/m/{house}/{path}").status_code == 403
            assert window.get(f"/m/{feeder}/{path}").status_code == 200
        assert f"feeder/{FEEDER}" in window.get("/").text
        assert window.get("/coverage").status_code == 403


def test_coverage_tells_days_and_gaps(rooted: Town, serve: Serve) -> None:
    house = rooted.houses[3]
    with serve(Public.ALL) as window:
        before = window.get("/coverage").text
        rooted.next(house)  # a sequence that never came
        rooted.read(house, int(rooted.world.clock.now()), rooted.energy_wh[house.address])
        after = window.get("/coverage").text
    rows = [text.split("<tr>")[4] for text in (before, after)]
    said = [words(row).split()[:2] for row in (r.split("</tr>")[0] for r in rows)]
    assert [word for pair in said for word in pair] != []
    assert before.count("●") >= 15
    assert before != after


@pytest.mark.usefixtures("rooted")
def test_the_audit_runs_and_says_what_the_command_says(serve: Serve, run: Run) -> None:
    told = run("audit", "--json").json
    with serve(Public.AGGREGATE, audit_s=3600) as window:
        wait_until(lambda: window.site.auditor.last.at_s, "the audit", 120)
        page = words(window.get("/audit").text)
        staff = window.site.auditor.last
    assert staff.counts == told["counts"]
    assert staff.findings == told["findings"]
    assert f"{len(told['findings'])} finding" in page or "Nothing is wrong" in page
    for name, count in told["counts"].items():
        assert f"{name.replace('_', ' ')} {count}" in page
    for finding in told["findings"]:
        assert not finding["meter"] or finding["meter"] not in page


def test_the_events_of_the_page_are_those_of_the_contracts() -> None:
    script = (STATIC / "abi.js").read_text().split("EVENTS = {")[1].split("}")[0]
    found = dict(
        line.strip().rstrip(",").replace('"', "").split(": ")
        for line in script.splitlines()
        if line.strip()
    )
    entries: list[Any] = [e for name in contracts.NAMES for e in contracts.load(name).abi]
    known = {
        entry["name"]: "0x" + event_abi_to_log_topic(entry).hex()
        for entry in entries
        if entry["type"] == "event"
    }
    assert found == {name: known[name] for name in ("Billed", "DailyRoot")}
