"""`parwana serve`: the command line; app.py is what it serves."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from parwana import BUILD
from parwana.web.site import Public
from parwana.world import logs
from parwana.world.clock import WorldClock
from parwana.world.options import (
    SILENT_S,
    DeploymentFile,
    EnergyRpc,
    LogForm,
    LogLevel,
    Rpc,
    SilentAfter,
    StoreUrl,
)

log = logging.getLogger("parwana.web")


def command(
    deployment: DeploymentFile,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    public: Annotated[
        Public,
        typer.Option(
            help="Who sees what without signing in. aggregate: feeders and totals; owner: a house "
            "its own readings, too; all: everybody everything, also when a house is empty."
        ),
    ] = Public.AGGREGATE,
    url: Annotated[
        str, typer.Option(help="What the world calls this server, as https://meter.example.")
    ] = "",
    state: Annotated[
        Path | None,
        typer.Option(help="Folder for what it keeps; default: beside the deployment file."),
    ] = None,
    invite: Annotated[
        bool, typer.Option("--invite", help="Print a link for one user of the utility, and end.")
    ] = False,
    link: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Print a new link to a house's page, write its label, and end. The one before "
            "opens no more.",
        ),
    ] = None,
    unlink: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Let a house's link open no more, and end."),
    ] = None,
    labels: Annotated[
        Path, typer.Option(help="Folder for labels.", show_default="build/labels")
    ] = BUILD / "labels",
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between looks at chain and store.")
    ] = 5.0,
    audit_every: Annotated[
        float, typer.Option(min=0, help="Hours between audits, 0: none is made.")
    ] = 24,
    losses_every: Annotated[
        float,
        typer.Option(min=0, help="Hours between searches of each feeder for losses, 0: none."),
    ] = 24,
    silent_after: SilentAfter = SILENT_S,
    store_url: StoreUrl = None,
    rpc: Rpc = None,
    energy_rpc: EnergyRpc = None,
    log_level: LogLevel = logs.Level.INFO,
    log_form: LogForm = logs.Form.TEXT,
) -> None:
    """Serve pages for households, the utility and everybody, from the store and the chain.

    It holds no key and changes nothing. Over a network put a TLS proxy before it, and say --url.

    Example: parwana serve --deployment build/demo/deployment.json --port 8000

    Example: parwana serve --deployment town.json --url https://meter.example --invite
    """
    # Imported now: --help and what is wrong on the command line need no chain.
    from parwana.web.service import Options, admit, serve

    logs.start(log_level, log_form)
    options = Options(
        file=deployment,
        host=host,
        port=port,
        public=public,
        url=url.rstrip("/"),
        state=state or deployment.with_name(deployment.stem + "-web"),
        every_s=every,
        silent_s=silent_after,
        store_url=store_url,
        rpc=rpc,
        energy_rpc=energy_rpc,
        audit_s=audit_every * 3600,
        losses_s=losses_every * 3600,
        log_level=log_level,
        log_form=log_form,
    )
    if invite or link is not None or unlink is not None:
        for line in admit(options, invite=invite, link=link, unlink=unlink, labels=labels):
            print(line)
        return
    serve(options, WorldClock.from_environment())
