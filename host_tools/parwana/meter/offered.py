"""Read a signed update from a file; have a meter judge it as one that came over the network."""

import ast
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import wire
from parwana.image import firmware
from parwana.meter.repl import Meter, MeterError
from parwana.meter.snippets import TELL_IMPORTS

_TAKE = """
_tell('config', 'permits', 'update', 'control')
import config, time, version
from permits import Permits, Refused
from update import Update
from control import keeper, restore
c = config.load('/config.json')
q, o = '/state/permits.rec', '/state/update.rec'
u = Update(restore(o), keeper(o), '/', None, None, time, None)
known = []
def check(offer):
 if offer.target & 0xFFFFFF <= version.number(): raise Refused({old}, offer.serial)
 try: u.check(offer)
 except Refused: known.append(offer)
p = Permits(c.permit_threshold, c.permit_signers, c.chain_id, c.payment_ledger, c.meter,
 c.utc_offset_s, keeper(q), restore(q), check)
refused = 0
try:
 for offer in p.accepting({bundle!r}, 0, 0): pass
 if not known: u.take(offer)
except Refused as e: refused = e.reason
print(repr(refused))
"""
_WHY = {
    wire.REFUSED_TOO_FEW: "too few of the signers whom it trusts signed it",
    wire.REFUSED_INDEX: "a signer whom it does not know signed it",
    wire.REFUSED_SIGNATURE: "a signature is not of a signer whom it trusts, or for another ledger",
    wire.REFUSED_VERSION: "its version is not above the one that runs",
}


class OfferError(Exception):
    """A file is no update, or a meter does not take it; the message says what to do next."""


@dataclass(frozen=True)
class Offered:
    """A signed update: `image` is a slot's file."""

    bundle: bytes
    image: bytes
    processor: int
    version: str


def read(file: Path) -> Offered:
    """Return what `parwana update carry` wrote. Raises OfferError, OSError."""
    data = file.read_bytes()
    try:
        fields: Any = wire.parse(data[: wire.FRAME_SIZE])
        if not isinstance(fields, wire.Update):
            raise wire.FrameError(f"kind {data[1]} is no update")
        size = fields.pieces * wire.PIECE_SIZE
        bundle, image = data[: len(data) - size], data[len(data) - size :]
        wire.parse_bundle(bundle)
    except wire.FrameError as error:
        raise OfferError(f"{file} is no signed update ({error}): parwana update carry") from None
    if sha256(image).digest()[:28] != fields.hash_prefix:
        raise OfferError(f"{file} is damaged: what it holds is not what was signed; copy it again")
    version = ".".join(str(fields.target >> shift & 0xFF) for shift in (16, 8, 0))
    return Offered(bundle, image, fields.target >> 24, version)


def take(meter: Meter, offered: Offered, slot: str) -> None:
    """Have the firmware in a slot verify an update by what the meter trusts, and remember it.

    Raises OfferError, MeterError.
    """
    code = _TAKE.format(old=wire.REFUSED_VERSION, bundle=offered.bundle)
    meter.stop()
    try:
        text = meter.run(TELL_IMPORTS + firmware.opening(slot) + code)
    except MeterError as error:
        if "ImportError" in str(error):
            raise OfferError(
                f"{meter.port}: the firmware on the meter knows no signed updates; run flash.sh "
                "without --offer"
            ) from None
        raise
    refused = ast.literal_eval(text.strip().splitlines()[-1])
    if refused:
        why = _WHY.get(refused, f"reason {refused} of docs/protocol.md, 1.4")
        raise OfferError(f"{meter.port}: the meter refuses the update: {why}; nothing was changed")
