"""The stand-in for a node: it passes on, answers oddly when told, and its pool is geth's."""

import pytest
import requests

from hil_tests.fakenode import FakeNode, Odd
from parwana.chain.keys import dev_key
from parwana.devchain.server import CHAIN_ID, DevChain
from parwana.world.clock import WorldClock

ME = dev_key(7)


@pytest.fixture(scope="module")
def node():
    with DevChain(clock=WorldClock(), block_interval_s=60) as chain:
        yield chain


@pytest.fixture
def fake(node):
    with FakeNode(node.url) as made:
        yield made


def rpc(fake, method, *params):
    request = {"jsonrpc": "2.0", "id": 9, "method": method, "params": params}
    return requests.post(fake.url, json=request, timeout=5)


def signed(nonce, fee=3 * 10**9, tip=10**9):
    from eth_account import Account

    fields = {
        "chainId": CHAIN_ID, "nonce": nonce, "to": ME.address, "value": 0, "data": "0x",
        "gas": 21_000, "maxFeePerGas": fee, "maxPriorityFeePerGas": tip,
    }  # fmt: skip
    return "0x" + bytes(Account.sign_transaction(fields, ME.secret).raw_transaction).hex()


def said(fake, *params):
    answer = rpc(fake, "eth_sendRawTransaction", *params).json()
    return answer["error"]["message"] if "error" in answer else answer["result"]


def test_it_passes_on_and_counts(fake):
    answer = rpc(fake, "eth_chainId").json()
    assert answer == {"jsonrpc": "2.0", "id": 9, "result": hex(CHAIN_ID)}
    assert "error" in rpc(fake, "eth_nothing").json()
    assert fake.calls == {"eth_chainId": 1, "eth_nothing": 1}


def test_it_answers_oddly_as_often_as_told(fake):
    fake.answer("eth_chainId", Odd("no", -1, 400), Odd(body="<html>"), Odd(), Odd(cut=True))
    first = rpc(fake, "eth_chainId")
    assert (first.status_code, first.json()["error"]) == (400, {"code": -1, "message": "no"})
    assert rpc(fake, "eth_chainId").text == "<html>"
    assert rpc(fake, "eth_chainId").json()["result"] is None
    with pytest.raises(requests.ConnectionError):
        rpc(fake, "eth_chainId")
    assert rpc(fake, "eth_chainId").json()["result"] == hex(CHAIN_ID)


def test_it_may_do_what_it_is_asked_and_lose_the_answer(fake):
    count = int(rpc(fake, "eth_getTransactionCount", ME.address, "latest").json()["result"], 16)
    fake.answer("eth_sendRawTransaction", Odd(status=504, taken=True))
    assert rpc(fake, "eth_sendRawTransaction", signed(count)).status_code == 504
    after = rpc(fake, "eth_getTransactionCount", ME.address, "latest").json()["result"]
    assert int(after, 16) == count + 1


def test_its_pool_goes_by_geths_rules(fake):
    fake.hold()
    fake.least_tip = 1000
    now = int(rpc(fake, "eth_getTransactionCount", ME.address, "latest").json()["result"], 16)
    key = said(fake, signed(now))
    assert len(key) == 66
    assert said(fake, signed(now)) == "already known"
    assert said(fake, signed(now, 4 * 10**9)) == "replacement transaction underpriced", "its tip"
    assert said(fake, signed(now + 1, tip=1)).startswith("transaction underpriced")
    if now:
        assert said(fake, signed(now - 1)).startswith("nonce too low: next nonce")
    assert rpc(fake, "eth_getTransactionReceipt", key).json()["result"] is None
    assert rpc(fake, "eth_getTransactionByHash", key).json()["result"]["blockNumber"] is None
    assert len(said(fake, signed(now + 1, tip=5000))) == 66
    pending = rpc(fake, "eth_getTransactionCount", ME.address, "pending").json()["result"]
    assert int(pending, 16) == now + 2
    fake.mine(least_fee=4 * 10**9)
    assert len(fake.pool) == 2, "both wait, the second for the first"
    dear = said(fake, signed(now, 5 * 10**9, 2 * 10**9))
    fake.mine()
    assert rpc(fake, "eth_getTransactionReceipt", dear).json()["result"]["status"] == "0x1"
    assert rpc(fake, "eth_getTransactionReceipt", key).json()["result"] is None, "replaced"
    assert fake.pool == []
