"""The record of a house's payments: one digest on the chain proves what was logged."""

from typing import Any

from eth_abi import encode
from eth_utils import keccak

EMPTY = bytes(24)


def extended(digest: bytes, paid: Any) -> bytes:
    """Return the 24-byte digest of a record after one more `Paid`, from EMPTY on."""
    types = ["uint256", "address", "address", "uint256", "uint256", "uint256"]
    names = ("meter", "payer", "amount", "period", "serial")
    return keccak(encode(types, [int.from_bytes(digest), *(paid[name] for name in names)]))[:24]
