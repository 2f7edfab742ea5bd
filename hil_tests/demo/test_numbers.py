"""The pages of the demo's world, once it stands still, say what commands and chain say."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hil_tests.chainkit import HandClock, Utility
from hil_tests.rights.conftest import runner
from hil_tests.web.conftest import served
from hil_tests.web.numbers import Comparison
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain
from parwana.devchain.server import DevChain
from parwana.web.service import Options
from parwana.web.site import Public
from parwana.world.programs import parwana

DEMO_S = 900


@pytest.mark.long
def test_every_number_with_a_unit_is_one_that_is_said_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, file = tmp_path / "demo", tmp_path / "deployment.json"
    subprocess.run(parwana("demo", "--folder", folder), check=True, timeout=DEMO_S)
    capsys.readouterr()
    clock = HandClock()
    clock.time_s = 0
    with DevChain(clock=clock, block_interval_s=600, state=folder / "chain.state") as node:
        made = replace(Deployment.load(folder / "deployment.json"), rpc=node.url)
        made.save(file)
        chain = Chain.of(made)
        clock.time_s = chain.block_time_s(chain.head()) + 60
        world = Utility(node, clock, made, chain, chain.ledgers(made))
        run = runner(world, file, capsys, monkeypatch)
        with served(Options(file, tmp_path / "web", public=Public.ALL), clock) as window:
            window.site.watch.look()
            assert Comparison(window, world, run).everything() > 300
