"""Run commands on a utility's chain."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hil_tests.chainkit import Utility
from parwana import cli
from parwana.world.clock import VARIABLE, WorldClock


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


Run = Callable[..., Done]


@pytest.fixture
def run(
    world: Utility,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run `parwana` with the deployment file of `world`, at the time of its chain."""
    return runner(world, tmp_path / "deployment.json", capsys, monkeypatch)


def runner(
    world: Utility,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return what runs `parwana` with a deployment file."""

    def run(*arguments: object) -> Done:
        monkeypatch.setenv(VARIABLE, str(WorldClock(world.clock.now(), time.time(), 1.0)))
        words = [*(str(word) for word in arguments), "--deployment", str(file)]
        return Done(cli.main(words), *capsys.readouterr())

    return run
