"""Pairing a virtual board on a real broker, chain and relay; and each step that can fail."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from eth_account import Account
from eth_utils import to_checksum_address
from PIL import Image
from rich.progress import Progress

import wire
from boards.virtual.board import VirtualBoard
from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests.boardkit import mpremote, store
from hil_tests.brokers import URL_PASSWORD, Authority, FolderBroker, GuardedBroker
from hil_tests.chainkit import terms
from hil_tests.meter.test_pairing import DEPLOYMENT
from hil_tests.meterkit import configuration
from hil_tests.services import Broker, wait_until
from parwana import cli
from parwana.chain import deploy
from parwana.chain.keys import Key, dev_key
from parwana.chain.node import Chain
from parwana.devchain.server import DevChain
from parwana.meter import flash
from parwana.meter.repl import connect
from parwana.relay import service as relay
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.programs import free_port

FEEDER = 100
FACTOR = 20  # an interval of a minute takes three seconds
PASSWORD = "parwana-bench"
GAS_PRICE = 2 * 10**9
STEPS = [
    "chain", "identity", "registry", "configuration", "wifi", "broker", "clock", "sensor",
    "state", "contactor", "enrolment", "relay", "permit", "reading", "label",
]  # fmt: skip


class Bench:
    """A flashed board with its sensor, and everything that it is paired into."""

    def __init__(self, folder: Path, image: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.clock = WorldClock.from_environment()
        self._image = image
        self._stack = stack
        self.broker = Broker(folder)
        stack.callback(self.broker.stop)
        self.broker_url = self.broker.url
        self.node = stack.enter_context(DevChain(clock=self.clock, block_interval_s=0.5))
        self.path = folder / "deployment.json"
        self.deploy()
        self._stop: threading.Event | None = None
        self.start_relay()
        stack.callback(self.stop_relay)
        self.board, self.sensor, self.house = self.new_board("house")

    def renew_chain(self) -> None:
        """Start the chain from nothing, at the same URL."""
        port = int(self.node.url.rpartition(":")[2])
        self.node.stop()
        self.node = self._stack.enter_context(DevChain(port, self.clock, block_interval_s=0.5))

    def deploy(self) -> None:
        """Deploy the contracts, with a feeder, and give the relay a new store."""
        self.chain = chain = Chain(self.node.url, dev_key(0))
        store_url = f"sqlite:///{self.folder}/store-{time.time_ns()}.db"
        self.deployment = deploy.deploy(chain, terms(), self.broker_url, store_url, lambda _: None)
        self.ledgers = chain.ledgers(self.deployment)
        self.deployment.save(self.path, force=True)
        self.store = Store(store_url)
        self._stack.callback(self.store.close)
        feeder = (dev_key(30).address, FEEDER, 2, 0, 0, 0)
        chain.send(self.ledgers.registry.functions.enrol(feeder))

    def new_board(self, name: str, **options: Any) -> tuple[VirtualBoard, PzemEmulator, House]:
        """Power a flashed, unpaired board whose contactor feeds a house of 500 W."""
        home = self.folder / name
        home.mkdir()
        shutil.copy(self._image, home / "flash.img")
        house = House(Profile([500.0], 0), self.clock, closed=False)
        board = VirtualBoard(
            home,
            self.clock,
            on_contactor=lambda closed: setattr(house, "closed", closed),
            **options,
        )
        self._stack.callback(board.close)
        sensor = PzemEmulator(board.uart_port, [Pzem(house, refresh_s=0.1)])
        sensor.start()
        self._stack.callback(sensor.stop)
        board.power_on()
        return board, sensor, house

    def start_relay(self) -> None:
        """Run a relay in this process."""
        stop = threading.Event()

        def work() -> None:
            relay.run(
                self.deployment,
                broker_url=self.broker_url,
                store=self.store,
                connect=lambda: Chain.of(self.deployment, dev_key(5)),
                land=True,
                stop=stop,
                clock=self.clock,
                report=lambda _state: None,
                pause_s=0.5,
            )

        thread = threading.Thread(target=work)
        thread.start()
        self._stop, self._thread = stop, thread

    def stop_relay(self) -> None:
        """End the relay."""
        if self._stop:
            self._stop.set()
            self._thread.join(60)
            self._stop = None

    def pair(self, *more: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
        """Run `parwana pair`; return its exit code and what it printed as JSON."""
        options: dict[str, str] = {
            "--port": self.board.serial_port,
            "--deployment": str(self.path),
            "--number": "17",
            "--feeder": str(FEEDER),
            "--key": "dev:0",
            "--wifi-ssid": "parwana",
            "--timeout": "40",
            "--interval": "60",
            "--label": str(self.folder / "labels"),
        }
        options.update(zip(more[::2], more[1::2], strict=True))
        arguments = [part for pair in options.items() if pair[1] for part in pair]
        signers = ["--signer-key", "dev:1", "--signer-key", "dev:2"]
        capsys.readouterr()
        code = cli.main(["pair", *arguments, *signers, "--yes", "--json"])
        said = capsys.readouterr()
        assert PASSWORD not in said.out + said.err
        print(said.err)
        out = said.out.strip().splitlines()
        return code, json.loads(out[-1]) if out else {}

    def run(self, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        """Run another command of the utility; return its exit code and what it said."""
        capsys.readouterr()
        code = cli.main([words[0], "--deployment", str(self.path), "--key", "dev:0", *words[1:]])
        return code, "".join(capsys.readouterr())

    def energy_wh(self, meter: str) -> int:
        """Return the register in the last reading of a meter that the store holds."""
        held = self.store.last_reading(bytes.fromhex(meter[2:]), 2**32 - 1)
        return int.from_bytes(held.frame[12:20], "big") if held else 0

    def entry(self, meter: str) -> Any:
        """Return a meter's entry in the registry."""
        return self.chain.call(self.ledgers.registry.functions.meter(meter))

    def events(self, meter: str, code: int) -> list[wire.Event]:
        """Return the meter's events of one code that the store holds."""
        fields = [wire.parse(f.frame) for f in self.store.frames(bytes.fromhex(meter[2:]))]
        return [f for f in fields if isinstance(f, wire.Event) and f.code == code]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flash one board; its image serves all."""
    folder = tmp_path_factory.mktemp("flashed") / "board"
    with VirtualBoard(folder) as board:
        board.power_on()
        with connect(board.serial_port) as meter, Progress(disable=True) as progress:
            flash.flash(meter, progress)
        board.power_off()
    return folder / "flash.img"


@pytest.fixture
def bench(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", PASSWORD)
    monkeypatch.setenv("PARWANA_CLOCK", str(WorldClock.starting(time.time(), FACTOR)))
    with ExitStack() as stack:
        yield Bench(tmp_path, image, stack)


def failed(record: dict[str, Any]) -> tuple[str, str]:
    """Return (step, advice) of the step that stopped a pairing."""
    assert record["ok"] is False
    assert all(step["ok"] for step in record["steps"][:-1])
    assert record["label"] == []
    return record["steps"][-1]["step"], record["steps"][-1]["detail"]


def details(record: dict[str, Any]) -> dict[str, str]:
    """Return what the steps of a pairing that ended well told."""
    assert record["ok"], record
    return {step["step"]: step["detail"] for step in record["steps"]}


def test_a_fresh_board_becomes_a_connected_meter_with_a_label(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    code, record = bench.pair(capsys=capsys)
    assert code == 0, record
    meter = record["meter"]
    entry = bench.entry(meter)
    assert (entry.number, entry.kind, entry.feeder) == (17, 1, FEEDER)
    assert entry.sanctioned_load_dw == 50_000
    told = details(record)
    assert list(told) == STEPS
    assert told["contactor"] == "closed: 2.288 A flowed; opened: none"
    wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
    (accepted,) = bench.events(meter, wire.EVENT_PERMIT_ACCEPTED)
    periods = bench.deployment.periods
    due_s = periods.start(periods.of(accepted.time_s) + 1) + bench.deployment.payment_window_s
    assert (accepted.b, accepted.c) == (due_s, 50_000)
    published = bench.chain.logs(bench.ledgers.payment.events.PermitPublished, 0)
    assert [log["args"]["serial"] for log in published] == [accepted.a]
    picture, document = map(Path, record["label"])
    assert document.read_bytes().startswith(b"%PDF")
    with Image.open(picture) as image:
        (code_read,) = zxingcpp.read_barcodes(image.convert("L"))
    assert code_read.text == (
        f"parwana:{meter}?utility=test&number=17&serial={record['serial']}&feeder={FEEDER}"
    )

    code, again = bench.pair("--url", "https://meter.example/", capsys=capsys)
    assert (code, again["meter"]) == (0, meter), again
    with Image.open(again["label"][0]) as image:
        (code_read,) = zxingcpp.read_barcodes(image.convert("L"))
    assert code_read.text == f"https://meter.example/m/{meter}"
    told = details(again)
    assert told["configuration"] == "as it should be already"
    assert told["enrolment"] == "enrolled already"
    assert told["contactor"] == "not touched: the meter is in service"
    assert "accepted already" in told["permit"]
    assert bench.board.contactor
    assert bench.events(meter, wire.EVENT_PERMIT_REFUSED) == []
    cuts = bench.events(meter, wire.EVENT_DISCONNECTED)
    assert [cut for cut in cuts if cut.sequence > accepted.sequence] == []
    assert PASSWORD not in bench.board.log_path.read_text(errors="replace")


def test_each_thing_that_is_wrong_stops_its_step_and_is_mended(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*more: str) -> tuple[str, str]:
        code, record = bench.pair(*more, capsys=capsys)
        assert code == 1
        assert not bench.board.contactor
        return failed(record)

    step, advice = stopped("--rpc", f"http://127.0.0.1:{free_port()}")
    assert (step, "is the node running" in advice) == ("chain", True)
    step, advice = stopped("--key", "dev:7")
    assert (step, "only the utility" in advice) == ("chain", True)
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", "short")
    step, advice = stopped()
    assert (step, "wifi.password" in advice) == ("configuration", True)
    assert "short" not in advice
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", "another secret")
    step, advice = stopped()
    assert (step, "the password is wrong" in advice) == ("wifi", True)
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", PASSWORD)
    step, advice = stopped("--wifi-ssid", "elsewhere")
    assert (step, "no network of that name" in advice) == ("wifi", True)
    bench.broker.stop()
    step, advice = stopped()
    assert (step, "is it running" in advice) == ("broker", True)
    bench.broker.start()
    with guarded_broker(bench.folder) as (url, ca):
        step, advice = stopped("--broker", url, "--broker-ca", ca)
        assert (step, "does not authorise user 'meters'" in advice) == ("broker", True), advice
        assert URL_PASSWORD not in advice
    bench.sensor.silent = True
    step, advice = stopped()
    assert (step, "mains" in advice) == ("sensor", True)
    bench.sensor.silent = False
    with cut_off(bench.chain):
        step, advice = stopped()
        assert (step, "cannot pay; send it some" in advice) == ("enrolment", True)
    step, advice = stopped("--feeder", "55")
    assert (step, "55 was never enrolled" in advice) == ("registry", True)
    bench.stop_relay()
    step, advice = stopped("--timeout", "8")
    assert (step, "parwana relay" in advice) == ("relay", True), advice
    bench.start_relay()
    code, record = bench.pair(capsys=capsys)
    assert code == 0, record
    wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
    step, advice = failed(bench.pair("--number", "18", capsys=capsys)[1])
    assert (step, "enrolled as number 17" in advice) == ("registry", True)
    # It was in service, so it goes on.
    bench.board.wait_console("\nparwana ", 20)
    assert bench.board.contactor


@contextmanager
def guarded_broker(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a broker with TLS and passwords; lend its URL, with a wrong password, and the CA."""
    authority = Authority(folder / "ca")
    tls = authority.issue("broker", "DNS:localhost")
    broker = GuardedBroker(folder / "guarded", {"meters": "topic readwrite #"}, tls)
    try:
        yield broker.of("meters", URL_PASSWORD + "x", "localhost"), str(authority.certificate)
    finally:
        broker.stop()


@contextmanager
def cut_off(chain: Chain) -> Iterator[None]:
    """Take nearly all coin from the utility's account, and give it back."""
    key, friend = dev_key(0), dev_key(8)
    send(chain, key, friend.address, chain.balance(key.address) - 21_000 * GAS_PRICE - 1000)
    assert chain.balance(key.address) == 1000
    yield
    send(chain, friend, key.address, 10**21)


def send(chain: Chain, key: Key, to: str, value: int) -> None:
    nonce = chain.w3.eth.get_transaction_count(to_checksum_address(key.address))
    fields = {
        "to": to, "value": value, "nonce": nonce, "gas": 21_000, "gasPrice": GAS_PRICE,
        "chainId": chain.chain_id,
    }  # fmt: skip
    signed = Account.sign_transaction(fields, key.secret)
    key_of_it = chain.w3.eth.send_raw_transaction(signed.raw_transaction)
    chain.w3.eth.wait_for_transaction_receipt(key_of_it, timeout=20)


def test_all_of_it_over_tls_with_a_login_of_its_own(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stop_relay()
    authority = Authority(bench.folder / "ca")
    tls = authority.issue("broker", "DNS:localhost")
    port, files = free_port(), bench.folder / "files"
    bench.broker_url = url = f"mqtts://localhost:{port}"
    bench.deploy()
    words = ["broker", "acl", str(files), "--deployment", str(bench.path)]
    words += ["--certificate", str(tls[0]), "--certificate-key", str(tls[1])]
    assert cli.main(words) == 0
    broker = FolderBroker(bench.folder / "guarded", files, port)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    try:
        bench.broker_url = (files / "services.url").read_text().strip()
        bench.deploy()
        bench.start_relay()
        more = ("--broker", url, "--broker-ca", str(authority.certificate), "--logins", str(files))
        code, record = bench.pair(*more, capsys=capsys)
        assert (code, record["steps"][-1]["step"]) == (1, "broker")
        assert f"have the broker read {files}/passwords again" in record["steps"][-1]["detail"]
        broker.read_again()
        code, record = bench.pair(*more, capsys=capsys)
        assert code == 0, record
        wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
        bench.stop_relay()
    finally:
        broker.stop()


def test_power_lost_while_the_contactor_is_tried_leaves_nobody_connected(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parwana.meter.follow.SILENT_S", 20.0)
    bench.house.follow(Profile([0.0], 0))  # so that it stays closed for a while, looking

    def cut() -> None:
        wait_until(lambda: bench.board.contactor, "the contactor to be tried", 60)
        bench.board.power_off()

    cutting = threading.Thread(target=cut)
    cutting.start()
    code, record = bench.pair(capsys=capsys)
    cutting.join()
    step, advice = failed(record)
    assert (code, step, "the board is silent" in advice) == (1, "contactor", True)
    assert bench.board.contactor, "it is a latching one"
    bench.board.power_on()
    wait_until(lambda: not bench.board.contactor, "the contactor to open", 40)
    assert bench.entry(record["meter"]).kind == 0


def test_a_feeder_on_an_open_network_needs_no_permit_and_no_contactor(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", "")
    bench.board, bench.sensor, bench.house = bench.new_board("feeder", password="")
    more = bench.folder / "more.json"
    options = ("--kind", "transformer", "--number", "200", "--feeder", "", "--config", str(more))
    for text, words in (
        ('{"no_such_key": 1}', "no_such_key: no such key"),
        ('{"log_level": "loud"}', "log_level: not accepted"),
        ('{"wifi": {}}', "wifi is written by pairing"),
    ):
        more.write_text(text)
        step, advice = failed(bench.pair(*options, capsys=capsys)[1])
        assert (step, words in advice) == ("configuration", True), advice
    more.write_text('{"log_level": "warn", "pins": {"led": 23}}')
    code, record = bench.pair(*options, capsys=capsys)
    assert code == 0, record
    told = details(record)
    assert not {"contactor", "permit"} & set(told)
    assert told["wifi"] == "joined parwana, open"
    assert bench.board.contactor_changes == []


def test_a_meter_is_replaced_and_its_point_retired(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    old = bench.pair(capsys=capsys)[1]["meter"]
    wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
    wait_until(lambda: bench.energy_wh(old) > 0, "a reading with energy at the relay", 30)
    bench.board.power_off()
    metered_wh = bench.energy_wh(old)
    bench.board, bench.sensor, bench.house = bench.new_board("next")
    place = ("--number", "", "--feeder", "", "--replace")
    stranger = dev_key(29).address
    step, advice = failed(bench.pair(*place, stranger, capsys=capsys)[1])
    assert (step, "was never enrolled" in advice) == ("registry", True)
    code, record = bench.pair(*place, old, capsys=capsys)
    assert code == 0, record
    new = record["meter"]
    assert new != old
    entry = bench.entry(new)
    assert (entry.number, entry.feeder, entry.previous) == (17, FEEDER, old)
    assert entry.sanctioned_load_dw == 50_000
    assert entry.initial_wh == 0
    wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
    code, again = bench.pair(*place, old, capsys=capsys)
    assert details(again)["enrolment"] == f"has replaced {old} already"
    step, advice = failed(bench.pair(*place, stranger, capsys=capsys)[1])
    assert (step, "enrolled already, as number 17" in advice) == ("registry", True)
    # The relay lands what the old meter metered last.
    finished = bench.ledgers.energy.events.Finished
    wait_until(lambda: bench.chain.logs(finished, 0, meter=old), "the old meter's rest", 40)
    (log,) = bench.chain.logs(finished, 0, meter=old)
    assert log["args"]["energy_wh"] == metered_wh

    code, said = bench.run("retire", "--number", str(FEEDER), "--yes", capsys=capsys)
    assert (code, "1 meters hang on number 100" in said) == (1, True), said
    code, said = bench.run("retire", "--meter", stranger, capsys=capsys)
    assert (code, "was never enrolled" in said, "?" in said) == (1, True, False), said
    code, said = bench.run("retire", "--meter", old, "--yes", capsys=capsys)
    assert (code, "has left service already" in said) == (1, True), said
    code, said = bench.run("retire", "--number", "17", "--yes", "--json", capsys=capsys)
    assert (code, json.loads(said)) == (0, {"meter": new, "number": 17})
    assert bench.entry(new).retired_at_s > 0
    step, advice = failed(bench.pair("--number", "17", capsys=capsys)[1])
    assert (step, "retired, for ever" in advice) == ("registry", True)


@pytest.mark.long
def test_what_changed_between_two_runs_is_noticed_and_connects_nobody(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*more: str) -> tuple[str, str]:
        return failed(bench.pair(*more, capsys=capsys)[1])

    bench.stop_relay()
    code, record = bench.pair("--timeout", "8", capsys=capsys)
    assert failed(record)[0] == "relay"
    first = bench.board
    # Another board at the port.
    bench.board, _, _ = bench.new_board("other")
    step, advice = stopped()
    assert (step, f"is served by {record['meter']}" in advice) == ("registry", True), advice
    assert "plug that one in" in advice
    assert "config.json" not in mpremote(bench.board, "fs", "ls", "/")
    bench.board.power_off()
    # Another configuration on the board, and the first one's again.
    bench.board = first
    store(first, "/config.json", json.dumps(configuration(1)))
    assert not first.contactor
    bench.start_relay()
    code, again = bench.pair(capsys=capsys)
    assert (code, again["meter"]) == (0, record["meter"]), again
    assert details(again)["configuration"] == "written and accepted"
    assert details(again)["enrolment"] == "enrolled already"
    wait_until(lambda: first.contactor, "the contactor to close", 20)
    # The chain begins anew: without contracts, then with others at the same addresses.
    bench.stop_relay()
    bench.renew_chain()
    step, advice = stopped()
    assert (step, "deployment file of this chain" in advice) == ("chain", True), advice
    bench.deploy()
    first.skip_console()
    step, advice = stopped()
    assert (step, "permit of another utility" in advice) == ("registry", True), advice
    first.wait_console("\nparwana ", 20)  # untouched, it goes on
    mpremote(first, "fs", "rm", ":/state/permits.rec")
    bench.start_relay()
    code, anew = bench.pair(capsys=capsys)
    assert (code, anew["meter"]) == (0, record["meter"]), anew
    assert bench.entry(record["meter"]).number == 17
    assert "accepted, valid until" in details(anew)["permit"]


def test_an_unflashed_board_and_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deployment.json"
    DEPLOYMENT.save(path)
    base = ["pair", "--port", "/nowhere", "--deployment", str(path)]
    base += ["--key", "dev:0", "--wifi-ssid", "x", "--yes"]

    def refused(*more: str) -> str:
        assert cli.main([*base, *more]) == 1
        return capsys.readouterr().err

    def said(*more: str) -> str:
        return refused("--number", "5", "--feeder", "0", *more)

    assert "no port /nowhere" in said("--signer-key", "dev:1")
    assert "give 1 --signer-key" in said()
    assert "--kind shed" in said("--kind", "shed")
    assert "--feeder up" in said("--feeder", "up")
    assert "--sensors a" in said("--sensors", "a")
    assert "give --number, or --replace" in said("--replace", dev_key(3).address)
    assert "--replace 17" in refused("--replace", "17")
    assert "--config" in said("--signer-key", "dev:1", "--config", str(path.parent / "none"))
