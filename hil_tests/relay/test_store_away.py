"""Relay and signer with a PostgreSQL that comes later, restarts, or takes no writes."""

from dataclasses import replace
from pathlib import Path

import pytest

from hil_tests.chainkit import Utility
from hil_tests.postgresql import Server
from hil_tests.relay.test_service import fake, running
from hil_tests.services import Broker, wait_until
from parwana.relay.command import command
from parwana.relay.follower import CURSOR
from parwana.store.reader import Store, StoreAway
from parwana.world.programs import Program, parwana


@pytest.fixture
def url(postgresql: Server) -> str:
    return postgresql.database()


def test_a_relay_outlives_what_its_server_does(
    world: Utility, broker: Broker, url: str, stopped_postgresql: Server
) -> None:
    server = stopped_postgresql
    meter = fake(broker, world, 44)
    world.enrol(44)
    store = Store(url, patient=True)
    try:
        with running(world, broker, store, lambda: world.deployment.rpc) as states:
            meter.send(1)
            wait_until(lambda: states[-1]["store_failures"], "the store's failure")
            wait_until(lambda: "chain" in states[-1]["failures"], "the chore's failure")
            assert "cannot be reached" in states[-1]["failures"]["chain"]
            assert meter.received.empty()
            server.start()
            meter.insist(1)
            assert meter.next() == ("down", 2)

            database = url.rsplit("/", 1)[1]
            server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
            server.stop()
            server.start()  # a standby: all sessions are new, none of them writes
            failures = states[-1]["store_failures"]
            meter.send(2)
            wait_until(lambda: states[-1]["store_failures"] > failures, "a refused write")
            server.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
            meter.insist(2)
            while (answer := meter.next()) == ("down", 2):
                pass  # to a letter that was sent while nobody could write
            assert answer == ("down", 3)
            wait_until(lambda: not states[-1]["failures"], "the end of all failures", 40)
        assert store.runs(meter.address) == [(1, 2)]
    finally:
        store.close()
        meter.close()


def test_the_programs_wait_for_a_server_that_comes_later(
    world: Utility, broker: Broker, url: str, stopped_postgresql: Server, tmp_path: Path
) -> None:
    secret = url.replace("parwana@", "parwana:secret@")
    path = tmp_path / "deployment.json"
    replace(world.deployment, store=secret, broker=broker.url).save(path, force=True)
    relay = parwana("relay", "--deployment", path, "--every", "0.2")
    signer = parwana("permits", "run", "--deployment", path, "--key", "dev:1", "--poll", "0.2")
    with pytest.raises(StoreAway):
        command(path, once=True)  # a person is there to try again
    with (
        Program("relay", relay, tmp_path / "relay.log") as first,
        Program("signer", signer, tmp_path / "signer.log") as second,
    ):
        for program in (first, second):
            program.wait_for("cannot be reached; check that it runs", 60)
        stopped_postgresql.start()
        store = Store(url)
        wait_until(lambda: store.signed(b"time"), "the signer's signature", 60)
        wait_until(lambda: store.cursor(CURSOR), "the relay's cursor", 60)
        store.close()
        assert first.running
        assert second.running
    for name in ("relay", "signer"):
        log = (tmp_path / f"{name}.log").read_text()
        assert "secret" not in log
        assert "Traceback" not in log
