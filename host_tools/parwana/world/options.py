"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from parwana.world.logs import Form, Level

DeploymentFile = Annotated[Path, typer.Option(help="The file that `parwana deploy` wrote.")]
Rpc = Annotated[
    list[str] | None,
    typer.Option(
        help="JSON-RPC URL, repeat for nodes to fall back on; default: the deployment's."
    ),
]
EnergyRpc = Annotated[
    list[str] | None,
    typer.Option(help="As --rpc, of the energy chain where payments are on another."),
]
SpendCap = Annotated[
    str | None, typer.Option(help="The most, in coin, that the key may spend a UTC day.")
]
FeeCap = Annotated[
    str | None, typer.Option(help="The most that a unit of gas may cost, in 10^-9 coin (gwei).")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="SQLAlchemy URL; default: the deployment's.")
]
LARGEST_NUMBER = 2**48 - 1  # of a point. Source: docs/contracts.md
MeterAddress = Annotated[str, typer.Option("--meter", help="The meter's address, 40 hex digits.")]
PointNumber = Annotated[
    int | None,
    typer.Option("--number", min=1, max=LARGEST_NUMBER, help="Or the number of its point."),
]
Port = Annotated[
    str, typer.Option(help="device, id:SERIAL, socket://host:port, rfc2217://host:port, auto")
]
Key = Annotated[str, typer.Option(help="Key file (or dev:N) of the utility.")]
Json = Annotated[bool, typer.Option("--json", help="End with a line of JSON.")]
SILENT_S = 2 * 3600
SilentAfter = Annotated[
    int, typer.Option(min=1, help="Seconds after which a meter counts as silent.")
]
LogLevel = Annotated[Level, typer.Option("--log-level", help="The least that is logged.")]
LogForm = Annotated[Form, typer.Option("--log", help="How a line is logged, to stderr.")]
MetricsPlace = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="[HOST:]PORT",
        help="Serve /metrics, /healthz and /readyz there; without HOST on the loopback alone.",
    ),
]
