"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DeploymentFile = Annotated[Path, typer.Option(help="The file that `parwana deploy` wrote.")]
Rpc = Annotated[str | None, typer.Option(help="JSON-RPC URL; default: the deployment's.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="SQLAlchemy URL; default: the deployment's.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
