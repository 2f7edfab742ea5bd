"""`parwana store`: bring a store up to date."""

import typer

from parwana.chain.deployment import Deployment
from parwana.store.migrating import migrate as migrated
from parwana.store.tables import VERSION
from parwana.world import progress
from parwana.world.options import DeploymentFile, StoreUrl

app = typer.Typer(
    help="Bring the store of an older Parwana up to date.",
    epilog="Example: parwana store migrate --deployment town.json",
    no_args_is_help=True,
)


@app.callback()
def _subcommands() -> None:
    """Have subcommands, even where there is only one."""


@app.command()
def migrate(deployment: DeploymentFile, store_url: StoreUrl = None) -> None:
    """Bring the store of an older Parwana to this one's tables: all of it, or nothing.

    Stop relays, signers and pages first, and make a backup: there is no way back. SQLite needs
    room for two more copies of the file meanwhile, PostgreSQL for one.

    Example: parwana store migrate --deployment town.json
    """
    url = store_url or Deployment.load(deployment).store
    with progress.shown() as told:
        before = migrated(url, told)
    if before == VERSION:
        print(f"schema {VERSION}: nothing to do")
    else:
        print(f"schema {before} became {VERSION}; start what you stopped")
