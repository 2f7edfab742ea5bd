"""`parwana withdraw`: take what the PaymentLedger credits to a key."""

import json
from typing import Annotated

import typer
from web3.logs import DISCARD
from web3.types import TxReceipt

from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import read_address
from parwana.rights.office import Office, RightError
from parwana.world.options import DeploymentFile, Json, Rpc


def withdraw(chain: Chain, ledgers: Ledgers, owner: str) -> int | None:
    """Pay out what is credited to `owner`, to it; return how much, or None.

    What an ended run withdrew counts, once. Raises ChainError.
    """
    functions = ledgers.payment.functions
    mine = chain.key is not None and chain.key.address == owner
    function, words = (functions.withdraw(), 0) if mine else (functions.withdraw_for(owner), 1)
    receipt: TxReceipt | None = None
    if chain.call(functions.credits(owner)):
        receipt = chain.send(function)
    else:
        receipt = chain.resume(function, words)
    if receipt is None:
        return None
    [log] = ledgers.payment.events.Withdrawn().process_receipt(receipt, DISCARD)
    return int(log["args"]["amount"])


def command(
    deployment: DeploymentFile,
    key: Annotated[str, typer.Option(help="Whose credit: a key file, or dev:0 to dev:31.")],
    owner_: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="ADDRESS",
            help="Pay out to another, whose credit it is and who needs no coin for it.",
        ),
    ] = "",
    show: Annotated[bool, typer.Option("--show", help="Only tell how much it is.")] = False,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Take what is credited to a key: the utility's income, or a payer's refund.

    The money goes to the key's own address, or with --for to that one.

    Example: parwana withdraw --deployment town.json --key utility.json
    """
    office = Office(deployment, key, rpc)
    owner = read_address(owner_, "--for") if owner_ else office.key.address
    credits = office.ledgers.payment.functions.credits(owner)
    amount = office.chain.call(credits) if show else withdraw(office.chain, office.ledgers, owner)
    if amount is None:
        raise RightError(f"nothing is credited to {owner}; use the key that was paid")
    if as_json:
        print(json.dumps({"account": owner, "credited" if show else "withdrawn": amount}))
    else:
        text = office.currency().text(amount)
        print(f"{text} are credited to {owner}" if show else f"withdrawn to {owner}: {text}")
