"""Read logs of a node whose URL may lead to several, of which some lie behind.

A node that has not seen a block says nothing about it, in the same words as one that found nothing
there. So silence is believed only after the newest block of the range was seen, and for the newest
PROVEN_BLOCKS of the chain only where the header's bloom filter excludes the logs, or where a node
that has this very block says so.
"""

import threading
from typing import Any

from eth_utils import keccak

from parwana.chain.errors import NodeError, NotYet, UnknownBlock, place
from parwana.chain.rpc import Header, Rpc, patiently

PROVEN_BLOCKS = 32
WHOLE_BLOCKS = 256  # a range so short, as services read it, is proven whole
_KEPT = 256


class Logs:
    """Answer eth_getLogs, proven; any thread may ask. Raises ChainError."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._headers: dict[int, Header] = {}
        self._lock = threading.Lock()

    def ask(self, query: dict[str, Any]) -> list[Any]:
        """Return the raw logs of a query with fromBlock and toBlock, both numbers."""
        found: list[Any] = patiently(lambda: self._proven(query))
        return found

    def _proven(self, query: dict[str, Any]) -> list[Any]:
        rpc = self._rpc
        first, last = rpc.whole(query["fromBlock"]), rpc.whole(query["toBlock"])
        try:
            top = rpc.block(last)
        except UnknownBlock:
            raise self._behind(last, rpc.url) from None
        found = rpc.ask("eth_getLogs", query)
        teller = rpc.url
        if not isinstance(found, list) or not all(map(self._is_log, found)):
            raise rpc.nonsense(found)
        told = {rpc.whole(log.get("blockNumber")): log.get("blockHash") for log in found}
        wanted = _bits(query)
        newest = self._rpc.seen - PROVEN_BLOCKS + 1
        lowest = first if last - first < WHOLE_BLOCKS else max(first, newest)
        for header in self._line(top, lowest) if lowest <= last else []:
            if header.number in told:
                if rpc.octets(told[header.number]) != header.hash:
                    raise self._behind(header.number, teller)
            elif header.bloom & wanted == wanted and self._logs_of(header, query):
                raise self._behind(header.number, teller)
        return found

    def _is_log(self, log: Any) -> bool:
        """Say whether a log is whole. Raises InvalidAnswer where a part of it has no form."""
        if not isinstance(log, dict) or not isinstance(log.get("topics"), list):
            return False
        for name in ("blockNumber", "logIndex", "transactionIndex"):
            self._rpc.whole(log.get(name))
        self._rpc.octets(log.get("data"))
        words = [log.get("blockHash"), log.get("transactionHash"), *log["topics"]]
        sizes = {len(self._rpc.octets(word)) for word in words}
        return sizes == {32} and len(self._rpc.octets(log.get("address"))) == 20

    def _line(self, top: Header, lowest: int) -> list[Header]:
        """Return the headers lowest … top, each the parent of the next."""
        line = [top]
        while line[-1].number > lowest:
            below = line[-1].number - 1
            with self._lock:
                known = self._headers.get(below)
            if known is None or known.hash != line[-1].parent:
                known = self._rpc.block(below)
            if known.hash != line[-1].parent:
                raise self._behind(below, self._rpc.url)
            line.append(known)
        with self._lock:
            self._headers.update((header.number, header) for header in line)
            for number in sorted(self._headers)[:-_KEPT]:
                del self._headers[number]
        return line

    def _logs_of(self, header: Header, query: dict[str, Any]) -> bool:
        """Say whether a node that has this very block finds logs in it, or has receipts of them.

        Another contract's logs may have set the bits; or the node hides its own.
        """
        about: dict[str, Any] = {
            name: query[name] for name in ("address", "topics") if name in query
        }
        number = hex(header.number)
        try:
            by_hash = {**about, "blockHash": "0x" + header.hash.hex()}
            if self._rpc.ask("eth_getLogs", by_hash):
                return True
        except UnknownBlock:
            raise self._behind(header.number, self._rpc.url) from None
        except NodeError:  # it reads no logs by a block's hash
            by_number = {**about, "fromBlock": number, "toBlock": number}
            if self._rpc.ask("eth_getLogs", by_number):
                return True
        return self._in_receipts(header, query)

    def _in_receipts(self, header: Header, query: dict[str, Any]) -> bool:
        try:
            receipts = self._rpc.ask("eth_getBlockReceipts", hex(header.number))
        except NodeError:  # not every node has it
            return False
        try:
            return any(
                _matches(log, query)
                for receipt in receipts or ()
                if self._rpc.octets(receipt["blockHash"]) == header.hash
                for log in receipt["logs"]
            )
        except (LookupError, TypeError, AttributeError):
            raise self._rpc.nonsense(receipts) from None

    def _behind(self, number: int, url: str) -> NotYet:
        self._rpc.leave(url, f"it lacks block {number}, or what is in it")
        return NotYet(
            f"{place(url)} lies behind: it lacks block {number}, or what is in it; wait, or use "
            "another node"
        )


def _matches(log: dict[str, Any], query: dict[str, Any]) -> bool:
    """Say whether a query asks for a log. Source: execution-apis, eth_getLogs."""

    def among(value: str, wanted: Any) -> bool:
        options = wanted if isinstance(wanted, list) else [wanted]
        return wanted is None or value.lower() in [str(option).lower() for option in options]

    topics = query.get("topics") or []
    return (
        among(log["address"], query.get("address"))
        and len(topics) <= len(log["topics"])
        and all(map(among, log["topics"], topics))
    )


def _bits(query: dict[str, Any]) -> int:
    """Return the bits that a block's bloom filter has if it holds what the query asks for."""
    parts = [query.get("address"), *query.get("topics", [])]
    bits = 0
    for part in parts:
        if isinstance(part, list) and len(part) == 1:
            part = part[0]
        if isinstance(part, str):
            digest = keccak(hexstr=part)
            for at in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits
