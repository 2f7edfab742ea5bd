"""A development chain: py-evm behind JSON-RPC on loopback, shared by several processes."""

import json
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from parwana.chain import keys
from parwana.devchain.evm import Evm, EvmError, Now, Reverted
from parwana.devchain.rpc import (
    INTERNAL,
    INVALID,
    PARAMS,
    PARSE,
    REVERTED,
    SERVER,
    UNKNOWN,
    Methods,
    RpcError,
    encode,
)
from parwana.world.clock import WorldClock

CHAIN_ID = keys.DEV_CHAIN_ID
MAX_BODY = 2_000_000
MAX_BATCH = 100
MAX_BRACKETS = 4000
IDLE_S = 60


class DevChain:
    """Serve one Evm over HTTP: `start()`, `stop()`, `url`. For development and tests only.

    A transaction is mined at once; every `block_interval_s` real seconds without one, an empty
    block is, so that time passes and finality advances. Timestamps follow `clock`, but a block
    is at least one second after its parent. `port` 0 takes a free one; `state` is a file that
    keeps the chain from one start to the next.
    """

    def __init__(
        self,
        port: int = 0,
        clock: Now | None = None,
        *,
        state: Path | None = None,
        genesis_time_s: int | None = None,
        block_interval_s: float = 1.0,
        finality_depth: int = 2,
        chain_id: int = CHAIN_ID,
    ) -> None:
        self.chain_id = chain_id
        self._evm = Evm(
            clock or WorldClock.from_environment(),
            chain_id,
            [bytes.fromhex(keys.dev_key(n).address[2:]) for n in range(keys.DEV_KEYS)],
            state=state,
            genesis_time_s=genesis_time_s,
            finality_depth=finality_depth,
        )
        self._lock = threading.Lock()
        self._methods = Methods(self._evm)
        self._interval_s = block_interval_s
        self._stopping = threading.Event()
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except OSError as error:
            self._evm.close()
            raise EvmError(
                f"port {port} cannot be opened ({error.strerror}); choose another --port"
            ) from None
        self._server.answer = self.answer
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.1,), name="devchain-http"),
            threading.Thread(target=self._tick, name="devchain-blocks"),
        ]

    def start(self) -> "DevChain":
        """Begin to serve and to mine empty blocks."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()
        return self

    def stop(self) -> None:
        """Stop serving; drop open connections; close the state file."""
        self._stopping.set()
        if self._threads[0].is_alive():
            self._server.shutdown()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)
        self._server.server_close()
        self._evm.close()

    def __enter__(self) -> "DevChain":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks now."""
        with self._lock:
            for _ in range(blocks):
                self._evm.mine()

    def rewind(self, number: int) -> None:
        """Reorganise: forget every block above `number`."""
        with self._lock:
            self._evm.rewind(number)

    def wait(self) -> None:
        """Serve until interrupted."""
        while not self._stopping.wait(1.0):
            pass

    def _tick(self) -> None:
        seen = self._evm.head.block_number
        while not self._stopping.wait(self._interval_s):
            with self._lock:
                if self._evm.head.block_number == seen:
                    self._evm.mine()
                seen = self._evm.head.block_number

    def answer(self, body: bytes) -> Any:
        """Answer one JSON-RPC body, single or batch."""
        # py-evm raises the recursion limit so far that deep nesting would end the process.
        if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
            return _failure(None, RpcError(PARSE, "parse error: too many brackets"))
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return _failure(None, RpcError(PARSE, "parse error: the body is no JSON"))
        if not isinstance(request, list):
            return self._one(request)
        if not 0 < len(request) <= MAX_BATCH:
            return _failure(None, RpcError(INVALID, f"a batch holds 1 to {MAX_BATCH} requests"))
        return [self._one(item) for item in request]

    def _one(self, request: Any) -> dict[str, Any]:
        key = request.get("id") if isinstance(request, dict) else None
        try:
            result = self._dispatch(request)
        except RpcError as error:
            return _failure(key, error)
        except Reverted as error:
            return _failure(key, RpcError(REVERTED, str(error), error.data))
        except EvmError as error:
            return _failure(key, RpcError(SERVER, str(error)))
        except Exception as error:  # the one catcher of this server: a bug must not end it
            traceback.print_exc()
            return _failure(key, RpcError(INTERNAL, f"internal error: {error!r:.200}"))
        return {"jsonrpc": "2.0", "id": key, "result": encode(result)}

    def _dispatch(self, request: Any) -> Any:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            raise RpcError(INVALID, "a request is an object with a method")
        name, params = request["method"], request.get("params", [])
        method = None if name.startswith("_") else getattr(self._methods, name, None)
        if method is None:
            raise RpcError(UNKNOWN, f"the method {name:.60} does not exist")
        if not isinstance(params, list):
            raise RpcError(PARAMS, "params must be a list")
        least, most = _arity(method)
        if not least <= len(params) <= most:
            raise RpcError(
                PARAMS, f"{name} takes {least} to {most} parameters, {len(params)} given"
            )
        with self._lock:
            return method(*params)


def _arity(method: Callable[..., Any]) -> tuple[int, int]:
    function = method.__func__  # type: ignore[attr-defined]
    most = function.__code__.co_argcount - 1
    least = most - len(function.__defaults__ or ())
    return least, 99 if function.__code__.co_flags & 4 else most


def _failure(key: Any, error: RpcError) -> dict[str, Any]:
    body: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        body["data"] = encode(error.data)
    return {"jsonrpc": "2.0", "id": key, "error": body}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    answer: Callable[[bytes], Any]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; tell of all else."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_S

    def do_OPTIONS(self) -> None:
        """Let pages of anywhere ask: it is for development, as its keys are."""
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Methods", "POST")
        self.send_header("Access-Control-Allow-Headers", "Content-Type")
        self.end_headers()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            error = RpcError(INVALID, f"the body needs a Content-Length of at most {MAX_BODY}")
            self._reply(413, _failure(None, error))
            return
        self._reply(200, self.server.answer(self.rfile.read(int(length))))  # type: ignore[attr-defined]

    def _reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing for each request."""
