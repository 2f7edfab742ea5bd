"""A call is sent once, whatever nodes answer, processes die and pools forget. docs/nodes.md."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import to_checksum_address
from hexbytes import HexBytes

from hil_tests.chain.clients import DEARER, ONCE, REFUSED, rows
from hil_tests.fakenode import FakeNode, Odd, Refusal
from hil_tests.services import wait_until
from parwana.chain import awaiting, desk, outbox
from parwana.chain.errors import ChainError, NodeError, NotYet, RateLimited
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain

SEND = "eth_sendRawTransaction"
KEY = dev_key(3)
GWEI = 10**9


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Give each test a computer of its own, and less patience than services have."""
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(awaiting, "AGAIN_S", 0.1)
    monkeypatch.setattr(awaiting, "STRANGE_S", 0.3)


@pytest.fixture
def fake(node):
    with FakeNode(node.url) as made:
        yield made


class Bench:
    """A program that sends through the odd node, and what the real one says."""

    def __init__(self, node, fake, counter):
        self.node, self.fake, self.counter = node, fake, counter
        self.real = Chain(node.url)
        self.before = self.count()
        self.nonce = self.nonces()

    def program(self, **options):
        """Start a program: it has the key, and knows nothing of others."""
        return Chain(self.fake.url, KEY, **options)

    def on(self, chain):
        return chain.w3.eth.contract(address=self.counter.address, abi=self.counter.abi).functions

    def add(self, n=1, chain=None, timeout_s=20.0):
        chain = chain or self.program()
        return chain.send(self.on(chain).add(n), timeout_s=timeout_s)

    def count(self):
        return self.real.call(self.on(self.real).count())

    def nonces(self):
        return self.real.w3.eth.get_transaction_count(to_checksum_address(KEY.address))

    @property
    def added(self):
        """Return what the calls of this test added up to, on the real chain."""
        return self.count() - self.before

    @property
    def used(self):
        """Return how many nonces this test used, on the real chain."""
        return self.nonces() - self.nonce

    def broadcast(self):
        """Return (nonce, fee) of each broadcast."""
        found = [TypedTransaction.from_bytes(HexBytes(raw)).as_dict() for raw in self.fake.raws]
        return [(fields["nonce"], fields["maxFeePerGas"]) for fields in found]

    def stranger(self, n):
        """Mine a call of another computer that has the key, past the odd node."""
        fields = {
            "chainId": self.real.chain_id, "nonce": self.nonces(), "to": self.counter.address,
            "value": 0, "data": self.on(self.real).add(n)._encode_transaction_data(),
            "gas": 200_000, "maxFeePerGas": 9 * GWEI, "maxPriorityFeePerGas": GWEI,
        }  # fmt: skip
        raw = Account.sign_transaction(fields, KEY.secret).raw_transaction
        return "0x" + bytes(self.real.w3.eth.send_raw_transaction(raw)).hex()


@pytest.fixture
def bench(node, fake, counter):
    return Bench(node, fake, counter)


def named(row):
    return f"{row.client}: {row.text}"[:50]


def of(becomes):
    return [row for row in rows(sending=True) if row.becomes == becomes]


def test_the_table_says_nothing_else():
    assert {row.becomes for row in rows(sending=True)} == {ONCE, DEARER, REFUSED}


@pytest.mark.parametrize("row", of(ONCE), ids=named)
def test_an_answer_lost_or_odd_costs_no_second_nonce(bench, row):
    bench.fake.answer(SEND, replace(row.answer, taken=True))
    assert bench.add()["status"] == 1
    assert (bench.added, bench.used) == (1, 1)
    assert len(bench.broadcast()) == 1


@pytest.mark.parametrize("row", of(ONCE), ids=named)
def test_what_the_node_did_not_take_is_handed_over_again(bench, row):
    bench.fake.answer(SEND, row.answer)
    assert bench.add()["status"] == 1
    assert (bench.added, bench.used) == (1, 1)
    assert {nonce for nonce, _ in bench.broadcast()} == {bench.nonce}


@pytest.mark.parametrize("row", of(DEARER), ids=named)
def test_a_fee_that_is_too_low_is_raised_at_its_nonce(bench, row):
    bench.fake.answer(SEND, row.answer, times=2)
    bench.add()
    assert (bench.added, bench.used) == (1, 1)
    [first, second, third] = bench.broadcast()
    assert first[0] == second[0] == third[0]
    assert first[1] * 1.1 < second[1]
    assert second[1] * 1.1 < third[1]


@pytest.mark.parametrize("row", of(REFUSED), ids=named)
def test_a_refusal_is_told_at_once_and_blocks_nothing(bench, row):
    bench.fake.answer(SEND, row.answer)
    start = time.monotonic()
    with pytest.raises(ChainError) as caught:
        bench.add()
    assert row.answer.words in str(caught.value)
    assert time.monotonic() - start < 5
    assert len(bench.broadcast()) == 1
    bench.add(2)
    assert (bench.added, bench.used) == (2, 1)


def test_an_unknown_word_is_doubted_then_told(bench):
    bench.fake.answer(SEND, Odd("flux capacitor empty", -32099), times=99)
    with pytest.raises(NodeError, match="flux capacitor empty"):
        bench.add()
    bench.fake.plain()
    bench.add()
    assert (bench.added, bench.used) == (1, 1)


def test_a_fee_has_a_bound(bench):
    bench.fake.answer(SEND, Odd("transaction underpriced"), times=99)
    with pytest.raises(ChainError, match="last word: .*transaction underpriced"):
        bench.add(timeout_s=3)
    fees = [fee for _, fee in bench.broadcast()]
    assert fees[0] * 2 < max(fees) < fees[0] * 11


def test_no_answer_in_time_is_no_second_try_by_web3(bench):
    bench.fake.answer(SEND, Odd(taken=True, late_s=1.5))
    bench.add(chain=bench.program(timeout_s=0.7))
    assert (bench.added, bench.used, bench.fake.calls[SEND]) == (1, 1, 1)


@pytest.mark.parametrize(
    "odd",
    [
        Odd("transaction indexing is in progress"),
        Odd("over rate limit"),
        Odd(status=429, body=""),
        Odd(status=502, body="<html>"),
        Odd(body=""),
        Odd(body='{"jsonrpc": "2.0", "id": 1, "result": {"status": null}}'),
        Odd("internal error", -32603),
        Odd(cut=True),
    ],
    ids=lambda odd: str(odd.words or odd.body or "cut"),
)
def test_a_receipt_that_cannot_be_read_is_no_verdict(bench, odd):
    bench.fake.answer("eth_getTransactionReceipt", odd, times=4)
    bench.add()
    assert (bench.added, bench.used) == (1, 1)


def test_a_node_away_for_a_while_is_waited_for(bench):
    program = bench.program()
    bench.fake.hold()
    failed = []

    def send():
        try:
            bench.add(chain=program)
        except ChainError as error:
            failed.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    wait_until(lambda: bench.fake.pool, "the transaction in the pool", 10)
    for method in ("eth_getTransactionReceipt", "eth_getTransactionCount"):
        bench.fake.answer(method, Odd(cut=True), times=12)
    bench.fake.mine()
    thread.join(30)
    assert failed == []
    assert (bench.added, bench.used) == (1, 1)


def test_a_time_out_names_the_hash_and_the_same_call_finds_it(bench):
    bench.fake.hold()
    with pytest.raises(ChainError, match=r"transaction 0x\w{64}; it may still be mined") as told:
        bench.add(timeout_s=0.5)
    assert "does not send it twice" in str(told.value)
    bench.fake.release()
    receipt = bench.add(chain=bench.program())
    assert "0x" + bytes(receipt["transactionHash"]).hex() in str(told.value)
    assert (bench.added, bench.used) == (1, 1)
    bench.add()
    assert (bench.added, bench.used) == (2, 2), "asked for again after an answer: another call"


PROGRAM = """
import sys
from hil_tests.chain.test_sender import KEY
from parwana.chain.node import Chain
chain = Chain(sys.argv[1], KEY)
contract = chain.w3.eth.contract(address=sys.argv[2], abi=eval(sys.argv[3]))
chain.send(contract.functions.add(1))
"""


@pytest.mark.parametrize("taken", [True, False], ids=["it had it", "it had it not"])
def test_a_killed_process_is_taken_up_where_it_ended(bench, taken):
    bench.fake.answer(SEND, Odd(taken=taken, late_s=30))
    command = [sys.executable, "-c", PROGRAM, bench.fake.url, bench.counter.address]
    process = subprocess.Popen([*command, repr(bench.counter.abi)])
    wait_until(lambda: bench.fake.raws, "the broadcast", 60)
    if taken:
        wait_until(lambda: bench.used, "the block", 10)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    bench.add()
    assert (bench.added, bench.used) == (1, 1)
    assert len(set(bench.fake.raws)) == 1, "the very same transaction"


def test_a_call_signed_and_not_broadcast_is_found(bench, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(desk.Desk, "broadcast", dies)
        with pytest.raises(KeyboardInterrupt):
            bench.add()
    assert not bench.fake.raws
    bench.add()
    assert (bench.added, bench.used) == (1, 1)


def test_a_stuck_cheap_transaction_of_an_ended_run_is_raised_by_the_next(bench, monkeypatch):
    bench.fake.hold()
    with pytest.raises(ChainError, match="waited"):
        bench.add(1, timeout_s=0.3)
    [(_, cheap)] = bench.broadcast()
    monkeypatch.setattr(awaiting, "RESEND_S", 0.3)
    mining = threading.Event()

    def mine():
        while not mining.wait(0.1):
            bench.fake.mine(least_fee=cheap * 3 // 2)

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        bench.add(2, timeout_s=30)
    finally:
        mining.set()
        thread.join()
    assert (bench.added, bench.used) == (3, 2)
    assert max(fee for nonce, fee in bench.broadcast() if nonce == bench.nonce) > cheap


def elsewhere(monkeypatch, tmp_path):
    """Go to another computer: what was written down on this one is not there."""
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("shown", [True, False])
def test_a_stuck_transaction_from_elsewhere_is_raised_or_told(bench, monkeypatch, tmp_path, shown):
    bench.fake.hold()
    with pytest.raises(ChainError, match="waited"):
        bench.add(1, timeout_s=0.3)
    elsewhere(monkeypatch, tmp_path)
    if shown:
        bench.fake.edit(
            "eth_getTransactionBySenderAndNonce", lambda params, _: show(bench, params)
        )
        monkeypatch.setattr(awaiting, "RESEND_S", 0.3)
    with pytest.raises(ChainError, match="waits behind 1 other"):
        bench.add(2, timeout_s=1)
    fees = [fee for nonce, fee in bench.broadcast() if nonce == bench.nonce]
    assert (len(fees) > 1) is shown
    bench.fake.mine()
    bench.add(2)
    assert (bench.added, bench.used) == (3, 2)


def show(bench, params):
    """Answer as a node that shows its pool."""
    for waiting in bench.fake.pool or []:
        if waiting.nonce == int(params[1], 16):
            fields = TypedTransaction.from_bytes(HexBytes(waiting.raw)).as_dict()
            return {
                "hash": waiting.hash,
                "to": "0x" + bytes(fields["to"]).hex(),
                "input": "0x" + bytes(fields["data"]).hex(),
                "blockNumber": None,
                **{
                    name: hex(fields[name])
                    for name in ("value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
                },
            }
    return None


def test_the_same_call_waiting_from_elsewhere_is_not_made_twice(bench, monkeypatch, tmp_path):
    bench.fake.hold()
    with pytest.raises(ChainError, match="waited"):
        bench.add(1, timeout_s=0.3)
    elsewhere(monkeypatch, tmp_path)
    bench.fake.edit("eth_getTransactionBySenderAndNonce", lambda params, _: show(bench, params))
    threading.Timer(0.5, bench.fake.mine).start()
    bench.add(1)
    assert (bench.added, bench.used) == (1, 1)


def test_a_strangers_transaction_at_our_nonce_is_told_and_the_call_made_anew(bench, caplog):
    taken: list[str] = []

    def first(params, forward):
        if not taken:
            taken.append(bench.stranger(10))
        return forward(SEND, params)

    bench.fake.edit(SEND, first)
    with caplog.at_level(logging.WARNING, "parwana"):
        bench.add(1)
    assert (bench.added, bench.used) == (11, 2)
    assert f"another program uses {KEY.address}: its transaction {taken[0]}" in caplog.text


def test_without_proof_of_a_stranger_nothing_is_sent_again(bench, monkeypatch):
    """Its nonce is used, the node shows neither a receipt nor the block: ours may be in it."""
    monkeypatch.setattr(NotYet, "patience_s", 0.5)
    bench.fake.answer(SEND, Odd(status=504, taken=True))
    bench.fake.edit("eth_getTransactionReceipt", lambda *_: None)
    bench.fake.edit("eth_getTransactionCount", no_old_state)
    with pytest.raises(ChainError, match="may still be mined"):
        bench.add(timeout_s=2)
    assert (bench.added, bench.used) == (1, 1)
    bench.fake.plain()
    bench.add()
    assert (bench.added, bench.used) == (1, 1)


def no_old_state(params, forward):
    head = int(forward("eth_blockNumber", []), 16)
    if params[1].startswith("0x") and int(params[1], 16) < head:
        raise Refusal({"code": -32000, "message": "missing trie node 7a"})
    return forward("eth_getTransactionCount", params)


def test_the_same_call_raised_elsewhere_is_ours(bench):
    def raised(_params, _forward):
        if not bench.used:
            bench.stranger(1)
        raise Refusal({"code": -32000, "message": "nonce too low"})

    bench.fake.edit(SEND, raised)
    bench.add(1)
    assert (bench.added, bench.used) == (1, 1)


def test_what_a_reorganisation_drops_is_sent_again(bench):
    program = bench.program()
    bench.add(1, program)
    start = bench.real.head() - 1
    bench.node.rewind(start)
    assert bench.added == 0
    bench.add(5, program)
    assert (bench.added, bench.used) == (6, 2)
    bench.node.rewind(start)
    bench.add(5, program)
    assert (bench.added, bench.used) == (6, 2), "asked for again: once, like what it follows on"


def test_what_is_final_is_forgotten_and_all_of_it_is_private(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "_TIDY", 1)
    program = bench.program()
    bench.add(1, program)
    [kept] = (tmp_path / "state").rglob("*.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert KEY.secret.hex() not in kept.read_text()
    assert json.loads(kept.read_text())["told"]
    bench.node.mine(5)
    bench.add(1, program)
    assert not kept.exists()


def test_nothing_is_sent_that_cannot_be_written_down(bench, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(ChainError, match=f"set {outbox.VARIABLE} to a folder"):
        bench.add()
    assert not bench.fake.raws


def test_state_lies_where_the_machine_keeps_it(monkeypatch, tmp_path):
    monkeypatch.delenv(outbox.VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    outbox.of(5, b"\x01" * 32, KEY.address)
    [folder] = (tmp_path / "parwana" / "sent").iterdir()
    assert folder.name == f"5-{'01' * 8}-{KEY.address.lower()}"


class Behind:
    """A node behind the same URL that lacks the newest block for the next `times` requests."""

    def __init__(self, bench, times):
        self.times = times
        self.bench = bench
        for method in ("eth_blockNumber", "eth_call", "eth_estimateGas"):
            bench.fake.edit(method, self.answer(method))

    def answer(self, method):
        def change(params, forward):
            if self.times <= 0:
                return forward(method, params)
            self.times -= 1
            head = int(forward("eth_blockNumber", []), 16) - 1
            if method == "eth_blockNumber":
                return hex(head)
            if method == "eth_estimateGas":
                raise Refusal({"code": 3, "message": "execution reverted: not there"})
            if params[1] not in ("latest", hex(head)):
                raise Refusal({"code": -32000, "message": "header not found"})
            return forward(method, [params[0], hex(head)])

        return change


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_after_a_receipt_nothing_older_is_read(bench, times):
    program = bench.program()
    bench.add(1, program)
    Behind(bench, times)
    assert program.call(bench.on(program).count()) == bench.before + 1
    Behind(bench, times)
    bench.add(1, program)
    assert (bench.added, bench.used) == (2, 2)


def test_a_node_that_stays_behind_is_told(bench, monkeypatch):
    for kind in (NotYet, RateLimited):
        monkeypatch.setattr(kind, "patience_s", 0.5)
    monkeypatch.setattr("parwana.chain.reader.BEHIND_S", 0.2)
    program = bench.program()
    bench.add(1, program)
    Behind(bench, 10**6)
    with pytest.raises(NotYet, match="lies behind"):
        program.call(bench.on(program).count())


@pytest.mark.parametrize("absent", ["a tip", "a tip and a price", "a base fee"])
def test_fees_need_little(bench, absent):
    missing = Odd("the method does not exist/is not available", -32601)
    if absent == "a base fee":
        bench.fake.edit("eth_getBlockByNumber", without("baseFeePerGas"))
    else:
        bench.fake.answer("eth_maxPriorityFeePerGas", missing, times=9)
    if absent == "a tip and a price":
        bench.fake.answer("eth_gasPrice", missing, times=9)
    bench.add()
    assert (bench.added, bench.used) == (1, 1)
    assert not bench.fake.calls["eth_feeHistory"]


def without(name):
    def change(params, forward):
        block = forward("eth_getBlockByNumber", params)
        return {key: value for key, value in block.items() if key != name}

    return change


def test_any_extra_data_does(bench):
    def clique(params, forward):
        block = forward("eth_getBlockByNumber", params)
        return block and {**block, "extraData": "0x" + "ab" * 97}

    bench.fake.edit("eth_getBlockByNumber", clique)
    program = bench.program()
    bench.add(1, program)
    assert program.finalized_block() <= program.head()
    assert program.block_time_s() > 10**9
    event = program.w3.eth.contract(address=bench.counter.address, abi=bench.counter.abi)
    assert program.logs(event.events.Counted, 0)


def test_environment_of_a_service_without_a_home_is_told(monkeypatch):
    for name in (outbox.VARIABLE, "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(ChainError, match=outbox.VARIABLE):
        outbox.of(5, b"\x01" * 32, KEY.address)
