"""Each answer of docs/nodes.md to a read, over HTTP, is told apart."""

from email.utils import formatdate

import pytest

from hil_tests.chain.clients import rows, table
from hil_tests.fakenode import FakeNode, Odd
from parwana import REPO
from parwana.chain import errors
from parwana.chain.errors import NodeError, NotYet, RateLimited, Reverted, Unreachable
from parwana.chain.rpc import Rpc

READS = rows(sending=False)


@pytest.fixture
def fake(node):
    with FakeNode(node.url) as made:
        yield made


@pytest.fixture
def hasty(monkeypatch):
    """Let nothing be asked twice."""
    for kind in (errors.Passing, RateLimited, NotYet):
        monkeypatch.setattr(kind, "patience_s", 0.0)


def ask(rpc, method):
    if method == "eth_blockNumber":
        return rpc.head()
    if method == "eth_getBlockByNumber":
        return rpc.block("finalized")
    return rpc.ask(method, {})


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("row", READS, ids=lambda row: f"{row.client}: {row.text}"[:60])
def test_an_answer_becomes_what_the_table_says(fake, row):
    fake.answer(row.method, row.answer)
    with pytest.raises(errors.ChainError) as caught:
        ask(Rpc(fake.url, 5), row.method)
    assert type(caught.value).__name__ == row.becomes
    if row.answer.words and row.becomes != "Reverted":
        assert row.answer.words[:60] in str(caught.value), "the node's own words are told"


def test_the_table_knows_every_kind_of_error_and_each_situation_has_its_test():
    kinds = {row.becomes for row in READS}
    told = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert kinds == told & kinds
    assert len(kinds) == 9
    sources = "\n".join(path.read_text() for path in (REPO / "hil_tests").rglob("test_*.py"))
    cells = table("Situations")
    assert cells
    for _, _, test in cells:
        assert f"\ndef {test.strip('`')}(" in sources, f"docs/nodes.md names {test}"


def test_a_reason_is_read_from_data_where_it_is(fake):
    reason = "0x08c379a0" + f"{32:064x}{3:064x}" + b"why".hex().ljust(64, "0")
    for odd in (
        Odd("execution reverted", 3, data=reason),
        Odd("VM execution error.", -32015, data="Reverted " + reason),
        Odd("VM Exception while processing transaction: revert", -32000, data={"data": reason}),
        Odd("execution reverted: why", -32000, status=400),
    ):
        fake.answer("eth_call", odd)
        with pytest.raises(Reverted) as caught:
            Rpc(fake.url, 5).ask("eth_call", {})
        assert caught.value.reason == "why"


def test_a_limit_is_waited_out_as_long_as_the_node_says(fake, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("parwana.chain.rpc.time.sleep", slept.append)
    limit = Odd("Too Many Requests", 429, 429, headers=(("Retry-After", "7"),))
    fake.answer("eth_blockNumber", limit, times=2)
    assert Rpc(fake.url, 5).head() >= 0
    assert slept == [7.0, 7.0]
    fake.answer("eth_blockNumber", Odd(status=429, headers=(("Retry-After", "3600"),)))
    with pytest.raises(RateLimited, match="fewer requests"):
        Rpc(fake.url, 5).head()
    assert len(slept) == 2, "nobody waits an hour within a call"


@pytest.mark.parametrize(
    ("header", "words", "waits_s"),
    [
        ("2", "slow down", 2),
        (formatdate(2_000_000_000, usegmt=True), "slow down", 2_000_000_000 - 1_999_999_000),
        (formatdate(1_000_000_000, usegmt=True), "slow down", 0),
        ("soon", "Too many requests, reason: call rate limit exhausted, retry in 10s", 10),
        ("", "rate limit; try again in 1500 ms", 1.5),
        ("", "daily request count exceeded, request rate limited", 0),
    ],
)
def test_how_long_a_limit_lasts_is_read(fake, monkeypatch, header, words, waits_s):
    monkeypatch.setattr("parwana.chain.faults.time.time", lambda: 1_999_999_000.0)
    fake.answer("eth_blockNumber", Odd(words, -32005, 429, headers=(("Retry-After", header),)))
    with pytest.raises(RateLimited) as caught:
        Rpc(fake.url, 5).once("eth_blockNumber")
    assert caught.value.after_s == waits_s


def test_what_passes_is_asked_again(fake):
    fake.answer("eth_blockNumber", Odd(cut=True), Odd(body=""), Odd(status=503, body="no"))
    assert Rpc(fake.url, 5).head() >= 0
    assert fake.calls["eth_blockNumber"] == 4


def test_a_transaction_is_handed_over_once_whatever_happens(fake):
    fake.answer("eth_sendRawTransaction", Odd(status=504))
    with pytest.raises(Unreachable):
        Rpc(fake.url, 5).once("eth_sendRawTransaction", "0x00")
    assert fake.calls["eth_sendRawTransaction"] == 1


def test_a_secret_of_the_url_is_in_no_message(fake):
    secret = "0123456789abcdef0123"
    fake.answer("eth_getCode", Odd(f"invalid project id {secret}", -32002, 401))
    with pytest.raises(NodeError) as caught:
        Rpc(f"{fake.url}/v3/{secret}", 5).ask("eth_getCode", "0x00", "latest")
    assert "invalid project id" in str(caught.value)
    assert secret not in str(caught.value) + caught.value.words
