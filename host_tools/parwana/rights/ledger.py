"""`parwana ledger`: have meters believe the permits of another PaymentLedger."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from eth_utils import to_checksum_address

import wire
from parwana.chain.deployment import Deployment
from parwana.chain.keys import resolve
from parwana.permits.bundle import indexed
from parwana.permits.command import Keys
from parwana.rights import rotation, trust
from parwana.rights.office import Office, RightError, Yes, confirm
from parwana.rights.signers import All
from parwana.rights.trust import Change
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, Rpc, StoreUrl

app = typer.Typer(
    help="Have meters believe the permits of another PaymentLedger.",
    epilog="Example: parwana ledger show --deployment town.json",
    no_args_is_help=True,
)


@app.command()
def move(
    deployment: DeploymentFile,
    to: Annotated[Path, typer.Option(help="Deployment file of the new contracts.")],
    key: Keys,
    yes: Yes = False,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Sign that permits come from another PaymentLedger; with m signatures relays tell the meters.

    Each of m signers runs this line with a key of its own. From then on a meter takes permits and
    signed time of the new ledger only; the permits that it holds stay.

    Example: parwana ledger move --deployment town.json --to town-2.json --key signer-1.json
    """
    office = Office(deployment, rpc=rpc)
    made, new, now_s = office.deployment, Office(to), int(WorldClock.from_environment().now())
    keys = indexed([resolve(text) for text in key], made.signers)
    current = rotation.check_file(office)
    _check(office, new)
    target = (new.deployment.chain_id, bytes.fromhex(new.deployment.payment_ledger[2:]))
    store = Store(store_url or made.store, create=False)
    other = Store(new.deployment.store) if new.deployment.store != made.store else None
    try:
        meters = trust.in_service(store)
        _check_enrolled(office, new, meters)
        on_chain = int(office.chain.call(office.ledgers.payment.functions.trust_serial()))
        last = trust.last_serial(store, on_chain, now_s)

        def same(fields: Any) -> bool:
            found = isinstance(fields, wire.Ledger)
            return found and (fields.chain_id, fields.ledger) == target

        change = _newest(made, store, current, same) or _begun(
            made, store, current, last, now_s, same
        )
        if change is None:
            address = new.deployment.payment_ledger
            confirm(f"Move {len(meters)} meters to PaymentLedger {address}?", yes=yes or as_json)
            frame = wire.pack_ledger(max(last + 1, now_s), now_s, *target)
            change = Change(made, store, frame, current)
        change.sign(keys, meters, now_s)
        ready = change.bundle(trust.NOBODY) is not None
        if ready:
            change.hand_to_relays(meters, store, *([other] if other else []))
        rows = change.progress(office.enrolled_s, 0)
        count = len(change.signatures(trust.NOBODY))
    finally:
        store.close()
        if other:
            other.close()
    if as_json:
        done = {"serial": change.fields.serial, "signatures": count, "handed_to_relays": ready}
        print(json.dumps({**done, **trust.as_json(rows)}))
        return
    print(f"{count} of {made.permit_threshold} signatures, for {len(rows)} meters")
    if ready:
        print("relays tell the meters; who has taken it: parwana ledger show")
    else:
        print("let another signer run the same line with a key of its own")


@app.command()
def show(
    deployment: DeploymentFile,
    every: All = False,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show the last move of the meters, and which of them have taken it.

    Example: parwana ledger show --deployment town.json
    """
    office = Office(deployment, rpc=rpc)
    store = Store(store_url or office.deployment.store, create=False)
    try:
        signers = rotation.signers(office)
        change = _newest(office.deployment, store, signers, lambda _fields: True)
        rows = change.progress(office.enrolled_s, change.fields.issued_at_s) if change else []
    finally:
        store.close()
    fields = change.fields if change else None
    ledger = to_checksum_address(fields.ledger) if fields else office.deployment.payment_ledger
    chain_id = fields.chain_id if fields else office.deployment.chain_id
    if as_json:
        found = {"chain_id": chain_id, "payment_ledger": ledger}
        print(json.dumps({**found, "change": trust.as_json(rows) if change else None}))
    elif change:
        trust.show(rows, f"PaymentLedger becomes {ledger}, chain {chain_id}", every=every)
    else:
        print(f"PaymentLedger {ledger}, chain {chain_id}; no move was handed to the relays")


def _check(office: Office, new: Office) -> None:
    """Raise RightError unless meters of one deployment can go over to the other."""
    old, there = office.deployment, new.deployment
    if (old.chain_id, old.payment_ledger) == (there.chain_id, there.payment_ledger):
        raise RightError("--to: that is the same PaymentLedger; deploy another: parwana deploy")
    if old.utility_id != there.utility_id:
        raise RightError(
            f"--to: utility_id is {there.utility_id!r}; meters sign for {old.utility_id!r}"
        )
    threshold = new.chain.call(new.ledgers.payment.functions.threshold())
    if threshold != old.permit_threshold or rotation.signers(new) != rotation.signers(office):
        raise RightError(
            "--to: its PaymentLedger has other signers, or another threshold, than the meters "
            "know; deploy one with the same, in the same order"
        )
    if coming := rotation.announced(office):
        raise RightError(
            f"signer {next(iter(coming))} is being replaced under the old ledger; wait, then "
            "parwana signers apply, and until the meters have taken it"
        )


def _check_enrolled(office: Office, new: Office, meters: list[bytes]) -> None:
    old, there = office.deployment, new.deployment
    if (old.chain_id, old.registry) == (there.chain_id, there.registry):
        return
    meter = new.ledgers.registry.functions.meter
    for address in map(to_checksum_address, meters):
        if not new.chain.call(meter(address)).kind:
            raise RightError(
                f"--to: {address} is not enrolled in its MeterRegistry, where nobody could pay "
                "for it; enrol all meters there first"
            )


def _newest(deployment: Deployment, store: Store, signers: list[str], same: Any) -> Change | None:
    """Return the last change of ledger that relays were handed, if it is wanted."""
    rows = [row for row in store.trust() if row.bundle[1] == wire.KIND_LEDGER]
    for row in sorted(rows, key=lambda row: -row.serial)[:1]:
        change = Change(deployment, store, bytes(row.bundle[: wire.FRAME_SIZE]), signers)
        return change if same(change.fields) else None
    return None


def _begun(
    deployment: Deployment, store: Store, signers: list[str], last: int, now_s: int, same: Any
) -> Change | None:
    frame = trust.begun(deployment, store, signers, last, now_s, same)
    return Change(deployment, store, frame, signers) if frame else None
