"""Find the transaction that took a nonce: proof that ours, of the same nonce, cannot be mined."""

from typing import Any

from parwana.chain.errors import ChainError
from parwana.chain.rpc import Rpc


class SomebodyElse(Exception):
    """Another program uses the key: its transaction was mined at our nonce."""

    def __init__(self, address: str, nonce: int, transaction: str) -> None:
        super().__init__(
            f"another program uses {address}: its transaction {transaction} took nonce {nonce}"
        )


def taker(rpc: Rpc, address: str, nonce: int, before: int) -> dict[str, Any] | None:
    """Return the transaction at `nonce`, None while the node cannot show it.

    `before` is a block older than any transaction of ours at it. What was mined by then is told
    by its hash alone, "an earlier one".
    """

    def count(block: int) -> int:
        return rpc.number("eth_getTransactionCount", address, hex(block))

    try:
        low, high = before, rpc.head()
        if count(low) > nonce:
            return {"hash": "an earlier one"}
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if count(middle) > nonce else (middle, high)
        block = rpc.ask("eth_getBlockByNumber", hex(high), True)
        for found in block["transactions"]:
            if found["from"].lower() == address.lower() and rpc.whole(found["nonce"]) == nonce:
                return dict(found)
    except (ChainError, LookupError, TypeError, AttributeError):
        pass  # without the states of old blocks there is no proof
    return None
