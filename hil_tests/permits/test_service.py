"""Signers as programs: devchain, broker and two signers that only share chain and store."""

import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import wire
from hil_tests.chainkit import HandClock, Utility
from hil_tests.services import Broker, wait_until
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.permits.bundle import check_bundle
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


@pytest.mark.slow
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
        signer = ("permits", "run", "--deployment", out, "--poll", "0.3", "--key")
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
