"""Bounds of what a key spends: a day's, kept across restarts, and a unit of gas's."""

import json
import threading
from datetime import UTC, datetime

import pytest
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from hil_tests.fakenode import FakeNode, Odd
from parwana.chain import awaiting, fees, limits, outbox, presets
from parwana.chain.errors import ChainError
from parwana.chain.keys import dev_key
from parwana.chain.limits import LimitError, Limits, Tally
from parwana.chain.node import Chain
from parwana.chain.rpc import Rpc

KEY = dev_key(7)
GWEI = 10**9
NOON_S = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv(outbox.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(awaiting, "AGAIN_S", 0.1)


@pytest.fixture
def fake(node):
    with FakeNode(node.url) as made:
        yield made


def program(fake, **bounds):
    return Chain(fake.url, KEY, limits=Limits(**bounds))


def add(chain, counter, timeout_s=20.0):
    contract = chain.w3.eth.contract(address=counter.address, abi=counter.abi)
    return chain.send(contract.functions.add(1), timeout_s=timeout_s)


def most_and_cost(chain, counter):
    """Return the most that one call may cost, and what it costs."""
    before = chain.balance(KEY.address)
    receipt = add(chain, counter)
    fields = chain.w3.eth.get_transaction(receipt["transactionHash"])
    return fields["gas"] * fields["maxFeePerGas"], before - chain.balance(KEY.address)


def test_a_day_has_a_bound_that_outlasts_the_program(fake, counter):
    steady(fake)
    add(Chain(fake.url, dev_key(8)), counter)  # the slot is written: each call costs the same
    fake.raws.clear()
    most, cost = most_and_cost(program(fake), counter)
    bound = cost + most  # one more may be sent, and what it costs then leaves too little
    add(program(fake, day_wei=bound), counter)
    with pytest.raises(ChainError) as caught:
        add(program(fake, day_wei=bound, coin="POL"), counter)
    for words in ("not sent", "POL a day", "--spend-cap", KEY.address.lower()):
        assert words in str(caught.value)
    assert len(fake.raws) == 2, "refused before it was sent"
    add(program(fake, day_wei=2 * bound), counter)


def steady(fake):
    """Let the node ask for one price, block after block."""

    def change(params, forward):
        block = forward("eth_getBlockByNumber", params)
        return block and {**block, "baseFeePerGas": hex(8 * GWEI)}

    fake.edit("eth_getBlockByNumber", change)


def test_what_it_did_cost_is_what_the_account_lost(fake, counter, tmp_path):
    _, cost = most_and_cost(program(fake), counter)
    [kept] = (tmp_path / "state").rglob("spent")
    assert list(json.loads(kept.read_text())["wei"].values()) == [cost]
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_fee_is_not_raised_beyond_the_day(fake, counter, monkeypatch):
    steady(fake)
    most, cost = most_and_cost(program(fake), counter)
    monkeypatch.setattr(awaiting, "RESEND_S", 0.2)
    fake.hold()
    with pytest.raises(ChainError, match="may still be mined.*not sent: with it"):
        add(program(fake, day_wei=cost + most * 11 // 10), counter, timeout_s=1.5)
    assert len(set(fake.raws)) == 2, "the first call, and this one at the fee that it began with"
    fake.release()
    add(program(fake), counter)


def test_a_refused_transaction_costs_nothing(fake, counter, tmp_path):
    fake.answer("eth_sendRawTransaction", Odd("exceeds block gas limit"))
    with pytest.raises(ChainError):
        add(program(fake), counter)
    [kept] = (tmp_path / "state").rglob("spent")
    assert list(json.loads(kept.read_text())["wei"].values()) == [0]


def test_a_day_ends_at_midnight(tmp_path):
    tally = Tally(tmp_path, Limits(day_wei=100, coin="ETH"))
    tally.hold(1, 60, NOON_S)
    tally.hold(1, 90, NOON_S)
    with pytest.raises(ChainError, match=r"it goes on 2026-03-02 00:00 UTC"):
        tally.hold(2, 11, NOON_S)
    tally.settle(1, 30, NOON_S)
    tally.hold(2, 70, NOON_S)
    tally.hold(3, 100, NOON_S + 12 * 3600)


def test_threads_do_not_pass_the_bound_together(tmp_path):
    held = []

    def hold(nonce):
        try:
            Tally(tmp_path, Limits(day_wei=10)).hold(nonce, 1, NOON_S)
            held.append(nonce)
        except ChainError:
            pass

    threads = [threading.Thread(target=hold, args=(nonce,)) for nonce in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 10


@pytest.mark.parametrize("text", ["[]", "{", '{"day": 20513}', '{"day": 20513, "wei": [1]}'])
def test_an_unreadable_tally_spends_nothing(tmp_path, text):
    (tmp_path / "spent").write_text(text)
    with pytest.raises(ChainError, match="what was spent today is unknown"):
        Tally(tmp_path, Limits()).hold(1, 1, NOON_S)


def test_gas_has_a_bound(fake, counter):
    now = Chain(fake.url).price()
    with pytest.raises(ChainError, match="more than --fee-cap .*it goes on when it is cheaper"):
        add(program(fake, gas_wei=now // 100), counter)
    assert not fake.raws
    add(program(fake, gas_wei=now * 9 // 10), counter)
    spike(fake, 200)
    with pytest.raises(ChainError, match="--fee-cap"):
        add(program(fake, gas_wei=now), counter)
    assert len(fake.raws) == 1


def spike(fake, factor):
    def dear(params, forward):
        block = forward("eth_getBlockByNumber", params)
        fee = block and int(block["baseFeePerGas"], 16)
        return block and {**block, "baseFeePerGas": hex(fee * factor)}

    fake.edit("eth_getBlockByNumber", dear)


def test_a_spike_is_followed_to_the_bound_and_no_further(fake, counter, monkeypatch):
    """A transaction is on its way when fees rise: raised while the bound allows it."""
    now = Chain(fake.url).price()
    monkeypatch.setattr(awaiting, "RESEND_S", 0.1)
    fake.hold()
    chain = program(fake, gas_wei=2 * now)
    with pytest.raises(ChainError, match="may still be mined"):
        add(chain, counter, timeout_s=2)
    offered = [fields["maxFeePerGas"] for fields in sent(fake)]
    assert now * 3 // 2 < max(offered) <= 2 * now
    assert len({fields["nonce"] for fields in sent(fake)}) == 1
    fake.release()
    add(chain, counter)


def sent(fake):
    return [TypedTransaction.from_bytes(HexBytes(raw)).as_dict() for raw in fake.raws]


@pytest.mark.parametrize("text", ["", "0", "-1", "NaN", "inf", "a lot", "1e99"])
def test_a_bound_that_is_none_is_refused(text):
    with pytest.raises(LimitError, match="--spend-cap .*like 0.05"):
        Limits.parse(text, None, "ETH")


def test_bounds_are_read():
    assert Limits.parse("0.05", "1.5", "ETH") == Limits(5 * 10**16, 15 * 10**8, "ETH")
    assert Limits.parse(None, None, "POL") == Limits(None, None, "POL")
    assert limits.coins(1_234_567_890 * 10**9, "ETH") == "1.23457 ETH"


def test_a_chains_least_tip_is_paid(fake):
    rules = presets.preset(80002)
    fields = fees.market(Rpc(fake.url, 5), rules)
    assert fields["maxPriorityFeePerGas"] == 25 * GWEI
    assert fields["maxFeePerGas"] > 25 * GWEI


def test_a_rollups_fee_for_bytes_counts(fake):
    asked = []

    def oracle(params, _forward):
        asked.append(params[0])
        return hex(10**12)

    fake.edit("eth_call", oracle)
    fields = {"gas": 100, "maxFeePerGas": 7, "value": 5}
    base = presets.preset(84532)
    assert fees.most_wei(Rpc(fake.url, 5), base, fields, "0x02aabb") == 705 + 10**12 * 5 // 4
    assert asked[0]["to"] == fees.ORACLE
    assert asked[0]["data"] == "0x49948e0e" + f"{32:064x}{3:064x}" + "02aabb".ljust(64, "0")
    receipt = {"status": 1, "gasUsed": 50, "effectiveGasPrice": 6, "l1Fee": "0x10"}
    assert fees.paid_wei(fields, receipt) == 300 + 16 + 5
    assert fees.paid_wei(fields, {**receipt, "status": 0, "l1Fee": None}) == 300
    assert fees.paid_wei(fields, {"status": 1}) is None
