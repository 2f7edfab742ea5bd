"""What the pages say, against what the commands say of the same chain and store."""

import html
import re
from typing import Any
from unittest.mock import patch

import pytest

from hil_tests.rights.conftest import Run
from hil_tests.town import FEEDER, Town
from hil_tests.web.conftest import Serve, live_a_day
from parwana.chain.currency import currency_of
from parwana.chain.node import Chain
from parwana.pay import Payer
from parwana.web import assets
from parwana.web.site import Public


def words(page: str) -> str:
    """Return what a page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_pages_do_without_what_npm_has(lived: Town, serve: Serve) -> None:
    paths = ("", f"feeder/{FEEDER}", f"m/{lived.houses[0].key.address}")
    with patch.object(assets, "urls", lambda _base: {}), serve() as window:
        for path in paths:
            page = window.get(f"/{path}")
            assert page.status_code == 200, path
            assert "uPlot" not in page.text
    with serve() as window:
        wanted = ["uPlot" in window.get(f"/{path}").text for path in paths]
    assert wanted == [False, True, True] or not assets.urls("")


def test_a_house_page_says_what_pay_says(lived: Town, serve: Serve) -> None:
    world, house = lived.world, lived.houses[0]
    bill = Payer(world.deployment, Chain.of(world.deployment), house.key.address).bill()
    with serve() as window:
        page = window.get(f"/m/{house.key.address}")
        kept = window.site.book.bill(house.key.address.lower(), 101)
        assert kept == bill.__class__(**{**vars(bill), "meter": house.key.address.lower()})
        currency = currency_of(world.chain, world.ledgers, world.deployment)
    assert page.status_code == 200
    said = words(page.text)
    assert len(bill.billed) >= 3
    assert len(bill.payments) >= 3
    for entry in bill.billed:
        assert f"{entry['energy_wh'] / 1000:.3f} kWh {currency.text(entry['amount'])}" in said
    for payment in bill.payments:
        assert f"{payment['serial']} until" in said
    assert f"Due now {currency.text(bill.due)}" in said
    assert "The meter took permit" in said


def test_days_are_differences_of_what_the_meter_signed(lived: Town, serve: Serve) -> None:
    with serve() as window:
        said = words(window.get(f"/m/{lived.houses[2].key.address}").text)
    assert said.count("15.000 kWh") >= 3
    assert f"Counter {lived.energy_wh[lived.houses[2].address] / 1000:.3f} kWh" in said


def test_feeders_and_their_balances_are_those_of_balance(
    lived: Town, serve: Serve, run: Run
) -> None:
    live_a_day(lived, tapped=True)
    rows = run("balance", "--json").json
    with serve(Public.AGGREGATE) as window:
        said = words(window.get(f"/feeder/{FEEDER}").text)
        home = words(window.get("/").text)
    for row in rows:
        supplied, sold = (f"{row[name] / 1000:.3f} kWh" for name in ("supplied_wh", "sold_wh"))
        assert f"{supplied} {sold}" in said
    told = run("tolerance", "show", "--json").json["feeders"]
    assert {row["tolerance_bp"] for row in rows} == {one["tolerance_bp"] for one in told}
    assert f"± {rows[-1]['tolerance_bp'] / 100:.2f} %" in said
    assert rows[-1]["alarm"] == 1
    assert "theft" in said
    assert f"transformer {FEEDER} theft" in home
    last = rows[-1]
    loss = 100 * (last["supplied_wh"] - last["sold_wh"]) / last["supplied_wh"]
    assert f"loss {loss:.2f} %" in home


def test_the_list_of_meters_is_that_of_meters(serve: Serve, run: Run) -> None:
    rows = {row["number"]: row for row in run("meters", "--json").json}
    with serve() as window:
        page = window.get("/meters").text
        one = window.get("/meters?alarm=any&feeder=900&kind=house&page=1").text
        none = window.get("/meters?text=12345").text
    table = page.split("<tbody>")[1].split("</tbody>")[0]
    shown = [words(line) for line in table.split("<tr")[1:]]
    assert len(shown) == len(rows) == 5
    for line, row in zip(shown, rows.values(), strict=True):
        assert f"{row['energy_wh'] / 1000:.3f} kWh" in line
        assert line.split("> ")[-1].endswith(", ".join(row["alarms"]))
    assert 'value="any" selected' in one
    assert 'value="900" selected' in one
    assert "<td" not in none


@pytest.mark.parametrize("path", ["/m/{}", "/meters", "/m/0x" + "12" * 20])
def test_a_stranger_gets_nothing_of_a_house(lived: Town, serve: Serve, path: str) -> None:
    house = lived.houses[0].key.address
    with serve(Public.AGGREGATE) as window:
        answer = window.get(path.format(house))
        other = window.get("/m/0x" + "34" * 20)
    assert answer.status_code == 403
    assert "kWh" not in answer.text
    assert house[2:].lower() not in answer.text.lower().replace(path.format(house).lower(), "")
    assert words(other.text) == words(answer.text)


def test_every_answer_has_the_policy(lived: Town, serve: Serve) -> None:
    house = lived.houses[0].key.address
    with serve() as window:
        for path in ("/", "/meters", f"/m/{house}", "/nothing", "/static/nothing", "/healthz"):
            headers = window.get(path).headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "no-store" in headers["Cache-Control"]
        page = window.get(f"/m/{house}").text
        assert not re.search(r" on[a-z]+=| style=|<style", page)
        assert all(" src=" in tag for tag in re.findall("<script[^>]*>", page))
        for name in re.findall(r'(?:href|src)="(/static/[^"]*)"', page):
            asset = window.get(html.unescape(name))
            assert asset.status_code == 200
            assert "immutable" in asset.headers["Cache-Control"]


def test_what_is_not_there_is_told(serve: Serve) -> None:
    with serve() as window:
        codes = [window.get(p).status_code for p in ("/m/xyz", "/feeder/7", "/m/0x" + "34" * 20)]
        assert codes == [404, 404, 404]
        assert (
            window.get("/", headers={"Accept": "*/*"})
            .headers["content-type"]
            .startswith("text/html")
        )
        assert window.session.post(window.url + "/meters", timeout=9).status_code == 405


def test_health(lived: Town, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as window:
        assert window.get("/healthz").text == "ok\n"
        assert window.get("/readyz").text == "ready\n"
        figures = window.get("/metrics").text
        assert "parwana_web_meters 5.0" in figures
        assert 'parwana_web_failing{part="chain"} 0.0' in figures

        def away(*_: Any) -> Any:
            from parwana.chain.errors import Unreachable

            raise Unreachable("the node does not answer")

        monkeypatch.setattr(window.site.outlook, "ledgers", away)
        window.site.outlook.follow()
        answer = window.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "chain: fails\n")
        assert 'parwana_web_failing{part="chain"} 1.0' in window.get("/metrics").text
        page = window.get(f"/m/{lived.houses[0].key.address}")
        assert "Bills and payments" in words(page.text)  # of what was read before


def test_what_to_do_next_and_what_is_owed(lived: Town, serve: Serve, run: Run) -> None:
    world = lived.world
    with serve() as window:
        window.site.watch.look()
        said = words(window.get("/office").text)
        desk = window.site.watch.desk
    status = run("status", "--json").json["lines"]
    assert [(line.part, line.state) for line in desk.lines] == [
        (line["part"], line["state"]) for line in status
    ]
    call, account = world.chain.call, world.ledgers.payment.functions.account
    dues = {n: call(account(h.key.address)).due for n, h in enumerate(lived.houses, 101)}
    assert {one.number: one.due for one in desk.owing} == {n: d for n, d in dues.items() if d}
    assert desk.due == sum(dues.values()) > 0
    currency = currency_of(world.chain, world.ledgers, world.deployment)
    assert f"Due {currency.text(desk.due)}" in said
    assert "3 houses owe" in said
    assert "broker: " in said
    assert "127.0.0.1" not in said  # of hosts and files only who signed in is told


def test_the_journal_shows_each_frame_and_turns_pages(
    lived: Town, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parwana.web import desk

    monkeypatch.setattr(desk, "FRAMES", 10)
    house = lived.houses[0]
    frames = list(lived.store.frames(house.address))
    path, shown = f"/m/{house.key.address}/journal?from=1", []
    with serve() as window:
        while path:
            page = window.get(path).text
            rows = page.split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]
            shown += [int(words("<tr" + row).split()[0]) for row in reversed(rows)]
            newer = re.search(r'href="(\?from=\d+)" rel="next"', page)
            path = f"/m/{house.key.address}/journal{newer[1]}" if newer else ""
    assert shown == [frame.sequence for frame in frames]


def test_downloads_are_those_of_export(lived: Town, serve: Serve, run: Run, tmp_path: Any) -> None:
    house = lived.houses[0].key.address
    with serve() as window:
        got = {e: window.get(f"/m/{house}/readings.{e}") for e in ("csv", "xml")}
        manifest = window.get(f"/m/{house}/manifest.json").json()
    done = run("export", "--meter", house, "--out", tmp_path / "all.csv")
    assert done.code == 0, done
    assert got["csv"].content == (tmp_path / "all.csv").read_bytes()
    assert got["csv"].headers["Content-Disposition"] == 'attachment; filename="test-101.csv"'
    assert "<feed" in got["xml"].text
    assert manifest["start_url"] == f"/m/{house.lower()}"
