"""What a utility fixes when it deploys, as people write it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coincurve import PublicKey

from parwana.chain.currency import NATIVE
from parwana.chain.periods import Period
from parwana.chain.tariff import OPEN_END_WH
from parwana.chain.tariff import read_tariff as read_file

# In wei: 0.00415 of the native coin a kWh up to 100 kWh a period, and rising.
DEFAULT_TARIFF = {
    "slabs": [
        {"upto_wh": 100_000, "price_per_kwh": 4_150_000 * 10**9},
        {"upto_wh": 200_000, "price_per_kwh": 5_850_000 * 10**9},
        {"upto_wh": 400_000, "price_per_kwh": 7_100_000 * 10**9},
        {"upto_wh": OPEN_END_WH, "price_per_kwh": 9_000_000 * 10**9},
    ],
    "fixed_charge": 1_000_000 * 10**9,
}


class DeployError(ValueError):
    """What was asked for cannot be deployed; the text says what to change."""


@dataclass(frozen=True)
class Terms:
    """What a utility fixes for ever. Times in seconds, the tolerance in 1/10000."""

    utility_id: str
    period: Period
    signers: list[bytes]
    threshold: int
    tariff: dict[str, Any]
    payment_window_s: int
    escrow_window_s: int
    rotation_delay_s: int
    notice_periods: int
    closing_deadline_s: int
    tolerance_bp: int
    token: str = NATIVE
    coin: str = "ETH"


def read_tariff(text: str) -> dict[str, Any]:
    """Read `default`, or a JSON file like DEFAULT_TARIFF. Raises TariffError."""
    if text == "default":
        return DEFAULT_TARIFF
    read = read_file(Path(text))
    slabs = [{"upto_wh": upto_wh, "price_per_kwh": price} for upto_wh, price in read.slabs]
    return {"slabs": slabs, "fixed_charge": read.fixed_charge}


def signer_key(text: str, option: str = "--signer") -> bytes:
    """Read a public key, 128 hex digits, 64 bytes x ‖ y. Raises DeployError."""
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
        PublicKey(b"\x04" + key)
    except ValueError:
        raise DeployError(
            f"{option} {text[:20]}…: write the 128 hex digits that `parwana key show` prints"
        ) from None
    return key
