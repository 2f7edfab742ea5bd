"""What is final, is final by the deployment's word: no error weakens it. docs/nodes.md."""

import json

import pytest

from hil_tests.chain.test_deploy import arguments
from hil_tests.chainkit import HandClock
from hil_tests.fakenode import FakeNode, Odd
from parwana import cli
from parwana.chain import errors
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError, NotYet, RateLimited, UnknownBlock
from parwana.chain.node import Chain
from parwana.devchain.server import DevChain

TAG = "eth_getBlockByNumber"
UNKNOWN = Odd("Invalid block parameter", -32602)


@pytest.fixture(scope="module")
def node():
    with DevChain(block_interval_s=60, finality_depth=30) as chain:
        chain.mine(60)
        yield chain


@pytest.fixture
def fake(node):
    with FakeNode(node.url) as made:
        yield made


@pytest.fixture
def hasty(monkeypatch):
    for kind in (errors.Passing, RateLimited, NotYet):
        monkeypatch.setattr(kind, "patience_s", 0.1)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (Odd("rate limit exceeded", -32005), RateLimited),
        (Odd(status=429, body=""), RateLimited),
        (Odd("request rate exceeded", -32602, 400), RateLimited),
        (UNKNOWN, UnknownBlock),
        (Odd("finalized block not found", -39001), UnknownBlock),
        (Odd(), UnknownBlock),
        (Odd("internal error", -32603), errors.NodeError),
        (Odd(cut=True), errors.Unreachable),
        (Odd(body="<html>"), errors.InvalidAnswer),
    ],
)
def test_no_error_at_the_tag_weakens_finality(fake, odd, kind):
    chain = Chain(fake.url)
    fake.answer(TAG, odd, times=99)
    with pytest.raises(kind):
        chain.finalized_block()
    fake.plain()
    assert chain.finalized_block() == chain.head() - 30


def test_a_limit_at_the_tag_is_waited_out(fake):
    chain = Chain(fake.url)
    fake.answer(TAG, Odd("Too Many Requests", 429, 429), times=2)
    assert chain.finalized_block() == chain.head() - 30


def test_a_chain_without_the_tag_has_as_many_blocks_as_was_said(fake):
    chain = Chain(fake.url, finality=7)
    fake.answer(TAG, UNKNOWN, times=99)
    assert chain.finalized_block() == chain.head() - 7
    assert Chain(fake.url, finality=10_000).finalized_block() == 0


def test_deploy_refuses_a_chain_without_the_tag_unless_told(fake, tmp_path, capsys):
    head = Chain(fake.url).head()
    plain = lambda params, forward: forward(TAG, params)  # noqa: E731

    def untagged(params, forward):
        return None if params[0] == "finalized" else plain(params, forward)

    fake.edit(TAG, untagged)
    out = tmp_path / "deployment.json"
    assert cli.main(arguments(fake, out)) == 1
    said = capsys.readouterr().err
    assert "parwana deploy --finality 64" in said
    assert Chain(fake.url).head() == head, "nothing was sent"
    assert cli.main(arguments(fake, out, "--finality", "5")) == 0
    made = Deployment.load(out)
    assert made.finality == {"blocks": 5}
    chain = Chain.of(made)
    assert chain.finalized_block() == chain.head() - 5


def test_the_file_says_it_and_an_old_one_means_the_tag(node, tmp_path):
    out = tmp_path / "deployment.json"
    assert cli.main(arguments(node, out)) == 0
    values = json.loads(out.read_text())
    assert values.pop("finality") == "finalized"
    out.write_text(json.dumps(values))
    made = Deployment.load(out)
    assert Chain.of(made).finalized_block() == Chain.of(made).head() - 30


@pytest.mark.parametrize("text", ["-1", "latest", "1.5", "100001", ""])
def test_another_word_is_refused_with_what_is_allowed(node, tmp_path, capsys, text):
    assert cli.main(arguments(node, tmp_path / "d.json", f"--finality={text}")) == 1
    assert "write finalized, or" in capsys.readouterr().err


def test_a_height_is_no_chain(node):
    """A block that is gone has no hash, an error is no answer."""
    chain = Chain(node.url)
    assert chain.block_hash(10**9) == b""
    assert len(chain.block_hash(0)) == 32
    with FakeNode(node.url) as fake:
        other = Chain(fake.url)
        fake.answer(TAG, Odd("internal error", -32603))
        with pytest.raises(ChainError):
            other.block_hash(0)


def test_no_two_chains_begin_alike():
    hashes = set()
    for _ in range(2):
        with DevChain(clock=HandClock(), block_interval_s=60) as chain:
            hashes.add(Chain(chain.url).block_hash(0))
    assert len(hashes) == 2
