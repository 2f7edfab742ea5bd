"""What looks in a process of its own: all that it saw arrives, and it is started again."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hil_tests.services import wait_until
from hil_tests.town import FEEDER, Town
from parwana.fleet.rows import Row, read
from parwana.web import aside, service
from parwana.web.aside import Aside, Told
from parwana.web.outlook import View
from parwana.web.service import Options
from parwana.web.watch import Desk
from parwana.world.clock import WorldClock

ROW = Row(1, "house", 100, "0x01", True, 5, 5, 7, 9, 1, 9, "2.0.0", "closed", "connected", [])


def seen(view: View, **more: Any) -> tuple[Any, Any]:
    """Return what stands for an Outlook and a Watch."""
    texts = {name: SimpleNamespace(text=text) for name, text in more.items()}
    outlook = SimpleNamespace(view=view, currency="coin", token="0x", troubles=texts)
    return outlook, SimpleNamespace(desk=Desk(view.at_s))


def rows(count: int, power_dw: int = 9) -> list[Row]:
    return [replace(ROW, number=n, power_dw=power_dw) for n in range(count)]


def test_what_changed_is_told_in_pieces_and_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_PIECE", 3)
    here = seen(View(0, []), chain="", store="")
    mirror, told = Aside(lambda: None, (), *here), Told()
    more = [{"period": 1}, {"period": 2}]
    views = [
        View(1, rows(7), {100: "transformer"}, {100: more[:1]}),
        View(2, [*rows(3), *rows(7, 50)[3:]], {100: "transformer"}, {100: more}),
        View(3, rows(2, 50), {100: "transformer", 200: "plant"}, {100: more, 200: []}),
        View(4, [*rows(1), *rows(8, 1)[1:]], {100: "transformer"}, {100: more, 200: []}),
    ]
    for view in views:
        there = seen(view, chain="away" if view.at_s == 2 else "", store="")
        messages = list(told.news(*there))
        assert max(len(value[1]) for name, value in messages if name == "rows") <= 3
        for message in messages:
            mirror.take(*message)
        assert here[0].view == view
        assert here[1].desk == there[1].desk
        assert here[0].troubles["chain"].text == there[0].troubles["chain"].text
        assert list(told.news(*there)) == []


def test_a_process_that_dies_is_told_and_begun_anew(
    lived: Town, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_AGAIN_S", 0.1)
    now_s = lived.world.clock.now()
    options = Options(folder / "deployment.json", tmp_path / "web", every_s=0.2)
    clock = WorldClock(now_s, time.time(), 1.0)
    with service.site(options, clock, aside=True) as site:
        outlook = site.outlook
        wait_until(lambda: FEEDER in outlook.view.balances, "the first look", 120)
        expected = read(lived.store, int(now_s))
        assert [(r.meter, r.energy_wh) for r in outlook.view.rows] == [
            (r.meter, r.energy_wh) for r in expected
        ]
        wait_until(lambda: outlook.token, "the currency", 60)
        [process] = multiprocessing.active_children()
        assert process.pid
        os.kill(process.pid, signal.SIGTERM)  # of a group's: it ends with its parent alone
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: outlook.troubles["looks"].text, "the end to be told", 60)
        assert outlook.view.rows  # what was seen stays
        wait_until(lambda: not outlook.troubles["looks"].text, "another process", 120)
    assert multiprocessing.active_children() == []
