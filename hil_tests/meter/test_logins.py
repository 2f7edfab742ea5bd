"""Logins that a real mosquitto takes: a meter's own topics, and no other's."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import MQTTMessage

from hil_tests.brokers import FolderBroker
from hil_tests.chainkit import Utility
from hil_tests.services import wait_until
from parwana import cli
from parwana.meter import listener, logins
from parwana.meter.listener import Listener, try_broker
from parwana.meter.logins import LoginError, login
from parwana.world.broker import BrokerError, Session
from parwana.world.programs import MOSQUITTO_QUEUES

METER, OTHER = bytes(range(1, 21)), bytes(range(2, 22))
UTILITY = "test"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_ANSWER_S", 1)


@pytest.fixture
def files(tmp_path: Path, world: Utility) -> Path:
    del world  # it leaves deployment.json there
    made = tmp_path / "files"
    assert run("broker", "acl", str(made), "--deployment", str(tmp_path / "deployment.json")) == 0
    return made


@pytest.fixture
def broker(tmp_path: Path, files: Path) -> Iterator[FolderBroker]:
    for meter in (METER, OTHER):
        login(files, "mqtt://127.0.0.1:1", meter.hex())
    (tmp_path / "broker").mkdir()
    running = FolderBroker(tmp_path / "broker", files)
    yield running
    running.stop()


def run(*words: str) -> int:
    return cli.main(list(words))


def kept_for_a_relay(broker: FolderBroker, files: Path, count: int) -> int:
    """Publish `count` letters while a relay acknowledges none; return how many it gets then."""
    held: list[MQTTMessage] = []
    share = f"$share/relays/parwana/1/{UTILITY}/+/up"
    url = login(files, broker.url, logins.SERVICES)
    with (
        Session(url, [share], take=held.append, manual_ack=True, inflight=256) as relay,
        Session(login(files, broker.url, METER.hex())) as meter,
    ):
        relay.wait(10)
        meter.wait(10)
        taken: list[BrokerError | None] = []
        for number in range(count):
            meter.publish(topic(METER, "up"), number.to_bytes(4, "big") * 26, done=taken.append)
        wait_until(lambda: len(taken) == count, "the broker to take all", 60)
        assert taken == [None] * count
        done, heard_s = 0, time.monotonic()
        while done < count and time.monotonic() < heard_s + 2:
            for message in held[done:]:
                relay.ack(message)
                done, heard_s = done + 1, time.monotonic()
            time.sleep(0.01)
        return done


def test_letters_of_a_fleet_at_one_instant_wait_for_a_relay(
    broker: FolderBroker, files: Path
) -> None:
    assert kept_for_a_relay(broker, files, 3000) == 3000
    broker.stop()
    broker.settings = broker.settings.replace(MOSQUITTO_QUEUES, "")
    broker.start()
    assert 1000 <= kept_for_a_relay(broker, files, 3000) < 2000  # as mosquitto is without them


def topic(meter: bytes, leaf: str) -> str:
    return f"parwana/1/{UTILITY}/{meter.hex()}/{leaf}"


def test_a_login_reaches_its_own_topics_alone(broker: FolderBroker, files: Path) -> None:
    url = login(files, broker.url, METER.hex())
    try_broker(url, UTILITY, METER)
    with Listener(url, UTILITY, METER):
        pass
    with pytest.raises(BrokerError, match="lets user .* not publish"):
        try_broker(url, UTILITY, OTHER)
    with Session(url) as session:
        session.wait(5)
        for leaf in ("down", "permit"):  # its own signed commands are not its own to write
            with pytest.raises(BrokerError, match="not publish"):
                session.put(topic(METER, leaf), b"x", 5)
        with pytest.raises(BrokerError, match="not publish"):
            session.put(f"parwana/1/{UTILITY}/time", b"x", 5)


def test_services_write_what_meters_read(broker: FolderBroker, files: Path) -> None:
    with Session(login(files, broker.url, logins.SERVICES)) as session:
        session.wait(5)
        for leaf in ("down", "permit"):
            session.put(topic(METER, leaf), b"x", 5)
        session.put(f"parwana/1/{UTILITY}/time", b"x", 5)
        with pytest.raises(BrokerError, match="not publish"):
            session.put(topic(METER, "up"), b"x", 5)


def test_without_a_login_nobody_comes_in_and_a_new_one_waits_for_the_broker(
    broker: FolderBroker, files: Path
) -> None:
    with pytest.raises(BrokerError):
        try_broker(broker.url, UTILITY, METER)
    late = bytes(range(3, 23))
    url = login(files, broker.url, late.hex())
    with pytest.raises(BrokerError):
        try_broker(url, UTILITY, late)
    broker.read_again()
    try_broker(url, UTILITY, late)


def test_made_again_all_logins_stay_and_no_password_is_written(files: Path) -> None:
    url = login(files, "mqtts://broker.example", METER.hex())
    before = (files / "passwords").read_text()
    assert login(files, "mqtts://broker.example", METER.hex()) == url
    assert url.endswith("@broker.example:8883")
    deployment = str(files.parent / "deployment.json")
    assert run("broker", "acl", str(files), "--deployment", deployment) == 0
    assert (files / "passwords").read_text() == before
    assert url.split(":")[2].split("@")[0] not in before
    assert [line.partition(":")[0] for line in before.splitlines()] == ["services", METER.hex()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files.iterdir())


def test_a_line_that_is_wrong_is_made_anew(files: Path) -> None:
    login(files, "mqtt://h", METER.hex())
    good = (files / "passwords").read_text()
    for bad in ("", "$7$x$y$z", "$7$101$!!$!!", "$6$AAAA$BBBB", "$7$101$AAAA$BBBB"):
        (files / "passwords").write_text(f"{METER.hex()}:{bad}\nother:$7$101$AAAA$BBBB\n")
        login(files, "mqtt://h", METER.hex())
        kept = (files / "passwords").read_text().splitlines()
        assert kept[0] == "other:$7$101$AAAA$BBBB"
        assert len(kept) == 2
        assert len(kept[1]) == len(good.splitlines()[-1])


def test_what_is_wrong_is_told(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LoginError, match="parwana broker acl"):
        login(tmp_path / "nowhere", "mqtt://h", "x")
    (files / "secret").chmod(0o644)
    with pytest.raises(LoginError, match="chmod 600"):
        login(files, "mqtt://h", "x")
    (files / "secret").chmod(0o600)
    (files / "secret").write_bytes(b"short")
    with pytest.raises(LoginError, match="5 bytes, not 32"):
        login(files, "mqtt://h", "x")
    deployment = str(tmp_path / "deployment.json")
    words = ("broker", "acl", str(tmp_path / "tls"), "--deployment", deployment)
    assert run(*words, "--certificate", "a", "--certificate-key", "b") == 1
    assert "takes none" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert run("broker", "acl", str(tmp_path / "file"), "--deployment", deployment) == 1
    assert "File exists" in capsys.readouterr().err
