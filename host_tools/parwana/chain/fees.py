"""What a transaction pays for its gas: by the node's word, and more where nothing happens."""

from typing import Any

from parwana.chain.errors import NodeError
from parwana.chain.rpc import Rpc

TIP_WEI = 10**9
MOST = 10  # times the price of now: a fee does not rise beyond
NAMES = ("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas")


def market(rpc: Rpc) -> dict[str, int]:
    """Return the fields for the next blocks: EIP-1559's where blocks have a base fee.

    Neither eth_feeHistory nor eth_maxPriorityFeePerGas is needed. Raises ChainError.
    """
    base = rpc.block("latest").base_fee
    if base is None:
        return {"gasPrice": rpc.number("eth_gasPrice")}
    try:
        tip = rpc.number("eth_maxPriorityFeePerGas")
    except NodeError:
        try:
            tip = max(0, rpc.number("eth_gasPrice") - base)
        except NodeError:
            tip = TIP_WEI
    return {"maxPriorityFeePerGas": tip, "maxFeePerGas": 2 * base + tip}


def raised(fields: dict[str, Any], now: dict[str, int]) -> dict[str, Any] | None:
    """Return the fields with fees that replace them; None where that were beyond all measure.

    Nodes take a replacement whose every fee is 10 % higher, some want 12.5 %.
    """
    price = now.get("gasPrice") or now["maxFeePerGas"]
    tip = now.get("maxPriorityFeePerGas", price)
    new = dict(fields)
    for name in NAMES:
        if name in fields:
            least = tip if name == "maxPriorityFeePerGas" else price
            new[name] = max(fields[name] * 5 // 4 + 1, least)
    paid = new.get("gasPrice") or new["maxFeePerGas"]
    return None if paid > MOST * max(price, TIP_WEI) else new
