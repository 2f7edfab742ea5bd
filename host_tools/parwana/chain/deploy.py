"""`parwana deploy`: put a utility's contracts on a chain and write the deployment file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from eth_utils import is_address, to_checksum_address
from rich.console import Console

from parwana.chain import contracts
from parwana.chain.currency import NATIVE
from parwana.chain.deployment import (
    FINALIZED,
    Deployment,
    read_finality,
    refuse_existing,
)
from parwana.chain.errors import UnknownBlock
from parwana.chain.funds import require_coin
from parwana.chain.keys import resolve
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S, Period
from parwana.chain.steps import Steps
from parwana.chain.terms import DeployError, Terms, read_tariff, signer_key
from parwana.store import signatures
from parwana.world.clock import WorldClock
from parwana.world.options import EnergyRpc

LOCAL = "http://127.0.0.1:8545"


def deploy(
    chain: Chain,
    terms: Terms,
    broker: str,
    store: str,
    say: Callable[[str], None],
    *,
    progress: Path | None = None,
    there: Chain | None = None,
) -> Deployment:
    """Deploy the three contracts and check that they are there. Raises ChainError.

    `there` is the energy chain where it is another: it has a registry and an EnergyLedger of its
    own, of the same terms. The file `progress` remembers what is there already, for a run that
    goes on.
    """
    if chain.key is None:
        raise DeployError("deploying needs a key: add --key FILE (or --key dev:0 on a devchain)")
    utility, period = chain.key.address, terms.period
    # Made first, so that a wrong value is refused before anything is sent.
    draft = Deployment(
        utility_id=terms.utility_id,
        chain_id=chain.chain_id,
        rpc=_urls(chain),
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
        finality=_finality(chain),
        coin=terms.coin,
    )
    steps = Steps(chain, draft.from_block, progress, say)
    require_coin(chain, contracts.NAMES[steps.done :], terms.coin)
    beside = None if there is None else _deploy_energy(there, terms, say, progress)
    registry, energy = _energy_contracts(steps, utility, terms)
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
        energy=beside,
    )


def _deploy_energy(
    chain: Chain, terms: Terms, say: Callable[[str], None], progress: Path | None
) -> dict[str, Any]:
    """Deploy what the energy chain has; return what the deployment file says of it."""
    assert chain.key is not None
    aside = progress and progress.with_name(f"{progress.name}.energy")
    steps = Steps(chain, chain.head(), aside, lambda text: say(f"energy chain: {text}"))
    require_coin(chain, contracts.NAMES[:2][steps.done :], chain.known.coin)
    registry, ledger = _energy_contracts(steps, chain.key.address, terms)
    return {
        "chain_id": chain.chain_id,
        "rpc": _urls(chain),
        "registry": registry,
        "energy_ledger": ledger,
        "from_block": steps.from_block,
        "finality": _finality(chain),
        "coin": chain.known.coin,
    }


def _energy_contracts(steps: Steps, utility: str, terms: Terms) -> tuple[str, str]:
    registry = steps.create("MeterRegistry", utility)
    ledger = steps.create(
        "EnergyLedger",
        registry,
        terms.utility_id,
        terms.period.length_s,
        terms.period.utc_offset_s,
        terms.closing_deadline_s,
        terms.tolerance_bp,
    )
    return registry, ledger


def _urls(chain: Chain) -> str | list[str]:
    return chain.urls if len(chain.urls) > 1 else chain.urls[0]


def _finality(chain: Chain) -> str | dict[str, int]:
    return FINALIZED if isinstance(chain.finality, str) else {"blocks": chain.finality}


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
    energy_rpc: EnergyRpc = None,
    energy_finality: Annotated[
        str | None, typer.Option(help="As --finality, of the energy chain.")
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

    With --energy-rpc balances are on that chain and payments on --rpc's: the first two contracts
    are deployed on both.

    Example: parwana deploy --utility-id demo --signer $(parwana key show dev:1 --public)
    --threshold 1 --key dev:0 --out build/demo/deployment.json
    """
    refuse_existing(out, force=force)
    escrow_window_s = min(payment_window, 3 * DAY_S) if escrow_window is None else escrow_window
    final, final_there = (
        None if text is None else read_finality(text) for text in (finality, energy_finality)
    )
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
    payer = resolve(key)
    chain = Chain(rpc or LOCAL, payer, finality=final)
    there = Chain(energy_rpc, payer, finality=final_there) if energy_rpc else None
    if there and there.chain_id == chain.chain_id:
        raise DeployError(f"--energy-rpc is chain {chain.chain_id}, too; leave it out")
    terms = replace(terms, coin=coin or chain.known.coin)
    for one in filter(None, (chain, there)):
        _check(one)
    progress = out.with_name(out.name + ".part")
    with console.status("connecting") as status:
        made = deploy(
            chain,
            terms,
            broker,
            store or f"sqlite:///{out.resolve().parent / 'store.sqlite'}",
            status.update,
            progress=progress,
            there=there,
        )
    made.save(out, force=force)
    for left in (progress, progress.with_name(f"{progress.name}.energy")):
        left.unlink(missing_ok=True)
    if as_json:
        print(json.dumps(made.as_dict()))
        return
    for name in ("registry", "energy_ledger", "payment_ledger"):
        console.print(f"{name:15} {getattr(made, name)}", highlight=False)
    if made.energy:
        for name in ("registry", "energy_ledger"):
            console.print(f"{name:15} {made.energy[name]}, energy chain", highlight=False)
    console.print(f"wrote {out}", highlight=False)


def _check(chain: Chain) -> None:
    """Refuse a chain of unknown finality, or whose time is far from ours: periods would not match
    the meters'.
    """
    try:
        chain.finalized_block()
    except UnknownBlock as error:
        raise DeployError(str(error)) from None
    off_s = chain.block_time_s() - WorldClock.from_environment().now()
    if off_s > DAY_S:
        raise DeployError(
            f"the chain's time is {off_s / DAY_S:.1f} days ahead; start a new devchain, or set "
            "PARWANA_CLOCK as for the other programs"
        )
