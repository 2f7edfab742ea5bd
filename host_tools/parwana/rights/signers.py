"""`parwana signers`: who signs permits, and how one of them is replaced, everywhere."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

import wire
from parwana.chain.keys import resolve
from parwana.chain.terms import signer_key
from parwana.permits.bundle import indexed
from parwana.permits.command import Keys
from parwana.rights import trust
from parwana.rights.office import Office, RightError, Yes, confirm
from parwana.rights.rotation import (
    Rotation,
    address_of,
    announced,
    check_file,
    rotations,
    signers,
)
from parwana.rights.trust import Change
from parwana.store.reader import Store
from parwana.store.tables import TAKEN
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, MeterAddress, PointNumber, Rpc, StoreUrl
from parwana.world.tables import print_table, table

app = typer.Typer(
    help="Show the permit signers; replace one.",
    epilog="Example: parwana signers show --deployment town.json",
    no_args_is_help=True,
)
All = Annotated[bool, typer.Option("--all", help="Also the meters that have taken it.")]


@app.command()
def show(
    deployment: DeploymentFile,
    every: All = False,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show who signs, who is announced, and which meters have taken the last change.

    Example: parwana signers show --deployment town.json
    """
    office = Office(deployment, rpc=rpc)
    current, coming, known = signers(office), announced(office), rotations(office)
    rows = []
    if known:
        store = Store(store_url or office.deployment.store, create=False)
        try:
            change = _change(office, store, known[-1])
            in_force_s = known[-1].effective_at_s if known[-1].applied else 0
            rows = change.progress(office.enrolled_s, in_force_s)
        finally:
            store.close()
    threshold = office.deployment.permit_threshold
    if as_json:
        found = [
            {"index": i, "address": who, "next": coming.get(i, (None, 0))[0]}
            | ({"effective_at_s": coming[i][1]} if i in coming else {})
            for i, who in enumerate(current)
        ]
        last = {"index": known[-1].index, "serial": known[-1].serial} if known else {}
        told = {**last, **trust.as_json(rows)} if known else None
        print(json.dumps({"threshold": threshold, "signers": found, "change": told}))
        return
    shown = table(f"Signers, {threshold} must sign", "index", "address", "next", "from")
    for index, who in enumerate(current):
        following, at_s = coming.get(index, ("-", 0))
        shown.add_row(str(index), who, following, _utc(at_s) if at_s else "-")
    print_table(shown)
    if known:
        title = f"Signer {known[-1].index} becomes {known[-1].signer}"
        trust.show(rows, title, every=every)


@app.command()
def rotate(
    deployment: DeploymentFile,
    index: Annotated[int, typer.Option(min=0, max=7, help="Whose place: parwana signers show.")],
    to: Annotated[str, typer.Option(help="The new one's public key: parwana key show --public.")],
    key: Keys,
    yes: Yes = False,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Sign that one signer is replaced; whoever is the m-th announces it on the chain.

    Each of m signers runs this line with a key of its own; the first --key pays. It signs for the
    contract and for each meter in service. After the notice: parwana signers apply.

    Example: parwana signers rotate --deployment town.json --index 2 --to 07de… --key signer-1.json
    """
    new = signer_key(to, "--to")
    given = [resolve(text) for text in key]
    office = Office(deployment, given[0], rpc)
    made, now_s = office.deployment, int(WorldClock.from_environment().now())
    keys = indexed(given, made.signers)
    check_file(office)
    store = Store(store_url or made.store, create=False)
    try:
        change, on_chain = _begin(office, store, index, new, now_s)
        if not on_chain:
            old = signers(office)[index]
            confirm(f"Replace signer {index}, {old}, by {address_of(new)}?", yes=yes or as_json)
        mine = {
            i: one for i, one in keys.items() if i != index or not _applied(office, index, new)
        }
        change.sign(mine, trust.in_service(store), now_s)
        bundle = change.bundle(trust.NOBODY)
        if bundle is not None and not on_chain:
            joined = bundle[wire.FRAME_SIZE + wire.PUBLIC_KEY_SIZE :]
            office.send(office.ledgers.payment.functions.rotate(change.frame, new, joined))
            on_chain = True
        rows = change.progress(office.enrolled_s, 0)
        count = len(change.signatures(trust.NOBODY))
    finally:
        store.close()
    ready = sum(row.signatures >= made.permit_threshold for row in rows)
    at_s = announced(office).get(index, ("", 0))[1]
    if as_json:
        done = {"serial": change.fields.serial, "signatures": count, "announced": on_chain}
        print(json.dumps({**done, "effective_at_s": at_s, "meters": len(rows), "ready": ready}))
        return
    print(
        f"{count} of {made.permit_threshold} signatures; for {ready} of {len(rows)} meters enough"
    )
    if at_s:
        print(f"announced; from {_utc(at_s)} UTC on: parwana signers apply")
    elif on_chain:
        print("in force already; hand what was signed now to the relays: parwana signers apply")
    else:
        print("let another signer run the same line with a key of its own")


@app.command()
def apply(
    deployment: DeploymentFile,
    key: Annotated[str | None, typer.Option(help="Who pays: a key file, or dev:N.")] = None,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Put an announced signer in place: on the chain, in the deployment file, at the meters.

    Run it with --key once, and without on each machine that has a copy of the file; then restart
    its services. Relays tell the meters from now on.

    Example: parwana signers apply --deployment town.json --key relay.json
    """
    office = Office(deployment, key, rpc)
    now_s = office.chain.block_time_s()
    coming = announced(office)
    due = [index for index, (_, at_s) in coming.items() if at_s <= now_s]
    if coming and not due:
        index, (who, at_s) = next(iter(coming.items()))
        raise RightError(
            f"signer {index}, {who}, counts from {_utc(at_s)} UTC on; wait until then"
        )
    for index in due:
        if key is None:
            raise RightError("nobody has applied it on the chain yet: add --key FILE, once")
        office.send(office.ledgers.payment.functions.apply_rotation(index))
    applied = [one for one in rotations(office) if one.applied]
    if not applied:
        raise RightError("no signer was announced: parwana signers rotate")
    made = office.deployment
    public = list(made.permit_signers)
    for one in applied:
        public[one.index] = one.public_key.hex()
    if changed := public != made.permit_signers:
        replace(made, permit_signers=public).save(deployment, force=True)
    store = Store(store_url or made.store, create=False)
    try:
        meters = trust.in_service(store)
        for one in applied:
            change = _change(office, store, one)
            change.hand_to_relays(meters, store)
        rows = change.progress(office.enrolled_s, applied[-1].effective_at_s)
        lacking = sum(row.state == trust.LACKING for row in rows)
    finally:
        store.close()
    last = applied[-1]
    if as_json:
        done = {"index": last.index, "signer": last.signer, "serial": last.serial}
        print(json.dumps({**done, "file_changed": changed, "lack_signatures": lacking}))
        return
    print(f"signer {last.index} is {last.signer}")
    print(f"{deployment} " + ("names it now; restart what uses it" if changed else "names it"))
    print("relays tell the meters; who has taken it: parwana signers show")
    if lacking:
        print(
            f"{lacking} meters lack signatures; let m of the others run the line of parwana "
            "signers rotate again, then this one"
        )


@app.command()
def carry(
    deployment: DeploymentFile,
    out: Annotated[Path, typer.Option(help="File to write, a line of text.")],
    meter: MeterAddress = "",
    number: PointNumber = None,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
) -> None:
    """Write the first change (of signer or ledger) that a meter lacks: for one without a network.

    At the meter: parwana permits load FILE. Once its events have come, ask for the next.

    Example: parwana signers carry --deployment town.json --number 17 --out change.txt
    """
    office = Office(deployment, rpc=rpc)
    address = office.meter(meter, number)
    store = Store(store_url or office.deployment.store, create=False)
    try:
        mine = [row for row in store.trust() if row.meter == bytes.fromhex(address[2:])]
    finally:
        store.close()
    lacking = [row for row in mine if row.state != TAKEN]
    if not lacking:
        raise RightError(f"{address} lacks no change that was handed to the relays")
    out.write_text(wire.pack_text(lacking[0].bundle) + "\n")
    print(f"wrote {out}: trust serial {lacking[0].serial}, 1 of {len(lacking)} that it lacks")


def _begin(
    office: Office, store: Store, index: int, new: bytes, now_s: int
) -> tuple[Change, bool]:
    """Return the change to sign, and whether it is on the chain. Raises RightError."""
    who, current = address_of(new), signers(office)
    if index >= len(current):
        raise RightError(f"--index {index}: there are signers 0 to {len(current) - 1}")
    coming = announced(office)
    for one in reversed(rotations(office)):
        if (one.index, one.signer) == (index, who):
            if one.applied and current[index] == who or coming.get(index, ("",))[0] == who:
                return _change(office, store, one), True
            break
    if who in current:
        raise RightError(f"--to: {who} is signer {current.index(who)} already; make a new key")
    for other, (_, at_s) in coming.items():
        if other != index:
            raise RightError(
                f"signer {other} is being replaced, from {_utc(at_s)} UTC on; meters take one "
                "after the other: wait, then parwana signers apply"
            )
    last = int(office.chain.call(office.ledgers.payment.functions.trust_serial()))
    last = trust.last_serial(store, last, now_s)
    prefix = wire.key_prefix(new)

    def same(fields: Any) -> bool:
        found = isinstance(fields, wire.Signer)
        return found and (fields.index, fields.key_prefix) == (index, prefix)

    frame = trust.begun(office.deployment, store, current, last, now_s, same)
    if frame is None:
        frame = wire.pack_signer(index, max(last + 1, now_s), now_s, prefix)
    return Change(office.deployment, store, frame, current, new), False


def _applied(office: Office, index: int, new: bytes) -> bool:
    return signers(office)[index] == address_of(new)


def _change(office: Office, store: Store, one: Rotation) -> Change:
    return Change(office.deployment, store, one.frame, one.before, one.public_key)


def _utc(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M}"
