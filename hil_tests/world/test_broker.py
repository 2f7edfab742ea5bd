"""What a broker accepts and what it only acknowledges; why it refuses, by name and with advice."""

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from hil_tests.brokers import PASSWORD, URL_PASSWORD, Authority, GuardedBroker, stranger
from hil_tests.services import Broker, wait_until
from parwana.world import broker
from parwana.world.broker import BrokerError, Denied, Session
from parwana.world.programs import free_port

TOPIC = "parwana/1/test/time"
# paho leaves the socket of a failed handshake to the garbage collector.
left_open = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedBroker]:
    rights = {"writer": f"topic readwrite {TOPIC}", "reader": f"topic read {TOPIC}"}
    made = GuardedBroker(tmp_path / "broker", rights)
    yield made
    made.stop()


def refusal(url: str, *topics: str, timeout_s: float = 10, **options: Any) -> str:
    """Return what is told of a broker that does not get ready."""
    with Session(url, topics, **options) as session, pytest.raises(BrokerError) as caught:
        session.wait(timeout_s)
    said = str(caught.value)
    assert PASSWORD not in said
    assert URL_PASSWORD not in said
    assert said.startswith(f"the broker {session.place} ")
    return said


def test_what_is_published_arrives_and_is_acknowledged(guarded: GuardedBroker) -> None:
    heard: queue.Queue[bytes] = queue.Queue()

    def take(message: Any) -> None:
        heard.put(bytes(message.payload))

    with Session(guarded.of("writer"), [TOPIC], take=take) as session:
        session.wait(10)
        assert (session.ready, session.trouble) == (True, "")
        session.put(TOPIC, b"now", 10)
        assert heard.get(timeout=10) == b"now"


def test_a_denied_message_is_told_with_topic_and_user_and_others_go_on(
    guarded: GuardedBroker,
) -> None:
    with Session(guarded.of("reader")) as session:
        session.wait(10)
        with pytest.raises(Denied) as caught:
            session.put(TOPIC, b"now", 10, retain=True)
        said = str(caught.value)
        assert f"lets user 'reader' not publish to {TOPIC}; give this user the right" in said
        assert PASSWORD not in said
        guarded.allow("reader", f"topic write {TOPIC}")
        wait_until(lambda: _allowed(session), "the right that was given")
        assert session.connection == 1


def _allowed(session: Session) -> bool:
    try:
        session.put(TOPIC, b"now", 10)
    except Denied:
        return False
    return True


def test_a_wrong_login_is_told_at_once(guarded: GuardedBroker) -> None:
    def said(login: str) -> str:
        return refusal(f"mqtt://{login}127.0.0.1:{guarded.port}", timeout_s=30)

    began_s = time.monotonic()
    with ThreadPoolExecutor() as pool:
        wrong, nobody, none = pool.map(said, ("writer:wrong@", "nobody:x@", ""))
    assert "does not authorise user 'writer': check user and password" in wrong
    assert "does not authorise user 'nobody'" in nobody
    assert "does not authorise a client without a user" in none
    assert time.monotonic() - began_s < 15


REFUSED = {
    0x84: "speaks no MQTT 5",
    0x85: "refuses the client id parwana-",
    0x86: "refuses user 'someone': wrong user or password",
    0x87: "does not authorise user 'someone'",
    0x88: "is unavailable",
    0x89: "is busy",
    0x8A: "has banned user 'someone'",
    0x95: "mosquitto: max_packet_size",
    0x97: "a quota is exceeded",
    0x9D: "has moved to another server",
    0x83: "refuses user 'someone': Implementation specific error; look at its log",
}
LACKING = {
    b"\x24\x00": "takes no QoS 1",
    b"\x25\x00": "retains nothing",
    b"\x2a\x00": "has no shared subscriptions",
}


def test_each_refusal_of_a_connection_has_a_name_and_so_has_what_a_broker_lacks() -> None:
    def said(code: int, properties: bytes = b"") -> str:
        with stranger(code, properties=properties) as other:
            return refusal(other.url, "$share/g/a")

    with ThreadPoolExecutor() as pool:  # a session that was refused takes a second to end
        refused = dict(zip(REFUSED, pool.map(said, REFUSED), strict=True))
        lacking = dict(zip(LACKING, pool.map(lambda p: said(0, p), LACKING), strict=True))
    for code, words in REFUSED.items():
        assert words in refused[code]
    for properties, words in LACKING.items():
        assert words in lacking[properties]


def test_a_broker_of_an_older_mqtt_is_told_as_that() -> None:
    with stranger(1, old=True) as other:
        assert "speaks no MQTT 5" in refusal(other.url)
    with stranger(None) as other:
        said = refusal(other.url, timeout_s=1)
        assert "closed the connection before it answered: does it speak MQTT 5, and TLS" in said


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0x87, "lets user 'someone' not subscribe to a/b; give this user the right to read"),
        (0x97, "denies user 'someone' the subscription to a/b: Quota exceeded"),
        (0x9E, "has no shared subscriptions"),
    ],
)
def test_a_denied_subscription_is_no_connection(
    monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    monkeypatch.setattr(broker, "_AGAIN_S", (0.1, 0.2))
    with stranger(0, suback=code) as other:
        assert says in refusal(other.url, "a/b")
        with Session(other.url, ["a/b"]) as session:
            wait_until(lambda: session.trouble, "the denial")
            other.suback = 1
            wait_until(lambda: session.ready, "another try", 5)
            assert session.connection == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0x00, ""),
        (0x10, ""),  # nobody has subscribed; it is retained all the same
        (0x87, "lets user 'someone' not publish to a/b"),
        (0x97, "did not take what user 'someone' published to a/b: Quota exceeded"),
        (0x99, "Payload format invalid"),
    ],
)
def test_the_reason_of_a_puback_decides(code: int, says: str) -> None:
    with stranger(0, puback=code) as other, Session(other.url) as session:
        session.wait(10)
        if not says:
            session.put("a/b", b"x", 10)
            return
        with pytest.raises(Denied, match=says):
            session.put("a/b", b"x", 10)


def test_a_session_that_another_client_takes_names_the_client_id(tmp_path: Path) -> None:
    told: list[str] = []
    plain = Broker(tmp_path)
    try:
        with Session(plain.url, client_id="parwana-twin") as first:
            first.wait(10)
            first._changed = lambda: told.append(first.trouble)
            with Session(plain.url, client_id="parwana-twin") as second:
                second.wait(10)
                wait_until(lambda: any(told), "the kick")
        assert "another client with the client id parwana-twin: is an id used twice" in told[0]
    finally:
        plain.stop()


def test_the_reason_of_a_disconnect_is_told() -> None:
    told: list[str] = []
    with stranger(0, goodbye=0x97) as other, Session(other.url, ["a"]) as session:
        session._changed = lambda: told.append(session.trouble)
        wait_until(lambda: any(told), "the end of the connection")
    assert "gives user 'someone' no more: a quota is exceeded" in "".join(told)


def test_a_packet_that_the_broker_would_not_take_is_not_sent(tmp_path: Path) -> None:
    limited = GuardedBroker(tmp_path, {"u": "topic readwrite #"}, more="max_packet_size 100\n")
    try:
        with Session(limited.of("u")) as session:
            session.wait(10)
            fits = 100 - 7 - len(TOPIC)
            session.put(TOPIC, bytes(fits), 10)
            with pytest.raises(Denied, match=f"of 100 bytes at most, one to {TOPIC}"):
                session.put(TOPIC, bytes(fits + 1), 10)
            session.put(TOPIC, b"still there", 10)
            assert session.connection == 1
    finally:
        limited.stop()


def test_what_was_under_way_when_the_broker_went_is_told_as_lost_and_not_sent_again() -> None:
    with stranger(0) as other, Session(other.url, ["a"]) as session:
        session.wait(10)
        answers: list[BrokerError | None] = []
        other._answer = lambda *_: False  # type: ignore[method-assign]
        session.publish("a/b", b"x", done=answers.append)
        wait_until(lambda: answers, "the loss")
        assert "was lost before it acknowledged" in str(answers[0])
        assert not isinstance(answers[0], Denied)


def test_a_broker_that_is_not_there_is_told_and_waited_for() -> None:
    port = free_port()
    assert "at this port; is it running?" in refusal(f"mqtt://127.0.0.1:{port}", timeout_s=0.5)
    assert "does not resolve" in refusal("mqtt://no.such.name.invalid", timeout_s=3)


@left_open
@pytest.mark.parametrize(
    ("subject", "days", "host", "trusted", "says"),
    [
        ("DNS:localhost", 30, "localhost", True, ""),
        ("DNS:elsewhere", 30, "localhost", True, "to another name than localhost"),
        ("DNS:localhost", 0, "localhost", True, "it has expired"),
        ("DNS:localhost", 30, "localhost", False, "its CA is not known here; give the CA's"),
    ],
)
def test_over_tls_certificate_and_login_are_told_apart(
    tmp_path: Path,
    authority: Authority,
    subject: str,
    days: int,
    host: str,
    trusted: bool,
    says: str,
) -> None:
    tls = authority.issue(tmp_path.name, subject, days)
    if not days:
        time.sleep(1.1)  # until it has expired
    secure = GuardedBroker(tmp_path / "broker", {"u": "topic readwrite #"}, tls)
    ca = authority.certificate.read_bytes() if trusted else b""
    try:
        if says:
            said = refusal(secure.of("u", host=host), timeout_s=1, ca=ca)
            assert "a certificate that does not verify" in said
            assert says in said
            return
        with Session(secure.of("u", host=host), ca=ca) as session:
            session.wait(10)
            session.put(TOPIC, b"now", 10)
        assert "does not authorise" in refusal(secure.of("u", "wrong", host), ca=ca)
        assert "TLS where the URL says mqtts://" in refusal(
            secure.of("u", host=host).replace("mqtts", "mqtt"), timeout_s=1
        )
    finally:
        secure.stop()


@left_open
def test_tls_to_a_plain_port_is_told(guarded: GuardedBroker) -> None:
    said = refusal(guarded.of("writer").replace("mqtt:", "mqtts:"), timeout_s=1)
    assert "does not speak TLS at this port" in said


def test_a_ca_that_is_none_is_refused() -> None:
    for data in (b"no certificate", b"-----BEGIN CERTIFICATE-----\nnone"):
        with pytest.raises(BrokerError, match="the CA is no certificate"):
            Session("mqtts://h", ca=data)


def test_publishing_from_several_threads_settles_each_message_once() -> None:
    with stranger(0) as other, Session(other.url) as session:
        session.wait(10)
        answers: list[BrokerError | None] = []

        def send() -> None:
            for _ in range(100):
                session.publish("a/b", b"x", done=answers.append)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(answers) == 400, "all acknowledgements", 20)
        assert answers == [None] * 400


def test_the_stranger_is_a_broker_to_others_than_us() -> None:
    """The stand-in itself, seen through paho alone."""
    with stranger(0) as other:
        codes: list[int] = []
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.on_connect = lambda *got: codes.append(got[3].value)
        client.on_subscribe = lambda *got: codes.append(got[3][0].value)
        client.on_publish = lambda *got: codes.append(got[3].value)
        client.connect("127.0.0.1", int(other.url.rpartition(":")[2]))
        client.loop_start()
        client.subscribe("a/b", 1)
        client.publish("a/b", b"x" * 200, 1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
        assert sorted(codes) == [0, 0, 1]
        assert other.connections == 1
