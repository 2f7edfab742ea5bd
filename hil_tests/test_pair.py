"""Pairing a virtual board on a real broker, chain and relay; and each step that can fail."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

import wire
from boards.virtual.board import VirtualBoard
from boards.virtual.load import House, Profile
from boards.virtual.pzem import Pzem, PzemEmulator
from hil_tests.chainkit import terms
from hil_tests.services import Broker, wait_until
from parwana import cli, deploy, flash, relay
from parwana.chain import Chain
from parwana.clock import WorldClock
from parwana.deployment import DAY_S, Deployment
from parwana.devchain import DevChain
from parwana.keys import dev_key
from parwana.meter import connect
from parwana.store import Store

FEEDER = 100
pytestmark = pytest.mark.slow


class Bench:
    """A flashed board with its sensor, and everything that it is paired into."""

    def __init__(self, folder: Path, image: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.clock = WorldClock()
        self._image = image
        self._stack = stack
        self.broker = Broker(folder)
        stack.callback(self.broker.stop)
        self.node = stack.enter_context(DevChain(clock=self.clock, block_interval_s=0.5))
        chain = Chain(self.node.url, dev_key(0))
        store_url = f"sqlite:///{folder}/store.db"
        self.deployment = deploy.deploy(chain, terms(), self.broker.url, store_url, lambda _: None)
        self.ledgers = chain.ledgers(self.deployment)
        self.chain = chain
        self.path = folder / "deployment.json"
        self.deployment.save(self.path)
        self.store = Store(store_url)
        stack.callback(self.store.close)
        self._stop: threading.Event | None = None
        self.start_relay()
        stack.callback(self.stop_relay)
        self.board, self.sensor, self.house = self.new_board("house")
        feeder = (dev_key(30).address, FEEDER, 2, 0, 0, 0)
        chain.send(self.ledgers.registry.functions.enrol(feeder))

    def new_board(self, name: str) -> tuple[VirtualBoard, PzemEmulator, House]:
        """Power a flashed, unpaired board whose contactor feeds a house of 500 W."""
        home = self.folder / name
        home.mkdir()
        shutil.copy(self._image, home / "flash.img")
        house = House(Profile([500.0], 0), self.clock, closed=False)
        board = VirtualBoard(
            home, self.clock, on_contactor=lambda closed: setattr(house, "closed", closed)
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
                broker_url=self.broker.url,
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
        }
        options.update(zip(more[::2], more[1::2], strict=True))
        arguments = [part for pair in options.items() for part in pair]
        signers = ["--signer-key", "dev:1", "--signer-key", "dev:2"]
        capsys.readouterr()
        code = cli.main(["pair", *arguments, *signers, "--yes", "--json"])
        out = capsys.readouterr().out.strip().splitlines()
        return code, json.loads(out[-1]) if out else {}

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
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", "parwana-bench")
    with ExitStack() as stack:
        yield Bench(tmp_path, image, stack)


def failed(record: dict[str, Any]) -> tuple[str, str]:
    """Return (step, advice) of the step that stopped a pairing."""
    assert record["ok"] is False
    assert all(step["ok"] for step in record["steps"][:-1])
    return record["steps"][-1]["step"], record["steps"][-1]["detail"]


def test_a_blank_board_becomes_a_connected_meter(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    code, record = bench.pair(capsys=capsys)
    assert (code, record["ok"]) == (0, True), record
    meter = record["meter"]
    entry = bench.chain.call(bench.ledgers.registry.functions.meter(meter))
    assert (entry.number, entry.kind, entry.feeder, entry.sanctioned_load_dw) == (
        17,
        1,
        FEEDER,
        50_000,
    )
    wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
    (accepted,) = bench.events(meter, wire.EVENT_PERMIT_ACCEPTED)
    periods = bench.deployment.periods
    due_s = periods.start(periods.of(accepted.time_s) + 1) + bench.deployment.payment_window_s
    assert (accepted.b, accepted.c) == (due_s, 50_000)
    published = bench.chain.logs(bench.ledgers.payment.events.PermitPublished, 0)
    assert [log["args"]["serial"] for log in published] == [accepted.a]

    code, again = bench.pair(capsys=capsys)
    assert (code, again["ok"], again["meter"]) == (0, True, meter), again
    details = {step["step"]: step["detail"] for step in again["steps"]}
    assert details["configuration"] == "as it should be already"
    assert details["enrolment"] == "enrolled already"
    assert details["contactor"] == "not touched: the meter is in service"
    assert "accepted already" in details["permit"]
    assert bench.board.contactor
    assert bench.events(meter, wire.EVENT_PERMIT_REFUSED) == []
    cuts = bench.events(meter, wire.EVENT_DISCONNECTED)
    assert [cut for cut in cuts if cut.sequence > accepted.sequence] == []


def test_each_thing_that_is_wrong_stops_its_step_and_is_mended(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*more: str) -> tuple[str, str]:
        code, record = bench.pair(*more, capsys=capsys)
        assert code == 1
        assert not bench.board.contactor
        return failed(record)

    step, advice = stopped("--key", "dev:7")
    assert (step, "only the utility" in advice) == ("chain", True)
    step, advice = stopped("--wifi-ssid", "elsewhere")
    assert (step, "'elsewhere'" in advice) == ("wifi", True)
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", "short")
    step, advice = stopped()
    assert (step, "wifi.password" in advice) == ("configuration", True)
    assert "short" not in advice
    monkeypatch.setenv("PARWANA_WIFI_PASSWORD", "parwana-bench")
    bench.broker.stop()
    assert stopped()[0] == "broker"
    bench.broker.start()
    bench.sensor.stop()
    step, advice = stopped()
    assert (step, "mains" in advice) == ("sensor", True)
    bench.sensor = PzemEmulator(bench.board.uart_port, [Pzem(bench.house, refresh_s=0.1)])
    bench.sensor.start()
    bench._stack.callback(bench.sensor.stop)
    assert stopped("--feeder", "55")[0] == "enrolment"
    bench.stop_relay()
    step, advice = failed(bench.pair("--timeout", "10", capsys=capsys)[1])
    assert (step, "parwana relay" in advice) == ("relay", True), advice
    bench.start_relay()
    code, record = bench.pair(capsys=capsys)
    assert (code, record["ok"]) == (0, True), record
    wait_until(lambda: bench.board.contactor, "the contactor to close", 20)
    step, advice = failed(bench.pair("--number", "18", capsys=capsys)[1])
    assert (step, "number 17" in advice) == ("enrolment", True)


def test_a_feeder_needs_no_permit_and_no_contactor(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    code, record = bench.pair(
        *("--kind", "transformer", "--number", "200", "--feeder", ""), capsys=capsys
    )
    assert (code, record["ok"]) == (0, True), record
    assert not {"contactor", "permit"} & {step["step"] for step in record["steps"]}
    assert bench.board.contactor_changes == []


def test_an_unflashed_board_and_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Deployment(
        utility_id="x",
        chain_id=31337,
        rpc="http://127.0.0.1:1",
        registry="0x" + "11" * 20,
        energy_ledger="0x" + "22" * 20,
        payment_ledger="0x" + "33" * 20,
        permit_threshold=1,
        permit_signers=[dev_key(1).public_key.hex()],
        period={"kind": "month"},
        utc_offset_s=0,
        payment_window_s=DAY_S,
        broker="mqtt://127.0.0.1:1",
        store=f"sqlite:///{tmp_path}/s.db",
    )
    path = tmp_path / "deployment.json"
    chosen.save(path)
    base = ["pair", "--port", "/nowhere", "--deployment", str(path), "--number", "5"]
    base += ["--key", "dev:0", "--wifi-ssid", "x", "--yes"]

    def said(*more: str) -> str:
        assert cli.main([*base, *more]) == 1
        return capsys.readouterr().err

    assert "no port /nowhere" in said("--signer-key", "dev:1")
    assert "give 1 --signer-key" in said()
    assert "--kind shed" in said("--kind", "shed")
    assert "--feeder up" in said("--feeder", "up")
    assert "--sensors a" in said("--sensors", "a")
