"""Read a chain so that it never goes back: not behind what we wrote, nor by weaker finality."""

import time
from collections.abc import Callable
from typing import Any

from web3 import Web3
from web3.exceptions import TransactionNotFound
from web3.types import TxReceipt

from parwana.chain.errors import NotYet, UnknownBlock, place
from parwana.chain.rpc import Rpc, patiently

BEHIND_S = 2.0
_RECENT = 32  # blocks after one of ours in which a node may still lie behind it


def there(attempt: Callable[[], Any]) -> Any:
    """Return what is read of a block that is there, at a node that may not have it yet."""

    def known() -> Any:
        try:
            return attempt()
        except UnknownBlock as error:
            raise NotYet(f"{error}: it lies behind; try again") from None

    return patiently(known)


class Reader:
    """Blocks, counts and receipts of one chain, for any thread. Every method raises ChainError.

    `finality`: "finalized", the chain's own word, or how many blocks behind the head are final.
    """

    def __init__(self, rpc: Rpc, w3: Web3, finality: str | int) -> None:
        self.rpc = rpc
        self._w3 = w3
        self.finality = finality
        self.written: tuple[int, list[str]] | None = None

    def finalized_block(self) -> int:
        """Return the newest final block's number. No error makes it a weaker one."""
        try:
            if not self.rpc.several:
                return self._final()
            return self._agreed()
        except UnknownBlock as error:
            raise UnknownBlock(
                f"{error}: which block is final? If the node is new, wait; if its chain has no "
                "finality of its own, say how many blocks make it final: parwana deploy "
                '--finality 64, or "finality": {"blocks": 64} in the deployment file'
            ) from None

    def _final(self) -> int:
        if isinstance(self.finality, int):
            return max(0, self.rpc.head() - self.finality)
        return self.rpc.block("finalized").number

    def _agreed(self) -> int:
        """Return the newest block that is final to each of several nodes that answers.

        They must agree on which block it is: one that lies, or is of another fork, is no quorum.
        """
        rpc = self.rpc
        if isinstance(self.finality, int):
            heads = rpc.each(rpc.whole, "eth_blockNumber").values()
            final = max(0, min(heads) - self.finality)
        else:
            found = rpc.each(rpc.header, "eth_getBlockByNumber", "finalized", False).values()
            final = min(header.number for header in found)
        blocks = rpc.each(rpc.header, "eth_getBlockByNumber", hex(final), False)
        if len({block.hash for block in blocks.values()}) > 1:
            told = ", ".join(f"{place(url)}: {b.hash.hex()[:16]}" for url, b in blocks.items())
            raise NotYet(
                f"the nodes do not agree on block {final} ({told}): one is of another fork, or "
                "lies; take it out of --rpc"
            )
        return final

    def head(self) -> int:
        """Return the newest block's number, no older one than of our last receipt."""
        head = self.rpc.head()
        written = self.written
        if written is None:
            return head
        number, hashes = written
        until_s = time.monotonic() + BEHIND_S
        while head < number:
            if time.monotonic() > until_s:
                if self.receipt(hashes) is None:
                    break  # the chain was reorganised
                raise NotYet(
                    f"{place(self.rpc.url)} is at block {head}, our transaction in {number}: it "
                    "lies behind; try again"
                )
            time.sleep(0.1)
            head = self.rpc.head()
        if not number <= head <= number + _RECENT and self.written is written:
            self.written = None
        return head

    def newest(self) -> int | str:
        """Name the newest block, so that a node behind our last receipt, or behind another node,
        cannot answer for it.
        """
        return self.head() if self.written is not None or self.rpc.several else "latest"

    def count(self, address: str, block: int | str) -> int:
        """Return how many transactions of an address are mined up to a block."""
        tag = hex(block) if isinstance(block, int) else block
        return int(there(lambda: self.rpc.number("eth_getTransactionCount", address, tag)))

    def receipt(self, hashes: list[str]) -> TxReceipt | None:
        """Return the receipt of one of these transactions, None if none is mined."""
        for key in hashes:
            try:
                found = self._w3.eth.get_transaction_receipt(key)  # type: ignore[arg-type]
            except TransactionNotFound:
                continue
            except (TypeError, ValueError, AttributeError):
                raise self.rpc.nonsense("no receipt") from None
            if "0x" + bytes(found.get("transactionHash", b"")).hex() != key:
                raise self.rpc.nonsense("another transaction's receipt")
            if found.get("blockNumber") is not None and found.get("status") is not None:
                return found
        return None

    def remember(self, block: int, hashes: list[str]) -> None:
        """From now on read nothing older than the block where one of our transactions is."""
        if self.written is None or self.written[0] <= block:
            self.written = block, hashes
