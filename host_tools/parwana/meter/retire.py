"""`parwana retire`: take a meter out of service."""

import json
from typing import Annotated

import typer

from parwana.chain.deployment import Deployment
from parwana.chain.keys import resolve
from parwana.chain.points import chosen
from parwana.meter.enrolment import EnrolError, Enrolment
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, Key, MeterAddress, PointNumber, Rpc


def command(
    deployment: DeploymentFile,
    key: Key,
    meter: MeterAddress = "",
    number: PointNumber = None,
    rpc: Rpc = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take a meter and its point out of service, for ever. A broken meter is replaced instead.

    Relays land its last readings. Its contactor stays as its permit says: disconnect the house
    before. To put another meter in its place: parwana pair --replace.

    Example: parwana retire --deployment build/town/deployment.json --key utility.json --number 17
    """
    utility = Enrolment(
        Deployment.load(deployment), resolve(key), WorldClock.from_environment(), rpc
    )
    address = chosen(meter, number, lambda: (utility.chain, utility.ledgers))
    utility.check()
    retired = utility.retirable(address)
    if not yes and not typer.confirm(f"Retire {address} for ever?"):
        raise EnrolError(f"{address} stays in service")
    utility.retire(address)
    if as_json:
        print(json.dumps({"meter": address, "number": retired}))
    else:
        print(f"number {retired} and its meter {address} have left service")
