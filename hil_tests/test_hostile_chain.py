"""Relay, signers and a household at a chain that forgets and lies: anvil.

A month's closings, bills, balance and roots are landed, a house pays, its permit is signed,
claimed and delivered, while blocks are reorganised away or the node lies. Whatever happens:
nothing is lost, nothing is paid twice, no permit is signed for a payment that is not final.
"""

import pytest

from hil_tests import anvil
from hil_tests.fakenode import FakeNode, Odd
from hil_tests.hostilekit import FINAL_BLOCKS, STEPS, Base, Life
from hil_tests.reliability import record
from parwana.chain import awaiting, outbox, reader
from parwana.chain.errors import NotYet, Passing, RateLimited


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    try:
        anvil.program()
    except anvil.RuntimeMissing as missing:
        pytest.skip(str(missing))
    made = Base(tmp_path_factory.mktemp("hostile"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch, tmp_path):
    """Let programs be impatient, and each test be on a computer of its own."""
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(awaiting, "AGAIN_S", 0.1)
    monkeypatch.setattr(awaiting, "STRANGE_S", 0.2)
    monkeypatch.setattr(reader, "BEHIND_S", 0.1)
    monkeypatch.setattr("parwana.permits.signer.CLAIM_WAIT_S", 0.0)
    for kind in (Passing, NotYet, RateLimited):
        monkeypatch.setattr(kind, "patience_s", 0.2)


@pytest.fixture
def life(base, tmp_path):
    store = base.restore(tmp_path)
    yield Life(base, store)
    store.close()


def test_without_trouble_all_is_done_in_a_round(life):
    turns = []
    life.live(lambda turn, _: turns.append(turn))
    assert set(turns) == {0}


def _depths(long):
    return range(1, FINAL_BLOCKS + 1) if long else (FINAL_BLOCKS,)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(s, marks=[pytest.mark.long] * (s in ("wait", "sign 0", "follow")))
        for s in STEPS
    ],
)
def test_reorganisations_lose_nothing(base, step, tmp_path, long):
    for depth in _depths(long):
        folder = tmp_path / str(depth)
        folder.mkdir()
        store = base.restore(folder)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(outbox.VARIABLE, str(folder / "state"))

            def reorganise(turn: int, after: str, depth: int = depth) -> None:
                if turn == 0 and after == step:
                    base.node.ask("anvil_reorg", depth, [])

            Life(base, store).live(reorganise)
        store.close()
    depths = _depths(long)
    record(f"reorganisations after {step}", lives=len(depths), deepest=max(depths))


def lie_null(node):
    for method in READS:
        node.answer(method, Odd(), times=3)


def lie_hang(node):
    """Answer nothing within the time-out; the second time having done what was asked."""
    node.answer("eth_getTransactionReceipt", Odd(late_s=2.5))
    node.answer("eth_sendRawTransaction", Odd(late_s=2.5, taken=True))


def lie_errors(node):
    for method in (*READS, "eth_sendRawTransaction"):
        node.answer(method, Odd("internal error", -32603), Odd(status=502, body="<html>"), times=2)


def lie_receipt(node):
    """Answer with the receipt of another transaction."""

    def other(_params, forward):
        block = forward("eth_getBlockByNumber", [hex(1), False])
        return forward("eth_getTransactionReceipt", [block["transactions"][0]])

    first_twelve(node, "eth_getTransactionReceipt", other)


def lie_failed(node):
    """Say of what was done that it failed."""

    def failed(params, forward):
        found = forward("eth_getTransactionReceipt", params)
        return found and {**found, "status": "0x0"}

    first_twelve(node, "eth_getTransactionReceipt", failed)


def lie_no_logs(node):
    first_twelve(node, "eth_getLogs", lambda *_: [])


def lie_old_head(node):
    def old(_params, forward):
        return hex(int(forward("eth_blockNumber", []), 16) - 3)

    first_twelve(node, "eth_blockNumber", old)


def first_twelve(node, method, lie):
    """Let a method's first twelve answers be lies."""
    left = [12]

    def change(params, forward):
        left[0] -= 1
        return lie(params, forward) if left[0] >= 0 else forward(method, params)

    node.edit(method, change)


READS = (
    *("eth_blockNumber", "eth_getBlockByNumber", "eth_call", "eth_getLogs", "eth_estimateGas"),
    *("eth_getTransactionCount", "eth_getTransactionReceipt"),
)
LIES = (lie_receipt,)
MORE_LIES = (lie_errors, lie_hang, lie_no_logs, lie_null, lie_failed, lie_old_head)


@pytest.mark.parametrize(
    "lie",
    [*LIES, *(pytest.param(lie, marks=pytest.mark.long) for lie in MORE_LIES)],
    ids=lambda lie: lie.__name__,
)
def test_a_node_that_lies_costs_time_and_nothing_else(base, lie, tmp_path, long):
    for step in STEPS if long else ("sign 1",):
        folder = tmp_path / step
        folder.mkdir()
        store = base.restore(folder)
        with pytest.MonkeyPatch.context() as patched, FakeNode(base.node.url) as node:
            patched.setenv(outbox.VARIABLE, str(folder / "state"))
            life = Life(base, store, node.url)
            before = STEPS[STEPS.index(step) - 1] if step != STEPS[0] else ""
            if not before:
                lie(node)

            def begin(turn: int, after: str, before: str = before, node: FakeNode = node) -> None:
                if turn == 0 and after == before:
                    lie(node)
                if turn == 1:
                    node.plain()

            life.live(begin)
        store.close()
