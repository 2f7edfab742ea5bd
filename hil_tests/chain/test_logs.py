"""Logs from nodes that limit, lie behind or fail: nothing is skipped. docs/nodes.md."""

import pytest

from hil_tests.fakenode import FakeNode, Odd, Refusal, behind
from parwana.chain import errors, ranges
from parwana.chain.errors import NotYet, RangeTooLarge, RateLimited
from parwana.chain.keys import dev_key
from parwana.chain.logs import PROVEN_BLOCKS
from parwana.chain.node import Chain

KEY = dev_key(4)
LOGS = "eth_getLogs"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(NotYet, "patience_s", 0.3)
    monkeypatch.setattr(RateLimited, "patience_s", 0.3)
    monkeypatch.setattr(errors.Passing, "patience_s", 0.3)


@pytest.fixture
def fake(node):
    with FakeNode(node.url) as made:
        yield made


@pytest.fixture
def chain(fake):
    return Chain(fake.url)


@pytest.fixture
def counted(node, counter):
    """Count three times, a hundred blocks apart; return the event and the first block."""
    paying = Chain(node.url, KEY)
    functions = paying.w3.eth.contract(address=counter.address, abi=counter.abi).functions
    first = paying.head() + 1
    for _ in range(3):
        paying.send(functions.add(1))
        node.mine(100)
    paying.send(functions.add(1))
    return first


def event(chain, counter):
    return chain.w3.eth.contract(address=counter.address, abi=counter.abi).events.Counted


def span(params):
    return int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1


def limited(most, asked, words="block range is too wide"):
    def change(params, forward):
        if "fromBlock" in params[0]:
            asked.append(span(params))
            if span(params) > most:
                raise Refusal({"code": -32602, "message": words})
        return forward(LOGS, params)

    return change


def test_a_range_is_halved_and_grows_again(fake, chain, counter, counted, monkeypatch):
    monkeypatch.setattr(ranges, "GROW_AFTER", 2)
    asked: list[int] = []
    fake.edit(LOGS, limited(10, asked))
    assert len(chain.logs(event(chain, counter), counted)) == 4
    fake.edit(LOGS, limited(10**6, asked))
    del asked[:]
    for _ in range(6):
        assert len(chain.logs(event(chain, counter), counted)) == 4
    assert max(asked) >= 300, "the node allows more by now"


SAID = {
    "range 701 exceeds limit of 30": 30,
    "eth_getLogs is limited to a 1,0 range": 10,
    "You can make eth_getLogs requests with up to a 30 block range.": 30,
    "exceed maximum block range: 30": 30,
    "block range greater than 30 is not supported": 30,
    "requested too many blocks from 0 to 9000, maximum is set to 30": 30,
    "Log response size exceeded. this block range should work: [0x64, 0x81]": 30,
    "query exceeds max results 20000, retry with the range 100-129": 30,
    "query returned more than 10000 results": None,
    "Too many logs requested. Max logs per response is 20000.": None,
    "query exceeds max block range 9999999": None,
    "maximum is 0": None,
}


def test_a_range_is_cut_to_what_the_node_says(fake, counter, counted):
    for words, blocks in SAID.items():
        asked: list[int] = []
        most = blocks or 40
        chain = Chain(fake.url)
        fake.plain()
        fake.edit(LOGS, limited(most, asked, words))
        next(chain.scan(event(chain, counter), counted, chain.head()))
        first, second, *_ = asked
        assert first > most, words
        assert second == (blocks or first // 2), words


@pytest.mark.parametrize("words", ["exceed maximum block range: 30", "maximum is 0"])
def test_nothing_is_left_out_in_short_ranges(fake, chain, counter, counted, words):
    blocks = SAID[words]
    asked: list[int] = []
    fake.edit(LOGS, limited(blocks or 40, asked, words))
    assert len(chain.logs(event(chain, counter), counted)) == 4
    if blocks:
        assert len([span for span in asked if span > blocks]) <= 1 + 301 // blocks // 8


def test_a_rate_limit_halves_nothing(fake, chain, counter, counted):
    asked: list[int] = []
    fake.edit(LOGS, limited(10**6, asked))
    fake.answer(LOGS, Odd("daily request count exceeded, request rate limited", -32005), times=2)
    assert len(chain.logs(event(chain, counter), counted)) == 4
    fake.answer(LOGS, Odd("Too Many Requests", 429, 429), times=99)
    with pytest.raises(RateLimited):
        chain.logs(event(chain, counter), counted)
    fake.plain()
    fake.edit(LOGS, limited(10**6, asked))
    assert len(chain.logs(event(chain, counter), counted)) == 4
    assert min(asked) > 300


def test_a_block_that_is_too_much_is_told(fake, chain, counter, counted):
    fake.answer(LOGS, Odd("query returned more than 10000 results", -32005), times=99)
    with pytest.raises(RangeTooLarge, match="10000 results"):
        chain.logs(event(chain, counter), counted)


@pytest.mark.parametrize("methods", [(LOGS,), (LOGS, "eth_getBlockByNumber")])
@pytest.mark.parametrize("blocks", [1, PROVEN_BLOCKS - 1])
def test_silence_of_a_node_behind_is_not_believed(
    fake, chain, counter, counted, node, methods, blocks
):
    node.mine(blocks - 1)
    head = chain.head()
    for method in methods:
        fake.edit(method, behind(blocks, method))
    with pytest.raises(NotYet, match="lies behind"):
        next(chain.scan(event(chain, counter), counted, head))
    fake.plain()
    assert len(chain.logs(event(chain, counter), counted, head)) == 4


def test_silence_is_proven_without_logs_by_hash(fake, chain, counter, counted):
    """Another contract's log of the same topic makes the bloom filter doubtful, no more."""
    fake.edit("eth_getBlockByNumber", full_bloom)
    fake.edit(LOGS, no_hash)
    assert len(chain.logs(event(chain, counter), counted)) == 4


def full_bloom(params, forward):
    block = forward("eth_getBlockByNumber", params)
    return block and {**block, "logsBloom": "0x" + "ff" * 256}


def no_hash(params, forward):
    if "blockHash" in params[0]:
        raise Refusal({"code": -32602, "message": "missing field fromBlock"})
    return forward(LOGS, params)


def test_a_reorganisation_between_two_answers_is_seen(fake, chain, counter, counted):
    def other(params, forward):
        found = forward(LOGS, params)
        return [{**log, "blockHash": "0x" + "77" * 32} for log in found]

    fake.edit(LOGS, other)
    with pytest.raises(NotYet):
        chain.logs(event(chain, counter), counted)
    fake.plain()
    assert len(chain.logs(event(chain, counter), counted)) == 4


@pytest.mark.parametrize("odd", [Odd(), Odd(body='{"result": [7]}'), Odd(body='{"result": {}}')])
def test_what_is_no_list_of_logs_is_told(fake, chain, counter, counted, odd):
    fake.answer(LOGS, odd, times=99)
    with pytest.raises(errors.InvalidAnswer):
        chain.logs(event(chain, counter), counted)


@pytest.mark.parametrize("deep", [0, PROVEN_BLOCKS + 9], ids=["newest", "long final"])
def test_logs_that_a_node_hides_are_found_by_receipts(fake, chain, counter, counted, node, deep):
    """It answers [] by range and by hash; the header's bloom filter and the receipts tell."""
    node.mine(deep)
    head = chain.head()
    logs = Chain(node.url).logs(event(chain, counter), counted)
    top = max(log["blockNumber"] for log in logs)
    fake.edit(LOGS, lambda *_: [])
    fake.edit("eth_getBlockReceipts", receipts)
    with pytest.raises(NotYet, match=f"lacks block {top}"):
        chain.logs(event(chain, counter), head - deep - 5, head)
    fake.edit("eth_getBlockReceipts", lambda *_: [{"blockHash": "0x" + "00" * 32, "logs": 7}])
    assert chain.logs(event(chain, counter), head - deep - 5, head) == [], "of another fork"


def receipts(params, forward):
    """Answer as a node that has eth_getBlockReceipts, which the development chain has not."""
    block = forward("eth_getBlockByNumber", [params[0], False])
    return [forward("eth_getTransactionReceipt", [key]) for key in block["transactions"]]
