"""The same against a node that we did not write: anvil, of Foundry."""

import threading
from contextlib import contextmanager

import pytest
from eth_account import Account
from eth_utils import to_checksum_address

from hil_tests import anvil
from hil_tests.chain.test_deploy import arguments
from hil_tests.services import wait_until
from parwana import cli
from parwana.chain import awaiting, faults, outbox
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError, NotYet, Reverted, UnknownBlock
from parwana.chain.faults import Verdict
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain

KEY = dev_key(5)
ME = to_checksum_address(KEY.address)
GWEI = 10**9


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    try:
        anvil.program()
    except anvil.RuntimeMissing as missing:
        pytest.skip(str(missing))
    with (tmp_path_factory.mktemp("anvil") / "log").open("w") as log:
        running = anvil.Anvil(log)
        yield running
        running.stop()


@pytest.fixture
def apart(node, monkeypatch, tmp_path):
    """Begin with an empty pool, as on a computer of one's own."""
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(awaiting, "AGAIN_S", 0.2)
    node.ask("evm_setAutomine", True)
    yield
    node.ask("anvil_dropAllTransactions")


def functions(chain, counter):
    return chain.w3.eth.contract(address=counter.address, abi=counter.abi).functions


def count(node, counter):
    chain = Chain(node.url)
    return chain.call(functions(chain, counter).count())


def add(node, counter, n, timeout_s=20.0):
    chain = Chain(node.url, KEY)
    return chain.send(functions(chain, counter).add(n), timeout_s=timeout_s)


def signed(node, counter, nonce, fee=50 * GWEI, gas=200_000, chain_id=31337, value=0):
    fields = {
        "chainId": chain_id, "nonce": nonce, "to": counter.address, "value": value,
        "data": functions(Chain(node.url), counter).add(1)._encode_transaction_data(),
        "gas": gas, "maxFeePerGas": fee, "maxPriorityFeePerGas": min(fee, GWEI),
    }  # fmt: skip
    return "0x" + bytes(Account.sign_transaction(fields, KEY.secret).raw_transaction).hex()


def nonce(node):
    return node.rpc.number("eth_getTransactionCount", ME, "latest")


def said(node, raw):
    try:
        node.rpc.once("eth_sendRawTransaction", raw)
    except ChainError as error:
        return faults.verdict(error)
    return Verdict.TAKEN


@pytest.mark.usefixtures("apart")
def test_a_utility_is_deployed_and_final_blocks_are_the_nodes(node, tmp_path):
    out = tmp_path / "deployment.json"
    assert cli.main(arguments(node, out)) == 0
    chain = Chain.of(Deployment.load(out))
    node.mine(5)
    tag = node.ask("eth_getBlockByNumber", "finalized", False)["number"]
    assert chain.finalized_block() == int(tag, 16) < chain.head()


@pytest.mark.usefixtures("apart")
def test_a_revert_gives_its_reason(node, counter):
    with pytest.raises(Reverted, match="n must be above 0"):
        add(node, counter, 0)


@pytest.mark.usefixtures("apart")
def test_its_words_are_told_apart(node, counter):
    at = nonce(node)
    first = signed(node, counter, at)
    node.ask("evm_setAutomine", False)
    assert said(node, first) is Verdict.TAKEN
    assert said(node, first) is Verdict.TAKEN, "already known"
    assert said(node, signed(node, counter, at, gas=300_000)) is Verdict.HELD
    assert said(node, signed(node, counter, at + 1, value=10**30)) is Verdict.REFUSED
    assert said(node, signed(node, counter, at + 1, gas=20_000)) is Verdict.REFUSED
    assert said(node, signed(node, counter, at + 1, chain_id=5)) is Verdict.REFUSED
    node.mine()
    assert said(node, first) is Verdict.UNSURE, "its nonce is mined"
    node.ask("evm_setAutomine", True)
    assert said(node, signed(node, counter, at + 1, fee=1)) is Verdict.CHEAP


@pytest.mark.usefixtures("apart")
def test_what_it_does_not_know_is_told(node, counter, monkeypatch):
    monkeypatch.setattr(NotYet, "patience_s", 0.2)
    chain = Chain(node.url)
    with pytest.raises(UnknownBlock):
        node.rpc.block(10**6)
    assert chain.block_hash(10**6) == b""
    event = chain.w3.eth.contract(address=counter.address, abi=counter.abi).events.Counted
    with pytest.raises(ChainError, match="lies behind"):
        chain.logs(event, 0, chain.head() + 3)


@pytest.mark.usefixtures("apart")
def test_an_ended_run_is_found_and_a_stuck_one_raised(node, counter, monkeypatch):
    before, at = count(node, counter), nonce(node)
    node.ask("evm_setAutomine", False)
    with pytest.raises(ChainError, match="may still be mined"):
        add(node, counter, 1, timeout_s=0.5)
    monkeypatch.setattr(awaiting, "RESEND_S", 0.2)
    with pytest.raises(ChainError, match="waits behind 1 other"):
        add(node, counter, 2, timeout_s=1)
    waiting = node.ask("txpool_content")["pending"]
    fees = {int(n): int(tx["maxFeePerGas"], 16) for n, tx in waiting[ME.lower()].items()}
    assert set(fees) == {at, at + 1}
    node.mine()
    add(node, counter, 1)
    add(node, counter, 2)
    assert (count(node, counter), nonce(node)) == (before + 3, at + 2)


@pytest.mark.usefixtures("apart")
def test_one_from_elsewhere_is_raised(node, counter, monkeypatch):
    before, at = count(node, counter), nonce(node)
    node.ask("evm_setAutomine", False)
    cheap = node.rpc.block("latest").base_fee + GWEI
    node.rpc.once("eth_sendRawTransaction", signed(node, counter, at, cheap))
    monkeypatch.setattr(awaiting, "RESEND_S", 0.2)
    with pytest.raises(ChainError, match="waits behind 1 other"):
        add(node, counter, 2, timeout_s=1)
    there = node.ask("txpool_content")["pending"][ME.lower()][str(at)]
    assert int(there["maxFeePerGas"], 16) > cheap * 1.1
    node.mine()
    add(node, counter, 2)
    assert (count(node, counter), nonce(node)) == (before + 3, at + 2)


@pytest.mark.usefixtures("apart")
def test_a_reorganisation_is_mended(node, counter):
    before, at = count(node, counter), nonce(node)
    node.mine()
    snapshot = node.ask("evm_snapshot")
    add(node, counter, 1)
    node.ask("evm_revert", snapshot)
    node.mine(3)
    assert count(node, counter) == before
    add(node, counter, 5)
    assert (count(node, counter), nonce(node)) == (before + 6, at + 2)


def waiting(node):
    """Return the fees of our transactions in the pool, by nonce."""
    found = node.ask("txpool_content")
    mine = {**found["pending"].get(ME.lower(), {}), **found["queued"].get(ME.lower(), {})}
    return {int(n): int(tx["maxFeePerGas"], 16) for n, tx in mine.items()}


@contextmanager
def sending(node, counter):
    """Send in a thread while blocks wait for the test; give what went wrong."""
    failed: list[BaseException] = []

    def send():
        try:
            add(node, counter, 1, timeout_s=40)
        except ChainError as error:
            failed.append(error)

    node.ask("evm_setAutomine", False)
    thread = threading.Thread(target=send)
    thread.start()
    wait_until(lambda: waiting(node), "the transaction in the pool", 20)
    yield failed
    wait_until(lambda: node.mine() or not thread.is_alive(), "the receipt", 40)


@pytest.mark.usefixtures("apart")
def test_a_spike_of_fees_is_followed_at_the_same_nonce(node, counter, monkeypatch):
    monkeypatch.setattr(awaiting, "RESEND_S", 0.2)
    before, at = count(node, counter), nonce(node)
    base = node.rpc.block("latest").base_fee
    with sending(node, counter) as failed:
        [fee] = waiting(node).values()
        node.ask("anvil_setNextBlockBaseFeePerGas", hex(3 * fee))
        node.mine()
        assert nonce(node) == at, "too cheap by now"
        wait_until(lambda: waiting(node).get(at, 0) > 3 * fee, "a higher fee", 20)
    assert failed == []
    assert (count(node, counter), nonce(node)) == (before + 1, at + 1)
    node.ask("anvil_setNextBlockBaseFeePerGas", hex(base))


@pytest.mark.usefixtures("apart")
def test_a_nonce_that_somebody_else_takes(node, counter, caplog):
    before, at = count(node, counter), nonce(node)
    with sending(node, counter) as failed:
        [fee] = waiting(node).values()
        raw = signed(node, counter, at, fee=3 * fee, gas=300_000, value=1)  # of the same key
        node.rpc.once("eth_sendRawTransaction", raw)
        node.mine()
    assert failed == []
    assert "another program uses" in caplog.text
    assert (count(node, counter), nonce(node)) == (before + 2, at + 2)


def test_without_npm_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(anvil.RuntimeMissing, match="npm is missing"):
        anvil.program(tmp_path)


def test_another_file_than_the_known_one_is_not_run(monkeypatch, tmp_path):
    """An npm that brings something else: it is removed, and told."""
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho x >$4/x.tgz\necho x.tgz\n")
    npm.chmod(0o755)
    monkeypatch.setattr(anvil.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(anvil.RuntimeMissing, match="wrong SHA-256"):
        anvil.program(tmp_path)
    assert not list(tmp_path.rglob("*.tgz"))
