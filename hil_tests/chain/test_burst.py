"""Many calls of one key on their way at a time: each is done once, none blocks those behind it."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from hil_tests.chain.test_sender import KEY, SEND, Bench, quick  # noqa: F401
from hil_tests.fakenode import FakeNode, Odd, Refusal
from hil_tests.services import wait_until
from parwana.chain import awaiting, outbox, sender
from parwana.chain.errors import ChainError, Reverted
from parwana.chain.limits import Limits


@pytest.fixture
def bench(node, counter):
    with FakeNode(node.url) as fake:
        yield Bench(node, fake, counter)


class Mining:
    """Mine what the fake node's pool holds, again and again, once `begin` says so."""

    def __init__(self, fake, begin=lambda: True):
        self._fake, self._stop, self._begin = fake, threading.Event(), begin
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            if self._begin():
                self._fake.mine()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def add_all(bench, numbers, chain=None, timeout_s=20.0):
    """Return by number what became of it: a receipt's status, or the contract's reason."""
    chain = chain or bench.program()
    calls = ((n, bench.on(chain).add(n)) for n in numbers)
    return {
        n: found.reason if isinstance(found, Reverted) else found["status"]
        for n, found in chain.send_all(calls, timeout_s=timeout_s)
    }


def finish(bench, program):
    return program.finish([bench.on(program).add])


def nonces(bench):
    return [nonce - bench.nonce for nonce, _ in bench.broadcast()]


def test_all_that_there_is_room_for_waits_at_a_time(bench, monkeypatch):
    monkeypatch.setattr(sender, "IN_FLIGHT", 4)
    bench.fake.hold()
    pooled: list[int] = []
    take = bench.fake._take

    def counted(raw):
        found = take(raw)
        pooled.append(len(bench.fake.pool))
        return found

    monkeypatch.setattr(bench.fake, "_take", counted)
    numbers = [1, 2, 3, 4, 5, 6, 8, 9, 10]
    with Mining(bench.fake, lambda: 4 in pooled):
        assert add_all(bench, numbers) == dict.fromkeys(numbers, 1)
    assert (bench.added, bench.used) == (sum(numbers), 9)
    assert nonces(bench) == list(range(9)), "in their order, each once"
    assert max(pooled) == 4


def test_no_more_gas_waits_than_a_block_has(bench):
    def small(params, forward):
        return {**forward("eth_getBlockByNumber", params), "gasLimit": hex(100_000)}

    bench.fake.hold()
    bench.fake.edit("eth_getBlockByNumber", small)
    thread = threading.Thread(target=add_all, args=(bench, [1, 2, 3, 4]))
    thread.start()
    wait_until(lambda: len(bench.fake.raws) == 2, "two transactions", 10)
    time.sleep(0.3)
    assert len(bench.fake.pool) == 2
    with Mining(bench.fake):
        thread.join()
    assert (bench.added, bench.used) == (10, 4)


def test_what_a_contract_refuses_keeps_nobody(bench):
    assert add_all(bench, [1, 0, 2]) == {1: 1, 0: "n must be above 0", 2: 1}
    assert (bench.added, bench.used) == (3, 2)
    assert add_all(bench, [0, 0]) == {0: "n must be above 0"}
    assert add_all(bench, []) == {}


def test_a_pool_that_takes_no_more_is_waited_for(bench):
    bench.fake.hold()
    full: list[str] = []

    def pool(params, _):
        if len(bench.fake.pool) == 2:
            full.append(params[0])
            raise Refusal({"code": -32000, "message": "txpool is full"})
        return bench.fake._take(params[0])

    bench.fake.edit(SEND, pool)
    with Mining(bench.fake, lambda: full):
        assert add_all(bench, [1, 2, 3, 4, 5]) == dict.fromkeys([1, 2, 3, 4, 5], 1)
    assert (bench.added, bench.used) == (15, 5)


def test_what_is_refused_alone_is_told(bench):
    bench.fake.answer(SEND, Odd("txpool is full"), times=99)
    with pytest.raises(ChainError, match="txpool is full"):
        add_all(bench, [1, 2], timeout_s=2)
    bench.fake.plain()
    assert add_all(bench, [1, 2]) == {1: 1, 2: 1}
    assert (bench.added, bench.used) == (3, 2)


def test_nothing_follows_what_is_in_doubt(bench):
    bench.fake.hold()
    bench.fake.answer(SEND, Odd("flux capacitor empty", -32099), times=1)
    thread = threading.Thread(target=add_all, args=(bench, [1, 2, 3]))
    thread.start()
    wait_until(lambda: bench.fake.pool, "the first, handed over again", 10)
    assert set(nonces(bench)) == {0}
    with Mining(bench.fake):
        thread.join()
    assert (bench.added, bench.used) == (6, 3)


def test_what_the_pool_forgot_is_sent_again(bench, monkeypatch):
    monkeypatch.setattr(awaiting, "RESEND_S", 0.3)
    bench.fake.hold()
    done = {}
    thread = threading.Thread(target=lambda: done.update(add_all(bench, [1, 2, 3])))
    thread.start()
    wait_until(lambda: len(bench.fake.pool) == 3, "three transactions", 10)
    bench.fake.pool.pop(0)
    wait_until(lambda: len(bench.fake.pool) == 3, "the first again", 10)
    with Mining(bench.fake):
        thread.join()
    assert done == {1: 1, 2: 1, 3: 1}
    assert (bench.added, bench.used) == (6, 3)


def test_a_gap_that_nobody_fills_is_filled(bench, monkeypatch):
    """Another program's transaction was refused in the end; ours has the nonce behind it."""
    bench.fake.hold()
    bench.fake.answer(SEND, Odd("flux capacitor empty", -32099), times=99)
    with pytest.raises(ChainError, match="waited"):
        bench.add(1, timeout_s=0.1)
    bench.fake.plain()
    bench.fake.answer(SEND, Odd(status=504), times=1)  # handed on when the next call pushes it
    with pytest.raises(ChainError, match="waited"):
        bench.add(2, timeout_s=0.1)
    bench.fake.pool.clear()
    first = outbox.of(bench.real.chain_id, bench.real.block_hash(0), KEY.address)
    lost = next(one for one in first.all() if one.nonce == bench.nonce)
    lost.refused = True
    first.keep(lost)
    monkeypatch.setattr(awaiting, "RESEND_S", 0.3)
    done = []
    thread = threading.Thread(target=lambda: done.append(bench.add(2)))
    thread.start()
    wait_until(lambda: len(bench.fake.pool) == 2, "the gap filled", 10)
    with Mining(bench.fake):
        thread.join()
    assert [receipt["status"] for receipt in done] == [1]
    assert (bench.added, bench.used) == (2, 2)


def test_a_stranger_in_the_midst_costs_a_nonce_and_no_call(bench, caplog):
    taken: list[str] = []

    def second(params, forward):
        if bench.used == 1 and not taken:
            taken.append(bench.stranger(100))
        return forward(SEND, params)

    bench.fake.edit(SEND, second)
    assert add_all(bench, [1, 2, 3]) == {1: 1, 2: 1, 3: 1}
    assert (bench.added, bench.used) == (106, 4)
    assert "it is sent anew" in caplog.text


def test_above_the_fee_cap_nothing_new_is_sent_and_what_waits_is_heard(bench, monkeypatch):
    monkeypatch.setattr(sender, "IN_FLIGHT", 2)
    program = bench.program(limits=Limits(gas_wei=10**12))
    real = bench.fake.forward("eth_getBlockByNumber", ["latest", False])

    def dear(params, forward):
        block = forward("eth_getBlockByNumber", params)
        return {**block, "baseFeePerGas": hex(10**13)} if bench.used else block

    bench.fake.edit("eth_getBlockByNumber", dear)
    done: list[int] = []
    calls = ((n, bench.on(program).add(n)) for n in (1, 2, 3))
    with pytest.raises(ChainError, match="--fee-cap"):
        done.extend(n for n, _ in program.send_all(calls))
    assert (bench.added, bench.used) == (sum(done), len(done))
    assert 0 < len(done) < 3
    assert int(real["baseFeePerGas"], 16) < 10**12
    bench.fake.plain()
    assert set(add_all(bench, {1, 2, 3} - set(done)).values()) == {1}
    assert (bench.added, bench.used) == (6, 3)


PROGRAM = """
import sys
from hil_tests.chain.test_sender import KEY
from parwana.chain.node import Chain
chain = Chain(sys.argv[1], KEY)
contract = chain.w3.eth.contract(address=sys.argv[2], abi=eval(sys.argv[3]))
for _ in chain.send_all((n, contract.functions.add(n)) for n in (1, 2, 3, 4)):
    pass
"""


@pytest.mark.parametrize("known", [True, False], ids=["the pool has them", "it forgot them"])
def test_a_killed_process_is_taken_up_whole(bench, known):
    bench.fake.hold()
    command = [sys.executable, "-c", PROGRAM, bench.fake.url, bench.counter.address]
    process = subprocess.Popen([*command, repr(bench.counter.abi)])
    wait_until(lambda: len(bench.fake.pool) == 4, "four transactions", 60)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    if not known:
        bench.fake.pool.clear()
    program = bench.program()
    with Mining(bench.fake):
        assert finish(bench, program) == 4
        assert (bench.added, bench.used) == (10, 4)
        assert finish(bench, program) == 0
        assert add_all(bench, [1, 5], program) == {1: 1, 5: 1}
    assert (bench.added, bench.used) == (16, 6)


@pytest.mark.parametrize("first", [[1, 2, 3, 4], [4, 3], [5, 1]])
def test_the_same_calls_of_a_killed_process_are_those_on_their_way(bench, first):
    bench.fake.hold()
    program = bench.program()
    sending = program.send_all(((n, bench.on(program).add(n)) for n in (1, 2, 3, 4)), timeout_s=1)
    with pytest.raises(ChainError, match="waited"):
        next(sending)
    assert len(bench.fake.pool) == 4
    with Mining(bench.fake):
        assert add_all(bench, first) == dict.fromkeys(first, 1)
    assert bench.added == sum({1, 2, 3, 4, *first})


def test_who_stops_listening_lets_others_look_after_the_rest(bench):
    bench.fake.hold()
    program = bench.program()
    sending = program.send_all((n, bench.on(program).add(n)) for n in (1, 2, 3))
    threading.Timer(0.3, bench.fake.mine).start()
    next(sending)
    sending.close()
    with Mining(bench.fake):
        assert finish(bench, bench.program()) == 2
    assert (bench.added, bench.used) == (6, 3)
