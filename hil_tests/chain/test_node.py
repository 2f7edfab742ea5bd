"""The chain connection against a real EVM, with a small contract compiled for the purpose."""

import threading
from itertools import pairwise

import pytest
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes

from parwana.chain import keys
from parwana.chain.node import Chain, ChainError, OutOfGas, Reverted, Unreachable
from parwana.devchain.rpc import Methods
from parwana.devchain.server import CHAIN_ID


@pytest.fixture
def chain(node):
    return Chain(node.url, keys.dev_key(1))


def on(chain, counter):
    return chain.w3.eth.contract(address=counter.address, abi=counter.abi)


def test_sends_and_calls(chain, counter):
    mine = on(chain, counter)
    before = chain.call(mine.functions.count())
    receipt = chain.send(mine.functions.add(3))
    assert receipt["from"] == keys.dev_key(1).address
    assert chain.call(mine.functions.count()) == before + 3
    assert chain.call(mine.functions.count(), receipt["blockNumber"] - 1) == before


def test_names_a_contracts_reason(chain, counter):
    with pytest.raises(Reverted, match="n must be above 0") as caught:
        chain.send(on(chain, counter).functions.add(0))
    assert caught.value.reason == "n must be above 0"


def test_names_a_revert_without_reason(chain, counter):
    with pytest.raises(Reverted, match="add: the contract refused$") as caught:
        chain.send(on(chain, counter).functions.add(7))
    assert caught.value.reason == ""


def test_names_an_account_that_cannot_pay(node, counter):
    poor = Chain(node.url, keys.Key(bytes(31) + b"\x63"))
    with pytest.raises(OutOfGas, match="cannot pay"):
        poor.send(on(poor, counter).functions.add(1))


def test_refuses_to_send_without_a_key(node, counter):
    with pytest.raises(ChainError, match="--key"):
        Chain(node.url).send(counter.functions.add(1))


def test_refuses_another_chain(node):
    with pytest.raises(ChainError, match="not 1; give another --rpc"):
        Chain(node.url, chain_id=1)
    assert Chain(node.url, chain_id=CHAIN_ID).chain_id == CHAIN_ID


def test_says_that_nobody_answers():
    with pytest.raises(Unreachable, match="does not answer"):
        Chain("http://127.0.0.1:9", timeout_s=2)


def test_keeps_a_nodes_api_key_out_of_messages():
    with pytest.raises(Unreachable) as caught:
        Chain("http://user:secret1@127.0.0.1:9/v3/secret2", timeout_s=2)
    assert "http://127.0.0.1:9 " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_says_that_no_contract_is_there(chain, counter):
    nowhere = chain.w3.eth.contract(address="0x" + "00" * 19 + "99", abi=counter.abi)
    with pytest.raises(ChainError, match="no such contract"):
        chain.call(nowhere.functions.count())


def test_threads_share_a_key(chain, counter):
    mine = on(chain, counter)
    before = chain.call(mine.functions.count())
    failures = []

    def work():
        try:
            for _ in range(5):
                chain.send(mine.functions.add(1))
        except ChainError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert chain.call(mine.functions.count()) == before + 20


def test_two_connections_share_a_key(node, counter):
    chains = [Chain(node.url, keys.dev_key(2)) for _ in range(2)]
    for _ in range(3):
        for chain in chains:
            chain.send(on(chain, counter).functions.add(1))


def test_reads_logs_in_bounded_ranges(chain, counter, node, monkeypatch):
    mine = on(chain, counter)
    first = chain.head() + 1
    for _ in range(3):
        chain.send(mine.functions.add(1))
        node.mine(2)
    monkeypatch.setattr("parwana.chain.ranges.RANGE_BLOCKS", 4)
    parts = list(chain.scan(mine.events.Counted, first, chain.head()))
    assert [following for following, _ in parts] == [first + 4, first + 8, chain.head() + 1]
    assert sum(len(found) for _, found in parts) == 3
    assert len(chain.logs(mine.events.Counted, parts[0][0])) == 3 - len(parts[0][1])
    assert chain.logs(mine.events.Counted, first, who=keys.dev_key(9).address) == []


def test_halves_a_range_that_is_too_large(chain, counter, monkeypatch):
    mine = on(chain, counter)
    first = chain.head() + 1
    for _ in range(4):
        chain.send(mine.functions.add(1))
    monkeypatch.setattr("parwana.devchain.rpc.MAX_LOGS", 1)
    assert len(chain.logs(mine.events.Counted, first)) == 4


def test_knows_what_is_final(chain, node):
    node.mine(5)
    assert chain.finalized_block() == chain.head() - 2


def test_refuses_public_keys_on_another_chain(node, monkeypatch):
    monkeypatch.setattr("parwana.chain.node.DEV_CHAIN_IDS", (5,))
    with pytest.raises(ChainError, match="public"):
        Chain(node.url, keys.dev_key(0))


def test_a_transaction_that_fails_in_its_block_says_why(chain, counter, monkeypatch):
    monkeypatch.setattr("parwana.devchain.evm.Evm.estimate", lambda *_, **__: 100_000)
    head = chain.head()
    with pytest.raises(Reverted, match="n must be above 0"):
        chain.send(on(chain, counter).functions.add(0))
    assert chain.head() == head + 1, "it was mined, and cost gas"
    monkeypatch.setattr("parwana.devchain.evm.Evm.estimate", lambda *_, **__: 21_500)
    with pytest.raises(Reverted, match="out of gas"):
        chain.send(on(chain, counter).functions.add(1))


class Stalled:
    """A node that takes transactions and mines none until it is told."""

    def __init__(self, monkeypatch, methods):
        self.fees: list[int] = []
        self.mining = False
        real = methods.eth_sendRawTransaction

        def send(own, raw):
            fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
            self.fees.append(fields["maxFeePerGas"])
            if self.mining:
                return real(own, raw)
            return keccak(HexBytes(raw))

        monkeypatch.setattr(methods, "eth_sendRawTransaction", send)


def test_sends_again_with_a_higher_fee(chain, counter, monkeypatch):
    stalled = Stalled(monkeypatch, Methods)
    monkeypatch.setattr("parwana.chain.awaiting.RESEND_S", 0.2)
    mine = on(chain, counter)
    before = chain.call(mine.functions.count())
    threading.Timer(0.5, setattr, (stalled, "mining", True)).start()
    chain.send(mine.functions.add(2), timeout_s=20)
    assert chain.call(mine.functions.count()) == before + 2
    assert len(stalled.fees) >= 3
    assert all(b > a * 1.1 for a, b in pairwise(stalled.fees))


def test_says_which_transaction_it_waited_for(chain, counter, monkeypatch):
    with monkeypatch.context() as patched:
        Stalled(patched, Methods)
        with pytest.raises(
            ChainError, match=r"waited 1 s for the receipt of transaction 0x\w{64}"
        ):
            chain.send(on(chain, counter).functions.add(1), timeout_s=1)
    chain.send(on(chain, counter).functions.add(1))
