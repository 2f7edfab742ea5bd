"""`parwana update`: offer firmware to meters, signed m of n; see how it is rolled out."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

import wire
from parwana import CHECKOUT
from parwana.chain.deployment import Deployment
from parwana.chain.keys import resolve
from parwana.image import firmware
from parwana.permits.bundle import believed, indexed
from parwana.permits.command import Keys
from parwana.relay.rollout import STAGES, Offer, progress
from parwana.rights.office import RightError
from parwana.store.reader import Store
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, StoreUrl
from parwana.world.tables import print_table, table

SCOPE = b"update"
WAIT_S = 86400
Serial = Annotated[int, typer.Option(help="Of the update: parwana update status.")]

app = typer.Typer(
    help="Offer signed firmware to meters; see how it is rolled out.",
    epilog="Example: parwana update status --deployment town.json",
    no_args_is_help=True,
)


@app.command()
def offer(
    deployment: DeploymentFile,
    key: Keys,
    architecture: Annotated[
        str, typer.Option(help="xtensawin (ESP32, ESP32-S3), rv32imc (ESP32-C3), x86 (virtual).")
    ] = "xtensawin",
    wait: Annotated[
        int, typer.Option(min=0, help="Seconds that each stage lasts, at least.")
    ] = WAIT_S,
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Build the firmware of this checkout and sign it; with m signatures relays offer it.

    The others run: parwana update sign. Meters of 1 %, then 10 %, then all are offered it, and
    none any more once too many went back from it.

    Example: parwana update offer --deployment town.json --key signer-1.json
    """
    made, now_s = Deployment.load(deployment), int(WorldClock.from_environment().now())
    keys = indexed([resolve(text) for text in key], made.signers)
    image = _build(architecture)
    major, minor, patch = (int(part) for part in firmware.version().split("."))
    target = firmware.processor(architecture) << 24 | major << 16 | minor << 8 | patch
    store = Store(store_url or made.store, create=False)
    try:
        last = max([0, *(row.serial for row in store.updates())])
        serial = max(last + 1, now_s)
        frame = wire.pack_update(len(image) // wire.PIECE_SIZE, serial, target, _prefix(image))
        with store.transaction() as writer:
            writer.add_update(serial, frame, image, now_s)
            writer.set_update(serial, wait_s=wait)
        count = _sign(made, store, frame, keys, now_s)
    finally:
        store.close()
    _said(made, serial, frame, count, as_json=as_json)


@app.command()
def sign(
    deployment: DeploymentFile,
    serial: Serial,
    key: Keys,
    build: Annotated[
        bool,
        typer.Option("--build/--no-build", help="Sign only what this checkout builds to, too."),
    ] = True,
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Sign an update that another signer offered, if this checkout builds the very same.

    Example: parwana update sign --deployment town.json --serial 1790000000 --key signer-2.json
    """
    made, now_s = Deployment.load(deployment), int(WorldClock.from_environment().now())
    keys = indexed([resolve(text) for text in key], made.signers)
    store = Store(store_url or made.store, create=False)
    try:
        row = _row(store, serial)
        frame, image = bytes(row.frame), store.update_image(serial) or b""
        fields: Any = wire.parse(frame)
        if _prefix(image) != fields.hash_prefix:
            raise RightError(f"the archive in the store is not that of update {serial}: sign none")
        if build and image != _build(firmware.architecture(fields.target >> 24 << 10) or ""):
            raise RightError(
                f"this checkout builds to something else than update {serial}: check out what it "
                "was built from, with the same packages, or look at it and sign with --no-build"
            )
        count = _sign(made, store, frame, keys, now_s)
    finally:
        store.close()
    _said(made, serial, frame, count, as_json=as_json)


@app.command()
def status(deployment: DeploymentFile, store_url: StoreUrl = None, as_json: Json = False) -> None:
    """Show each update, how many meters it is offered to, and what they signed of it.

    Example: parwana update status --deployment town.json
    """
    made = Deployment.load(deployment)
    store = Store(store_url or made.store, create=False)
    try:
        rows = [_fields(made, store, row) for row in store.updates()]
    finally:
        store.close()
    if as_json:
        print(json.dumps({"updates": rows}))
        return
    shown = table(
        "Updates", "serial", "version", "architecture", "signatures", "offered to", "accepted",
        "run it", "went back", "trouble", "state",
    )  # fmt: skip
    for fields in rows:
        shown.add_row(*(str(value) for value in fields.values()))
    print_table(shown)


@app.command()
def stage(
    deployment: DeploymentFile,
    serial: Serial,
    percent: Annotated[
        int, typer.Option(min=0, max=100, help="Of the meters; 0: it is offered to none.")
    ],
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Offer an update to so many meters by hand: stop it, go on after it stopped, or hurry.

    Example: parwana update stage --deployment town.json --serial 1790000000 --percent 0
    """
    made, now_s = Deployment.load(deployment), int(WorldClock.from_environment().now())
    store = Store(store_url or made.store, create=False)
    try:
        row = _row(store, serial)
        if percent and row.bundle is None:
            raise RightError(f"update {serial} lacks signatures: parwana update sign")
        stopped = "" if percent else "by hand"
        with store.transaction() as writer:
            writer.set_update(serial, percent=percent, since_s=now_s, stopped=stopped)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"serial": serial, "percent": percent}))
    else:
        print(f"update {serial} is offered to {percent} % of the meters")


@app.command()
def carry(
    deployment: DeploymentFile,
    serial: Serial,
    out: Annotated[Path, typer.Option(help="File to write.")],
    store_url: StoreUrl = None,
) -> None:
    """Write a signed update into a file, for a meter without a network.

    At the meter: parwana flash --offer FILE.

    Example: parwana update carry --deployment town.json --serial 1790000000 --out update.bin
    """
    made = Deployment.load(deployment)
    store = Store(store_url or made.store, create=False)
    try:
        row, image = _row(store, serial), store.update_image(serial) or b""
    finally:
        store.close()
    if row.bundle is None:
        raise RightError(f"update {serial} lacks signatures: parwana update sign")
    out.write_bytes(bytes(row.bundle) + image)
    print(f"wrote {out}: update {serial}, {len(image) // 1024} KB")


def _build(architecture: str) -> bytes:
    """Return the archive that this checkout builds to. Raises RightError."""
    if not CHECKOUT:
        raise RightError("firmware is built from its sources: run it in a clone of them")
    if architecture not in firmware.ARCHITECTURES[1:]:
        raise RightError(f"--architecture {architecture}: no processor that firmware is built for")
    return firmware.archive(firmware.build(architecture))


def _prefix(image: bytes) -> bytes:
    return sha256(image).digest()[:28]


def _row(store: Store, serial: int) -> Any:
    for row in store.updates():
        if row.serial == serial:
            return row
    raise RightError(
        f"--serial {serial}: there is no such update; parwana update status lists them"
    )


def _believed(made: Deployment, store: Store, frame: bytes) -> dict[int, bytes]:
    digest = wire.digest(made.update_domain, frame)
    return believed(digest, store.signatures(digest), made.signers)


def _sign(made: Deployment, store: Store, frame: bytes, keys: dict[int, Any], now_s: int) -> int:
    """Keep the keys' signatures; with m of them have relays offer it. Return their number."""
    digest = wire.digest(made.update_domain, frame)
    with store.transaction() as writer:
        for index, one in keys.items():
            writer.add_signature(SCOPE, frame, digest, index, one.sign(digest), now_s)
    good = _believed(made, store, frame)
    fields: Any = wire.parse(frame)
    row = _row(store, fields.serial)
    if len(good) >= made.permit_threshold and row.bundle is None:
        bundle = wire.pack_bundle(frame, list(good.items())[: made.permit_threshold])
        with store.transaction() as writer:
            writer.set_update(fields.serial, bundle=bundle, percent=STAGES[0], since_s=now_s)
    return len(good)


def _said(made: Deployment, serial: int, frame: bytes, count: int, *, as_json: bool) -> None:
    fields: Any = wire.parse(frame)
    ready = count >= made.permit_threshold
    if as_json:
        pieces = fields.pieces
        done = {"serial": serial, "pieces": pieces, "signatures": count, "offered": ready}
        print(json.dumps(done))
        return
    print(f"update {serial}: version {_version(fields.target)}, {fields.pieces * 512} bytes")
    print(f"{count} of {made.permit_threshold} signatures")
    if ready:
        print("relays offer it to 1 % of the meters first: parwana update status")
    else:
        print(f"let another signer run: parwana update sign --serial {serial}")


def _version(target: int) -> str:
    return f"{target >> 16 & 0xFF}.{target >> 8 & 0xFF}.{target & 0xFF}"


def _fields(made: Deployment, store: Store, row: Any) -> dict[str, Any]:
    one, threshold = Offer.of(row), made.permit_threshold
    found, count = progress(store, one), len(_believed(made, store, bytes(row.frame)))
    if count < threshold:
        state = f"needs {threshold - count} more signatures"
    elif one.stopped:
        state = f"stopped: {one.stopped}"
    elif one.percent == STAGES[-1]:
        state = "offered to all"
    else:
        state = f"offered to {one.percent} %"
    return {
        "serial": one.serial,
        "version": _version(one.version),
        "architecture": firmware.architecture(one.processor << 10),
        "signatures": count,
        "offered_to": len(found.staged),
        "accepted": len(found.accepted),
        "runs": len(found.runs),
        "fell_back": len(found.fell_back),
        "troubled": len(found.troubled),
        "state": state,
    }
