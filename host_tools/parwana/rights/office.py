"""The contracts, and one key that may do something on them."""

from pathlib import Path
from typing import Annotated

import typer
from eth_utils import to_checksum_address
from rich.console import Console
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import TxReceipt

from parwana.chain.currency import Currency, currency_of
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key, resolve
from parwana.chain.node import Chain
from parwana.chain.points import chosen

Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


class RightError(ValueError):
    """It is not this key's to do, or cannot be done now; the text says whose it is, and when."""


class Office:
    """A deployment's contracts; `key` pays and is who does it. Every method raises ChainError.

    Those of the payment chain; with `energy` those of the energy chain.
    """

    def __init__(
        self,
        file: Path,
        key: str | Key | None = None,
        rpc: list[str] | None = None,
        *,
        energy: bool = False,
    ) -> None:
        made = Deployment.load(file)
        self.deployment = made.on_energy_chain if energy else made
        self._key = resolve(key) if isinstance(key, str) else key
        self.chain = Chain.of(self.deployment, self._key, rpc)
        self.ledgers = self.chain.ledgers(self.deployment)

    @property
    def key(self) -> Key:
        """Return the key. Raises RightError if none was given."""
        if self._key is None:
            raise RightError("this needs a key: add --key FILE (or --key dev:0 on a devchain)")
        return self._key

    def currency(self) -> Currency:
        """Return what amounts are in."""
        return currency_of(self.chain, self.ledgers, self.deployment)

    def meter(self, meter: str, number: int | None) -> str:
        """Return the address that --meter or --number names. Raises PointError."""
        return chosen(meter, number, lambda: (self.chain, self.ledgers))

    def enrolled_s(self, meter: str) -> int:
        """Return when a meter was enrolled, 0 if it was not."""
        entry = self.ledgers.registry.functions.meter(to_checksum_address(meter))
        return int(self.chain.call(entry).enrolled_at_s)

    def check_utility(self, contract: Contract) -> None:
        """Raise RightError unless the key is that of a contract's utility."""
        utility = str(self.chain.call(contract.functions.utility()))
        if utility != self.key.address:
            raise RightError(f"only the utility {utility} may; --key is {self.key.address}")

    def send(self, function: ContractFunction) -> TxReceipt:
        """Send a call and wait for its receipt; nothing to see but a terminal's spinner."""
        with Console(stderr=True).status(f"waiting for the receipt of {function.fn_name}"):
            return self.chain.send(function)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be taken back. Raises RightError for a no."""
    if not yes and not typer.confirm(question):
        raise RightError("nothing was sent")
