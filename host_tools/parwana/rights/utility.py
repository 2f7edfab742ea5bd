"""`parwana utility`: who the utility is, and how its place passes on: offered, then accepted."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from web3.contract import Contract

from parwana.chain.keys import resolve
from parwana.chain.points import NOBODY, read_address
from parwana.rights.office import Office, RightError, Yes, confirm
from parwana.world.options import DeploymentFile, EnergyRpc, Json, Key, Rpc

app = typer.Typer(
    help="Show who the utility is; pass its place on.",
    epilog="Example: parwana utility show --deployment town.json",
    no_args_is_help=True,
)


class Of(StrEnum):
    """Whose utility: a registry's enrols and sets tolerances, the payments' is paid."""

    REGISTRY = "registry"
    PAYMENTS = "payments"
    ENERGY = "energy-registry"  # where payments are on another chain


Where = Annotated[
    list[Of] | None, typer.Option("--of", help="One of the places; default: all there are.")
]


@dataclass(frozen=True)
class Place:
    """A contract that has a utility."""

    of: Of
    office: Office
    contract: Contract

    @property
    def utility(self) -> str:
        """Return who it is. Raises ChainError."""
        return str(self.office.chain.call(self.contract.functions.utility()))

    @property
    def offered(self) -> str:
        """Return whom it is offered to, "" for nobody. Raises ChainError."""
        found = str(self.office.chain.call(self.contract.functions.offered()))
        return "" if found == NOBODY else found


def places(
    file: Path,
    key: str | None = None,
    rpc: list[str] | None = None,
    energy_rpc: list[str] | None = None,
    of: list[Of] | None = None,
) -> list[Place]:
    """Return the places of a deployment that are wanted. Raises RightError, ChainError."""
    own = resolve(key) if key else None
    here = Office(file, own, rpc)
    found = [
        Place(Of.REGISTRY, here, here.ledgers.registry),
        Place(Of.PAYMENTS, here, here.ledgers.payment),
    ]
    if here.deployment.energy:
        there = Office(file, own, energy_rpc, energy=True)
        found.append(Place(Of.ENERGY, there, there.ledgers.registry))
    elif Of.ENERGY in (of or ()):
        raise RightError(f"--of {Of.ENERGY}: there is one registry, as payments are on its chain")
    return [place for place in found if not of or place.of in of]


@app.command()
def show(
    deployment: DeploymentFile,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    as_json: Json = False,
) -> None:
    """Show who the utility is in each contract, and to whom its place is offered.

    Example: parwana utility show --deployment town.json
    """
    _tell(places(deployment, None, rpc, energy_rpc), as_json=as_json)


@app.command()
def offer(
    deployment: DeploymentFile,
    key: Key,
    to: Annotated[str, typer.Option(help="Address of the next one; `nobody` takes it back.")],
    of: Where = None,
    yes: Yes = False,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    as_json: Json = False,
) -> None:
    """Offer the utility's place to another key. Nothing changes until that one accepts.

    Example: parwana utility offer --deployment town.json --key utility.json --to 0x…
    """
    wanted = places(deployment, key, rpc, energy_rpc, of)
    other = NOBODY if to == "nobody" else read_address(to, "--to")
    for place in wanted:
        place.office.check_utility(place.contract)
        if other == place.office.key.address:
            raise RightError(f"--to {to}: that is the utility already")
    if other != NOBODY:
        confirm(f"Offer the utility's place to {other}?", yes=yes or as_json)
    for place in wanted:
        place.office.send(place.contract.functions.offer_utility(other))
    _tell(wanted, as_json=as_json)


@app.command()
def accept(
    deployment: DeploymentFile,
    key: Key,
    of: Where = None,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    as_json: Json = False,
) -> None:
    """Become the utility, with the key that the place was offered to.

    What was credited before stays the old one's: `parwana withdraw` with its key.

    Example: parwana utility accept --deployment town.json --key new.json
    """
    wanted = places(deployment, key, rpc, energy_rpc, of)
    mine = wanted[0].office.key.address
    offered = [place for place in wanted if place.offered == mine]
    if not offered or (of and len(offered) < len(wanted)):
        raise RightError(
            f"the place is not offered to {mine}; let the utility do it: parwana utility offer"
        )
    for place in offered:
        place.office.send(place.contract.functions.accept_utility())
    _tell(offered, as_json=as_json)


def _tell(found: list[Place], *, as_json: bool) -> None:
    rows = {place.of: (place.utility, place.offered) for place in found}
    if as_json:
        made = {of: {"utility": who, "offered": to or None} for of, (who, to) in rows.items()}
        print(json.dumps(made))
        return
    for of, (who, to) in rows.items():
        print(f"{of}: {who}" + (f", offered to {to}" if to else ""))
