"""A JSON-RPC node that answers as real clients and providers do, before a development chain.

It passes requests on, but for what a test tells it: odd answers to a method, edited ones, or a
pool in which transactions wait, by geth's rules, until the test mines them. hil_tests/
test_fakenode.py holds it to these.
"""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes


@dataclass(frozen=True)
class Odd:
    """An answer that is not the plain one.

    `words` with `code` are a JSON-RPC error; `body` is sent as it is; neither: `null` is the
    result. `taken`: the node did what it was asked, and then answered this. `cut` closes the
    connection, `late_s` is how long it takes.
    """

    words: str | None = None
    code: int = -32000
    status: int = 200
    body: str | None = None
    data: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    taken: bool = False
    cut: bool = False
    late_s: float = 0.0


class Refusal(Exception):
    """What the node, or its pool, answers with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


@dataclass(frozen=True)
class Waiting:
    """A transaction in the pool."""

    raw: str
    hash: str
    sender: str
    nonce: int
    fee: int
    tip: int


Forward = Callable[[str, list[Any]], Any]


class FakeNode:
    """Answer at `url` for the node at `upstream`; a context manager.

    `calls` counts requests by method, `raws` holds what was broadcast.
    """

    def __init__(self, upstream: str) -> None:
        self.calls: Counter[str] = Counter()
        self.raws: list[str] = []
        self.pool: list[Waiting] | None = None
        self.least_tip = 0  # of what the pool takes
        self._upstream = upstream
        self._odd: dict[str, deque[Odd]] = {}
        self._edits: dict[str, Callable[[list[Any], Forward], Any]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("H", (_Handler,), {"node": self})
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeNode":
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, *odd: Odd, times: int = 1) -> None:
        """Answer the next requests of a method with these, each `times` times."""
        queue = self._odd.setdefault(method, deque())
        queue.extend(one for one in odd for _ in range(times))

    def edit(self, method: str, change: Callable[[list[Any], Forward], Any] | None) -> None:
        """Let `change(params, forward)` make the result of a method; it may raise Refusal."""
        if change is None:
            self._edits.pop(method, None)
        else:
            self._edits[method] = change

    def plain(self) -> None:
        """Forget odd answers and edits."""
        self._odd.clear()
        self._edits.clear()

    def hold(self) -> None:
        """From now on mine nothing before `mine()`."""
        self.pool = []

    def mine(self, least_fee: int = 0) -> None:
        """Mine what pays `least_fee` and follows on what is mined."""
        waiting, self.pool = self.pool or [], []
        blocked = set()
        for one in sorted(waiting, key=lambda one: one.nonce):
            if one.sender in blocked or one.fee < least_fee:
                blocked.add(one.sender)
                self.pool.append(one)
                continue
            try:
                self.forward("eth_sendRawTransaction", [one.raw])
            except Refusal as refusal:
                if "nonce too low" not in str(refusal):  # else it was handed over again meanwhile
                    raise

    def release(self) -> None:
        """Mine what waits, and from now on everything at once."""
        self.mine()
        self.pool = None

    def forward(self, method: str, params: list[Any]) -> Any:
        """Ask the node behind. Raises Refusal."""
        request: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = requests.post(self._upstream, json=request, timeout=30).json()
        if "error" in answer:
            raise Refusal(answer["error"])
        return answer["result"]

    def result(self, method: str, params: list[Any]) -> Any:
        """Return a plain result."""
        if method in self._edits:
            return self._edits[method](params, self.forward)
        if self.pool is not None:
            if method == "eth_sendRawTransaction":
                return self._take(params[0])
            if method == "eth_getTransactionCount" and params[1] == "pending":
                return hex(self._pending(params[0]))
            if method == "eth_getTransactionByHash":
                for one in self.pool:
                    if one.hash == params[0]:
                        return {"hash": one.hash, "blockNumber": None, "nonce": hex(one.nonce)}
        return self.forward(method, params)

    def _pending(self, address: str) -> int:
        count = int(self.forward("eth_getTransactionCount", [address, "latest"]), 16)
        there = {one.nonce for one in self.pool or [] if one.sender == address.lower()}
        while count in there:
            count += 1
        return count

    def _take(self, raw: str) -> str:
        """Put a transaction into the pool. Source: geth, core/txpool/legacypool."""
        assert self.pool is not None
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        new = Waiting(
            raw,
            "0x" + keccak(hexstr=raw).hex(),
            Account.recover_transaction(raw).lower(),
            fields["nonce"],
            fields["maxFeePerGas"],
            fields["maxPriorityFeePerGas"],
        )
        if any(one.hash == new.hash for one in self.pool):
            raise _refusal("already known")
        if new.tip < self.least_tip:
            raise _refusal(
                f"transaction underpriced: gas tip cap {new.tip}, minimum needed {self.least_tip}"
            )
        mined = int(self.forward("eth_getTransactionCount", [new.sender, "latest"]), 16)
        if new.nonce < mined:
            raise _refusal(f"nonce too low: next nonce {mined}, tx nonce {new.nonce}")
        for old in self.pool:
            if (old.sender, old.nonce) == (new.sender, new.nonce):
                if new.fee * 10 < old.fee * 11 or new.tip * 10 < old.tip * 11:
                    raise _refusal("replacement transaction underpriced")
                self.pool.remove(old)
                break
        self.pool.append(new)
        return new.hash

    def respond(self, method: str, params: list[Any]) -> tuple[Odd | None, dict[str, Any]]:
        """Return the odd answer, if one is due, and the body of the plain one."""
        with self._lock:
            self.calls[method] += 1
            if method == "eth_sendRawTransaction":
                self.raws.append(params[0])
            queue = self._odd.get(method)
            odd = queue.popleft() if queue else None
        if odd is not None and not odd.taken:
            return odd, {}
        try:
            return odd, {"result": self.result(method, params)}
        except Refusal as refusal:
            return odd, {"error": refusal.error}


def _refusal(words: str) -> Refusal:
    return Refusal({"code": -32000, "message": words})


def behind(blocks: int, method: str) -> Callable[[list[Any], Forward], Any]:
    """Return an edit by which a node that lacks the newest blocks answers a method.

    eth_getLogs, as geth answered before 1.16: what it has not seen is empty.
    """

    def edit(params: list[Any], forward: Forward) -> Any:
        top = int(forward("eth_blockNumber", []), 16) - blocks
        if method == "eth_getBlockByNumber":
            return None if int(params[0], 16) > top else forward(method, params)
        if "blockHash" in params[0]:
            block = forward("eth_getBlockByHash", [params[0]["blockHash"], False])
            if int(block["number"], 16) > top:
                raise _refusal("unknown block")
            return forward(method, params)
        last = min(top, int(params[0]["toBlock"], 16))
        if int(params[0]["fromBlock"], 16) > last:
            return []
        return forward(method, [{**params[0], "toBlock": hex(last)}])

    return edit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    node: FakeNode

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        odd, body = self.node.respond(request["method"], request.get("params", []))
        status, text = 200, None
        headers: tuple[tuple[str, str], ...] = ()
        if odd is not None:
            if odd.late_s:
                time.sleep(odd.late_s)
            if odd.cut:
                self.close_connection = True
                return
            status, headers, text = odd.status, odd.headers, odd.body
            body = {"result": None}
            if odd.words is not None:
                error = {"code": odd.code, "message": odd.words}
                body = {"error": error if odd.data is None else {**error, "data": odd.data}}
        if text is None:
            text = json.dumps({"jsonrpc": "2.0", "id": request.get("id"), **body})
        data = text.encode()
        self.send_response(status)
        for name, value in (("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing for each request."""
