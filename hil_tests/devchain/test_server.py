"""The development chain from outside: raw HTTP, hostile requests, restarts, reorganisations."""

import http.client
import json
import socket
import struct
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import pytest
from eth_account import Account

from hil_tests.chainkit import HandClock
from parwana.chain import keys
from parwana.devchain.evm import EvmError
from parwana.devchain.server import CHAIN_ID, MAX_BATCH, MAX_BODY, DevChain
from parwana.devchain.statefile import StateError
from parwana.world.clock import WorldClock


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def node(clock):
    with DevChain(clock=clock, block_interval_s=60) as chain:
        yield chain


def post(node, body):
    request = urllib.request.Request(node.url, data=body)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def rpc(node, method, *params):
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    return post(node, json.dumps(body).encode())


def result(node, method, *params):
    answer = rpc(node, method, *params)
    assert "error" not in answer, answer
    return answer["result"]


def transfer(index=0, nonce=0, **fields):
    values = {
        "to": "0x" + "11" * 20, "value": 5, "gas": 21000, "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9, "nonce": nonce, "chainId": CHAIN_ID, "type": 2, **fields,
    }  # fmt: skip
    signed = Account.sign_transaction(values, keys.dev_key(index).secret)
    return "0x" + bytes(signed.raw_transaction).hex()


def head(node):
    return int(result(node, "eth_blockNumber"), 16)


def timestamp(node, tag="latest"):
    return int(result(node, "eth_getBlockByNumber", tag, False)["timestamp"], 16)


def test_mines_a_transaction_at_once(node):
    key = result(node, "eth_sendRawTransaction", transfer())
    receipt = result(node, "eth_getTransactionReceipt", key)
    assert (receipt["status"], receipt["blockNumber"]) == ("0x1", "0x1")
    assert result(node, "eth_getBalance", "0x" + "11" * 20, "latest") == "0x5"
    assert result(node, "eth_getBalance", "0x" + "11" * 20, "0x0") == "0x0"
    block = result(node, "eth_getBlockByNumber", "0x1", True)
    assert block["transactions"][0]["hash"] == key
    assert result(node, "eth_getBlockByHash", block["hash"], False)["transactions"] == [key]
    assert result(node, "eth_getTransactionByHash", key)["from"] == keys.dev_key(0).address


def test_timestamps_follow_the_world_and_always_rise(node, clock):
    start = timestamp(node)
    assert start == clock.time_s
    node.mine()
    assert timestamp(node) == start + 1
    clock.time_s += 86400
    result(node, "eth_sendRawTransaction", transfer())
    assert timestamp(node) == clock.time_s
    clock.time_s -= 3600
    node.mine()
    assert timestamp(node) == clock.time_s + 3601


def test_a_fast_world_runs_on_the_chain_too():
    world = WorldClock.starting(1_800_000_000, 1440)
    with DevChain(clock=world, block_interval_s=0.2) as node:
        deadline = world.now() + 1440 * 10
        while head(node) < 3 and world.now() < deadline:
            world.sleep(100)
        assert head(node) >= 3, "waited 10 s for three empty blocks"
        assert timestamp(node, "0x3") - timestamp(node, "0x2") > 60


def test_finality_lies_a_stated_depth_behind(node):
    assert result(node, "eth_getBlockByNumber", "finalized", False)["number"] == "0x0"
    node.mine(5)
    assert result(node, "eth_getBlockByNumber", "finalized", False)["number"] == "0x3"


def test_the_estimate_sees_the_time_of_the_next_block(node, clock):
    # PUSH4 limit, TIMESTAMP, LT: return if the block is later, revert before.
    limit = clock.time_s + 1000
    runtime = bytes.fromhex(f"63{limit:08x}4211" + "600d57" + "5f5ffd" + "5b5f5ff3")
    runtime = runtime.replace(bytes.fromhex("600d57"), bytes([0x60, len(runtime) - 4, 0x57]))
    init = bytes([0x60, len(runtime), 0x80, 0x60, 0x09, 0x5F, 0x39, 0x5F, 0xF3]) + runtime
    key = result(node, "eth_sendRawTransaction", transfer(to="", value=0, gas=200_000, data=init))
    address = result(node, "eth_getTransactionReceipt", key)["contractAddress"]
    assert rpc(node, "eth_estimateGas", {"to": address})["error"]["code"] == 3
    clock.time_s += 2000
    assert int(result(node, "eth_estimateGas", {"to": address}), 16) > 21000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nonce": 1}, "nonce too high"),
        ({"chainId": 1}, "invalid chain id"),
        ({"value": 10**30}, "insufficient funds"),
        ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 1}, "max fee per gas less"),
        ({"gas": 20000}, "gas"),
    ],
)
def test_refuses_a_bad_transaction(node, fields, words):
    assert words in rpc(node, "eth_sendRawTransaction", transfer(**fields))["error"]["message"]
    assert head(node) == 0


def test_refuses_a_transaction_twice(node):
    result(node, "eth_sendRawTransaction", transfer())
    said = rpc(node, "eth_sendRawTransaction", transfer())["error"]["message"]
    assert said.startswith("nonce too low"), "as geth says of a transaction that is mined"
    error = rpc(node, "eth_sendRawTransaction", transfer(value=6))["error"]
    assert "nonce too low" in error["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b"[" * 4000, -32700),
        (b"7", -32600),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"method": 7}', -32600),
        (b'{"method": "_block", "params": [1]}', -32601),
        (b'{"method": "__init__", "params": [1]}', -32601),
        (b'{"method": "eth_nothing"}', -32601),
        (b'{"method": "eth_chainId", "params": {}}', -32602),
        (b'{"method": "eth_chainId", "params": [1]}', -32602),
        (b'{"method": "eth_getBalance", "params": []}', -32602),
        (b'{"method": "eth_getBalance", "params": ["0x12"]}', -32602),
        (b'{"method": "eth_getBalance", "params": [{}, []]}', -32602),
        (b'{"method": "eth_getBlockByNumber", "params": [[]]}', -32602),
        (b'{"method": "eth_getBlockByNumber", "params": ["-0x1"]}', -32602),
        (b'{"method": "eth_sendRawTransaction", "params": ["zz"]}', -32602),
        (b'{"method": "eth_sendRawTransaction", "params": ["0x"]}', -32000),
        (b'{"method": "eth_sendRawTransaction", "params": ["0x02c0"]}', -32000),
        (b'{"method": "eth_sendRawTransaction", "params": ["0xf86b"]}', -32000),
        (b'{"method": "eth_call", "params": [7]}', -32602),
        (b'{"method": "eth_call", "params": [{"to": "0x00", "data": 3}]}', -32602),
        (b'{"method": "eth_call", "params": [{}, "0x999"]}', -32000),
        (b'{"method": "eth_getLogs", "params": ["x"]}', -32602),
        (b'{"method": "eth_getLogs", "params": [{"topics": [1]}]}', -32602),
        (b'{"method": "eth_getLogs", "params": [{"topics": 1}]}', -32602),
        (b'{"method": "eth_feeHistory", "params": ["0x1", "latest", 7]}', -32602),
    ],
)
def test_answers_hostile_requests_with_errors(node, body, code):
    assert post(node, body)["error"]["code"] == code
    assert head(node) == 0


def test_refuses_an_oversized_body(node):
    address = urlsplit(node.url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(MAX_BODY + 1))
    connection.endheaders()
    reply = connection.getresponse()
    assert reply.status == 413
    assert json.loads(reply.read())["error"]["code"] == -32600
    connection.close()
    assert head(node) == 0


def test_a_client_that_breaks_off_is_no_trouble(node, capfd):
    port = urlsplit(node.url).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.5)
    assert head(node) == 0
    assert capfd.readouterr().err == ""


def test_answers_a_batch_in_order(node):
    batch = [{"id": n, "method": m} for n, m in enumerate(["eth_chainId", "no", "net_version"])]
    answers = post(node, json.dumps(batch).encode())
    assert [answer["id"] for answer in answers] == [0, 1, 2]
    assert answers[0]["result"] == hex(CHAIN_ID)
    assert answers[1]["error"]["code"] == -32601
    too_many = [{"id": 1, "method": "eth_chainId"}] * (MAX_BATCH + 1)
    assert post(node, json.dumps(too_many).encode())["error"]["code"] == -32600


def test_processes_share_it_without_losing_a_transaction(node):
    def work(index):
        for nonce in range(10):
            result(node, "eth_sendRawTransaction", transfer(index, nonce))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert head(node) == 40
    assert result(node, "eth_getBalance", "0x" + "11" * 20) == hex(200)


def test_a_state_file_keeps_the_chain(tmp_path, clock):
    state = tmp_path / "chain"
    with DevChain(clock=clock, state=state, block_interval_s=60) as node:
        key = result(node, "eth_sendRawTransaction", transfer())
        node.mine(2)
        before = result(node, "eth_getBlockByNumber", "latest", False)
        with pytest.raises(StateError, match="in use"):
            DevChain(clock=clock, state=state)
    with DevChain(clock=clock, state=state, block_interval_s=60) as node:
        assert result(node, "eth_getBlockByNumber", "latest", False) == before
        assert result(node, "eth_getTransactionReceipt", key)["status"] == "0x1"
        result(node, "eth_sendRawTransaction", transfer(nonce=1))


@pytest.mark.parametrize("cut", [1, 7, 40, 200])
def test_a_torn_state_file_loses_only_its_last_block(tmp_path, clock, cut):
    state = tmp_path / "chain"
    with DevChain(clock=clock, state=state, block_interval_s=60) as node:
        result(node, "eth_sendRawTransaction", transfer())
        result(node, "eth_sendRawTransaction", transfer(nonce=1))
    state.write_bytes(state.read_bytes()[:-cut])
    with DevChain(clock=clock, state=state, block_interval_s=60) as node:
        assert head(node) == 1
        result(node, "eth_sendRawTransaction", transfer(nonce=1))
        assert head(node) == 2


def test_a_reorganisation_forgets_blocks(node):
    result(node, "eth_sendRawTransaction", transfer())
    lost = result(node, "eth_sendRawTransaction", transfer(nonce=1, value=9))
    node.rewind(1)
    assert head(node) == 1
    assert result(node, "eth_getTransactionReceipt", lost) is None
    assert result(node, "eth_getBalance", "0x" + "11" * 20) == "0x5"
    again = result(node, "eth_sendRawTransaction", transfer(nonce=1, value=1))
    assert result(node, "eth_getTransactionReceipt", again)["blockNumber"] == "0x2"
    assert result(node, "eth_getBalance", "0x" + "11" * 20) == "0x6"


def test_a_taken_port_is_named(node):
    port = urlsplit(node.url).port
    with pytest.raises(EvmError, match=f"port {port}"):
        DevChain(port)
