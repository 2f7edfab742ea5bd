"""A house's account, as the logs of its PaymentLedger tell it."""

from dataclasses import dataclass, field
from typing import Any

ACCOUNT = ("Billed", "Locked", "Paid", "Refunded", "PermitPublished")


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

    def take(self, name: str, values: Any, time_s: int) -> None:
        """Take one log of the house's account, in their order."""
        if name == "Billed":
            names = ("period", "periods", "energy_wh", "amount", "due")
            self.billed.append({name: values[name] for name in names})
            self.due, self.period = values["due"], values["period"]
        elif name == "Locked":
            self.locked = {n: values[n] for n in ("payer", "amount", "period", "deadline_s")}
            self.due = 0
        elif name == "Refunded":
            self.locked = None
            self.due += values["amount"]
        elif name == "Paid":
            self.locked = None
            paid = {n: values[n] for n in ("payer", "amount", "period", "serial")}
            self.payments.append(paid | {"paid_at_s": time_s})
        elif name == "PermitPublished":
            self.permits.append({name: values[name] for name in ("serial", "period")})
