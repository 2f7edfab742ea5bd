"""`parwana store`, as an operator runs it."""

from pathlib import Path

import pytest

from hil_tests.chainkit import Utility
from hil_tests.store.test_migrating import METERS, fill, frames_of
from parwana import cli
from parwana.store.reader import Store
from parwana.store.tables import VERSION


def test_migrate_says_what_it_did_and_may_be_run_again(
    world: Utility, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    fill(url)
    command = ["store", "migrate", "--deployment", str(tmp_path / "deployment.json")]
    command += ["--store", url]
    assert cli.main(["meters", *command[2:]]) == 1
    assert "run `parwana store migrate`" in capsys.readouterr().err
    assert world.deployment
    assert cli.main(command) == 0
    assert f"schema 1 became {VERSION}" in capsys.readouterr().out
    assert cli.main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    store = Store(url, create=False)
    frames = list(store.frames(METERS[0].address))
    assert len(frames) == len(frames_of(METERS[0]))
    store.close()
