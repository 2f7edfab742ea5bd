"""What reads a node's answers: parsers.py has the rest of the table."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from web3 import Web3

from parwana.chain import faults, logs, reader, rpc
from parwana.chain.errors import ChainError, translated
from parwana.chain.provider import Provider

Parser: Any = import_module("hil_tests.firmware.parsers").Parser

URL = "http://127.0.0.1:8545"
WORD = "0x" + "11" * 32
HEADER = {
    "number": "0x10", "hash": WORD, "parentHash": "0x" + "22" * 32, "timestamp": "0x6b0334a8",
    "baseFeePerGas": "0x7", "logsBloom": "0x" + "00" * 256, "extraData": "0x",
}  # fmt: skip
RECEIPT: dict[str, Any] = {
    "transactionHash": WORD, "blockHash": WORD, "blockNumber": "0x10", "status": "0x1",
    "gasUsed": "0x5208", "logs": [], "from": "0x" + "33" * 20, "to": None, "type": "0x2",
}  # fmt: skip
LOG: dict[str, Any] = {
    "address": "0x" + "44" * 20, "topics": [WORD], "data": "0x", "blockNumber": "0x10",
    "blockHash": WORD, "transactionHash": WORD, "logIndex": "0x0", "transactionIndex": "0x0",
    "removed": False,
}  # fmt: skip
QUERY = {"address": "0x" + "44" * 20, "topics": [WORD], "fromBlock": "0x10", "toBlock": "0x10"}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def result(value: Any) -> bytes:
    """Return an answer as a node gives it."""
    return _json({"jsonrpc": "2.0", "id": 1, "result": value})


def failure(code: int, message: str, data: Any = None) -> bytes:
    """Return a node's error."""
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return _json({"jsonrpc": "2.0", "id": 1, "error": error})


@contextmanager
def impatient() -> Iterator[None]:
    """Ask nodes once: what passes is an answer, too."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (rpc, logs, reader):
            patched.setattr(module, "patiently", lambda attempt: attempt())
        yield


def node(data: bytes) -> rpc.Rpc:
    """Return an Rpc whose node answers the lines of `data`, one after the other, then nothing."""
    lines = iter(data.split(b"\n"))

    def post(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(status_code=200, headers={}, content=next(lines, b""))

    made = rpc.Rpc(URL, 1.0)
    made._own.session = SimpleNamespace(post=post)
    return made


def read_header(data: bytes) -> None:
    with impatient():
        header = node(data).block("latest")
    assert min(header.number, header.time_s, header.bloom, header.base_fee or 0) >= 0


def read_number(data: bytes) -> None:
    with impatient():
        assert node(data).number("eth_blockNumber") >= 0
        node(data).data("eth_call")


def read_logs(data: bytes) -> None:
    with impatient():
        found = logs.Logs(node(data)).ask(QUERY)
    assert all(isinstance(log, dict) for log in found)


def read_events(data: bytes) -> None:
    """Read logs as all commands do: through web3."""
    asked = node(data)
    w3 = Web3(Provider(asked, 1))
    with impatient(), translated("logs", URL):
        w3.eth.get_logs(QUERY)  # type: ignore[arg-type]


def read_receipt(data: bytes) -> None:
    asked = node(data)
    with impatient(), translated("receipt", URL):
        reader.Reader(asked, Web3(Provider(asked, 1)), 2).receipt([WORD])


METHODS = ("eth_call", "eth_getLogs", "eth_sendRawTransaction", "eth_blockNumber")
STATUSES = (200, 200, 400, 403, 413, 429, 500, 503)


def read_answer(data: bytes) -> None:
    """Judge an answer; its first two bytes say to what, and the HTTP status."""
    first, second = (*data[:2], 0, 0)[:2]
    status = STATUSES[second % len(STATUSES)]
    headers = {"Retry-After": data[-8:].decode("latin1")} if second & 64 else {}
    try:
        faults.result_of(METHODS[first % len(METHODS)], URL, status, headers, data[2:])
    except ChainError as found:
        error = found
    else:
        return
    assert isinstance(faults.verdict(error), faults.Verdict)
    assert getattr(error, "after_s", 0.0) >= 0
    raise error


def parsers() -> list[Any]:
    """Return them."""
    block = result(HEADER)
    answers = [
        b"\0\0" + result("0x10"),
        b"\0\0" + failure(3, "execution reverted: no", "0x08c379a0" + "00" * 64),
        b"\1\0" + failure(-32005, "query returned more than 10000 results"),
        b"\2\0" + failure(-32000, "nonce too low"),
        b"\3\x45<html>503</html>12",
    ]
    return [
        Parser("node's answer", answers, read_answer, ChainError),
        Parser("node's number", [result("0x10")], read_number, ChainError),
        Parser("node's block", [block], read_header, ChainError),
        Parser("node's logs", [block + b"\n" + result([LOG])], read_logs, ChainError, 0.5),
        Parser("node's events", [block + b"\n" + result([LOG])], read_events, ChainError, 0.01),
        Parser("node's receipt", [result(RECEIPT)], read_receipt, ChainError, 0.01),
    ]  # fmt: skip
