"""What a transaction pays for its gas: by the node's word, and more where nothing happens."""

from typing import Any

from parwana.chain.errors import ChainError, NodeError
from parwana.chain.limits import UNLIMITED, Limits
from parwana.chain.presets import UNKNOWN, Preset
from parwana.chain.rpc import Rpc

TIP_WEI = 10**9
MOST = 10  # times the price of now: a fee does not rise beyond
GWEI = 10**9
NAMES = ("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas")
ORACLE = "0x420000000000000000000000000000000000000F"  # of every OP Stack chain
_GET_L1_FEE = "0x49948e0e"  # getL1Fee(bytes)


def market(rpc: Rpc, rules: Preset = UNKNOWN) -> dict[str, int]:
    """Return the fields for the next blocks: EIP-1559's where blocks have a base fee.

    Neither eth_feeHistory nor eth_maxPriorityFeePerGas is needed. Raises ChainError.
    """
    base = rpc.block("latest").base_fee
    if base is None:
        return {"gasPrice": max(rules.least_tip_wei, rpc.number("eth_gasPrice"))}
    try:
        tip = rpc.number("eth_maxPriorityFeePerGas")
    except NodeError:
        try:
            tip = max(0, rpc.number("eth_gasPrice") - base)
        except NodeError:
            tip = TIP_WEI
    tip = max(rules.least_tip_wei, tip)
    return {"maxPriorityFeePerGas": tip, "maxFeePerGas": 2 * base + tip}


def offer(rpc: Rpc, rules: Preset, limits: Limits) -> dict[str, int]:
    """Return what is offered now: the market's fee, within the limit. Raises ChainError."""
    fields = market(rpc, rules)
    most = limits.gas_wei
    if most is None or price(fields) <= most:
        return fields
    # A base fee is doubled in `market`, for blocks to come: half of it may do.
    tip = fields.get("maxPriorityFeePerGas", 0)
    least = (price(fields) - tip) // 2 + tip if tip else price(fields)
    if least > most:
        raise ChainError(
            f"not sent: gas costs {least / GWEI:.3g} gwei now, more than --fee-cap "
            f"{most / GWEI:.6g}; it goes on when it is cheaper, or with a higher one"
        )
    return {name: min(most, wei) for name, wei in fields.items()}


def price(fields: dict[str, Any]) -> int:
    """Return the most, in wei, that a unit of gas costs."""
    return int(fields.get("gasPrice") or fields["maxFeePerGas"])


def raised(
    fields: dict[str, Any], now: dict[str, int], limits: Limits = UNLIMITED
) -> dict[str, Any] | None:
    """Return the fields with fees that replace them; None where that were beyond all measure.

    Nodes take a replacement whose every fee is 10 % higher, some want 12.5 %.
    """
    least = price(now)
    tip = now.get("maxPriorityFeePerGas", least)
    new = dict(fields)
    for name in NAMES:
        if name in fields:
            wanted = tip if name == "maxPriorityFeePerGas" else least
            new[name] = max(fields[name] * 5 // 4 + 1, wanted)
    most = MOST * max(least, TIP_WEI)
    if limits.gas_wei is not None:
        most = min(most, limits.gas_wei)
    return None if price(new) > most else new


def most_wei(rpc: Rpc, rules: Preset, fields: dict[str, Any], raw: str) -> int:
    """Return the most that a signed transaction takes from its account. Raises ChainError."""
    return fields["gas"] * price(fields) + fields["value"] + l1_fee(rpc, rules, raw)


def l1_fee(rpc: Rpc, rules: Preset, raw: str) -> int:
    """Return what a rollup charges for a transaction's bytes now, 0 elsewhere.

    It moves with the other chain's price until the transaction is mined: a quarter more is held.
    Source: OP Stack specification, Fjord, L1-cost fees.
    """
    if not rules.l1_fee:
        return 0
    size = len(raw) // 2 - 1
    data = raw[2:].ljust(-(-size // 32) * 64, "0")
    call = {"to": ORACLE, "data": f"{_GET_L1_FEE}{32:064x}{size:064x}{data}"}
    return rpc.number("eth_call", call, "latest") * 5 // 4


def paid_wei(fields: dict[str, Any], receipt: Any) -> int | None:
    """Return what a mined transaction took from its account, None where a node does not say."""
    try:
        used, each = int(receipt["gasUsed"]), int(receipt["effectiveGasPrice"])
        on_l1 = receipt.get("l1Fee") or 0
        extra = int(on_l1, 16) if isinstance(on_l1, str) else int(on_l1)
    except (LookupError, TypeError, ValueError):
        return None
    value = fields["value"] if receipt.get("status") == 1 else 0
    return used * each + extra + int(value)
