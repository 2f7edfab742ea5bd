"""A running meter is told by a running relay whom to trust, and obeys."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest

import wire
from boards.virtual.board import VirtualBoard
from hil_tests.chainkit import Utility, terms, utility
from hil_tests.meterkit import configuration, firmware_files, make_image
from hil_tests.relay.test_service import running
from hil_tests.rights.conftest import Run
from hil_tests.services import Broker, wait_until
from parwana.chain import deploy
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key, dev_key
from parwana.permits.bundle import make_permit, sign_frame
from parwana.store.reader import Store
from parwana.world.broker import Session
from parwana.world.clock import WorldClock

NOTICE_S = 60
NUMBER = 17
WAIT_S = 60
OLD = {0: dev_key(1), 1: dev_key(2)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Utility]:
    """Lend a utility whose signers are replaced after a minute."""
    windows = {"escrow_window_s": NOTICE_S, "rotation_delay_s": NOTICE_S}
    with utility(f"sqlite:///{tmp_path}/store.db", **windows) as made:
        made.deployment.save(tmp_path / "deployment.json")
        yield made


@pytest.fixture
def meter(world: Utility, broker: Broker, store: Store, tmp_path: Path) -> Iterator[Key]:
    """Lend the key of a house's meter that runs, beside a relay that does."""
    key = world.enrol(NUMBER)
    with (
        running(world, broker, store, lambda: world.deployment.rpc),
        _board(world, broker, key, tmp_path / "board"),
    ):
        address = bytes.fromhex(key.address[2:])
        wait_until(lambda: getattr(store.meter(address), "heard_s", 0), "a hello", WAIT_S)
        yield key


@contextmanager
def _board(world: Utility, broker: Broker, key: Key, folder: Path) -> Iterator[VirtualBoard]:
    folder.mkdir()
    made = world.deployment
    config = configuration(
        broker.port,
        utility_id=made.utility_id,
        meter=key.address[2:].lower(),
        payment_ledger=made.payment_ledger[2:].lower(),
        permit_signers=made.permit_signers,
    )
    identity = key.secret + crc32(key.secret).to_bytes(4, "big")
    files = {"/identity.key": identity, "/config.json": json.dumps(config).encode()}
    (folder / "flash.img").write_bytes(make_image({**firmware_files(), **files}))
    with VirtualBoard(folder, WorldClock.starting(world.clock.now(), 1.0)) as board:
        board.power_on()
        yield board


def hand(
    broker: Broker, made: Deployment, meter: Key, signers: dict[int, Key], serial: int
) -> None:
    """Publish a permit of a month, as anybody at the broker can."""
    address = bytes.fromhex(meter.address[2:])
    frame = make_permit(
        issued_at_s=serial, valid_until_s=serial + 30 * 86400, period=1, last_serial=serial - 1
    )
    bundle = sign_frame(made.permit_domain(meter.address), frame, signers)
    with Session(broker.url) as session:
        session.wait(10)
        topic = wire.topic(made.utility_id, address, "down")
        session.put(topic, wire.pack_bundle_message(bundle), 10)


def said(store: Store, code: int, a: int) -> bool:
    """Say whether the meter signed an event of this code and first value."""
    return any(wire.parse(event.frame).a == a for event in store.events([code], 0))  # type: ignore[union-attr]


def test_a_rotated_signer_is_believed_and_the_old_one_no_longer(
    world: Utility, meter: Key, broker: Broker, store: Store, run: Run, tmp_path: Path
) -> None:
    now_s = int(world.clock.now())
    hand(broker, world.deployment, meter, OLD, now_s)
    wait_until(lambda: said(store, wire.EVENT_PERMIT_ACCEPTED, now_s), "the old ones' permit", 60)
    new = dev_key(8)
    line = ("signers", "rotate", "--index", "0", "--to", new.public_key.hex(), "--yes", "--key")
    for signer in ("dev:1", "dev:2"):
        assert run(*line, signer).code == 0
    world.clock.time_s += 10 * NOTICE_S
    world.node.mine()
    assert run("signers", "apply", "--key", "dev:7").code == 0

    def taken() -> bool:
        return bool(run("signers", "show", "--json").json["change"]["taken"])

    wait_until(taken, "the meter's event 18", WAIT_S)
    made = Deployment.load(tmp_path / "deployment.json")
    hand(broker, made, meter, OLD, now_s + 10)
    refused = wire.REFUSED_SIGNATURE
    wait_until(lambda: said(store, wire.EVENT_PERMIT_REFUSED, refused), "the refusal", WAIT_S)
    until = ("--valid-until", "+40d", "--out", tmp_path / "permit.bundle", "--publish")
    issue = ("permits", "issue", "--number", NUMBER, "--key", "dev:8", "--key", "dev:2")
    assert run(*issue, *until).code == 0
    serial = wire.parse((tmp_path / "permit.bundle").read_bytes()[:40])[1]
    wait_until(lambda: said(store, wire.EVENT_PERMIT_ACCEPTED, serial), "the new permit", WAIT_S)
    assert not said(store, wire.EVENT_PERMIT_ACCEPTED, now_s + 10)


def test_a_moved_meter_believes_permits_of_the_new_ledger_alone(
    world: Utility, meter: Key, broker: Broker, store: Store, run: Run, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/store-2.db"
    made = deploy.deploy(world.chain, terms(), broker.url, url, lambda _: None)
    made.save(tmp_path / "town-2.json")
    registry = world.chain.ledgers(made).registry.functions
    world.chain.send(registry.enrol((meter.address, NUMBER, 1, 0, 0, 50_000)))
    line = ("ledger", "move", "--to", tmp_path / "town-2.json", "--yes", "--key")
    for signer in ("dev:1", "dev:2"):
        assert run(*line, signer).code == 0

    def taken() -> bool:
        return bool(run("ledger", "show", "--json").json["change"]["taken"])

    wait_until(taken, "the meter's event 19", WAIT_S)
    now_s = int(world.clock.now())
    hand(broker, world.deployment, meter, OLD, now_s)
    refused = wire.REFUSED_SIGNATURE
    wait_until(lambda: said(store, wire.EVENT_PERMIT_REFUSED, refused), "the refusal", WAIT_S)
    hand(broker, made, meter, OLD, now_s + 10)
    wait_until(
        lambda: said(store, wire.EVENT_PERMIT_ACCEPTED, now_s + 10), "the new permit", WAIT_S
    )
    assert not said(store, wire.EVENT_PERMIT_ACCEPTED, now_s)
