"""Updates are offered by one signer, signed by m that build the same, and shown to who asks."""

from pathlib import Path

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.rights.conftest import Done, Run
from hil_tests.town import Town
from parwana.permits.bundle import check_bundle
from parwana.relay.rollout import Offer
from parwana.rights import update
from parwana.store.reader import Store

OFFER = ("update", "offer", "--key", "dev:1", "--json")
IMAGE = bytes(range(256)) * 8
pytestmark = pytest.mark.usefixtures("town")


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Have what is built at hand, instead of half a minute of compiling for each command."""
    images = [IMAGE]
    monkeypatch.setattr(update, "_build", lambda _architecture: images[-1])
    return images


@pytest.fixture
def town(world: Utility, store: Store) -> Town:
    return Town(world, store)


def offered(run: Run) -> int:
    return int(run(*OFFER).json["serial"])


def sign(run: Run, serial: int, key: str = "dev:2", *more: str) -> Done:
    return run("update", "sign", "--serial", serial, "--key", key, "--json", *more)


def states(run: Run) -> list[str]:
    return [row["state"] for row in run("update", "status", "--json").json["updates"]]


def test_with_m_signatures_it_is_offered_to_the_first(
    world: Utility, store: Store, run: Run
) -> None:
    first = run(*OFFER).json
    serial = first["serial"]
    assert first == {"serial": serial, "pieces": 4, "signatures": 1, "offered": False}
    (row,) = store.updates()
    assert not Offer.of(row).open
    assert states(run) == ["needs 1 more signatures"]
    again = sign(run, serial, "dev:1").json
    assert (again["signatures"], again["offered"]) == (1, False), "one signer is one"
    second = sign(run, serial).json
    assert (second["signatures"], second["offered"]) == (2, True)
    (row,) = store.updates()
    offer = Offer.of(row)
    assert offer.open
    assert (offer.percent, offer.wait_s, offer.processor) == (1, 86400, 10)
    made = world.deployment
    frame = check_bundle(made.update_domain, offer.bundle or b"", made.signers, 2)
    assert (frame.serial, frame.pieces) == (serial, 4)
    (shown,) = run("update", "status", "--json").json["updates"]
    assert (shown["architecture"], shown["version"]) == ("xtensawin", "0.1.0")
    assert (shown["offered_to"], shown["state"]) == (1, "offered to 1 %")
    assert "offered to 1 %" in run("update", "status").out


def test_who_builds_something_else_signs_nothing(run: Run, built: list[bytes]) -> None:
    serial = offered(run)
    built.append(IMAGE[::-1])
    done = sign(run, serial)
    assert done.code == 1
    assert "check out what it was built from" in done.err
    assert states(run) == ["needs 1 more signatures"]
    assert sign(run, serial, "dev:2", "--no-build").json["offered"] is True


def test_an_archive_that_was_exchanged_in_the_store_is_not_signed(store: Store, run: Run) -> None:
    serial = offered(run)
    with store.transaction() as tx:
        tx.set_update(serial, image=IMAGE[::-1])
    done = sign(run, serial, "dev:2", "--no-build")
    assert done.code == 1
    assert "is not that of update" in done.err


def test_serials_rise_and_one_that_is_not_there_is_told(run: Run) -> None:
    serials = [offered(run), offered(run)]
    assert serials[0] < serials[1]
    done = sign(run, serials[0] - 1)
    assert done.code == 1
    assert "there is no such update" in done.err


def test_strangers_cannot_sign(store: Store, run: Run) -> None:
    done = run("update", "offer", "--key", "dev:9")
    assert done.code == 1
    assert "is no permit signer" in done.err
    assert store.updates() == []
    serial = offered(run)
    (row,) = store.updates()
    frame = bytes(row.frame)
    digest = wire.digest(b"\1" * 32, frame)
    with store.transaction() as tx:
        tx.add_signature(update.SCOPE, frame, digest, 2, bytes(64), 1)
    assert run("update", "status", "--json").json["updates"][0]["signatures"] == 1
    assert serial


def test_a_stage_by_hand(store: Store, run: Run) -> None:
    serial = offered(run)
    stage = ("update", "stage", "--serial", serial, "--percent")
    early = run(*stage, 10)
    assert early.code == 1
    assert "lacks signatures" in early.err
    sign(run, serial)
    assert run(*stage, 0).code == 0
    assert states(run) == ["stopped: by hand"]
    (row,) = store.updates()
    assert not Offer.of(row).open
    assert run(*stage, 100, "--json").json == {"serial": serial, "percent": 100}
    assert states(run) == ["offered to all"]


def test_a_file_to_carry_holds_bundle_and_archive(run: Run, tmp_path: Path) -> None:
    serial, out = offered(run), tmp_path / "update.bin"
    carry = ("update", "carry", "--serial", serial, "--out", out)
    assert "lacks signatures" in run(*carry).err
    sign(run, serial)
    assert run(*carry).code == 0
    data = out.read_bytes()
    assert data[-len(IMAGE) :] == IMAGE
    assert wire.parse_bundle(data[: -len(IMAGE)]).frame[1] == wire.KIND_UPDATE


def test_an_unknown_architecture_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    done = run("update", "offer", "--key", "dev:1", "--architecture", "z80")
    assert done.code == 1
    assert "no processor" in done.err
