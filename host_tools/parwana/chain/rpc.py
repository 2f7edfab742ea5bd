"""JSON-RPC over HTTP: ask one of several nodes, wait out what passes, believe no odd answer.

The first node is asked; while it fails, the next. What one says that lies behind another is not
taken for the newest (docs/nodes.md).
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from parwana.chain import faults
from parwana.chain.errors import (
    ChainError,
    InvalidAnswer,
    NodeError,
    Passing,
    UnknownBlock,
    place,
)
from parwana.chain.nodes import Node, in_turn

PAUSE_S = 0.1
PAUSE_MOST_S = 4.0
COMPARE_S = 15.0  # how often the heads of several nodes are compared
LAG_BLOCKS = 4  # a node that is so far behind another is asked last
_QUANTITY = re.compile(r"0x[0-9a-fA-F]+")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
log = logging.getLogger("parwana.chain")


@dataclass(frozen=True)
class Header:
    """What we read of a block. What else a chain puts there (extraData) may have any form."""

    number: int
    hash: bytes
    parent: bytes
    time_s: int
    base_fee: int | None
    bloom: int
    gas_limit: int  # 0: the node does not say


class Rpc:
    """Ask the nodes of one chain, from any thread. Every method raises ChainError."""

    def __init__(self, urls: str | Sequence[str], timeout_s: float) -> None:
        self.nodes = [Node(url) for url in ([urls] if isinstance(urls, str) else urls)]
        self._timeout_s = timeout_s
        self._own = threading.local()
        self._chain_id: int | None = None
        self._compared_s = -COMPARE_S
        self.seen = 0  # the newest block that was ever heard of

    @property
    def several(self) -> bool:
        """Say whether there is more than one node."""
        return len(self.nodes) > 1

    @property
    def url(self) -> str:
        """Return the URL that this thread asked last."""
        return str(getattr(self._own, "url", self.nodes[0].url))

    def of_chain(self, chain_id: int | None) -> int:
        """Return which chain the nodes are of; `chain_id`, unless None, must be it."""
        wanted = self.number("eth_chainId") if chain_id is None else chain_id
        for node in self.nodes:
            try:
                found = self._chain_of(node)
            except ChainError:
                continue  # it is asked before it is believed
            if found != wanted:
                raise ChainError(
                    f"{place(node.url)} is chain {found}, not {wanted}; give another --rpc"
                )
        self._chain_id = wanted
        if not any(node.right for node in self.nodes):
            self.number("eth_chainId")
        return wanted

    def _is_right(self, node: Node) -> bool:
        return self._chain_of(node) == self._chain_id

    def _chain_of(self, node: Node) -> int:
        found = self.whole(self._post(node, "eth_chainId", ()))
        node.right = self._chain_id in (None, found)
        return found

    def _post(self, node: Node, method: str, params: Sequence[Any]) -> Any:
        """Return what one node answers."""
        unchecked = node.right is None and self._chain_id is not None
        if unchecked and method != "eth_chainId" and not self._is_right(node):
            log.error("%s is of another chain than %s", place(node.url), self._chain_id)
        if node.right is False:
            raise InvalidAnswer(f"{place(node.url)} is another chain's; give another --rpc")
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        self._own.url = node.url
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = self._own.session.post(
                node.url, json=request, timeout=self._timeout_s, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:  # ValueError: no URL at all
            raise faults.silent(node.url, type(error).__name__) from None
        return faults.result_of(
            method, node.url, answer.status_code, answer.headers, answer.content
        )

    def once(self, method: str, *params: Any) -> Any:
        """Return a result, asked for one time of one node: who moves money must know how often."""
        node = in_turn(self.nodes)[0]
        try:
            return self._post(node, method, params)
        except Passing as error:
            self._leave(node, error)
            raise

    def _leave(self, node: Node, error: ChainError) -> None:
        if self.several:
            node.leave(str(error), getattr(error, "after_s", 0.0))

    def leave(self, url: str, why: str) -> None:
        """Ask the node at `url` last for a while: what it said does not fit."""
        for node in self.nodes:
            if node.url == url and self.several:
                node.leave(why)

    def _read(self, read: Callable[[Any], Any], method: str, params: Sequence[Any]) -> Any:
        """Return what `read` makes of an answer; of the next node's, where one has none."""
        worst: ChainError | None = None
        nothing = False
        for node in in_turn(self.nodes):
            try:
                found = read(self._post(node, method, params))
            except (Passing, UnknownBlock, NodeError) as error:
                if isinstance(error, Passing):
                    self._leave(node, error)
                # One that may pass says less than one that will not: it is asked again.
                if worst is None or (isinstance(error, Passing) > isinstance(worst, Passing)):
                    worst = error
                continue
            node.well()
            if found is not None:
                return found
            nothing = True
        if nothing or worst is None:
            return None
        raise worst

    def each(self, read: Callable[[Any], Any], method: str, *params: Any) -> dict[str, Any]:
        """Return what each node answers that answers, by its URL. Raises if none does."""
        found: dict[str, Any] = {}
        worst: ChainError | None = None
        for node in in_turn(self.nodes):
            try:
                found[node.url] = read(self._post(node, method, params))
            except ChainError as error:
                worst = worst or error
        if not found and worst is not None:
            raise worst
        return found

    def ask(self, method: str, *params: Any) -> Any:
        """Return a result; what passes is asked again, within bounds."""
        return patiently(lambda: self._read(lambda found: found, method, params))

    def number(self, method: str, *params: Any) -> int:
        """Return a result that is a number."""
        return int(patiently(lambda: self._read(self.whole, method, params)))

    def data(self, method: str, *params: Any) -> bytes:
        """Return a result that is bytes."""
        return bytes(patiently(lambda: self._read(self.octets, method, params)))

    def head(self) -> int:
        """Return the newest block's number: of several nodes, what the one says that is ahead."""
        number = self.number("eth_blockNumber")
        due = time.monotonic() - self._compared_s > COMPARE_S
        if self.several and (number < self.seen or due):
            self._compared_s = time.monotonic()
            heads = self.each(self.whole, "eth_blockNumber")
            number = max(heads.values())
            for url, head in heads.items():
                if head < number - LAG_BLOCKS:
                    self.leave(url, f"it is at block {head}, another at {number}")
        self.seen = max(self.seen, number)
        return number

    def block(self, name: int | str) -> Header:
        """Return a block's header by number or tag. Raises UnknownBlock, too."""
        tag = hex(name) if isinstance(name, int) else name
        params = (tag, False)
        header: Header = patiently(lambda: self._read(self.header, "eth_getBlockByNumber", params))
        return header

    def header(self, found: Any) -> Header:
        """Read a block's header. Raises UnknownBlock for null."""
        if found is None:
            raise UnknownBlock(f"{place(self.url)} does not know this block")
        if not isinstance(found, dict):
            raise self.nonsense(found)
        fee = found.get("baseFeePerGas")
        return Header(
            self.whole(found.get("number")),
            self.octets(found.get("hash")),
            self.octets(found.get("parentHash")),
            self.whole(found.get("timestamp")),
            None if fee is None else self.whole(fee),
            self.whole(found.get("logsBloom") or "0x0"),
            self.whole(found.get("gasLimit") or "0x0"),
        )

    def whole(self, value: Any) -> int:
        """Read a quantity, 0x-hexadecimal text."""
        if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
            raise self.nonsense(value)
        return int(value, 16)

    def octets(self, value: Any) -> bytes:
        """Read bytes, 0x-hexadecimal text."""
        if not isinstance(value, str) or not _DATA.fullmatch(value):
            raise self.nonsense(value)
        return bytes.fromhex(value[2:])

    def nonsense(self, value: Any) -> InvalidAnswer:
        """Return the error for a result that is not of the specification's shape."""
        return InvalidAnswer(f"{place(self.url)} answers {value!r:.60}, which makes no sense")


def patiently(attempt: Callable[[], Any]) -> Any:
    """Return what `attempt` returns, made again while what it raises may pass."""
    start, pause_s = time.monotonic(), PAUSE_S
    while True:
        try:
            return attempt()
        except Passing as error:
            wait_s = max(pause_s, error.after_s)
            if time.monotonic() - start + wait_s > error.patience_s:
                raise
        time.sleep(wait_s)
        pause_s = min(PAUSE_MOST_S, pause_s * 2)
