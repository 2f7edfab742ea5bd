"""`parwana permits`: run a signer; issue, co-sign and look at single permits."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from eth_utils import to_checksum_address
from web3.logs import DISCARD

import wire
from parwana.chain.deployment import Deployment
from parwana.chain.keys import resolve
from parwana.chain.limits import Limits
from parwana.chain.node import Chain, Ledgers
from parwana.chain.periods import DAY_S
from parwana.chain.points import chosen
from parwana.permits.bundle import (
    PermitError,
    believed,
    check_bundle,
    indexed,
    make_permit,
    parse_flags,
    sign_frame,
)
from parwana.permits.metrics import PREFIX, watch
from parwana.permits.offline import connected, read_bundle, show
from parwana.permits.service import log, serve
from parwana.permits.signer import Progress
from parwana.world import logs
from parwana.world.clock import WorldClock
from parwana.world.metrics import Metrics, served
from parwana.world.options import (
    DeploymentFile,
    FeeCap,
    Json,
    LogForm,
    LogLevel,
    MeterAddress,
    MetricsPlace,
    PointNumber,
    Rpc,
    SpendCap,
)

app = typer.Typer(
    help="Sign permits for paid bills, and signed time.",
    epilog="Example: parwana permits show permit.txt",
    no_args_is_help=True,
    add_completion=False,
)

Keys = Annotated[
    list[str],
    typer.Option("--key", help="Signer's key file, or dev:0 to dev:31; may be repeated."),
]


@app.command()
def run(
    deployment: DeploymentFile,
    key: Keys,
    rpc: Rpc = None,
    spend_cap: SpendCap = None,
    fee_cap: FeeCap = None,
    time_step: Annotated[
        int, typer.Option(min=0, help="Seconds of world time between time frames; 0: none.")
    ] = 900,
    poll: Annotated[float, typer.Option(min=0.05, help="Real seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, then stop.")] = False,
    as_json: Json = False,
    log_level: LogLevel = logs.Level.INFO,
    log_form: LogForm = logs.Form.TEXT,
    metrics: MetricsPlace = None,
) -> None:
    """Run a signer: wait for final payments, sign their permits, claim; sign the time.

    The first --key pays for the claims. Signers find each other through the deployment's store.

    Example: parwana permits run --deployment build/demo/deployment.json --key signer-1.json
    """
    logs.start(log_level, log_form)

    def report(progress: Progress) -> None:
        if as_json or once:
            said = json.dumps(asdict(progress)) if as_json else f"permits: {progress}"
            print(said, flush=True)
        else:
            log.info("%s", progress, extra=logs.NEWS)

    made = Deployment.load(deployment)
    keys = [resolve(text) for text in key]
    figures = Metrics(PREFIX)
    with served(metrics, figures):
        serve(
            made,
            keys,
            rpc,
            Limits.parse(spend_cap, fee_cap, made.coin),
            time_step_s=time_step,
            poll_s=poll,
            once=once,
            report=report,
            watch=lambda chores: watch(figures, chores),
        )


@app.command()
def issue(
    deployment: DeploymentFile,
    valid_until: Annotated[
        str, typer.Option(help="Unix seconds, a date like 2026-12-31, or a span like +30d.")
    ],
    key: Keys,
    out: Annotated[Path, typer.Option(help="Bundle file to write.")],
    meter: MeterAddress = "",
    number: PointNumber = None,
    flags: Annotated[str, typer.Option(help="Of protected,button,commissioning.")] = "",
    power_limit: Annotated[int, typer.Option(help="Tenths of a watt; 0: none.")] = 0,
    energy_limit: Annotated[int, typer.Option(help="Register, Wh; 0: none.")] = 0,
    no_cut_hours: Annotated[str, typer.Option(help="Local hours, like 17-9.")] = "0-0",
    no_cut_weekdays: Annotated[int, typer.Option(help="Bit 0 Monday to bit 6 Sunday.")] = 0,
    grace_days: Annotated[int, typer.Option(help="Days that extend it.")] = 0,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the chain for the last serial.")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Also log it on the chain, for relays to deliver.")
    ] = False,
    rpc: Rpc = None,
) -> None:
    """Issue a permit that nobody pays for: commissioning, an act of grace, a hand-over by hand.

    Example: parwana permits issue --deployment F --number 17 --valid-until +2d
    --flags commissioning --key dev:1 --key dev:2 --out permit.bundle
    """
    made = Deployment.load(deployment)
    keys = [resolve(text) for text in key]
    now_s = int(WorldClock.from_environment().now())
    chain = None if offline else Chain.of(made, keys[0], rpc)

    def connect() -> tuple[Chain, Ledgers]:
        if chain is None:
            raise PermitError("the chain knows the meter of --number: give --meter with --offline")
        return chain, chain.ledgers(made)

    address = chosen(meter, number, connect)
    first, last = _hours(no_cut_hours)
    if publish and chain and (found := _published_before(chain, made, address)):
        out.write_bytes(found)
        print(f"wrote {out}: an ended run published it; the same line again issues another")
        return
    frame = make_permit(
        issued_at_s=now_s,
        valid_until_s=_instant(valid_until, now_s),
        period=made.periods.of(now_s),
        last_serial=_last_serial(chain, made, address) if chain else 0,
        flags=parse_flags(flags),
        power_limit_dw=power_limit,
        energy_limit_wh=energy_limit,
        no_cut_from_h=first,
        no_cut_to_h=last,
        no_cut_weekdays=no_cut_weekdays,
        grace_days=grace_days,
    )
    bundle = sign_frame(made.permit_domain(address), frame, indexed(keys, made.signers))
    out.write_bytes(bundle)
    print(f"wrote {out}: {_count(bundle)} of {made.permit_threshold} signatures")
    if publish and chain:
        check_bundle(made.permit_domain(address), bundle, made.signers, made.permit_threshold)
        function = chain.ledgers(made).payment.functions.publish
        chain.send(function(address, frame, bundle[wire.FRAME_SIZE :]))
        print("published on the chain")


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="Bundle file to add signatures to.")],
    deployment: DeploymentFile,
    key: Keys,
    meter: MeterAddress = "",
    number: PointNumber = None,
    rpc: Rpc = None,
) -> None:
    """Add signatures to a bundle that another signer issued. Look at it first: permits show.

    Example: parwana permits sign permit.bundle --deployment F --number 17 --key signer-2.json
    """
    made = Deployment.load(deployment)
    domain = made.permit_domain(chosen(meter, number, lambda: connected(made, rpc)))
    bundle = _read(file)
    digest = wire.digest(domain, bundle.frame)
    good = believed(digest, bundle.signatures, made.signers)
    for index, own in indexed([resolve(text) for text in key], made.signers).items():
        good[index] = own.sign(digest)
    file.write_bytes(wire.pack_bundle(bundle.frame, sorted(good.items()), bundle.public_key))
    print(f"wrote {file}: {len(good)} of {made.permit_threshold} signatures")


app.command()(show)


def _read(file: Path) -> Any:
    return wire.parse_bundle(read_bundle(file))


def _last_serial(chain: Chain, made: Deployment, meter: str) -> int:
    """Return the serial of the last permit published for an enrolled meter."""
    ledgers = chain.ledgers(made)
    if chain.call(ledgers.registry.functions.meter(to_checksum_address(meter))).kind == 0:
        return 0
    return int(chain.call(ledgers.payment.functions.account(to_checksum_address(meter))).serial)


def _published_before(chain: Chain, made: Deployment, meter: str) -> bytes:
    """Return the bundle for a meter that an ended run published, b"" if nobody did."""
    payment = chain.ledgers(made).payment
    function = payment.functions.publish(meter, bytes(wire.FRAME_SIZE), b"")
    receipt = chain.resume(function, 1)
    if receipt is None:
        return b""
    [log] = payment.events.PermitPublished().process_receipt(receipt, DISCARD)
    return bytes(log["args"]["frame"] + log["args"]["signatures"])


def _count(bundle: bytes) -> int:
    return len(wire.parse_bundle(bundle).signatures)


def _hours(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise PermitError(f"--no-cut-hours {text}: write two hours, like 17-9")
    return int(first), int(last)


def _instant(text: str, now_s: int) -> int:
    if text.startswith("+") and text.endswith("d") and text[1:-1].isdecimal():
        return now_s + int(text[1:-1]) * DAY_S
    if text.isdecimal():
        return int(text)
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise PermitError(
            f"--valid-until {text}: write Unix seconds, a date like 2026-12-31, or +30d"
        ) from None
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
