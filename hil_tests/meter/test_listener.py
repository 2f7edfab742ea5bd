"""Trying the meter's login while nothing is final: certificate, password, each right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.brokers import (
    PASSWORD,
    URL_PASSWORD,
    Authority,
    GuardedBroker,
    rights_of_the_guide,
    stranger,
)
from parwana.meter import listener
from parwana.meter.listener import Listener, try_broker
from parwana.world.broker import BrokerError

METER = bytes(range(1, 21))
BASE = "parwana/1/kalpa"
MINE = f"{BASE}/{METER.hex()}"
METERS = rights_of_the_guide("kalpa")["meters"]
left_open = pytest.mark.filterwarnings(  # paho leaves a failed handshake to the collector
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_ANSWER_S", 1)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    rights = {
        "meters": METERS,
        "mute": METERS.replace("readwrite", "read"),
        "deaf": METERS.replace("readwrite", "write"),
        "shy": METERS.replace(f"topic write {BASE}/+/status", ""),
    }
    made = GuardedBroker(tmp_path_factory.mktemp("meters") / "broker", rights)
    yield made
    made.stop()


def wrong(url: str, ca: bytes = b"") -> str:
    with pytest.raises(BrokerError) as caught:
        try_broker(url, "kalpa", METER, ca)
    said = str(caught.value)
    assert PASSWORD not in said
    assert URL_PASSWORD not in said
    return said


def test_the_rights_of_the_guide_are_enough(guarded: GuardedBroker) -> None:
    try_broker(guarded.of("meters"), "kalpa", METER)
    with Listener(guarded.of("meters"), "kalpa", METER):
        pass


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("mute", f"lets user 'mute' not publish to {MINE}/up; give this user the right to write"),
        ("shy", f"lets user 'shy' not publish to {MINE}/status"),
        ("deaf", f"what is published to {MINE}/up; give user 'deaf' the right to read it, too"),
    ],
)
def test_each_right_that_is_missing_is_named(guarded: GuardedBroker, user: str, says: str) -> None:
    assert says in wrong(guarded.of(user))


def test_a_denied_subscription_is_named() -> None:
    with stranger(0, suback=0x87) as other:
        assert f"lets user 'someone' not subscribe to {MINE}/up" in wrong(other.url)
        with pytest.raises(BrokerError, match="not subscribe"), Listener(other.url, "x", METER):
            pass


@left_open
def test_over_tls_a_wrong_password_and_a_wrong_ca_are_named(tmp_path: Path) -> None:
    authority, strange = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    tls = authority.issue("broker", "DNS:localhost")
    secure = GuardedBroker(tmp_path / "broker", {"meters": METERS}, tls)
    ca = authority.certificate.read_bytes()
    url = secure.of("meters", host="localhost")
    try:
        try_broker(url, "kalpa", METER, ca)
        with Listener(url, "kalpa", METER, ca):
            pass
        said = wrong(secure.of("meters", "wrong", "localhost"), ca)
        assert "does not authorise user 'meters': check user and password" in said
        for other in (strange.certificate.read_bytes(), b""):
            said = wrong(url, other)
            assert "a certificate that does not verify: its CA is not known here" in said
            assert "--broker-ca" in said
    finally:
        secure.stop()
