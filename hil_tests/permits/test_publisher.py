"""Signed time at a broker: published is what it took, and nothing else moves the cursor."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hil_tests.brokers import URL_PASSWORD, GuardedBroker
from hil_tests.chainkit import SIGNERS
from hil_tests.meter.test_pairing import DEPLOYMENT
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.permits.publisher import Publisher
from parwana.permits.signer import TimeSigner
from parwana.store.reader import Store
from parwana.world.broker import BrokerError, Denied

MADE = replace(
    DEPLOYMENT,
    permit_threshold=2,
    permit_signers=[dev_key(n).public_key.hex() for n in SIGNERS],
)
TOPIC = f"parwana/1/{MADE.utility_id}/time"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedBroker]:
    made = GuardedBroker(tmp_path / "broker", {"signer": "topic read nothing/#"})
    yield made
    made.stop()


def signer(made: Deployment, store: Store, publisher: Publisher) -> TimeSigner:
    keys = [dev_key(n) for n in SIGNERS[:2]]
    return TimeSigner(made, store, keys, lambda: 9000.0, 900, publisher.publish)


def test_time_that_the_broker_denies_is_not_published_and_the_cursor_stays(
    guarded: GuardedBroker, store: Store
) -> None:
    made = replace(MADE, broker=guarded.of("signer"))
    publisher = Publisher(made)
    try:
        one = signer(made, store, publisher)
        for _ in range(2):
            with pytest.raises(Denied, match=f"'signer' not publish to {TOPIC}; give") as caught:
                one.step()
            assert URL_PASSWORD not in str(caught.value)
            assert store.cursor(f"time {made.payment_ledger}") is None
        guarded.allow("signer", f"topic write {TOPIC}")
        for _ in range(100):
            try:
                assert one.step().times == 1
                break
            except Denied:
                continue
        assert store.cursor(f"time {made.payment_ledger}") == 9000
    finally:
        publisher.close()


def test_a_wrong_password_is_told_by_name_and_at_once(
    guarded: GuardedBroker, store: Store
) -> None:
    made = replace(MADE, broker=guarded.of("signer", "wrong"))
    publisher = Publisher(made)
    try:
        with pytest.raises(Denied, match="does not authorise user 'signer'"):
            signer(made, store, publisher).step()
    finally:
        publisher.close()
    assert store.cursor(f"time {made.payment_ledger}") is None


def test_a_publisher_that_never_published_closes(store: Store) -> None:
    del store
    Publisher(MADE).close()
    with pytest.raises(BrokerError, match="write the broker as"):
        Publisher(replace(MADE, broker="mqtt://127.0.0.1:1/x"))
