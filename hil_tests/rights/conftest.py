"""Run commands on a utility's chain."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from parwana import cli


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
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `parwana` with the deployment file of `world`."""

    def runner(*arguments: object) -> Done:
        file = ("--deployment", str(tmp_path / "deployment.json"))
        code = cli.main([*(str(word) for word in arguments), *file])
        return Done(code, *capsys.readouterr())

    return runner
