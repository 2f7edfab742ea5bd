"""`parwana pay`: show a house's bill, pay exactly what is due, say when the permit is expected."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from eth_utils import to_checksum_address
from rich.console import Console
from web3.logs import DISCARD
from web3.types import TxReceipt

from parwana.chain.account import Bill
from parwana.chain.authorised import Authorisation, AuthoriseError, authorise
from parwana.chain.currency import ERC20, NATIVE, Currency, currency_of
from parwana.chain.deployment import Deployment, Period
from parwana.chain.keys import resolve
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.chain.points import chosen
from parwana.rights.credit import withdraw
from parwana.world.clock import WorldClock
from parwana.world.options import DeploymentFile, Json, MeterAddress, PointNumber, Rpc
from parwana.world.tables import print_table, table


class PayError(ValueError):
    """There is nothing that can be paid; the text says why and what to do."""


class Payer:
    """Read and pay one house's account, by its meter's address; the chain's key pays."""

    def __init__(self, deployment: Deployment, chain: Chain, meter: str) -> None:
        self.deployment = deployment
        self.chain = chain
        self.ledgers: Ledgers = chain.ledgers(deployment)
        self.functions = self.ledgers.payment.functions
        entry = chain.call(self.ledgers.registry.functions.meter(meter))
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
        logs = self.chain.logs(events.PermitPublished, first, meter=self.meter)
        for event in (events.Billed, events.Paid):
            logs += self.chain.logs(event, first, number=self.number)
        found = Bill(meter=self.meter, number=self.number, due=0, period=0)
        for log in sorted(logs, key=lambda log: (log["blockNumber"], log["logIndex"])):
            paid = log["event"] == "Paid"
            time_s = self.chain.block_time_s(log["blockNumber"]) if paid else 0
            found.take(log["event"], log["args"], time_s)
        found.due, found.period = account.due, account.period
        found.locked = locked._asdict() if locked.amount else None
        return found

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
        [log] = self.ledgers.payment.events.Locked().process_receipt(receipt, DISCARD)
        return {**log["args"], "transaction": "0x" + bytes(receipt["transactionHash"]).hex()}

    def authorise(self, until_s: int) -> Authorisation:
        """Sign the payment of what is due, for anybody to send until `until_s`.

        Raises PayError, AuthoriseError, ChainError.
        """
        if self.chain.key is None:
            raise PayError("signing needs the payer's key: add --key FILE")
        account = self.chain.call(self.functions.account(self.meter))
        if account.due == 0:
            raise PayError("nothing is due; a relay bills what was closed, look again later")
        what = (self.meter, account.period, account.due, until_s)
        return authorise(self.chain, self.ledgers, self.chain.key, *what)

    def submit(self, signed: Authorisation) -> dict[str, Any]:
        """Send a payment that somebody signed; return the logged lock.

        One that an ended run sent is not sent again. Raises PayError, AuthoriseError, ChainError.
        """
        function = signed.function(self.ledgers)
        before = self.chain.resume(function, len(function.arguments))
        if before is not None:
            return self._locked(before)
        account = self.chain.call(self.functions.account(self.meter))
        if self.chain.call(self.functions.locked(self.meter)).amount:
            raise PayError("a payment waits for its permit already; see: parwana pay --status")
        if account.due == 0:
            raise PayError("nothing is due")
        again = "let the payer sign again: parwana pay --authorise"
        if (signed.meter, signed.period, signed.amount) != (
            self.meter, account.period, account.due
        ):  # fmt: skip
            raise AuthoriseError(
                f"the payment is of {signed.amount} units for period {signed.period} by meter "
                f"{signed.meter}; {account.due} are due for period {account.period} by meter "
                f"{self.meter}: {again}"
            )
        if self.chain.block_time_s() >= signed.until_s:
            raise AuthoriseError(f"the payment is too old, it was to be sent before: {again}")
        try:
            return self._locked(self.chain.send(function))
        except Reverted as error:
            raise AuthoriseError(
                f"the token or the ledger refuses the payment ({error.reason}): its payer has "
                f"spent the money, or the file was altered; {again}"
            ) from error

    def refund(self) -> int:
        """Take an unclaimed payment back after its window; return what was paid out."""
        if self.chain.call(self.functions.locked(self.meter)).amount:
            self.chain.send(self.functions.refund(self.number))
        owner = to_checksum_address(self.chain.key.address) if self.chain.key else NATIVE
        amount = withdraw(self.chain, self.ledgers, owner)
        if amount is None:
            raise PayError(f"nothing is credited to {owner}; use the key that paid")
        return amount

    def _approve(self, amount: int) -> None:
        token = self.chain.w3.eth.contract(address=to_checksum_address(self.token), abi=ERC20)
        if self.chain.key is None:
            raise PayError("paying needs a key: add --key FILE")
        owner = to_checksum_address(self.chain.key.address)
        spender = self.ledgers.payment.address
        if self.chain.call(token.functions.allowance(owner, spender)) < amount:
            self.chain.send(token.functions.approve(spender, amount))

    def currency(self) -> Currency:
        """Return the currency's name and decimals, for people."""
        return currency_of(self.chain, self.ledgers, self.deployment)


def command(
    deployment: DeploymentFile,
    meter: MeterAddress = "",
    number: PointNumber = None,
    key: Annotated[
        str | None, typer.Option(help="Who pays: a key file, or dev:0 to dev:31. None: only look.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Only show bills, payments and permits.")
    ] = False,
    refund: Annotated[
        bool, typer.Option("--refund", help="Take back a payment that nobody claimed in time.")
    ] = False,
    authorise_to: Annotated[
        Path | None,
        typer.Option(
            "--authorise",
            metavar="FILE",
            help="Sign the payment into FILE, for anybody to send: the payer needs no coin. "
            "Where the utility is paid in a token.",
        ),
    ] = None,
    valid_hours: Annotated[
        int, typer.Option(min=1, max=24 * 366, help="How long a signed payment can be sent.")
    ] = 72,
    submit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Send a payment that somebody signed; --key pays the gas."
        ),
    ] = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Show a house's bill; with --key pay exactly what is due. The permit follows by itself.

    Example: parwana pay --deployment build/demo/deployment.json --number 17 --key me.json
    """
    made = Deployment.load(deployment)
    if sum(map(bool, (status, refund, authorise_to, submit))) > 1:
        raise PayError("give --status, --refund, --authorise or --submit, one of them")
    signed = Authorisation.read(submit, made) if submit else None
    chain = Chain.of(made, resolve(key) if key else None, rpc)
    if signed and not meter and number is None:
        meter = signed.meter
    payer = Payer(made, chain, chosen(meter, number, lambda: (chain, chain.ledgers(made))))
    console = Console(stderr=True)
    done: dict[str, Any] = {}
    if key and refund:
        with console.status("waiting for the refund's receipt"):
            done["refunded"] = payer.refund()
    elif authorise_to:
        until_s = chain.block_time_s() + 3600 * valid_hours
        signed = payer.authorise(until_s)
        signed.write(authorise_to)
        done["authorised"] = {"file": str(authorise_to), "until_s": until_s}
    elif signed:
        with console.status("waiting for the payment's receipt"):
            done["paid"] = payer.submit(signed)
    elif key and not status:
        with console.status("waiting for the bill") as waiting:
            payer.settle()
            waiting.update("waiting for the payment's receipt")
            done["paid"] = payer.pay()
    bill = payer.bill()
    if as_json:
        print(json.dumps({**asdict(bill), **done}))
        return
    currency = payer.currency()
    _show(bill, made.periods, currency)
    if "refunded" in done:
        print(f"refunded: {currency.text(done['refunded'])}")
    if "authorised" in done:
        until = datetime.fromtimestamp(done["authorised"]["until_s"], UTC)
        print(
            f"signed: {currency.text(bill.due)}, in {authorise_to}. Whoever has a key with coin "
            f"sends it by {until:%Y-%m-%d %H:%M} UTC: parwana pay --submit {authorise_to} --key …"
        )
    if "paid" in done:
        deadline = datetime.fromtimestamp(done["paid"]["deadline_s"], UTC)
        print(
            f"paid {currency.text(done['paid']['amount'])}. The permit is expected as "
            "soon as the payment is final and the signers signed; the meter takes it by itself.\n"
            f"If it is not there by {deadline:%Y-%m-%d %H:%M} UTC: parwana pay --refund"
        )


def _show(bill: Bill, periods: Period, currency: Currency) -> None:
    columns = ("period", "energy", "amount", "paid", "permit")
    shown = table(f"Meter {bill.meter}, point {bill.number}", *columns)
    paid = {payment["period"]: payment for payment in bill.payments}
    for entry in bill.billed[-12:]:
        payment = paid.get(entry["period"])
        when = datetime.fromtimestamp(payment["paid_at_s"], UTC) if payment else None
        shown.add_row(
            periods.text(entry["period"]),
            f"{entry['energy_wh'] / 1000:.3f} kWh",
            currency.text(entry["amount"]),
            f"{when:%Y-%m-%d %H:%M}" if when else "-",
            str(payment["serial"]) if payment else "-",
        )
    print_table(shown)
    print(f"due now: {currency.text(bill.due)}")
    if bill.locked:
        left = bill.locked["deadline_s"] - int(WorldClock.from_environment().now())
        print(
            f"locked: {currency.text(bill.locked['amount'])}, waits for its permit; "
            f"refundable in {max(0, left) / 3600:.1f} h"
        )
