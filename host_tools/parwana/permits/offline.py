"""`parwana permits show` and `load`: look at a permit, carry it to a meter without a network."""

import json
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import segno
import typer
from eth_utils import is_hex_address, to_checksum_address
from rich.console import Console

import wire
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.meter import ports
from parwana.meter.repl import Meter, MeterError, attach
from parwana.permits.bundle import FLAGS, PermitError, believed, check_bundle
from parwana.world.options import Json, Port, Rpc

REFUSALS = {
    wire.REFUSED_MALFORMED: "it is no bundle",
    wire.REFUSED_TOO_FEW: "too few signers signed it: parwana permits sign",
    wire.REFUSED_INDEX: "a signer is unknown to this meter",
    wire.REFUSED_SIGNATURE: "a signature does not verify: was it made for another meter?",
    wire.REFUSED_SERIAL: "the meter has accepted a newer one",
    wire.REFUSED_PENDING: "the meter holds four permits already",
    wire.REFUSED_KEY_PREFIX: "the new key is not the one that was signed for",
    wire.REFUSED_KIND: "it is no kind that a meter takes",
    wire.REFUSED_EXPIRED: "it has ended",
}
_ANSWER_S = 10.0
_START_S = 60.0
ACCEPTED = ("accepted", "bundle known already")


def show(
    file: Annotated[
        Path | None, typer.Argument(help="Bundle or text file; none: what is published.")
    ] = None,
    deployment: Annotated[Path | None, typer.Option(help="Deployment file.")] = None,
    meter: Annotated[str, typer.Option(help="The meter's address, 40 hex digits.")] = "",
    text: Annotated[Path | None, typer.Option(help="Write the line of text to this file.")] = None,
    qr: Annotated[
        bool | None, typer.Option("--qr/--no-qr", help="The QR code; by default on a terminal.")
    ] = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show what a bundle grants and whether its meter will believe it; as text and QR code.

    Without a file: the newest permit published for the meter. The line of text, pasted into a
    meter's serial console, hands the permit over: so does parwana permits load.

    Example: parwana permits show --deployment F --meter 0x… --text permit.txt
    """
    made = Deployment.load(deployment) if deployment else None
    if made is None or not meter:
        if file is None:
            raise PermitError("give a bundle's file, or --deployment and --meter for what is out")
        if made or meter:
            raise PermitError("--deployment and --meter go together, to check the signatures")
    data = read_bundle(file) if file else _published(made, meter, rpc)
    bundle = wire.parse_bundle(data)
    fields: dict[str, Any] = dict(wire.parse(bundle.frame)._asdict())
    fields["signed_by"] = [index for index, _ in bundle.signatures]
    if made:
        fields |= _belief(made, meter, data)
    line = wire.pack_text(data)
    if text:
        text.write_text(line + "\n")
    if as_json:
        print(json.dumps({**fields, "text": line}, default=bytes.hex))
        return
    for name, value in fields.items():
        if name.endswith("_at_s") or name.endswith("_until_s"):
            value = f"{value} = {datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if name == "flags":
            value = ", ".join(flag for flag, bit in FLAGS.items() if value & bit) or "none"
        Console().print(f"{name:16} {value}", highlight=False, markup=False)
    if qr or (qr is None and sys.stdout.isatty()):
        segno.make_qr(line, error="l").terminal(sys.stdout, compact=True)
    print(f"wrote {text}" if text else line)


def load(
    file: Annotated[Path, typer.Argument(help="Bundle or text file.")],
    port: Port = ports.AUTO,
    as_json: Json = False,
) -> None:
    """Hand a permit to a meter through its serial port; no network is needed.

    The meter runs on meanwhile, and judges for itself. One in service mode is started.

    Example: parwana permits load permit.txt --port /dev/ttyUSB0
    """
    data = read_bundle(file)
    ask = typer.prompt if sys.stdin.isatty() and not as_json else None
    with attach(ports.resolve(port, ask)) as meter:
        answer = hand_over(meter, data)
    if answer not in ACCEPTED:
        raise PermitError(f"the meter refuses it: {explain(answer)}")
    if as_json:
        print(json.dumps({"accepted": True, "answer": answer}))
    else:
        print("the meter has accepted it" if answer == ACCEPTED[0] else "the meter knows it")


def hand_over(meter: Meter, data: bytes) -> str:
    """Give a bundle to a meter; start its firmware if it does not answer. Returns its answer."""
    answer = meter.hand_over(data, _ANSWER_S)
    if answer is None:
        meter.stop()
        meter.resume()
        with suppress(MeterError):
            meter.wait_for("parwana ", _START_S)
            answer = meter.hand_over(data, _START_S)
    if answer is None:
        raise PermitError(f"{meter.port}: no firmware takes permits there; is the meter paired?")
    return answer


def explain(answer: str) -> str:
    """Return a meter's refusal in words."""
    reason = answer.removeprefix("bundle refused, reason ").split(" ")[0]
    if reason.isdecimal() and int(reason) in REFUSALS:
        return f"{REFUSALS[int(reason)]} (reason {reason})"
    return answer


def read_bundle(file: Path) -> bytes:
    """Return the bundle in a file: its bytes, or a line of text. Raises PermitError."""
    try:
        data = file.read_bytes()
        kept = re.sub(rb"[^0-9A-Fa-fPRWNprwn:]", b"", data)  # as firmware/handover.py
        bundle = wire.parse_text(kept[max(0, kept.upper().rfind(b"PARWANA:")) :])
        wire.parse_bundle(data if bundle is None else bundle)
    except FileNotFoundError:
        raise PermitError(f"{file} does not exist; make it: parwana permits issue") from None
    except wire.FrameError as error:
        raise PermitError(f"{file} is no bundle: {error}") from None
    return data if bundle is None else bundle


def read_meter(text: str) -> str:
    """Return a meter's address as 40 hex digits. Raises PermitError."""
    if not is_hex_address(text):
        raise PermitError(f"--meter {text}: write the 40 hex digits of its address")
    return text.lower().removeprefix("0x")


def newest_published(
    chain: Chain, ledgers: Ledgers, deployment: Deployment, meter: str
) -> bytes | None:
    """Return the bundle of the permit published last for a meter, if any. Raises ChainError."""
    address = to_checksum_address(meter)
    event = ledgers.payment.events.PermitPublished
    logs = chain.logs(event, deployment.from_block, meter=address)
    if not logs:
        return None
    values = logs[-1]["args"]
    return bytes(values["frame"]) + bytes(values["signatures"])


def _published(made: Deployment | None, meter: str, rpc: str | None) -> bytes:
    assert made is not None
    chain = Chain.of(made, rpc=rpc)
    data = newest_published(chain, chain.ledgers(made), made, read_meter(meter))
    if data is None:
        raise PermitError("no permit was published for this meter: is its bill paid?")
    return data


def _belief(made: Deployment, meter: str, data: bytes) -> dict[str, Any]:
    """Return who signed, as far as it verifies, and whether the meter will believe it."""
    domain = made.permit_domain(read_meter(meter))
    bundle = wire.parse_bundle(data)
    digest = wire.digest(domain, bundle.frame)
    found = {"signed_by": list(believed(digest, bundle.signatures, made.signers))}
    try:
        check_bundle(domain, data, made.signers, made.permit_threshold)
    except PermitError as error:
        return {**found, "believed": False, "why_not": str(error)}
    return {**found, "believed": True}
