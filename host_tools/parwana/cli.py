"""The `parwana` command: find the module of a subcommand, run it, turn known errors into one line.

A subcommand's module is imported only when it runs, as web3 and the compiler are slow to import.
It offers `command`, a function with typer's annotations, or `app`, a typer.Typer with subcommands
of its own. What an exception class of this project says is meant for the user, with --json also
as the last line of stdout; anything else is a bug and shows its traceback.
"""

import importlib
import json
import signal
import sys
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from parwana import CHECKOUT
from parwana.world.logs import redacted

COMMANDS = {
    "demo": ("parwana.demo.command", "Show a whole feeder living through three short months."),
    "flash": ("parwana.meter.flash", "Put the firmware on a meter, through its serial port."),
    "pair": (
        "parwana.meter.pair",
        "Enrol a meter and hand it its configuration and first permit.",
    ),
    "broker": ("parwana.meter.logins", "Make the files that an MQTT broker is guarded by."),
    "retire": ("parwana.meter.retire", "Take a meter and its point out of service, for ever."),
    "relay": (
        "parwana.relay.command",
        "Carry readings from the broker to the store and the chain.",
    ),
    "permits": ("parwana.meter.handover", "Sign permits for paid bills, and signed time."),
    "pay": ("parwana.pay", "Show a meter's bill and pay exactly what is due."),
    "meters": ("parwana.fleet.meters", "List the meters: state, last reading, permit, alarms."),
    "status": ("parwana.fleet.status", "Say whether all parts work, and what waits since when."),
    "fleet": (
        "parwana.loadtest.command",
        "Simulate any number of meters against a broker of your own.",
    ),
    "serve": ("parwana.web.command", "Serve pages for households, the utility and everybody."),
    "withdraw": ("parwana.rights.credit", "Take what is credited to a key: income, or a refund."),
    "signers": ("parwana.rights.signers", "Show the permit signers; replace one."),
    "ledger": (
        "parwana.rights.ledger",
        "Move meters to another PaymentLedger, also of another chain.",
    ),
    "update": ("parwana.rights.update", "Offer signed firmware to meters; see who runs it."),
    "tariff": ("parwana.rights.tariff", "Show the prices, check and announce new ones."),
    "tolerance": (
        "parwana.rights.tolerance",
        "Show or set by how much a feeder's sums may differ.",
    ),
    "raise-load": ("parwana.rights.load", "Raise the sanctioned load of a house."),
    "utility": ("parwana.rights.utility", "Show who the utility is; pass its place on."),
    "balance": (
        "parwana.audit.balance",
        "Compare what a feeder supplied with what its meters sold.",
    ),
    "losses": (
        "parwana.losses.command",
        "Say what a feeder loses and why, and where to look first.",
    ),
    "audit": (
        "parwana.audit.command",
        "Recompute everything from chain and store; name what is wrong.",
    ),
    "prove": (
        "parwana.audit.prove",
        "Prove a reading to anyone who reads the chain, or check such a proof.",
    ),
    "service": ("parwana.service", "Let systemd run a relay, a signer, pages or a bridge."),
    "homeassistant": ("parwana.homeassistant.command", "Show meters in Home Assistant."),
    "export": ("parwana.export.command", "Write readings as CSV, Green Button or Parquet."),
    "store": ("parwana.upkeep.command", "Bring a store up to date, make it smaller, copy it."),
    "deploy": ("parwana.chain.deploy", "Deploy the contracts and write the deployment file."),
    "contracts": ("parwana.chain.bundle", "Write what explorers need to verify the contracts."),
    "key": ("parwana.chain.keyfile", "Make an encrypted key file, or show whose a key is."),
    "devchain": ("parwana.devchain.command", "Run an Ethereum chain for development."),
}
OF_A_CHECKOUT = ("demo", "flash", "fleet")
# By the package that is missing.
EXTRAS = {"eth": "devchain", "vyper": "contracts", "uvicorn": "web"}
ALIASES = {"permit": "permits"}
SERVICES = (
    ["relay"],
    ["devchain"],
    ["permits", "run"],
    ["serve"],
    ["homeassistant"],
)  # end when told
_STOPPED = 130
_OURS = ("parwana", "boards", "wire")


class NotInstalled(Exception):
    """This installation lacks a part; the text says how to get it."""


class _Commands(TyperGroup):
    """All commands; Ctrl-C at a prompt is a Ctrl-C as elsewhere."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises KeyboardInterrupt for typer's Abort."""
        try:
            return super().invoke(ctx)
        except typer.Abort:
            print(file=sys.stderr)  # the prompt's line ends here
            raise KeyboardInterrupt from None


def _refuse_to_run() -> None:
    """Stand for a subcommand that is listed but was not asked for."""


def build(name: str | None) -> typer.Typer:
    """Make the application: the real subcommand `name`, and the names of all others."""
    app = typer.Typer(
        cls=_Commands,
        help="Electricity on permits: meters that sign, contracts that bill.",
        epilog="Example: parwana devchain, then parwana deploy --help",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_nothing)
    for command, (module, summary) in COMMANDS.items():
        if command != name:
            app.command(command, help=summary)(_refuse_to_run)
            continue
        found = _imported(command, module)
        if hasattr(found, "app"):
            app.add_typer(found.app, name=command)
        else:
            app.command(command)(found.command)
    return app


def _imported(command: str, module: str) -> Any:
    """Import a subcommand's module. Raises NotInstalled."""
    if command in OF_A_CHECKOUT and not CHECKOUT:
        raise NotInstalled(f"parwana {command} needs the sources: run it in a clone of them")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise NotInstalled(f"parwana {command} needs: pip install 'parwana[{extra}]'") from None


def _nothing() -> None:
    """Electricity on permits: meters that sign, contracts that bill."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 1 after one line on stderr that says what to do next.

    SIGTERM and Ctrl-C end a service with 0, whatever it does, and other commands with 130.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    given[:1] = [ALIASES.get(word, word) for word in given[:1]]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        build(given[0] if given else None)(given, prog_name="parwana")
    except KeyboardInterrupt:
        return _stopped(given)
    except SystemExit as stop:
        if stop.code == _STOPPED:  # typer's answer to Ctrl-C
            return _stopped(given)
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except OSError as error:
        told = f"{error.filename}: {error.strerror}; check it" if error.filename else str(error)
    except Exception as error:
        if not type(error).__module__.startswith(_OURS):
            raise
        told = redacted(str(error))
    else:
        return 0
    return _failed(1, told, given)


def _failed(code: int, told: str, given: list[str]) -> int:
    """Tell what happened, with --json on stdout, too; return the exit code."""
    print(f"parwana: {told}", file=sys.stderr)
    if "--json" in given:
        print(json.dumps({"ok": False, "error": told}))
    return code


def _stopped(given: list[str]) -> int:
    # Where the interrupt met code that is made of text, as dataclasses are, `python -m` would end
    # by SIGINT whatever is returned: only the next such code takes that back.
    exec("")
    if given[:1] in SERVICES or given[:2] in SERVICES:
        return 0
    return _failed(_STOPPED, "stopped; run the same line again to go on", given)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
