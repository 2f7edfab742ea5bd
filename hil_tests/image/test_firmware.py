"""A build knows when its source was committed: no meter that runs it can live earlier."""

import os
import subprocess
from pathlib import Path

import pytest

from parwana.image import firmware
from parwana.world.clock import VARIABLE, WorldClock

COMMITTED_S = 1_790_000_000
VERSION = 'VERSION = "0.1.0"\nBUILT_S = 1735689600  # comment\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "version.py").write_text(VERSION)
    return tmp_path


def commit(source: Path) -> None:
    """Commit the source in a repository of its own."""
    when = f"{COMMITTED_S} +0000"
    environment = {**os.environ, "GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when}
    name = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*name, "commit", "--quiet", "-m", "All"]):
        subprocess.run(["git", "-C", str(source), *words], env=environment, check=True)


def stated_s(source: Path, **options: float) -> int:
    """Return BUILT_S of what goes onto a meter."""
    names: dict[str, object] = {}
    exec(firmware.trimmed(source, **options)["lib/version.py"], names)
    built_s = names["BUILT_S"]
    assert isinstance(built_s, int)
    return built_s


def test_it_is_the_commits_time_however_often_it_is_built(
    source: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(source)
    now_s = COMMITTED_S + 86400.0
    assert stated_s(source, now_s=now_s) == COMMITTED_S
    built = firmware.build(None, source, now_s)
    os.utime(source / "lib" / "version.py")
    monkeypatch.setattr(firmware, "BUILD", tmp_path_factory.mktemp("nothing_kept"))
    assert firmware.build(None, source, now_s + 86400) == built


def test_a_build_is_kept_for_the_same_sources_alone(
    source: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tmp_path_factory.mktemp("build")
    monkeypatch.setattr(firmware, "BUILD", build)
    built = firmware.build(None, source)
    [kept] = (build / "firmware").iterdir()
    monkeypatch.setattr(firmware.constants, "inline", None)
    assert firmware.build(None, source) == built
    monkeypatch.undo()
    monkeypatch.setattr(firmware, "BUILD", build)
    for damage in (b"", kept.read_bytes()[:-9], b"\xff", b"[]", b'{"main.mpy": 7}'):
        kept.write_bytes(damage)
        assert firmware.build(None, source) == built, damage
    (source / "lib" / "version.py").write_text(VERSION.replace("0.1.0", "0.1.1"))
    assert firmware.build(None, source) != built
    monkeypatch.setattr(firmware, "BUILD", kept)  # no folder can be made in a file
    assert firmware.build(None, source)


def test_without_git_it_is_what_the_source_says(source: Path) -> None:
    assert stated_s(source) == 1735689600


def test_a_rehearsal_of_an_earlier_time_is_not_before_its_own_firmware(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(source)
    monkeypatch.setenv(VARIABLE, str(WorldClock.starting(COMMITTED_S - 3600, 1)))
    assert stated_s(source) == 1735689600
    monkeypatch.setenv(VARIABLE, str(WorldClock.starting(COMMITTED_S + 3600, 1)))
    assert stated_s(source) == COMMITTED_S
