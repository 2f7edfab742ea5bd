"""`parwana utility`: who the utility is, and how its place passes on: offered, then accepted."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from parwana.chain.points import NOBODY, read_address
from parwana.rights.office import Office, RightError, Yes, confirm
from parwana.world.options import DeploymentFile, Json, Key, Rpc

app = typer.Typer(
    help="Show who the utility is; pass its place on.",
    epilog="Example: parwana utility show --deployment town.json",
    no_args_is_help=True,
)


class Of(StrEnum):
    """Whose utility: the registry's enrols and sets tolerances, the payments' is paid."""

    REGISTRY = "registry"
    PAYMENTS = "payments"


Where = Annotated[
    list[Of] | None, typer.Option("--of", help="One of the two places; default: both.")
]


@app.command()
def show(deployment: DeploymentFile, rpc: Rpc = None, as_json: Json = False) -> None:
    """Show who the utility is in both contracts, and to whom its place is offered.

    Example: parwana utility show --deployment town.json
    """
    office = Office(deployment, rpc=rpc)
    _tell(office, None, as_json=as_json)


@app.command()
def offer(
    deployment: DeploymentFile,
    key: Key,
    to: Annotated[str, typer.Option(help="Address of the next one; `nobody` takes it back.")],
    of: Where = None,
    yes: Yes = False,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Offer the utility's place to another key. Nothing changes until that one accepts.

    Example: parwana utility offer --deployment town.json --key utility.json --to 0x…
    """
    office = Office(deployment, key, rpc)
    other = NOBODY if to == "nobody" else read_address(to, "--to")
    for place in of or Of:
        office.check_utility(_contract(office, place))
    if other == office.key.address:
        raise RightError(f"--to {to}: that is the utility already")
    if other != NOBODY:
        confirm(f"Offer the utility's place to {other}?", yes=yes or as_json)
    for place in of or Of:
        office.send(_contract(office, place).functions.offer_utility(other))
    _tell(office, of, as_json=as_json)


@app.command()
def accept(
    deployment: DeploymentFile, key: Key, of: Where = None, rpc: Rpc = None, as_json: Json = False
) -> None:
    """Become the utility, with the key that the place was offered to.

    What was credited before stays the old one's: `parwana withdraw` with its key.

    Example: parwana utility accept --deployment town.json --key new.json
    """
    office = Office(deployment, key, rpc)
    mine = office.key.address
    offered = [place for place in of or Of if _state(office, place)[1] == mine]
    if not offered or (of and len(offered) < len(of)):
        raise RightError(
            f"the place is not offered to {mine}; let the utility do it: parwana utility offer"
        )
    for place in offered:
        office.send(_contract(office, place).functions.accept_utility())
    _tell(office, list(offered), as_json=as_json)


def _contract(office: Office, of: Of) -> Any:
    return office.ledgers.registry if of is Of.REGISTRY else office.ledgers.payment


def _state(office: Office, of: Of) -> tuple[str, str]:
    """Return the utility and whom it offers its place to, "" for nobody."""
    functions = _contract(office, of).functions
    offered = str(office.chain.call(functions.offered()))
    return str(office.chain.call(functions.utility())), "" if offered == NOBODY else offered


def _tell(office: Office, of: list[Of] | None, *, as_json: bool) -> None:
    found = {place: _state(office, place) for place in of or Of}
    if as_json:
        rows = {of: {"utility": who, "offered": to or None} for of, (who, to) in found.items()}
        print(json.dumps(rows))
        return
    for place, (who, to) in found.items():
        print(f"{place}: {who}" + (f", offered to {to}" if to else ""))
