"""The development chain's blocks, in memory: headers, transactions and what they logged."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth_utils import keccak, to_checksum_address
from rlp import encode as rlp_encode  # type: ignore[import-untyped]


class Blocks:
    """All blocks from the genesis to the head."""

    def __init__(self) -> None:
        self.headers: list[BlockHeaderAPI] = []
        self._numbers: dict[bytes, int] = {}
        self._transactions: dict[bytes, tuple[int, SignedTransactionAPI, dict[str, Any]]] = {}
        self._logs: list[dict[str, Any]] = []

    def add(self, block: Any, receipts: Iterable[Any]) -> None:
        """Take the block above the head, and its receipts."""
        number, before = block.number, 0
        self.headers.append(block.header)
        self._numbers[block.hash] = number
        pairs = zip(block.transactions, receipts, strict=True)
        for index, (transaction, receipt) in enumerate(pairs):
            place = {
                "transactionHash": transaction.hash,
                "transactionIndex": index,
                "blockHash": block.hash,
                "blockNumber": number,
            }
            logs = [
                {
                    **place,
                    "address": to_checksum_address(log.address),
                    "data": log.data,
                    "topics": [topic.to_bytes(32, "big") for topic in log.topics],
                    "logIndex": n,
                    "removed": False,
                }
                for n, log in enumerate(receipt.logs)
            ]
            made = None
            if transaction.to == b"":
                made = keccak(rlp_encode([transaction.sender, transaction.nonce]))[12:]
            self._logs += logs
            self._transactions[transaction.hash] = (
                number,
                transaction,
                {
                    **place,
                    "from": to_checksum_address(transaction.sender),
                    "to": to_checksum_address(transaction.to) if transaction.to else None,
                    "contractAddress": to_checksum_address(made) if made else None,
                    "cumulativeGasUsed": receipt.gas_used,
                    "gasUsed": receipt.gas_used - before,
                    "effectiveGasPrice": effective_price(transaction, block.header),
                    "logs": logs,
                    "logsBloom": receipt.bloom.to_bytes(256, "big"),
                    "status": int.from_bytes(receipt.state_root, "big"),
                    "type": getattr(transaction, "type_id", 0) or 0,
                },
            )
            before = receipt.gas_used

    def drop(self, number: int) -> None:
        """Forget every block above `number`."""
        del self.headers[number + 1 :]
        self._numbers = {key: n for key, n in self._numbers.items() if n <= number}
        self._transactions = {key: t for key, t in self._transactions.items() if t[0] <= number}
        self._logs = [log for log in self._logs if log["blockNumber"] <= number]

    def number_of(self, block_hash: bytes) -> int | None:
        """Return the number of a block of this chain, None when there is none."""
        return self._numbers.get(block_hash)

    def transaction(self, key: bytes) -> tuple[int, SignedTransactionAPI, dict[str, Any]] | None:
        """Return (block number, transaction, receipt) by the transaction's hash."""
        return self._transactions.get(key)

    def logs(self, first: int, last: int) -> list[dict[str, Any]]:
        """Return every log of the blocks first … last."""
        start = bisect_left(self._logs, first, key=lambda log: log["blockNumber"])
        stop = bisect_left(self._logs, last + 1, key=lambda log: log["blockNumber"])
        return self._logs[start:stop]


def effective_price(transaction: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    """Return the wei per gas that a transaction paid in the block of `header`."""
    tip = transaction.max_priority_fee_per_gas
    return min(transaction.max_fee_per_gas, (header.base_fee_per_gas or 0) + tip)
