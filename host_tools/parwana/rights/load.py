"""`parwana raise-load`: let a house draw more than it was sanctioned for."""

import json
from typing import Annotated

import typer

from parwana.rights.office import Office, RightError
from parwana.world.options import DeploymentFile, Json, Key, MeterAddress, PointNumber, Rpc

MOST_W = (2**32 - 1) // 10


def command(
    deployment: DeploymentFile,
    key: Key,
    watts: Annotated[int, typer.Option(min=1, max=MOST_W, help="The new sanctioned load.")],
    meter: MeterAddress = "",
    number: PointNumber = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Raise a point's sanctioned load. It guards the household, so it cannot be lowered.

    Permits for bills paid from now on grant it; the one in force keeps its limit.

    Example: parwana raise-load --deployment town.json --key utility.json --number 17 --watts 8000
    """
    office = Office(deployment, key, rpc)
    address = office.meter(meter, number)
    registry = office.ledgers.registry
    office.check_utility(registry)
    entry = office.chain.call(registry.functions.meter(address))
    if not entry.kind:
        raise RightError(f"{address} was never enrolled; check the address")
    if entry.retired_at_s:
        raise RightError(f"{address} has left service; name the meter that serves the point now")
    before_w = entry.sanctioned_load_dw / 10
    if watts * 10 <= entry.sanctioned_load_dw:
        raise RightError(f"--watts {watts}: {before_w:g} W are sanctioned; give more")
    office.send(registry.functions.raise_load(address, watts * 10))
    if as_json:
        print(json.dumps({"meter": address, "number": entry.number, "sanctioned_load_w": watts}))
    else:
        print(f"number {entry.number}: {watts} W sanctioned, {before_w:g} W before")
