"""`parwana pay`: show a house's bill, pay exactly what is due, say when the permit is expected."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from eth_utils import is_hex_address, to_checksum_address
from rich.console import Console
from rich.table import Table
from web3.types import TxReceipt

from parwana.chain.deployment import Deployment
from parwana.chain.keys import resolve
from parwana.chain.node import Chain, ChainError, Ledgers
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, Rpc

NATIVE = "0x" + "00" * 20
# What an ERC-20 needs here. Source: EIP-20.
_ERC20: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": name,
        "stateMutability": mutability,
        "inputs": [{"name": f"a{i}", "type": kind} for i, kind in enumerate(inputs)],
        "outputs": [{"name": "", "type": output}],
    }
    for name, mutability, inputs, output in (
        ("approve", "nonpayable", ("address", "uint256"), "bool"),
        ("allowance", "view", ("address", "address"), "uint256"),
        ("symbol", "view", (), "string"),
        ("decimals", "view", (), "uint8"),
    )
]


class PayError(ValueError):
    """There is nothing that can be paid; the text says why and what to do."""


@dataclass
class Bill:
    """What a house owes, in the currency's smallest unit, and what it was billed last."""

    meter: str
    number: int
    due: int
    period: int
    billed: list[dict[str, Any]] = field(default_factory=list)
    locked: dict[str, Any] | None = None
    payments: list[dict[str, Any]] = field(default_factory=list)
    permits: list[dict[str, Any]] = field(default_factory=list)


class Payer:
    """Read and pay one house's account; the chain's key pays."""

    def __init__(self, deployment: Deployment, chain: Chain, meter: str) -> None:
        self.deployment = deployment
        self.chain = chain
        self.ledgers: Ledgers = chain.ledgers(deployment)
        self.functions = self.ledgers.payment.functions
        entry = chain.call(self.ledgers.registry.functions.meter(read_address(meter)))
        if entry.kind != 1:
            raise PayError(f"meter {meter} is no enrolled house; check its label")
        self.number = int(entry.number)
        self.meter = str(chain.call(self.ledgers.registry.functions.meter_of(entry.number)))
        self.token = str(chain.call(self.functions.token()))

    def settle(self) -> bool:
        """Bill what was closed since the last bill; return whether a transaction was needed."""
        account = self.chain.call(self.functions.account(self.meter))
        closing = self.chain.call(self.ledgers.energy.functions.closing(self.meter))
        if not closing.time_s or account.period >= closing.period:
            return False
        self.chain.send(self.functions.settle(self.meter))
        return True

    def bill(self) -> Bill:
        """Read the whole account: bills, what is due, what is locked, payments, permits."""
        account = self.chain.call(self.functions.account(self.meter))
        locked = self.chain.call(self.functions.locked(self.meter))
        first, events = self.deployment.from_block, self.ledgers.payment.events
        names = ("period", "periods", "energy_wh", "amount", "due")
        bills = self.chain.logs(events.Billed, first, number=self.number)
        permits = self.chain.logs(events.PermitPublished, first, meter=self.meter)
        return Bill(
            meter=self.meter,
            number=self.number,
            due=account.due,
            period=account.period,
            billed=[{name: log["args"][name] for name in names} for log in bills],
            locked=locked._asdict() if locked.amount else None,
            payments=[
                self.chain.call(self.functions.payments(self.meter, index))._asdict()
                for index in range(account.payments)
            ],
            permits=[
                {name: log["args"][name] for name in ("serial", "period")} for log in permits
            ],
        )

    def pay(self) -> dict[str, Any]:
        """Lock exactly what is due; return the logged lock. Raises PayError, ChainError.

        A payment that an ended run sent is the one: it is not made again.
        """
        before = self.chain.resume(self.functions.pay(self.meter, 0), 1)
        account = self.chain.call(self.functions.account(self.meter))
        locked = self.chain.call(self.functions.locked(self.meter)).amount
        if before is not None and (locked or account.due == 0):
            return self._locked(before)
        if locked:
            raise PayError("a payment waits for its permit already; see: parwana pay --status")
        if account.due == 0:
            raise PayError("nothing is due")
        value = account.due if self.token == NATIVE else 0
        if not value:
            self._approve(account.due)
        return self._locked(
            self.chain.send(self.functions.pay(self.meter, account.due), value=value)
        )

    def _locked(self, receipt: TxReceipt) -> dict[str, Any]:
        [log] = self.ledgers.payment.events.Locked().process_receipt(receipt)
        return {**log["args"], "transaction": "0x" + bytes(receipt["transactionHash"]).hex()}

    def refund(self) -> int:
        """Take an unclaimed payment back after its window; return what was paid out."""
        if self.chain.call(self.functions.locked(self.meter)).amount:
            self.chain.send(self.functions.refund(self.number))
        owner = to_checksum_address(self.chain.key.address) if self.chain.key else NATIVE
        credit = int(self.chain.call(self.functions.credits(owner)))
        if credit:
            receipt: TxReceipt | None = self.chain.send(self.functions.withdraw())
        else:
            receipt = self.chain.resume(self.functions.withdraw(), 0)
        if receipt is None:
            raise PayError(f"nothing is credited to {owner}; use the key that paid")
        [log] = self.ledgers.payment.events.Withdrawn().process_receipt(receipt)
        return int(log["args"]["amount"])

    def _approve(self, amount: int) -> None:
        token = self.chain.w3.eth.contract(address=to_checksum_address(self.token), abi=_ERC20)
        if self.chain.key is None:
            raise PayError("paying needs a key: add --key FILE")
        owner = to_checksum_address(self.chain.key.address)
        spender = self.ledgers.payment.address
        if self.chain.call(token.functions.allowance(owner, spender)) < amount:
            self.chain.send(token.functions.approve(spender, amount))

    def currency(self) -> tuple[str, int]:
        """Return the currency's name and decimals, for people."""
        if self.token == NATIVE:
            return "coin", 18
        token = self.chain.w3.eth.contract(address=to_checksum_address(self.token), abi=_ERC20)
        try:
            symbol, decimals = token.functions.symbol, token.functions.decimals
            return str(self.chain.call(symbol())), int(self.chain.call(decimals()))
        except ChainError:
            return "units", 0


def read_address(text: str) -> Any:
    """Return a meter's address with its checksum. Raises PayError."""
    if not is_hex_address(text):
        raise PayError(f"--meter {text}: write the 40 hex digits on the meter's label")
    return to_checksum_address("0x" + text.lower().removeprefix("0x"))


def command(
    deployment: DeploymentFile,
    meter: Annotated[str, typer.Option(help="The meter's address, 40 hex digits.")],
    key: Annotated[
        str | None, typer.Option(help="Who pays: a key file, or dev:0 to dev:31. None: only look.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Only show bills, payments and permits.")
    ] = False,
    refund: Annotated[
        bool, typer.Option("--refund", help="Take back a payment that nobody claimed in time.")
    ] = False,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show a house's bill; with --key pay exactly what is due. The permit follows by itself.

    Example: parwana pay --deployment build/demo/deployment.json --meter 0x… --key me.json
    """
    made = Deployment.load(deployment)
    payer = Payer(made, Chain.of(made, resolve(key) if key else None, rpc), meter)
    console = Console(stderr=True)
    done: dict[str, Any] = {}
    if key and refund:
        with console.status("waiting for the refund's receipt"):
            done["refunded"] = payer.refund()
    elif key and not status:
        with console.status("waiting for the bill") as waiting:
            payer.settle()
            waiting.update("waiting for the payment's receipt")
            done["paid"] = payer.pay()
    bill = payer.bill()
    if as_json:
        print(json.dumps({**asdict(bill), **done}))
        return
    _show(bill, payer.currency())
    if "refunded" in done:
        print(f"refunded: {_money(done['refunded'], payer.currency())}")
    if "paid" in done:
        deadline = datetime.fromtimestamp(done["paid"]["deadline_s"], UTC)
        print(
            f"paid {_money(done['paid']['amount'], payer.currency())}. The permit is expected as "
            "soon as the payment is final and the signers signed; the meter takes it by itself.\n"
            f"If it is not there by {deadline:%Y-%m-%d %H:%M} UTC: parwana pay --refund"
        )


def _money(amount: int, currency: tuple[str, int]) -> str:
    symbol, decimals = currency
    whole, part = divmod(amount, 10**decimals)
    text = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{whole}{'.' + text if text else ''} {symbol}"


def _show(bill: Bill, currency: tuple[str, int]) -> None:
    table = Table(title=f"Meter {bill.meter}, point {bill.number}", title_justify="left")
    for name in ("period", "energy", "amount", "paid", "permit"):
        table.add_column(name, justify="right")
    paid = {payment["period"]: payment for payment in bill.payments}
    for entry in bill.billed[-12:]:
        payment = paid.get(entry["period"])
        when = datetime.fromtimestamp(payment["paid_at_s"], UTC) if payment else None
        table.add_row(
            str(entry["period"]),
            f"{entry['energy_wh'] / 1000:.3f} kWh",
            _money(entry["amount"], currency),
            f"{when:%Y-%m-%d %H:%M}" if when else "-",
            str(payment["serial"]) if payment else "-",
        )
    Console().print(table)
    print(f"due now: {_money(bill.due, currency)}")
    if bill.locked:
        left = bill.locked["deadline_s"] - int(WorldClock.from_environment().now())
        print(
            f"locked: {_money(bill.locked['amount'], currency)}, waits for its permit; "
            f"refundable in {max(0, left) / 3600:.1f} h"
        )
