"""Several nodes of one chain: one that fails, lies behind, lies, or is another chain's."""

import logging
from contextlib import ExitStack

import pytest

from hil_tests.fakenode import FakeNode, Odd, Refusal, behind
from parwana.chain import awaiting, errors, nodes, outbox, rpc
from parwana.chain.errors import ChainError, NotYet, RateLimited
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain

KEY = dev_key(6)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(awaiting, "AGAIN_S", 0.1)
    for kind in (NotYet, RateLimited, errors.Passing):
        monkeypatch.setattr(kind, "patience_s", 0.5)


@pytest.fixture
def two(node):
    """Give two URLs of one chain."""
    with ExitStack() as stack:
        yield [stack.enter_context(FakeNode(node.url)) for _ in range(2)]


def chain_of(two, **options):
    return Chain([fake.url for fake in two], KEY, **options)


def functions(chain, counter):
    return chain.w3.eth.contract(address=counter.address, abi=counter.abi).functions


def away(fake):
    """Let a node answer nothing."""
    for method in set(fake.calls) | METHODS:
        fake.answer(method, Odd(status=503, body="no"), times=999)


METHODS = {
    *("eth_chainId", "eth_blockNumber", "eth_getBlockByNumber", "eth_call", "eth_estimateGas"),
    *("eth_getTransactionCount", "eth_sendRawTransaction", "eth_getTransactionReceipt"),
    *("eth_getLogs", "eth_getCode", "eth_getBalance", "eth_maxPriorityFeePerGas", "eth_gasPrice"),
}


@pytest.mark.parametrize("dead", [0, 1])
def test_one_node_of_two_is_enough(two, counter, dead):
    chain = chain_of(two)
    on = functions(chain, counter)
    before = chain.call(on.count())
    away(two[dead])
    chain.send(on.add(3), timeout_s=20)
    assert chain.call(on.count()) == before + 3
    event = chain.w3.eth.contract(address=counter.address, abi=counter.abi).events.Counted
    assert chain.logs(event, chain.head())


def test_one_that_is_away_at_the_start_is_asked_when_it_is_back(two, counter, monkeypatch):
    monkeypatch.setattr(nodes, "AWAY_S", (0.0, 0.0))
    away(two[0])
    chain = chain_of(two)
    assert chain.call(functions(chain, counter).count()) >= 0
    two[0].plain()
    two[1].calls.clear()
    away(two[1])
    assert chain.call(functions(chain, counter).count()) >= 0


def test_the_first_is_asked_again_after_a_while_and_less_often_each_time(monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr(nodes.time, "monotonic", lambda: now_s[0])
    first = nodes.Node("http://a")
    spans = []
    for _ in range(8):
        first.leave("away")
        start_s = now_s[0]
        while first.away:
            now_s[0] += 1
        spans.append(now_s[0] - start_s)
    assert spans == [5, 10, 20, 40, 80, 160, 300, 300]
    first.well()
    first.leave("away", 90)
    now_s[0] += 89
    assert first.away, "as long as it asked for itself"


def test_nobody_waits_for_a_limit_while_another_answers(two):
    chain = chain_of(two)
    limit = Odd("Too Many Requests", 429, 429, headers=(("Retry-After", "3600"),))
    two[0].answer("eth_blockNumber", limit, times=99)
    assert chain.head() >= 0
    two[1].answer("eth_blockNumber", limit, times=99)
    with pytest.raises(RateLimited):
        chain.head()


def late(blocks):
    """Return what a node answers that lacks the newest blocks and does not know it."""

    def change(_params, forward):
        return hex(max(0, int(forward("eth_blockNumber", []), 16) - blocks))

    return change


@pytest.mark.parametrize("blocks", [1, 3, 9])
@pytest.mark.parametrize("slow", [0, 1])
def test_the_head_of_one_behind_is_not_taken_for_the_head(
    two, node, counter, monkeypatch, slow, blocks
):
    monkeypatch.setattr(rpc, "COMPARE_S", 0.0)
    node.mine(10)
    chain = chain_of(two)
    top = Chain(node.url).head()
    fake = two[slow]
    fake.edit("eth_blockNumber", late(blocks))
    for method in ("eth_getBlockByNumber", "eth_getLogs"):
        fake.edit(method, behind(blocks, method))
    fake.edit("eth_call", old_state(blocks))
    on = functions(chain, counter)
    assert chain.head() == top
    before = chain.call(on.count())
    chain.send(on.add(1), timeout_s=20)
    assert chain.call(on.count()) == before + 1
    assert chain.head() == top + 1
    event = chain.w3.eth.contract(address=counter.address, abi=counter.abi).events.Counted
    monkeypatch.setattr(NotYet, "patience_s", 5.0)
    assert len(chain.logs(event, top + 1)) == 1, "what the slow one has not seen is found"


def old_state(blocks):
    def change(params, forward):
        top = int(forward("eth_blockNumber", []), 16) - blocks
        if params[1] == "latest":
            params = [params[0], hex(top)]
        elif int(params[1], 16) > top:
            raise Refusal({"code": -32000, "message": "header not found"})
        return forward("eth_call", params)

    return change


def test_a_block_is_final_when_it_is_to_each_node_that_answers(two, node):
    node.mine(9)
    chain = chain_of(two)
    top = chain.finalized_block()
    two[0].edit(
        "eth_getBlockByNumber",
        lambda params, forward: forward(
            "eth_getBlockByNumber",
            [hex(top - 3) if params[0] == "finalized" else params[0], False],
        ),
    )
    assert chain.finalized_block() == top - 3
    away(two[0])
    assert chain.finalized_block() == top
    away(two[1])
    with pytest.raises(ChainError, match="does not answer"):
        chain.finalized_block()


@pytest.mark.parametrize("finality", ["finalized", 2])
def test_nodes_that_do_not_agree_make_nothing_final(two, node, finality):
    node.mine(9)
    chain = chain_of(two, finality=finality)

    def forked(params, forward):
        return {**forward("eth_getBlockByNumber", params), "hash": "0x" + "77" * 32}

    two[1].edit("eth_getBlockByNumber", forked)
    with pytest.raises(NotYet, match="do not agree on block .*take it out of --rpc"):
        chain.finalized_block()


def test_another_chains_node_is_refused_by_name(two):
    two[1].edit("eth_chainId", lambda *_: "0x5")
    with pytest.raises(ChainError, match=f"{two[1].url} is chain 5, not 31337"):
        chain_of(two)


def test_one_that_turns_out_to_be_another_chains_is_never_asked(two, counter, caplog):
    away(two[1])
    chain = chain_of(two)
    two[1].plain()
    two[1].edit("eth_chainId", lambda *_: "0x5")
    away(two[0])
    with caplog.at_level(logging.ERROR, "parwana"), pytest.raises(ChainError):
        chain.call(functions(chain, counter).count())
    assert "another chain" in caplog.text
    assert not two[1].calls["eth_call"]


def test_a_refusal_of_the_contract_is_no_reason_to_ask_another(two, counter):
    chain = chain_of(two)
    with pytest.raises(errors.Reverted, match="n must be above 0"):
        chain.send(functions(chain, counter).add(0))
    assert not two[1].calls["eth_estimateGas"]


def test_a_node_that_swallows_a_transaction_is_passed_by(two, counter, monkeypatch):
    """It takes it and mines nothing; nothing is sent under a second nonce."""
    monkeypatch.setattr(nodes, "AWAY_S", (5.0, 5.0))
    chain = chain_of(two)
    on = functions(chain, counter)
    before = chain.call(on.count())
    two[0].answer("eth_sendRawTransaction", Odd(status=504, body=""))
    chain.send(on.add(1), timeout_s=20)
    assert chain.call(on.count()) == before + 1
    assert len(two[1].raws) == 1
    assert set(two[1].raws) == set(two[0].raws)
