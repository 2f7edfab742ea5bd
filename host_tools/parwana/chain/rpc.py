"""JSON-RPC over HTTP: ask one node, wait out what passes, believe no odd answer."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from parwana.chain import faults
from parwana.chain.errors import InvalidAnswer, Passing, UnknownBlock, place

PAUSE_S = 0.1
PAUSE_MOST_S = 4.0


@dataclass(frozen=True)
class Header:
    """What we read of a block. What else a chain puts there (extraData) may have any form."""

    number: int
    hash: bytes
    parent: bytes
    time_s: int
    base_fee: int | None
    bloom: int


class Rpc:
    """Ask one node, from any thread. Every method raises ChainError."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._own = threading.local()
        self.seen = 0  # the newest block that was ever heard of

    def once(self, method: str, *params: Any) -> Any:
        """Return a result, asked for one time: who moves money must know how often."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = self._own.session.post(
                self.url, json=request, timeout=self._timeout_s, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:  # ValueError: no URL at all
            raise faults.silent(self.url, type(error).__name__) from None
        return faults.result_of(
            method, self.url, answer.status_code, answer.headers, answer.content
        )

    def ask(self, method: str, *params: Any) -> Any:
        """Return a result; what passes is asked again, within bounds."""
        return patiently(lambda: self.once(method, *params))

    def number(self, method: str, *params: Any) -> int:
        """Return a result that is a number."""
        return int(patiently(lambda: self.whole(self.once(method, *params))))

    def data(self, method: str, *params: Any) -> bytes:
        """Return a result that is bytes."""
        return bytes(patiently(lambda: self.octets(self.once(method, *params))))

    def head(self) -> int:
        """Return the newest block's number."""
        number = self.number("eth_blockNumber")
        self.seen = max(self.seen, number)
        return number

    def block(self, name: int | str) -> Header:
        """Return a block's header by number or tag. Raises UnknownBlock, too."""
        header: Header = patiently(lambda: self._block(name))
        return header

    def _block(self, name: int | str) -> Header:
        tag = hex(name) if isinstance(name, int) else name
        found = self.once("eth_getBlockByNumber", tag, False)
        if found is None:
            raise UnknownBlock(f"{place(self.url)} does not know block {name}")
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
        )

    def whole(self, value: Any) -> int:
        """Read a quantity, 0x-hexadecimal text."""
        try:
            return int(value, 16)
        except (TypeError, ValueError):
            raise self.nonsense(value) from None

    def octets(self, value: Any) -> bytes:
        """Read bytes, 0x-hexadecimal text."""
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except (AttributeError, ValueError):
            raise self.nonsense(value) from None

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
