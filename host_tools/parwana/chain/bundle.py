"""`parwana contracts`: what an explorer needs to verify the contracts' source."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import rlp  # type: ignore[import-untyped]
import typer
from eth_utils import keccak
from rich.console import Console

from parwana.chain import contracts
from parwana.chain.contracts import Artifact
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain
from parwana.world.options import Json, Rpc

SEARCHED_BLOCKS = 10_000

app = typer.Typer(
    help="The contracts' compiled code, and their sources for explorers.",
    epilog="Example: parwana contracts bundle --out build/verify",
    no_args_is_help=True,
    add_completion=False,
)


class BundleError(Exception):
    """The deployed code cannot be told from these sources; the text says why."""


@dataclass(frozen=True)
class Creation:
    """The transaction that made a contract; `arguments` are its constructor's, hexadecimal."""

    transaction: str
    block: int
    arguments: str


@app.callback()
def _group() -> None:
    """Keep `bundle` a subcommand, alone as it is."""


@app.command()
def bundle(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    deployment: Annotated[
        Path | None, typer.Option(help="Also find where and with which arguments it was deployed.")
    ] = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Write each contract's standard JSON input, ABI and code; with --deployment its arguments.

    An explorer (Etherscan, Blockscout, Sourcify) takes NAME.standard.json as "Vyper, standard JSON
    input", with the compiler and the constructor's arguments that verify.json names.

    Example: parwana contracts bundle --deployment town.json --out build/verify
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in contracts.NAMES:
        artifact = contracts.load(name)
        _write(out / f"{name}.standard.json", artifact.standard_json)
        _write(out / f"{name}.abi.json", artifact.abi)
        (out / f"{name}.bin").write_text(artifact.bytecode + "\n")
    entries = []
    if deployment is not None:
        made = Deployment.load(deployment)
        with Console(stderr=True).status("looking for the transactions that made the contracts"):
            entries = list(_entries(Chain.of(made, rpc=rpc), made, contracts.NAMES))
            if made.energy:
                there = made.on_energy_chain
                entries += _entries(Chain.of(there), there, contracts.NAMES[:2])
        _write(out / "verify.json", entries)
    if as_json:
        print(json.dumps(entries))
        return
    for entry in entries:
        print(f"{entry['contract']:14} chain {entry['chain_id']}  {entry['address']}")
    print(f"wrote {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _entries(chain: Chain, made: Deployment, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    addresses = made.registry, made.energy_ledger, made.payment_ledger
    for name, address in zip(names, addresses, strict=False):
        artifact = contracts.load(name)
        found = creation(chain, artifact, address, made.from_block)
        yield {
            "contract": name,
            "chain_id": made.chain_id,
            "address": address,
            "compiler": artifact.standard_json["compiler_version"],
            "constructor_arguments": found.arguments,
            "transaction": found.transaction,
            "block": found.block,
        }


def creation(chain: Chain, artifact: Artifact, address: str, first: int) -> Creation:
    """Find the transaction that made a contract, in blocks from `first` on.

    It holds our code, then the arguments. Raises BundleError, ChainError.
    """
    last = min(chain.head(), first + SEARCHED_BLOCKS)
    for number in range(first, last + 1):
        for found in chain.transactions(number):
            if found.get("to") or _made_by(found) != bytes.fromhex(address[2:]):
                continue
            given = str(found["input"])
            if not given.startswith(artifact.bytecode):
                raise BundleError(
                    f"{artifact.name} at {address} was made of other code than these sources "
                    "compile to: check out the version that deployed it"
                )
            return Creation(str(found["hash"]), number, given[len(artifact.bytecode) :])
    raise BundleError(
        f"no transaction in blocks {first} to {last} made {artifact.name} at {address}; is "
        "from_block of the deployment file right?"
    )


def _made_by(transaction: dict[str, Any]) -> bytes:
    """Return the address of the contract that a transaction makes, 20 bytes.

    Source: Ethereum yellow paper, section 7.
    """
    sender, nonce = bytes.fromhex(transaction["from"][2:]), int(transaction["nonce"], 16)
    return keccak(rlp.encode([sender, nonce]))[12:]


def _write(path: Path, what: Any) -> None:
    path.write_text(json.dumps(what, indent=1) + "\n")
