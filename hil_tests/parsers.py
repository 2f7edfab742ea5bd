"""All that reads bytes from outside on the host; the meter's own are in firmware/parsers.py.

`table(folder)` is all of them; nodeparsers.py has what reads a node's answers. Of a file, a node
or a meter there is nothing but its bytes here: the real readers stand behind them.
"""

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coincurve

import wire
from hil_tests import nodeparsers
from parwana.audit.proof import Proof, ProofError
from parwana.chain import keys
from parwana.chain.deployment import Deployment, DeploymentError
from parwana.chain.errors import ChainError
from parwana.chain.outbox import Outbox, Signed
from parwana.chain.periods import Period, PeriodError
from parwana.chain.tariff import Tariff, TariffError, read_tariff
from parwana.meter import device, follow, logins
from parwana.meter.repl import MeterError
from parwana.permits.bundle import PermitError, check_bundle
from parwana.permits.offline import read_bundle
from parwana.store.letters import examine
from parwana.world.broker import BrokerError, parse_url
from parwana.world.clock import ClockError, WorldClock

# Not typed, as the firmware that it imports.
firmware: Any = import_module("hil_tests.firmware.parsers")
flash: Any = import_module("hil_tests.firmware.flashparsers")
Parser: Any = firmware.Parser

VECTORS = Path(__file__).parent / "vectors"
UTILITY = "kalpa-1"
URL = "http://127.0.0.1:8545"
DOMAIN = wire.reading_domain(UTILITY)
# Rounds of a key derivation that take minutes; far more are refused at once, and tried.
SLOW = re.compile(rb'"(?:c|n|r|p|dklen)"\s*:[^,}]{5,20}[,}]|\$7\$[0-9]{6,10}\$')


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def read_letter(data: bytes) -> None:
    topic = wire.topic(UTILITY, firmware.METER, "up")
    letter = examine(topic, data, UTILITY, DOMAIN)
    assert letter.hello or letter.get or letter.frames or letter.refused


def read_topic(data: bytes) -> None:
    letter = examine(data.decode("utf8", "replace"), _HELLO, UTILITY, DOMAIN)
    assert letter.hello or letter.refused


def check_a_bundle(data: bytes) -> None:
    public_keys = [key[1:] for key in _PUBLIC]
    check_bundle(wire.permit_domain(1, firmware.METER, firmware.METER), data, public_keys, 2)


_HELLO = wire.pack_hello(1, 9, 0, 0, 3, 0x10203, 1)
_PUBLIC = [
    coincurve.PrivateKey(bytes([i + 1]) * 32).public_key.format(compressed=False) for i in range(3)
]


def read_period(data: bytes) -> None:
    text = data.decode("utf8", "replace")
    for utc_offset_s in (0, 19_800):
        period = Period("month", 0, utc_offset_s).named(text)
        assert period < 2**32
        Period("month", 0, utc_offset_s).text(period)


def read_board(data: bytes) -> None:
    heard = follow.Heard()
    try:
        heard.take(data)
    except follow.BoardDied:
        assert heard.died
    assert "\n" not in heard.said


def ask_meter(data: bytes) -> None:
    """Have a meter answer so to each question of `parwana pair`; the first refusal is told."""
    meter: Any = SimpleNamespace(
        port="/dev/ttyUSB0",
        run=lambda *_, **__: data.decode("utf8", "replace"),
        hashes=lambda *_: {},
        write=lambda *_: None,
    )
    refusals = []
    for ask in (
        device.identify,
        device.state,
        device.sensors,
        device.click_contactor,
        device.join_wifi,
        device.reach_broker,
        lambda meter: device.set_clock(meter, firmware.T0),
    ):
        try:
            ask(meter)
        except MeterError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def read_password(data: bytes) -> None:
    if not SLOW.search(data):
        logins._matches(data.decode("utf8", "replace"), "m", "secret")


def deployment() -> dict[str, Any]:
    key = _PUBLIC[0][1:].hex()
    chain = {"chain_id": 2, "rpc": [URL], "registry": "0x" + "55" * 20}
    return {
        "utility_id": UTILITY, "chain_id": 31337, "rpc": URL, "registry": "0x" + "11" * 20,
        "energy_ledger": "0x" + "22" * 20, "payment_ledger": "0x" + "33" * 20,
        "permit_threshold": 1, "permit_signers": [key], "period": {"kind": "days", "days": 30},
        "utc_offset_s": 19_800, "payment_window_s": 86_400, "broker": "mqtt://a:1883",
        "store": "sqlite:///a", "finality": {"blocks": 3}, "coin": "ETH",
        "energy": chain | {"energy_ledger": "0x" + "66" * 20},
    }  # fmt: skip


def keystore() -> bytes:
    """Return a key file whose password takes no time."""
    from eth_account import Account

    return as_json(Account.encrypt(b"\1" * 32, "secret", kdf="pbkdf2", iterations=2))


def a_proof() -> bytes:
    names = {"utility_id": UTILITY, "chain_id": 1, "utc_offset_s": 0, "day": 20_780, "index": 0}
    sizes = {"energy_ledger": 20, "meter": 20, "frame": 40, "signature": 64, "root": 32}
    sizes |= {"committer": 20, "transaction": 32}
    values = names | {name: "0x" + "11" * size for name, size in sizes.items()}
    values["frame"] = "0x" + firmware.frames()[0].hex()
    return as_json(values | {"leaves": 2, "path": ["0x" + "11" * 32], "format": "parwana-proof/1"})


def of_files(folder: Path) -> list[Parser]:
    """Return those that read files."""
    path = folder / "file.json"
    box = Outbox(folder / "sent")

    def reading(read: Callable[[Path], Any]) -> Callable[[bytes], None]:
        def run(data: bytes) -> None:
            path.write_bytes(data)
            path.chmod(0o600)
            read(path)

        return run

    def read_key(data: bytes) -> None:
        if not SLOW.search(data):
            reading(lambda path: keys.load(path, "secret"))(data)

    def read_proof(path: Path) -> None:
        Proof.load(path).offline()

    def read_deployment(path: Path) -> None:
        made = Deployment.load(path)
        assert made.periods.text(3)
        made.on_energy_chain.as_dict()
        made.permit_domain("0x" + "11" * 20)

    def read_sent(data: bytes) -> None:
        (box.folder / "7.json").write_bytes(data)
        for signed in box.all():
            assert all(isinstance(key, str) for key in signed.hashes)

    def read_prices(path: Path) -> None:
        made = read_tariff(path)
        assert isinstance(made, Tariff)
        assert made.cost(1000, 1) >= 0

    tariff = {
        "slabs": [{"upto_wh": 10, "price_per_kwh": 1}, {"upto_wh": None, "price_per_kwh": 2}],
        "fixed_charge": 3,
    }
    sent = Signed(7, "pay", "ab", {}, 3, 1.0, 1.0, ["0x01"]).__dict__
    bundle = firmware.bundles()[1]
    return [
        Parser("deployment file", [as_json(deployment())], reading(read_deployment),
               DeploymentError, 0.2),
        Parser("key file", [keystore()], read_key, keys.KeySourceError, 0.1),
        Parser("proof file", [a_proof()], reading(read_proof), ProofError, 0.2),
        Parser("tariff file", [as_json(tariff)], reading(read_prices), TariffError, 0.2),
        Parser("bundle file", [bundle, wire.pack_text(bundle).encode()], reading(read_bundle),
               PermitError, 0.2),
        Parser("outbox", [as_json(sent)], read_sent, ChainError, 0.1),
    ]  # fmt: skip


def of_host(folder: Path) -> list[Parser]:
    """Return the readers of the host."""
    identity = repr(("0.1.0", "ab" * 64, "cd" * 6, False)).encode()
    told = [identity, b"(5, 6, 7)", b"[(1, (2300, 1, 2, 3))]", b"(True, False, 3, True)", b"0"]
    kept = logins._hashed("secret", b"saltsaltsalt", 2)
    return [
        Parser("letter", firmware.messages(), read_letter),
        Parser("letter's topic", [wire.topic(UTILITY, firmware.METER, "up").encode()], read_topic),
        Parser("bundle checked", firmware.bundles(), check_a_bundle, PermitError),
        Parser("board's lines", [b"Guru Meditation Error\r\nrst:0x1 (", b"a\r\nb"], read_board),
        Parser("meter's answer", told, ask_meter, MeterError, 0.2),
        Parser("broker's URL", [b"mqtts://user:pass%20word@[::1]:8883", b"mqtt://host"],
               lambda data: parse_url(data.decode("utf8", "replace")), BrokerError),
        Parser("password file", [f"m:{kept}".encode()], read_password),
        Parser("period", [b"2027-01", b"2027-01-15", b"690"], read_period, PeriodError),
        Parser("world's clock", [b"1800000000.0:1.5:1440.0"],
               lambda data: WorldClock.parse(data.decode("utf8", "replace")), ClockError),
        *of_files(folder),
    ]  # fmt: skip


def table(folder: Path) -> list[Parser]:
    """Return all of them; those that read files keep them in `folder`."""
    meter = [*firmware.parsers(), *flash.parsers(str(folder))]
    return [*meter, *nodeparsers.parsers(), *of_host(folder)]


def vectors() -> list[tuple[str, bytes]]:
    """Return what was found, as (parser, input)."""
    found = json.loads((VECTORS / "found.json").read_text())
    return [(one["parser"], bytes.fromhex(one["input"])) for one in found]
