"""Alert rules and dashboard: each figure that they name is told by a service, and they parse."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from hil_tests.world.test_metrics import read
from parwana import REPO
from parwana.permits import metrics as of_signers
from parwana.permits.service import Chore
from parwana.permits.signer import Progress
from parwana.relay import metrics as of_relays
from parwana.web import health
from parwana.web.outlook import View
from parwana.world import runtime
from parwana.world.metrics import Metrics

FOLDER = REPO / "docs/monitoring"
NAME = re.compile(r"\b(?:parwana|process)_[a-z_]+")


def pages() -> Metrics:
    """Return the figures of a site with a silent meter and a feeder that loses."""
    outlook = SimpleNamespace(troubles={"chain": SimpleNamespace(text="")})
    rows = [SimpleNamespace(in_service=True, alarms=["silent", "permit ends within 2 d"])]
    outlook.view = View(0, cast(Any, rows), balances={100: [{"reconciled": True, "alarm": 1}]})
    site = SimpleNamespace(book=SimpleNamespace(place=lambda: None), outlook=outlook)
    return health.metrics(cast(Any, site))


def figures(of: Metrics) -> dict[str, float]:
    return read(of.answer("/metrics").body.decode())


def told() -> set[str]:
    """Return the names of all that relays, signers and pages tell."""
    relay, signer = Metrics(of_relays.PREFIX), Metrics(of_signers.PREFIX)
    state = dict.fromkeys(of_relays.COUNTERS, 0) | {"broker": True, "waiting": (), "failures": {}}
    of_relays.watch(relay, lambda: state)
    of_signers.watch(signer, [Chore(name, Progress) for name in ("permits", "time")])
    return {name.partition("{")[0] for one in (relay, signer, pages()) for name in figures(one)}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / "grafana.json").read_text())["panels"])


def test_each_alert_says_what_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len({*names}) == len(names) >= 8
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_what_rules_and_panels_name_is_told() -> None:
    queries = [rule["expr"] for rule in rules()]
    queries += [target["expr"] for panel in panels() for target in panel["targets"]]
    named = {name for query in queries for name in NAME.findall(query)}
    assert named - told() == set()
    assert len(named) > 15
    assert {"parwana_relay_store_failures_total", "parwana_signer_signed_total"} <= named


def test_alarms_of_meters_and_feeders_are_told() -> None:
    """The labels that rules ask for are words that `parwana meters` has."""
    seen = figures(pages())
    assert seen["parwana_web_meters_alarmed{alarm=silent}"] == 1
    assert seen["parwana_web_meters_alarmed{alarm=permit ends}"] == 1
    assert seen["parwana_web_feeder_alarm{feeder=100}"] == 1
    source = (REPO / "host_tools/parwana/fleet/rows.py").read_text()
    asked = re.findall(r'alarm="([^"]+)"', (FOLDER / "alerts.yml").read_text())
    assert asked
    assert [word for word in asked if f'"{word}"' not in source] == []


def test_the_dashboards_panels_do_not_overlap() -> None:
    places: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


@pytest.mark.long
def test_prometheus_itself_takes_rules_configuration_and_figures(tmp_path: Path) -> None:
    architecture = runtime.native_architecture()
    promtool = runtime.debian_program("prometheus", architecture, "usr/bin/promtool")
    for check in (("rules", FOLDER / "alerts.yml"), ("config", FOLDER / "prometheus.yml")):
        done = subprocess.run(
            [promtool, "check", *check], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    as_rules = [{"record": f"x{n}", "expr": one} for n, one in enumerate(expressions)]
    (tmp_path / "panels.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": as_rules}]})
    )
    subprocess.run([promtool, "check", "rules", tmp_path / "panels.yml"], check=True, timeout=60)
    relay = Metrics(of_relays.PREFIX)
    state = dict.fromkeys(of_relays.COUNTERS, 1) | {"broker": True, "waiting": (), "failures": {}}
    of_relays.watch(relay, lambda: state)
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=relay.answer("/metrics").body.decode(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
