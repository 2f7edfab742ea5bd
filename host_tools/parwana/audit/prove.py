"""`parwana prove`: make a file that proves a reading without the store, or check one anywhere."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import wire
from parwana.audit.proof import Proof, ProofError
from parwana.audit.roots import EVER_S, Day
from parwana.chain import merkle
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import chosen
from parwana.store.reader import SignedFrame, Store
from parwana.world.options import Json, MeterAddress, PointNumber, Rpc, StoreUrl

UNPROVEN = (
    "that the root is on a chain, and by when the frame existed: add --rpc URL",
    "that the meter is enrolled: add --rpc URL",
)
YOURS = "that this EnergyLedger is your utility's: compare its address with what you know"
NODES_WORD = "what is on the chain, further than the node at --rpc is believed"


def prove(
    deployment: Deployment, chain: Chain, store: Store, meter: bytes, sequence: int
) -> Proof:
    """Return the proof of a frame. Raises ProofError, ChainError, StoreError."""
    found = next(store.frames(meter, sequence), None)
    if found is None or found.sequence != sequence:
        raise ProofError(f"the store has no frame {sequence} of meter 0x{meter.hex()}")
    offset_s = deployment.utc_offset_s
    day = merkle.day_of(found.time_s, offset_s)
    if day < 0:
        raise ProofError(
            f"frame {sequence} is of before 1970: its meter had no clock, no root has it"
        )
    domain = deployment.reading_domain
    bounds_s = merkle.bounds_s(day, offset_s)
    held = sum(1 for _ in store.leaves(domain, *bounds_s, EVER_S))
    frames = Day(store, deployment, day, held)
    ledgers = chain.ledgers(deployment)
    roots: dict[int, bytes] = {}
    for entry in sorted(_logs(deployment, chain, ledgers, day), key=_leaves):
        values = entry["args"]
        if values.leaves not in roots:
            roots[values.leaves] = frames.root(values.leaves)
        if roots[values.leaves] != values.root:
            continue
        leaves = frames.leaves(values.leaves)
        place = (meter, sequence, wire.digest(domain, found.frame))
        if place in leaves:
            proof = _proof(deployment, found, entry, leaves.index(place), leaves)
            proof.offline()
            return proof
    raise ProofError(
        f"no root on the chain covers frame {sequence} of meter 0x{meter.hex()} (day {day}) yet; "
        "a relay commits a day six hours after its end, and what came later with the next day"
    )


def _logs(deployment: Deployment, chain: Chain, ledgers: Ledgers, day: int) -> list[Any]:
    event, first = ledgers.energy.events.DailyRoot, deployment.from_block
    return list(chain.logs(event, first, feeder=merkle.UTILITY, day=day))


def _leaves(entry: Any) -> int:
    return -int(entry["args"].leaves)


def _proof(
    deployment: Deployment,
    frame: SignedFrame,
    entry: Any,
    index: int,
    leaves: list[tuple[bytes, int, bytes]],
) -> Proof:
    values = entry["args"]
    siblings = merkle.path([digest for _, _, digest in leaves], index)
    return Proof(
        utility_id=deployment.utility_id,
        chain_id=deployment.chain_id,
        energy_ledger=deployment.energy_ledger,
        utc_offset_s=deployment.utc_offset_s,
        meter="0x" + frame.meter.hex(),
        frame="0x" + frame.frame.hex(),
        signature="0x" + frame.signature.hex(),
        day=values.day,
        index=index,
        leaves=values.leaves,
        path=["0x" + node.hex() for node in siblings],
        root="0x" + values.root.hex(),
        committer=values.committer,
        transaction="0x" + bytes(entry["transactionHash"]).hex(),
    )


def command(
    deployment: Annotated[
        Path | None,
        typer.Option(help="The file that `parwana deploy` wrote; with --check: whose it must be."),
    ] = None,
    meter: MeterAddress = "",
    number: PointNumber = None,
    sequence: Annotated[
        int | None, typer.Option(min=1, help="Sequence of the reading or event.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: proof-METER-SEQUENCE.json.")
    ] = None,
    check: Annotated[Path | None, typer.Option(help="Check this proof; needs no store.")] = None,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Prove that a meter signed a reading, for anyone who reads the chain; or check such a proof.

    A proof holds without the store, the relay and the utility. Checked without --rpc, it says what
    is not proven.

    Example: parwana prove --deployment build/town/deployment.json --number 101 --sequence 96

    Example: parwana prove --check proof.json --rpc https://rpc.example
    """
    made = Deployment.load(deployment).on_energy_chain if deployment else None
    if check is not None:
        _tell(_checked(Proof.load(check), rpc, made), as_json=as_json)
        return
    if made is None or sequence is None:
        raise ProofError("give --check FILE, or --deployment, --sequence and --meter or --number")
    chain = Chain.of(made, rpc=rpc)
    address = chosen(meter, number, lambda: (chain, chain.ledgers(made)))
    store = Store(store_url or made.store, create=False)
    try:
        proof = prove(made, chain, store, bytes.fromhex(address[2:]), sequence)
    finally:
        store.close()
    path = out or Path(f"proof-{proof.meter[2:]}-{sequence}.json")
    proof.save(path)
    proven = [*proof.offline(), *proof.on_chain(chain)]
    _tell({"ok": True, "proof": str(path), "proven": proven, "not_proven": []}, as_json=as_json)


def _checked(proof: Proof, rpc: str | list[str] | None, of: Deployment | None) -> dict[str, Any]:
    """Return what --json prints. Raises ProofError, ChainError."""
    yours = [YOURS]
    if of is not None:
        for name in ("chain_id", "utility_id", "energy_ledger"):
            told, known = str(getattr(proof, name)), str(getattr(of, name))
            if told.lower() != known.lower():
                raise ProofError(f"{name}: {told}, but of the deployment {known}")
        yours, rpc = [], rpc or of.rpc
    proven, unproven = proof.offline(), [*UNPROVEN, *yours]
    if rpc is not None:
        proven += proof.on_chain(Chain(rpc))
        unproven = [*yours, NODES_WORD]
    return {"ok": True, "proven": proven, "not_proven": unproven}


def _tell(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    for line in result["proven"]:
        print(f"proven: {line}")
    for line in result["not_proven"]:
        print(f"not proven: {line}")
    if "proof" in result:
        print(f"{result['proof']}: check it anywhere with parwana prove --check, with --rpc URL")
