"""Signers as programs: devchain, broker and two signers that only share chain and store."""

import time
from dataclasses import replace

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import wire
from hil_tests.chainkit import HandClock, Utility
from hil_tests.fakenode import FakeNode, Odd, Refusal, behind
from hil_tests.services import Broker, wait_until
from hil_tests.world.test_metrics import get, read
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError, NotYet, RateLimited
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.permits.bundle import PermitError, check_bundle
from parwana.permits.service import Chore
from parwana.permits.signer import PermitSigner, Progress
from parwana.world.clock import VARIABLE, WorldClock
from parwana.world.programs import Program, parwana, run

FACTOR = 1440  # a day a minute
OFFSET_S = 19800


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path)
    yield made
    made.stop()


class Listener:
    """Subscribe anew, as a meter does after each connect, and take what is retained."""

    def __init__(self, port: int, topic: str) -> None:
        self.payloads: list[bytes] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self.client.on_message = lambda _c, _u, message: self.payloads.append(
            bytes(message.payload)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_two_programs_turn_a_payment_into_a_permit_and_tell_the_time(tmp_path, broker):
    midnight = 20_800 * DAY_S - OFFSET_S
    world = WorldClock.starting(midnight - DAY_S // 4, FACTOR)
    env = {VARIABLE: str(world)}
    out = tmp_path / "deployment.json"
    chain_command = parwana("devchain", "--port", "0", "--block-interval", "0.25")
    with Program("devchain", chain_command, tmp_path / "devchain.log", env) as devchain:
        url = devchain.wait_for(r"(http://127.0.0.1:\d+)", 30)[1]
        signers = [part for n in (1, 2, 3) for part in ("--signer", dev_key(n).public_key.hex())]
        deploy = (
            *("deploy", "--rpc", url, "--key", "dev:0", "--utility-id", "test", *signers),
            *("--threshold", "2", "--period", "days:1", "--utc-offset", str(OFFSET_S)),
            *("--payment-window", str(DAY_S), "--broker", broker.url, "--out", out),
        )
        run("parwana deploy", parwana(*deploy), 60, env)
        made = Deployment.load(out)
        signer = (
            "permits",
            "run",
            "--deployment",
            out,
            "--poll",
            "0.3",
            "--metrics",
            "0",
            "--key",
        )
        with (
            Program("one", parwana(*signer, "dev:1"), tmp_path / "one.log", env),
            Program("two", parwana(*signer, "dev:3"), tmp_path / "two.log", env) as two,
        ):
            chain = Chain.of(made, dev_key(0))
            ledgers = chain.ledgers(made)
            utility = Utility(None, HandClock(), made, chain, ledgers)  # type: ignore[arg-type]
            house = utility.enrol(1001)
            wait_until(lambda: chain.block_time_s() > midnight + 60, "midnight", 30)
            closing = utility.closing(house, midnight + 60, 5000)
            chain.send(ledgers.energy.functions.close(closing))
            run(
                "parwana pay",
                parwana("pay", "--deployment", out, "--meter", house.address, "--key", "dev:20"),
                60,
                env,
            )
            event = ledgers.payment.events.PermitPublished
            wait_until(lambda: chain.logs(event, 0), "the permit on the chain", 30)
            [log] = chain.logs(event, 0)
            bundle = log["args"]["frame"] + log["args"]["signatures"]
            check_bundle(made.permit_domain(house.address), bundle, made.signers, 2)

            times = _times(broker, made, 2)
            assert times[1] > times[0]
            assert world.now() - times[-1] < 6 * FACTOR, "signed not long ago"

            broker.stop()
            time.sleep(1)
            broker.start()
            assert _times(broker, made, 1)[0] > times[-1], "again after the broker's restart"
            assert two.running
            url = two.wait_for(r"(http://127.0.0.1:\d+/metrics)", 1)[1]
            seen = read(get(url)[2])
            assert seen["parwana_signer_times_total"] >= 3
            assert seen["parwana_signer_signed_total"] >= 1
    for name in ("one", "two", "devchain"):
        text = (tmp_path / f"{name}.log").read_text()
        assert "Traceback" not in text, text
        assert dev_key(1).secret.hex() not in text


def _times(broker: Broker, made: Deployment, count: int) -> list[int]:
    """Return the instants of the next signed times, each checked as a meter does."""
    listener = Listener(broker.port, wire.time_topic(made.utility_id))
    try:
        wait_until(lambda: len(listener.payloads) >= count, f"{count} signed times", 40)
    finally:
        listener.close()
    instants = []
    for payload in listener.payloads:
        kind, bundle = wire.parse_message(payload)
        assert kind == wire.MESSAGE_BUNDLE
        frame = check_bundle(made.time_domain, bundle, made.signers, made.permit_threshold)
        instants.append(frame.issued_at_s)
    return instants


def test_a_bug_in_one_chore_stops_no_other(caplog):
    said: list[Exception | None] = [ValueError("an odd answer"), ChainError("away"), None]
    done: list[int] = []

    def odd():
        wrong = said.pop(0)
        if wrong:
            raise wrong
        return Progress(signed=1)

    def well():
        done.append(1)
        return Progress(times=1)

    chores = [Chore("permits", odd), Chore("time", well)]
    for _ in range(3):
        for chore in chores:
            chore.run(fatal=False)
            chore._not_before = 0.0
    assert said == []
    assert len(done) == 3
    assert "permits: this is a bug, please report it" in caplog.text
    assert "ValueError: an odd answer" in caplog.text
    for wrong in (PermitError("another signer's key"), ValueError("once")):
        said.append(wrong)
        with pytest.raises(type(wrong)):
            chores[0].run(fatal=isinstance(wrong, ValueError))


def test_odd_answers_end_no_signer(world, store):
    """A signer whose node answers with a page, nothing and nonsense signs afterwards."""
    house = world.enrol(1001)
    world.close_period()
    world.pay(house)
    world.node.mine(2)
    with FakeNode(world.node.url) as fake:
        keys = [dev_key(1), dev_key(2)]
        signer = PermitSigner(
            world.deployment, store, keys, lambda: Chain.of(world.deployment, keys[0], fake.url)
        )
        chore = Chore("permits", signer.step)
        for odd in (Odd(body=""), Odd(body="<html>"), Odd(), Odd(cut=True)):
            for method in ("eth_chainId", "eth_getBlockByNumber", "eth_getLogs", "eth_call"):
                fake.answer(method, odd)
                chore.run(fatal=False)
                chore._not_before = 0.0
        fake.plain()
        chore.run(fatal=False)
    event = world.ledgers.payment.events.PermitPublished
    assert len(world.chain.logs(event, 0, meter=house.address)) == 1


@pytest.mark.parametrize("finality", ["finalized", {"blocks": 2}])
def test_a_node_behind_hides_no_payment(world, store, finality, monkeypatch):
    """The cursor of signers stays before blocks that the node which reads logs has not seen."""
    monkeypatch.setattr(NotYet, "patience_s", 0.2)
    made = replace(world.deployment, finality=finality)
    house = world.enrol(1001)
    world.close_period()
    with FakeNode(world.node.url) as fake:
        keys = [dev_key(1), dev_key(2)]
        signer = PermitSigner(made, store, keys, lambda: Chain.of(made, keys[0], fake.url))
        signer.step()
        world.pay(house)
        world.node.mine(2)
        fake.edit("eth_getLogs", behind(4, "eth_getLogs"))
        with pytest.raises(NotYet):
            signer.step()
        fake.plain()
        assert signer.step().claimed == 1


def test_no_error_makes_a_signer_sign_early(world, store, monkeypatch):
    """A rate limit at the tag once made twelve blocks final; the lock was not."""
    monkeypatch.setattr(RateLimited, "patience_s", 0.1)
    house = world.enrol(1001)
    world.close_period()
    world.pay(house)
    keys = [dev_key(1), dev_key(2)]
    with FakeNode(world.node.url) as fake:
        signer = PermitSigner(
            world.deployment, store, keys, lambda: Chain.of(world.deployment, keys[0], fake.url)
        )
        for odd in (Odd("rate limit exceeded", -32005), Odd("Invalid block parameter", -32602)):
            fake.edit("eth_getBlockByNumber", tagged(odd))
            with pytest.raises(ChainError):
                signer.step()
    assert not store.cursor(f"permits {world.deployment.payment_ledger}")


def tagged(odd):
    def change(params, forward):
        if params[0] == "finalized":
            raise Refusal({"code": odd.code, "message": odd.words})
        return forward("eth_getBlockByNumber", params)

    return change
