"""What a wallet needs to pay a bill, and what a phone needs to carry a permit, as codes."""

import io
from dataclasses import dataclass

import segno

import wire
from parwana.chain.account import Bill
from parwana.chain.currency import NATIVE
from parwana.web.site import Site

_SCALE = 4
_QUIET = 4  # modules. Source: ISO/IEC 18004, 9.1


@dataclass(frozen=True)
class Payment:
    """The call that pays a bill: PaymentLedger.pay(meter, due); `token`: "" for the coin."""

    chain_id: int
    ledger: str
    meter: str
    due: int
    token: str

    @property
    def uri(self) -> str:
        """Return it as a wallet scans it, "" where a token must be approved first.

        Source: EIP-681.
        """
        if self.token:
            return ""
        call = f"address={self.meter}&uint256={self.due}&value={self.due}"
        return f"ethereum:{self.ledger}@{self.chain_id}/pay?{call}"


def payment(site: Site, bill: Bill) -> Payment | None:
    """Return how to pay what is due, None when nothing is, or one waits."""
    if not bill.due or bill.locked or not site.outlook.token:
        return None
    made, token = site.deployment, site.outlook.token
    return Payment(
        made.chain_id,
        made.payment_ledger,
        bill.meter,
        bill.due,
        "" if token == NATIVE else token,
    )


def code(text: str) -> bytes:
    """Return a QR code as an SVG file, black on white whatever the page's colours are."""
    made, drawn = segno.make_qr(text, error="m" if len(text) < 300 else "l"), io.BytesIO()
    made.save(drawn, kind="svg", scale=_SCALE, border=_QUIET, light="#fff")
    return drawn.getvalue()


def carried(bundle: bytes) -> str:
    """Return a permit as text for a meter's console. Source: docs/protocol.md, 8."""
    return str(wire.pack_text(bundle))
