"""`parwana pair`: make a flashed board a meter of this utility, through its serial port."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from eth_utils import is_hex_address

from parwana import BUILD
from parwana.chain.deployment import Deployment
from parwana.chain.keys import resolve
from parwana.meter import ports
from parwana.meter.enrolment import KINDS, Place
from parwana.meter.pairing import WIFI_PASSWORD, PairError, Pairing, Wish, run
from parwana.meter.repl import RESET_S, connect
from parwana.permits.bundle import indexed
from parwana.world.broker import parse_url
from parwana.world.clock import WorldClock
from parwana.world.options import LARGEST_NUMBER, DeploymentFile, Json, Key, Port, Rpc

_BASE = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:]+\])(:\d+)?(/[\w.~-]+)*/?")
_LARGEST_W = (2**32 - 1) // 10  # the registry keeps tenths of a watt in 32 bits


def command(
    deployment: DeploymentFile,
    key: Key,
    wifi_ssid: Annotated[str, typer.Option(help="Name of the Wi-Fi network.")],
    port: Port = ports.AUTO,
    number: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_NUMBER, help="Number of the metering point.")
    ] = None,
    kind: Annotated[str, typer.Option(help="house, transformer or plant.")] = "house",
    feeder: Annotated[str, typer.Option(help="Number or address of its feeder; 0: none.")] = "",
    replace: Annotated[
        str, typer.Option(help="Address of the meter whose place this one takes; no --number.")
    ] = "",
    signer_key: Annotated[
        list[str] | None, typer.Option(help="Key of a permit signer; give m of them.")
    ] = None,
    rpc: Rpc = None,
    broker: Annotated[
        str | None, typer.Option(help="mqtt://host:port; default: the deployment's.")
    ] = None,
    broker_ca: Annotated[
        Path | None, typer.Option(help="Certificate of the broker's CA, for mqtts://.")
    ] = None,
    logins: Annotated[
        Path | None, typer.Option(help="Folder of `parwana broker acl`: gives a login of its own.")
    ] = None,
    sensors: Annotated[str, typer.Option(help="Unit ids of the sensors.")] = "1",
    ct_ratio: Annotated[
        int, typer.Option(min=1, max=1000, help="Ratio of the current transformers.")
    ] = 1,
    sanctioned_load: Annotated[
        int, typer.Option(min=1, max=_LARGEST_W, help="Watts, of a house.")
    ] = 5000,
    interval: Annotated[int, typer.Option(help="Seconds between readings.")] = 900,
    poll_ms: Annotated[int, typer.Option(help="Milliseconds between polls.")] = 1000,
    contactor: Annotated[str, typer.Option(help="latching or plain.")] = "latching",
    config: Annotated[
        Path | None, typer.Option(help="JSON with more keys of docs/configuration.md, as pins.")
    ] = None,
    label: Annotated[
        Path, typer.Option(help="Folder for the label, PNG and PDF.", show_default="build/labels")
    ] = BUILD / "labels",
    url: Annotated[
        str,
        typer.Option(
            help="What the world calls `parwana serve`, as https://meter.example: the code of "
            "the label then leads to the meter's page."
        ),
    ] = "",
    reading: Annotated[
        bool, typer.Option("--reading/--no-reading", help="Wait for the first reading.")
    ] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the relay.")] = 300,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a flashed board a meter: key, configuration, enrolment, first permit, first reading.

    The Wi-Fi password comes from PARWANA_WIFI_PASSWORD, else it is asked for; empty for an open
    network. Run it again after a failure: what is done is not done twice. It ends with a label.

    Example: parwana pair --port /dev/ttyUSB0 --deployment build/town/deployment.json --number 17
    --feeder 100 --key utility.json --signer-key a.json --signer-key b.json --wifi-ssid Home
    """
    found = Deployment.load(deployment)
    if kind not in KINDS:
        raise PairError(f"--kind {kind}: write house, transformer or plant")
    if bool(replace) == bool(number) or (replace and feeder):
        raise PairError(
            "give --number, or --replace: the new meter then takes the old one's place"
        )
    if replace and not _is_address(replace):
        raise PairError(f"--replace {replace}: write the old meter's 0x address")
    if number and kind == "house" and not feeder:
        raise PairError("a house hangs on a feeder: give --feeder, or --feeder 0 if it has none")
    if not (feeder == "" or _is_number(feeder) or _is_address(feeder)):
        raise PairError(f"--feeder {feeder}: write its number, or its meter's 0x address")
    if url and not _BASE.fullmatch(url):
        raise PairError(f"--url {url}: write where `parwana serve` is, as https://meter.example")
    unit_ids = [int(part) for part in sensors.split(",") if part.strip().isdecimal()]
    if not 1 <= len(set(unit_ids)) == len(sensors.split(",")) <= 3:
        raise PairError(f"--sensors {sensors}: write 1 to 3 different unit ids, as 1,2,3")
    parse_url(broker or found.broker)
    signer_keys = [resolve(text) for text in signer_key or []]
    if kind == "house" and len(indexed(signer_keys, found.signers)) < found.permit_threshold:
        raise PairError(f"a house needs a permit: give {found.permit_threshold} --signer-key")
    options = {"interval_s": interval, "poll_ms": poll_ms, "contactor": contactor}
    payer, more = resolve(key), _more(config) if config else {}
    certificate = _read("--broker-ca", broker_ca) if broker_ca else b""
    asks = sys.stdin.isatty() and not yes
    device = ports.resolve(port, typer.prompt if asks else None)
    password = os.environ.get(WIFI_PASSWORD, "" if yes else None)
    if password is None and asks:
        password = typer.prompt(
            "Wi-Fi password, empty for an open network", "", hide_input=True, show_default=False
        )
    if password is None:
        raise PairError(f"nobody is here to ask: set {WIFI_PASSWORD}, empty for an open network")
    wish = Wish(
        place=Place(number or 0, kind, feeder, sanctioned_load),
        wifi_ssid=wifi_ssid,
        wifi_password=password,
        sensors=unit_ids,
        ct_ratio=ct_ratio,
        broker=broker or found.broker,
        broker_ca=certificate,
        logins=logins,
        options=options | more,
        replace=replace,
        timeout_s=timeout,
        wait_reading=reading,
        labels=label,
        url=url.rstrip("/"),
        rpc=rpc,
    )

    def tell(name: str, text: str) -> None:
        print(f"{name:14} {text}", file=sys.stderr if as_json else sys.stdout, flush=True)

    def confirm(question: str) -> bool:
        if not yes and not asks:
            raise PairError(f"nobody is here to answer: {question} Give it a load, or add --yes")
        return yes or typer.confirm(question)

    with connect(device, RESET_S, lambda text: tell("port", text)) as meter:
        clock = WorldClock.from_environment()
        record = run(Pairing(wish, found, meter, payer, signer_keys, clock, confirm), tell)
    if as_json:
        print(json.dumps(record))
    if not record["ok"]:
        raise typer.Exit(1)


def _more(path: Path) -> dict[str, Any]:
    """Read more of the meter's configuration; the meter itself checks the keys."""
    try:
        values = json.loads(_read("--config", path))
    except (ValueError, RecursionError) as error:
        raise PairError(f"--config {path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise PairError(f'--config {path}: write a JSON object, as {{"pins": {{"led": 23}}}}')
    return values


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PairError(
            f"{option} {path} cannot be read ({error.strerror}); give another file"
        ) from None


def _is_number(text: str) -> bool:
    """Return whether `text` is a feeder's number, or 0 for none."""
    return text.isdecimal() and int(text) <= LARGEST_NUMBER


def _is_address(text: str) -> bool:
    """Return whether `text` is 0x and 40 hex digits."""
    return is_hex_address(text) and not text.startswith("0X")
