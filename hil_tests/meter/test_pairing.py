"""What pairing makes of what a meter tells: what to check, and when to ask a person."""

import ast
import dataclasses
import os
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from parwana import cli
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.chain.periods import DAY_S
from parwana.meter import device, listener
from parwana.meter.device import Click, Identity, State
from parwana.meter.enrolment import Place
from parwana.meter.pairing import WIFI_PASSWORD, PairError, Pairing, Wish
from parwana.meter.repl import Meter
from parwana.world.broker import BrokerError
from parwana.world.clock import WorldClock
from parwana.world.programs import parwana

DEPLOYMENT = Deployment(
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
    broker="mqtt://user:sesame@127.0.0.1:1",
    store="sqlite:///x.db",
)
WISH = Wish(
    place=Place(17, "house", "100", 5000),
    wifi_ssid="mast",
    wifi_password="long enough",
    sensors=[1],
    ct_ratio=1,
    broker=DEPLOYMENT.broker,
    broker_ca=b"",
    options={},
)


class NoMeter:
    """Stands where the board would: these tests say what it answers."""

    port = "nowhere"


def pairing(answer: bool | None = None, **changes: Any) -> Pairing:
    """Return a pairing in which a person answers so; None: nobody may be asked."""

    def confirm(question: str) -> bool:
        assert answer is not None, question
        return answer

    wish = dataclasses.replace(WISH, **changes)
    meter, key = cast(Meter, NoMeter()), dev_key(0)
    return Pairing(wish, DEPLOYMENT, meter, key, [dev_key(1)], WorldClock(), confirm)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a function of pair_device return something."""

    def tell(name: str, value: Any) -> None:
        monkeypatch.setattr(device, name, lambda *_: value)

    return tell


@pytest.mark.parametrize(
    ("period", "closing_s"),
    [({"kind": "month"}, None), ({"kind": "hours", "hours": 2}, 7200)],
)
def test_a_meter_closes_as_its_periods_end(
    monkeypatch: pytest.MonkeyPatch, period: dict[str, Any], closing_s: int | None
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(device, "write_config", lambda _, values: written.update(values))
    work = pairing()
    work.deployment = dataclasses.replace(DEPLOYMENT, period=period)
    work.identity = Identity("1.0.0", bytes(64), bytes(20), "serial", False)
    work.configure()
    assert written.get("closing_s") == closing_s


@pytest.mark.parametrize(
    ("click", "answer", "says"),
    [
        (Click(None, None, 2000, 0), None, "closed: 2.000 A flowed; opened: none"),
        (Click(True, False, 2000, 0), None, "closed: 2.000 A"),
        (Click(None, None, 0, 0), True, "no load was there to see it by"),
        (Click(True, False, 0, 0), True, "no load was there"),
    ],
)
def test_a_contactor_that_works(told: Any, click: Click, answer: bool | None, says: str) -> None:
    told("click_contactor", click)
    assert says in pairing(answer).click()


@pytest.mark.parametrize(
    ("click", "answer", "says"),
    [
        (Click(None, None, 0, 0), False, "did not click; check its coil"),
        (Click(False, False, 0, 0), None, "does not close"),
        (Click(True, True, 0, 0), None, "does not open"),
        (Click(None, None, 2000, 1990), None, "1.990 A flow though the contactor is open"),
    ],
)
def test_a_contactor_that_does_not(
    told: Any, click: Click, answer: bool | None, says: str
) -> None:
    told("click_contactor", click)
    with pytest.raises(PairError, match=says):
        pairing(answer).click()


def test_a_meter_in_service_keeps_its_contactor(monkeypatch: Any) -> None:
    monkeypatch.delattr(device, "click_contactor")
    made = pairing()
    made.state = State(5, 7, 3)
    assert "not touched" in made.click()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (201, "no network of that name"),
        (202, "the password is wrong"),
        (204, "signal weak"),
        (200, "status 200: check name, password and antenna"),
        (1001, "status 1001"),
    ],
)
def test_what_keeps_a_meter_from_its_network_is_told(told: Any, status: int, says: str) -> None:
    told("join_wifi", status)
    with pytest.raises(PairError, match=says) as caught:
        pairing().join_wifi()
    assert "long enough" not in str(caught.value)
    told("join_wifi", 0)
    assert pairing().join_wifi() == "joined mast"
    assert pairing(wifi_password="").join_wifi() == "joined mast, open"


def test_a_broker_that_refuses_is_told_without_its_password(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pairing()
    made.identity = Identity("0.1.0", bytes(64), bytes(20), "0200", False)
    monkeypatch.setattr(listener, "_CONNECT_S", 0.5)
    with pytest.raises(BrokerError, match="the broker 127.0.0.1:1 .* is it running") as unheard:
        made.reach_broker()
    # what this computer is granted, the meter need not be
    monkeypatch.setattr("parwana.meter.pairing.try_broker", lambda *_: None)
    told("reach_broker", "it refuses the login, code 5")
    with pytest.raises(PairError, match="127.0.0.1:1 .it refuses the login, code 5") as caught:
        made.reach_broker()
    assert "sesame" not in str(caught.value) + str(unheard.value)


def test_a_clock_that_does_not_take_the_time_is_told(told: Any) -> None:
    told("set_clock", 946684800)
    with pytest.raises(PairError, match="clock does not take the time"):
        pairing().set_clock()


def test_a_label_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    made = pairing(labels=tmp_path / "file" / "labels")
    (tmp_path / "file").write_text("in the way")
    made.identity = Identity("0.1.0", bytes(64), bytes(20), "0200", False)

    class Registry:
        def entry(self, _meter: str) -> Any:
            return Place(17, "house", "", 0)

    class Entry:
        number, feeder = 17, 100

    monkeypatch.setattr(Registry, "entry", lambda *_: Entry)
    monkeypatch.setattr(Pairing, "utility", Registry())
    with pytest.raises(PairError, match="give another --label"):
        made.print_label()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"\x20\x02\x00\x00", ""),
        (b"\x20\x02\x00\x05", "it refuses the login, code 5"),
        (b"", "it hangs up"),
    ],
)
def test_the_meter_logs_in_as_mqtt_demands(answer: bytes, says: str) -> None:
    """The very code that runs on the meter, here under CPython; a packet of over 127 bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        result = run_snippet(device._BROKER, server.getsockname()[1])
        thread.join(10)
    assert result == says
    (packet,) = heard
    assert packet[0] == 0x10
    size = packet[1] & 127 | packet[2] << 7
    assert len(packet) == size + 3
    assert packet[3:13] == b"\x00\x04MQTT\x04\xc2\x00\x3c"
    assert packet[13:] == b"\x00\x0cparwana-pair\x00\x04user\x00\x80" + b"p" * 128


def run_snippet(code: str, port: int) -> Any:
    """Run a snippet; return what it printed, a literal."""
    printed: list[Any] = []

    class C:
        broker_user, broker_password, broker_tls = "user", "p" * 128, False
        broker_host, broker_port = "127.0.0.1", port

    class Socket(socket.socket):
        """A socket as MicroPython has it."""

        def write(self, data: bytes) -> None:
            self.sendall(data)

        def read(self, size: int) -> bytes:
            return self.recv(size)

    names = {"c": C, "print": printed.append}
    exec(code.replace("socket.socket()", "Socket()"), names | {"Socket": Socket})
    return ast.literal_eval(printed[-1])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("", "give --number, or --replace"),
        ("--number 17 --replace 0x12", "give --number, or --replace"),
        ("--replace 0x12", "--replace 0x12: write the old meter's 0x address"),
        ("--number 17", "give --feeder, or --feeder 0 if it has none"),
        ("--number 17 --feeder main-street", "--feeder main-street: write its number"),
        (f"--number 17 --feeder {2**48}", f"--feeder {2**48}: write its number"),
        ("--number 17 --kind castle", "--kind castle: write house, transformer or plant"),
        ("--number 17 --feeder 1 --sensors a,b", "--sensors a,b: write 1 to 3 different"),
        ("--number 17 --feeder 1 --sensors 1,1", "--sensors 1,1: write 1 to 3 different"),
        ("--number 17 --feeder 1 --broker http://x", "write the broker as mqtt://host:1883"),
        (
            "--number 17 --feeder 1 --url meter.example",
            "--url meter.example: write where `parwana",
        ),
        ("--number 17 --feeder 1 --url https://x/?a=1", "as https://meter.example"),
        ("--number 17 --feeder 1 --signer-key dev:9", "is no permit signer"),
        ("--number 17 --feeder 1", "give 1 --signer-key"),
        ("--number 17 --kind plant --config FOLDER", "FOLDER cannot be read (Is a directory)"),
        ("--number 17 --kind plant --config FOLDER/a.toml", "a.toml is not JSON: Expecting value"),
        ("--number 17 --kind plant --config FOLDER/list", "list: write a JSON object"),
        ("--number 17 --kind plant --broker-ca nope", "--broker-ca nope cannot be read (No such"),
        ("--number 17 --kind plant", "nobody is here to ask: set PARWANA_WIFI_PASSWORD"),
        ("--number 17 --kind plant --yes", "there is no port /dev/nowhere; plug the board in"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_line_before_a_meter_is_touched(
    tmp_path: Path, monkeypatch: Any, capsys: Any, more: str, says: str
) -> None:
    monkeypatch.delenv("PARWANA_WIFI_PASSWORD", raising=False)
    DEPLOYMENT.save(tmp_path / "town.json")
    (tmp_path / "a.toml").write_text("interval_s = 60")
    (tmp_path / "list").write_text("[1]")
    fixed = "--deployment FOLDER/town.json --key dev:0 --wifi-ssid mast --port /dev/nowhere"
    words = f"{fixed} {more}".replace("FOLDER", str(tmp_path)).split()
    assert cli.main(["pair", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says.replace("FOLDER", str(tmp_path)) in line


@pytest.mark.parametrize(
    "more", [("--number", str(2**48)), ("--number", "0"), ("--sanctioned-load", str(2**32))]
)
def test_a_number_that_no_contract_takes_is_refused(capsys: Any, more: tuple[str, str]) -> None:
    words = ["--deployment", "x", "--key", "dev:0", "--wifi-ssid", "mast", *more]
    assert cli.main(["pair", *words]) == 2
    assert f"Invalid value for '{more[0]}'" in capsys.readouterr().err


def test_ctrl_c_at_a_prompt_is_one_line_and_no_failure(tmp_path: Path) -> None:
    DEPLOYMENT.save(tmp_path / "town.json")
    words = ["--deployment", str(tmp_path / "town.json"), "--key", "dev:0", "--wifi-ssid", "mast"]
    words += ["--port", "/dev/nowhere", "--number", "17", "--kind", "plant"]
    near, far = os.openpty()
    program = subprocess.Popen(
        # what a shell starts in the background ignores Ctrl-C, and all that it starts in turn
        ["env", "--default-signal=INT", *parwana("pair", *words)],
        stdin=far,
        stderr=subprocess.PIPE,
        env={name: v for name, v in os.environ.items() if name != WIFI_PASSWORD},
        start_new_session=True,  # else the password is asked for at this test's terminal
    )
    try:
        assert program.stderr is not None
        assert select.select([program.stderr], [], [], 60)[0], "no prompt came within 60 s"
        program.send_signal(signal.SIGINT)
        said = program.communicate(timeout=30)[1].decode()
    finally:
        program.kill()
        program.communicate(timeout=30)
        os.close(near)
        os.close(far)
    assert program.returncode == 130, said
    assert said.endswith("\nparwana: stopped; run the same line again to go on\n")
    assert "Aborted" not in said
