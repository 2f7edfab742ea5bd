"""`parwana deploy`: put a utility's contracts on a chain and write the deployment file."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from coincurve import PublicKey
from eth_utils import is_address, to_checksum_address
from rich.console import Console

from parwana.chain import contracts
from parwana.chain.currency import COIN_DECIMALS, NATIVE, Currency
from parwana.chain.deployment import (
    FINALIZED,
    Deployment,
    read_finality,
    refuse_existing,
)
from parwana.chain.errors import UnknownBlock
from parwana.chain.keys import resolve
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S, Period
from parwana.chain.steps import Steps
from parwana.chain.tariff import OPEN_END_WH
from parwana.chain.tariff import read_tariff as read_file
from parwana.store import signatures
from parwana.world.clock import WorldClock

LOCAL = "http://127.0.0.1:8545"
CONTRACTS = ("MeterRegistry", "EnergyLedger", "PaymentLedger")
# In wei: 0.00415 of the native coin a kWh up to 100 kWh a period, and rising.
DEFAULT_TARIFF = {
    "slabs": [
        {"upto_wh": 100_000, "price_per_kwh": 4_150_000 * 10**9},
        {"upto_wh": 200_000, "price_per_kwh": 5_850_000 * 10**9},
        {"upto_wh": 400_000, "price_per_kwh": 7_100_000 * 10**9},
        {"upto_wh": OPEN_END_WH, "price_per_kwh": 9_000_000 * 10**9},
    ],
    "fixed_charge": 1_000_000 * 10**9,
}


class DeployError(ValueError):
    """What was asked for cannot be deployed; the text says what to change."""


@dataclass(frozen=True)
class Terms:
    """What a utility fixes for ever. Times in seconds, the tolerance in 1/10000."""

    utility_id: str
    period: Period
    signers: list[bytes]
    threshold: int
    tariff: dict[str, Any]
    payment_window_s: int
    escrow_window_s: int
    rotation_delay_s: int
    notice_periods: int
    closing_deadline_s: int
    tolerance_bp: int
    token: str = NATIVE
    coin: str = "ETH"


def read_tariff(text: str) -> dict[str, Any]:
    """Read `default`, or a JSON file like DEFAULT_TARIFF. Raises TariffError."""
    if text == "default":
        return DEFAULT_TARIFF
    read = read_file(Path(text))
    slabs = [{"upto_wh": upto_wh, "price_per_kwh": price} for upto_wh, price in read.slabs]
    return {"slabs": slabs, "fixed_charge": read.fixed_charge}


def signer_key(text: str, option: str = "--signer") -> bytes:
    """Read a public key, 128 hex digits, 64 bytes x ‖ y. Raises DeployError."""
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
        PublicKey(b"\x04" + key)
    except ValueError:
        raise DeployError(
            f"{option} {text[:20]}…: write the 128 hex digits that `parwana key show` prints"
        ) from None
    return key


def deploy(
    chain: Chain,
    terms: Terms,
    broker: str,
    store: str,
    say: Callable[[str], None],
    *,
    progress: Path | None = None,
) -> Deployment:
    """Deploy the three contracts and check that they are there. Raises ChainError.

    The file `progress` remembers those that are there already, for a run that goes on.
    """
    if chain.key is None:
        raise DeployError("deploying needs a key: add --key FILE (or --key dev:0 on a devchain)")
    utility, period = chain.key.address, terms.period
    # Made first, so that a wrong value is refused before anything is sent.
    draft = Deployment(
        utility_id=terms.utility_id,
        chain_id=chain.chain_id,
        rpc=chain.urls if len(chain.urls) > 1 else chain.urls[0],
        registry=NATIVE,
        energy_ledger=NATIVE,
        payment_ledger=NATIVE,
        permit_threshold=terms.threshold,
        permit_signers=[key.hex() for key in terms.signers],
        period=period.as_dict(),
        utc_offset_s=period.utc_offset_s,
        payment_window_s=terms.payment_window_s,
        broker=broker,
        store=store,
        from_block=chain.head(),
        finality=FINALIZED if isinstance(chain.finality, str) else {"blocks": chain.finality},
        coin=terms.coin,
    )
    steps = Steps(chain, draft.from_block, progress, say)
    require_coin(chain, CONTRACTS[steps.done :], terms.coin)
    registry = steps.create("MeterRegistry", utility)
    energy = steps.create(
        "EnergyLedger",
        registry,
        terms.utility_id,
        period.length_s,
        period.utc_offset_s,
        terms.closing_deadline_s,
        terms.tolerance_bp,
    )
    payment = steps.create(
        "PaymentLedger",
        registry,
        energy,
        to_checksum_address(terms.token),
        utility,
        terms.payment_window_s,
        terms.escrow_window_s,
        terms.rotation_delay_s,
        terms.notice_periods,
        [to_checksum_address(signatures.address(key)) for key in terms.signers],
        terms.threshold,
        [(slab["upto_wh"], slab["price_per_kwh"]) for slab in terms.tariff["slabs"]],
        terms.tariff["fixed_charge"],
    )
    return replace(
        draft,
        registry=registry,
        energy_ledger=energy,
        payment_ledger=payment,
        from_block=steps.from_block,
    )


def require_coin(chain: Chain, names: tuple[str, ...], coin: str) -> None:
    """Refuse an account that cannot pay for deploying the contracts `names`. Raises DeployError.

    A node demands of each transaction's sender a quarter more gas than it is estimated to take,
    at twice the base fee of now, in advance.
    """
    assert chain.key is not None
    gas = sum(creation_gas(contracts.load(name)) for name in names) * 5 // 4
    need = gas * chain.price()
    have, money = chain.balance(chain.key.address), Currency(coin, COIN_DECIMALS)
    if have < need:
        digit = 10 ** max(0, len(str(need)) - 3)  # three digits tell enough
        most, lacks = (money.text(-(-wei // digit) * digit) for wei in (need, need - have))
        raise DeployError(
            f"{chain.key.address} has {money.text(have)}; deploying takes up to {most} at the fee "
            f"of now ({gas / 1e6:.1f} M gas): send it {lacks}, then run the same command again"
        )


def creation_gas(artifact: contracts.Artifact) -> int:
    """Estimate what deploying a contract takes: its bytes, and a tenth for its constructor.

    Source: Ethereum yellow paper, appendix G; EIP-3860.
    """
    code = bytes.fromhex(artifact.bytecode.removeprefix("0x"))
    stored = len(artifact.runtime.removeprefix("0x")) // 2
    sent = 16 * len(code) - 12 * code.count(0) + 2 * -(-len(code) // 32)
    return (53_000 + sent + 200 * stored) * 11 // 10


def command(
    utility_id: Annotated[str, typer.Option(help="1 to 32 of a-z 0-9 -; meters sign it.")],
    signer: Annotated[
        list[str], typer.Option(help="Public key of a permit signer, 128 hex digits; repeat.")
    ],
    threshold: Annotated[int, typer.Option(min=1, max=8, help="How many signers a permit needs.")],
    key: Annotated[str, typer.Option(help="The utility's key: a key file, or dev:0 to dev:31.")],
    out: Annotated[Path, typer.Option(help="Deployment file to write.")],
    rpc: Annotated[
        list[str] | None,
        typer.Option(help=f"JSON-RPC URL of the chain, repeat for more nodes; default: {LOCAL}."),
    ] = None,
    period: Annotated[str, typer.Option(help="month, days:N; rehearsals: hours:N.")] = "month",
    utc_offset: Annotated[
        int, typer.Option(help="Local time minus UTC: seconds, by 900.")
    ] = 19800,
    tariff: Annotated[
        str,
        typer.Option(
            help="Tariff file (JSON), or: default. Prices in the smallest unit, 10^18 a coin."
        ),
    ] = "default",
    payment_window: Annotated[
        int, typer.Option(help="Seconds that a permit outlasts the next period.")
    ] = 10 * DAY_S,
    escrow_window: Annotated[
        int | None, typer.Option(help="Seconds until an unclaimed payment goes back.")
    ] = None,
    rotation_delay: Annotated[
        int | None, typer.Option(help="Seconds of notice before a new signer counts.")
    ] = None,
    notice_periods: Annotated[int, typer.Option(help="Periods of notice before a tariff.")] = 1,
    closing_deadline: Annotated[
        int, typer.Option(help="Seconds that a balance waits for missing closings.")
    ] = 3 * DAY_S,
    tolerance_bp: Annotated[
        int, typer.Option(help="Difference a feeder may show, in 1/10000 of its supply.")
    ] = 300,
    token: Annotated[str, typer.Option(help="ERC-20 to bill in; zero: the native coin.")] = NATIVE,
    coin: Annotated[
        str | None,
        typer.Option(help="Name of the chain's coin; default: what is known of the chain."),
    ] = None,
    broker: Annotated[str, typer.Option(help="MQTT broker.")] = "mqtt://127.0.0.1:1883",
    store: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL; default: SQLite beside --out.")
    ] = None,
    finality: Annotated[
        str | None,
        typer.Option(
            help="What is final: finalized, the chain's own word, or N blocks; default: what is "
            "known of the chain."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file.")] = False,
) -> None:
    """Deploy MeterRegistry, EnergyLedger and PaymentLedger; write the deployment file.

    Example: parwana deploy --utility-id demo --signer $(parwana key show dev:1 --public)
    --threshold 1 --key dev:0 --out build/demo/deployment.json
    """
    refuse_existing(out, force=force)
    escrow_window_s = min(payment_window, 3 * DAY_S) if escrow_window is None else escrow_window
    final = None if finality is None else read_finality(finality)
    terms = Terms(
        utility_id=utility_id,
        period=Period.parse(period, utc_offset),
        signers=[signer_key(text) for text in signer],
        threshold=threshold,
        tariff=read_tariff(tariff),
        payment_window_s=payment_window,
        escrow_window_s=escrow_window_s,
        rotation_delay_s=(
            max(7 * DAY_S, escrow_window_s) if rotation_delay is None else rotation_delay
        ),
        notice_periods=notice_periods,
        closing_deadline_s=closing_deadline,
        tolerance_bp=tolerance_bp,
        token=token,
        coin=coin or "",
    )
    if not is_address(token):
        raise DeployError(f"--token {token}: write 0x and the 40 hex digits of an ERC-20")
    console = Console(stderr=True)
    chain = Chain(rpc or LOCAL, resolve(key), finality=final)
    terms = replace(terms, coin=coin or chain.known.coin)
    _check_time(chain)
    try:
        chain.finalized_block()
    except UnknownBlock as error:
        raise DeployError(str(error)) from None
    progress = out.with_name(out.name + ".part")
    with console.status("connecting") as status:
        made = deploy(
            chain,
            terms,
            broker,
            store or f"sqlite:///{out.resolve().parent / 'store.sqlite'}",
            status.update,
            progress=progress,
        )
    made.save(out, force=force)
    progress.unlink(missing_ok=True)
    if as_json:
        print(json.dumps(asdict(made)))
        return
    for name in ("registry", "energy_ledger", "payment_ledger"):
        console.print(f"{name:15} {getattr(made, name)}", highlight=False)
    console.print(f"wrote {out}", highlight=False)


def _check_time(chain: Chain) -> None:
    """Refuse a chain whose time is far from ours: periods would not match the meters'."""
    off_s = chain.block_time_s() - WorldClock.from_environment().now()
    if off_s > DAY_S:
        raise DeployError(
            f"the chain's time is {off_s / DAY_S:.1f} days ahead; start a new devchain, or set "
            "PARWANA_CLOCK as for the other programs"
        )
