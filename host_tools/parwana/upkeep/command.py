"""`parwana store`: what an operator does with a store as a whole."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain
from parwana.store.migrating import migrate as migrated
from parwana.store.reader import Store
from parwana.store.tables import VERSION
from parwana.upkeep import copies
from parwana.upkeep.prune import period_s
from parwana.upkeep.prune import prune as pruned
from parwana.world import progress
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, EnergyRpc, Json, StoreUrl

app = typer.Typer(
    help="Bring a store up to date, make it smaller, copy it.",
    epilog="Example: parwana store migrate --deployment town.json",
    no_args_is_help=True,
)


@app.command()
def migrate(deployment: DeploymentFile, store_url: StoreUrl = None) -> None:
    """Bring the store of an older Parwana to this one's tables: all of it, or nothing.

    Stop relays, signers and pages first, and make a backup: there is no way back. SQLite needs
    room for two more copies of the file meanwhile, PostgreSQL for one.

    Example: parwana store migrate --deployment town.json
    """
    url = store_url or Deployment.load(deployment).store
    with progress.shown() as told:
        before = migrated(url, told)
    if before == VERSION:
        print(f"schema {VERSION}: nothing to do")
    else:
        print(f"schema {before} became {VERSION}; start what you stopped")


@app.command()
def prune(
    deployment: DeploymentFile,
    keep: Annotated[str, typer.Option(help="How long a reading stays: 400d, 60w, 18m, 2y.")],
    store_url: StoreUrl = None,
    rpc: EnergyRpc = None,
    as_json: Json = False,
) -> None:
    """Remove old readings, each day only once its root is final on the chain.

    Closings, events, contradictions and each meter's last reading stay: what is billed, paid and
    permitted can be audited as before. What is removed can no longer be proven or exported: run
    `parwana store export` before. Relays may run meanwhile.

    Example: parwana store prune --keep 2y --deployment town.json
    """
    made = Deployment.load(deployment).on_energy_chain
    keep_s = period_s(keep)
    chain = Chain.of(made, rpc=rpc)
    store = Store(store_url or made.store, create=False)
    try:
        with progress.shown() as told:
            now_s = int(WorldClock.from_environment().now())
            done = pruned(chain, made, store, keep_s, now_s, told)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"ok": True, **asdict(done)}))
        return
    print(f"{done.readings} readings of {done.days} days removed")
    if done.waiting:
        days = f"{len(done.waiting)} days, the first of them {done.waiting[0]}"
        print(f"{days} since 1970, stay: no final root covers all that is held of them yet")


@app.command("export")
def export_all(
    deployment: DeploymentFile,
    out: Annotated[Path, typer.Option(help="File to write.")],
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Write all signed frames to one file, for another store: 128 bytes a frame.

    Broken off, the same line goes on. Relays may run meanwhile.

    Example: parwana store export --deployment town.json --out frames.parwana
    """
    made = Deployment.load(deployment)
    store = Store(store_url or made.store, create=False)
    try:
        with progress.shown() as told:
            count = copies.write(store, made, out, told)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"ok": True, "file": str(out), "frames": count}))
    else:
        print(f"{out}: {count} frames")


@app.command("import")
def import_all(
    deployment: DeploymentFile,
    file: Annotated[Path, typer.Argument(help="What `parwana store export` wrote.")],
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Take the signed frames of a file into the store; what is there already stays as it is.

    Each frame counts by its meter's signature alone. Broken off, the same line goes on. Permits,
    locks and meters come from the chain, by the relay. Relays may run meanwhile.

    Example: parwana store import frames.parwana --deployment town.json --store postgresql://…
    """
    made = Deployment.load(deployment)
    if not file.is_file():
        raise copies.CopyError(f"there is no file {file}")
    store = Store(store_url or made.store)
    try:
        with progress.shown() as told:
            now_s = int(WorldClock.from_environment().now())
            done = copies.read(store, made, file, now_s, told)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"ok": True, **asdict(done)}))
        return
    print(f"{done.new} frames new, {done.repeated} there already")
    if done.contradicting or done.refused:
        print(
            f"{done.contradicting} contradict others, {done.refused} refused (in the quarantine)"
        )
