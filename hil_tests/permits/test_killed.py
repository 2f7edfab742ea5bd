"""What a killed run of `parwana permits` left is found by the next one."""

from pathlib import Path

import pytest

from hil_tests.chainkit import Utility
from hil_tests.permits.test_command import final, one, paid, published
from parwana import cli
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.chain.sender import Sender
from parwana.store.reader import Store


def killed(monkeypatch: pytest.MonkeyPatch, of: type, name: str) -> None:
    """Let the process end where it calls a method."""

    def end(*_: object, **__: object) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(of, name, end)


def test_a_permit_that_a_killed_run_published_is_told_and_not_published_again(
    world: Utility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    house, out = world.enrol(1001), tmp_path / "permit.bundle"
    world.deployment.save(tmp_path / "deployment.json", force=True)
    issue = [
        *("permits", "issue", "--deployment", str(tmp_path / "deployment.json")),
        *("--meter", house.address, "--valid-until", str(world.clock.time_s + 900 * DAY_S)),
        *("--key", "dev:1", "--key", "dev:2", "--out", str(out), "--publish"),
    ]
    with monkeypatch.context() as patched:
        killed(patched, Sender, "_wait")
        assert cli.main(issue) == 9
    out.unlink()
    assert cli.main(issue) == 0
    assert "an ended run published it" in capsys.readouterr().out
    [first] = published(world, house)
    assert out.read_bytes() == first["frame"] + first["signatures"]
    assert cli.main(issue) == 0
    assert len(published(world, house)) == 2, "asked for again"


def test_a_signer_that_looks_once_claims_what_it_signed_when_it_was_killed(
    world: Utility, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = paid(world)
    final(world)
    one(world, store, 2).step()
    world.deployment.save(tmp_path / "deployment.json", force=True)
    run = ("permits", "run", "--deployment", str(tmp_path / "deployment.json"), "--once")
    command = [*run, "--time-step", "0", "--key", "dev:1"]
    with monkeypatch.context() as patched:
        killed(patched, Chain, "send")
        assert cli.main(command) == 9
    assert published(world, house) == []
    assert cli.main(command) == 0
    assert len(published(world, house)) == 1
