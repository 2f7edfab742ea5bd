"""`parwana permits show`: look at a permit, carry it as text and QR code."""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import segno
import typer
from eth_utils import to_checksum_address
from rich.console import Console

import wire
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import chosen
from parwana.permits.bundle import FLAGS, PermitError, believed, check_bundle
from parwana.world.options import Json, MeterAddress, PointNumber, Rpc


def show(
    file: Annotated[
        Path | None, typer.Argument(help="Bundle or text file; none: what is published.")
    ] = None,
    deployment: Annotated[Path | None, typer.Option(help="Deployment file.")] = None,
    meter: MeterAddress = "",
    number: PointNumber = None,
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

    Example: parwana permits show --deployment F --number 17 --text permit.txt
    """
    made = Deployment.load(deployment) if deployment else None
    if made is None or not (meter or number):
        if file is None:
            raise PermitError(
                "give a bundle's file, or --deployment and --meter or --number for what is out"
            )
        if made or meter or number:
            raise PermitError(
                "--deployment and --meter or --number go together, to check the signatures"
            )
    if made:
        meter = chosen(meter, number, lambda: connected(made, rpc))
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
        if name == "period" and made:
            value = made.periods.text(value)
        if name == "flags":
            value = ", ".join(flag for flag, bit in FLAGS.items() if value & bit) or "none"
        Console().print(f"{name:16} {value}", highlight=False, markup=False)
    if qr or (qr is None and sys.stdout.isatty()):
        segno.make_qr(line, error="l").terminal(sys.stdout, compact=True)
    print(f"wrote {text}" if text else line)


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


def connected(made: Deployment, rpc: list[str] | None) -> tuple[Chain, Ledgers]:
    """Connect to a deployment's contracts, without a key. Raises ChainError."""
    chain = Chain.of(made, rpc=rpc)
    return chain, chain.ledgers(made)


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


def _published(made: Deployment | None, meter: str, rpc: list[str] | None) -> bytes:
    assert made is not None
    chain, ledgers = connected(made, rpc)
    data = newest_published(chain, ledgers, made, meter)
    if data is None:
        raise PermitError("no permit was published for this meter: is its bill paid?")
    return data


def _belief(made: Deployment, meter: str, data: bytes) -> dict[str, Any]:
    """Return who signed, as far as it verifies, and whether the meter will believe it."""
    domain = made.permit_domain(meter)
    bundle = wire.parse_bundle(data)
    digest = wire.digest(domain, bundle.frame)
    found = {"signed_by": list(believed(digest, bundle.signatures, made.signers))}
    try:
        check_bundle(domain, data, made.signers, made.permit_threshold)
    except PermitError as error:
        return {**found, "believed": False, "why_not": str(error)}
    return {**found, "believed": True}
