"""`parwana permits load`: hand a permit to a meter through its serial port."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

import wire
from parwana.meter import ports
from parwana.meter.repl import RUNS, START_S, Meter, MeterError, attach
from parwana.permits.bundle import PermitError
from parwana.permits.command import app
from parwana.permits.offline import read_bundle
from parwana.world.options import Json, Port

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
_ANSWER_S = 90.0  # a permit is written first: 200 operations of the flash
ACCEPTED = ("accepted", "bundle known already")


@app.command()
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
            meter.wait_for(RUNS, START_S)
            answer = meter.hand_over(data, _ANSWER_S)
    if answer is None:
        raise PermitError(f"{meter.port}: no firmware takes permits there; is the meter paired?")
    return answer


def explain(answer: str) -> str:
    """Return a meter's refusal in words."""
    reason = answer.removeprefix("bundle refused, reason ").split(" ")[0]
    if reason.isdecimal() and int(reason) in REFUSALS:
        return f"{REFUSALS[int(reason)]} (reason {reason})"
    return answer
