"""Paying a bill on the real contracts, in coin and in a token; feeder balances."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hil_tests.chainkit import Utility, terms, utility
from hil_tests.fakenode import FakeNode, Odd
from parwana import cli
from parwana.chain import contracts
from parwana.chain.currency import Currency
from parwana.chain.deploy import deploy
from parwana.chain.keys import Key, dev_key
from parwana.chain.node import Chain, OutOfGas, Reverted
from parwana.chain.periods import DAY_S
from parwana.chain.sender import Sender
from parwana.pay import Payer, PayError
from parwana.permits.signer import PermitSigner
from parwana.store.reader import Store

PAYER = dev_key(20)


@pytest.fixture
def run(tmp_path, capsys):
    def runner(command, *arguments):
        file = ("--deployment", str(tmp_path / "deployment.json"))
        code = cli.main([command, *file, *arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return runner


def payer(world: Utility, house: Key, key: Key | None = PAYER) -> Payer:
    return Payer(world.deployment, Chain.of(world.deployment, key), house.address)


def billed(world: Utility) -> Key:
    house = world.enrol(1001)
    world.close_period()
    return house


def serve(world: Utility, store: Store) -> None:
    world.node.mine(2)
    keys = [dev_key(1), dev_key(2)]
    chain = Chain.of(world.deployment, keys[0])
    PermitSigner(world.deployment, store, keys, lambda: chain).step()


def test_the_command_settles_and_pays_exactly_what_is_due(world, run, store):
    house = billed(world)
    before = world.chain.balance(PAYER.address)
    code, out, err = run("pay", "--meter", house.address, "--key", "dev:20", "--json")
    assert (code, err) == (0, "")
    shown = json.loads(out)
    amount = shown["billed"][0]["amount"]
    assert shown["paid"]["amount"] == amount == shown["locked"]["amount"]
    assert shown["due"] == 0
    assert before - world.chain.balance(PAYER.address) - amount < 10**16, "no more than gas"
    serve(world, store)
    shown = json.loads(run("pay", "--meter", house.address, "--status", "--json")[1])
    assert shown["locked"] is None
    [payment], [permit] = shown["payments"], shown["permits"]
    assert (payment["amount"], payment["serial"]) == (amount, permit["serial"])
    assert payment["payer"] == PAYER.address


def test_it_says_when_the_permit_is_expected(world, run):
    house = billed(world)
    code, out, _ = run("pay", "--meter", house.address.lower()[2:], "--key", "dev:20")
    assert code == 0
    assert "The permit is expected as soon as the payment is final" in out
    assert "parwana pay --refund" in out


def test_without_a_key_it_only_looks(world, run):
    house = billed(world)
    world.owe(house)
    head = world.chain.head()
    code, out, _ = run("pay", "--meter", house.address)
    assert code == 0
    assert "due now: 0." in out
    assert " ETH" in out
    periods = world.deployment.periods
    assert periods.text(periods.of(world.clock.time_s) - 1) in out
    assert world.chain.head() == head


def test_a_point_is_paid_by_its_number(world, run):
    house = billed(world)
    by_meter = run("pay", "--meter", house.address, "--json")[1]
    assert run("pay", "--number", "1001", "--json")[1] == by_meter
    assert run("pay", "--number", "1001", "--key", "dev:20")[0] == 0
    assert payer(world, house).bill().locked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --meter or --number"),
        (("--number", "1001", "--meter", "0x" + "55" * 20), "give --meter or --number"),
        (("--number", "7"), "number 7 was never enrolled"),
    ],
)
def test_one_meter_must_be_named(world, run, arguments, words):
    world.enrol(1001)
    code, out, err = run("pay", *arguments, "--json")
    assert code == 1
    assert words in err
    assert json.loads(out)["ok"] is False


def test_amounts_are_in_the_coin_that_the_deployment_names(world, run, tmp_path):
    billed(world)
    named = dataclasses.replace(world.deployment, coin="POL")
    named.save(tmp_path / "deployment.json", force=True)
    code, out, _ = run("pay", "--number", "1001", "--key", "dev:20")
    assert code == 0
    amount = payer(world, world.houses[0]).bill().billed[0]["amount"]
    assert f"paid {Currency('POL', 18).text(amount)}." in out
    shown = json.loads(run("pay", "--number", "1001", "--json")[1])
    assert shown["billed"][0]["amount"] == amount


@pytest.mark.parametrize(
    ("currency", "amount", "text"),
    [
        (Currency("ETH", 18), 4_150_000_000_000_000, "0.00415 ETH"),
        (Currency("ETH", 18), 0, "0 ETH"),
        (Currency("ETH", 18), 10**18 + 1, "1.000000000000000001 ETH"),
        (Currency("USDC", 6), 2_500_000, "2.5 USDC"),
        (Currency("units", 0), 41, "41 units"),
    ],
)
def test_an_amount_in_words(currency, amount, text):
    assert currency.text(amount) == text


def test_a_second_payment_is_refused_before_it_costs_anything(world, run):
    house = billed(world)
    assert run("pay", "--meter", house.address, "--key", "dev:20")[0] == 0
    head = world.chain.head()
    code, _, err = run("pay", "--meter", house.address, "--key", "dev:20")
    assert code == 1
    assert "--status" in err
    assert world.chain.head() == head


@pytest.mark.parametrize("claimed", [False, True])
def test_a_payment_of_a_killed_run_is_told_as_paid(world, run, store, monkeypatch, claimed):
    house = billed(world)
    world.owe(house)
    payment = ("pay", "--meter", house.address, "--key", "dev:20", "--json")

    def killed(*_):
        raise SystemExit(9)

    with monkeypatch.context() as patched:
        patched.setattr(Sender, "_wait", killed)
        run(*payment)
    head = world.chain.head()
    if claimed:
        serve(world, store)
        head = world.chain.head()
    code, out, err = run(*payment)
    assert (code, err) == (0, "")
    paid = json.loads(out)["paid"]
    assert paid["payer"] == PAYER.address
    found = world.chain.w3.eth.get_transaction(paid["transaction"])
    assert found["value"] == paid["amount"] > 0
    assert world.chain.head() == head, "nothing was sent"
    code, _, err = run(*payment)
    assert code == 1
    assert ("nothing is due" if claimed else "--status") in err, "it was told once"


def test_a_payment_whose_answer_is_lost_is_paid_once(world):
    house = billed(world)
    due = world.owe(house)
    with FakeNode(world.node.url) as fake:
        fake.answer("eth_sendRawTransaction", Odd(status=504, taken=True))
        chain = Chain(fake.url, PAYER)
        assert Payer(world.deployment, chain, house.address).pay()["amount"] == due
    locked = payer(world, house).bill().locked
    assert locked is not None
    assert locked["amount"] == due


def test_a_withdrawal_of_a_killed_run_is_told(world, run, monkeypatch):
    house = billed(world)
    refund = ("pay", "--meter", house.address, "--key", "dev:20", "--refund", "--json")
    amount = json.loads(run(*refund[:-2], "--json")[1])["paid"]["amount"]
    world.clock.time_s += DAY_S + 100
    world.node.mine()
    real, waits = Sender._wait, []

    def killed(self, *arguments):
        waits.append(self)
        if len(waits) == 2:
            raise SystemExit(9)
        return real(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Sender, "_wait", killed)
        run(*refund)
    code, out, _ = run(*refund)
    assert (code, json.loads(out)["refunded"]) == (0, amount)


def test_nothing_due_is_said(world, run):
    house = world.enrol(1001)
    code, _, err = run("pay", "--meter", house.address, "--key", "dev:20")
    assert (code, err.strip()) == (1, "parwana: nothing is due")


def test_an_unclaimed_payment_comes_back(world, run):
    house = billed(world)
    run("pay", "--meter", house.address, "--key", "dev:20")
    code, _, err = run("pay", "--meter", house.address, "--key", "dev:20", "--refund")
    assert (code, "too early to refund" in err) == (1, True)
    world.clock.time_s += DAY_S + 100
    world.node.mine()
    amount = payer(world, house).bill().billed[0]["amount"]
    before = world.chain.balance(PAYER.address)
    code, out, _ = run("pay", "--meter", house.address, "--key", "dev:20", "--refund", "--json")
    shown = json.loads(out)
    assert (code, shown["refunded"], shown["due"]) == (0, amount, amount)
    assert world.chain.balance(PAYER.address) - before > amount - 10**16
    with pytest.raises(PayError, match="nothing is credited"):
        payer(world, house).refund()


@pytest.mark.parametrize("meter", ["0x12", "nonsense", "0x" + "55" * 20])
def test_a_wrong_meter_is_named(world, run, meter):
    assert world.chain.head() >= 3
    code, _, err = run("pay", "--meter", meter)
    assert code == 1
    assert "label" in err


def test_who_cannot_pay_is_told(world):
    house = billed(world)
    world.owe(house)
    poor = Key((4711).to_bytes(32, "big"))
    with pytest.raises(OutOfGas, match=poor.address):
        payer(world, house, poor).pay()


def test_a_bill_in_a_token_is_paid_in_it(world, store):
    artifact = contracts.load("Token", Path(__file__).parent / "contracts")
    factory = world.chain.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    address = world.chain.send(factory.constructor())["contractAddress"]
    token = world.chain.w3.eth.contract(address=address, abi=artifact.abi)
    made = deploy(world.chain, terms(token=address), "mqtt://x", "sqlite:///x", lambda _: None)
    other = Utility(world.node, world.clock, made, world.chain, world.chain.ledgers(made))
    house = billed(other)
    due = other.owe(house)
    account = payer(other, house)
    assert account.currency() == ("units", 0)
    with pytest.raises(Reverted):
        account.pay()
    world.chain.send(token.functions.mint(PAYER.address, due + 7))
    assert account.pay()["amount"] == due
    assert world.chain.call(token.functions.balanceOf(PAYER.address)) == 7
    serve(other, store)
    assert account.bill().payments[0]["amount"] == due


def cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("│").split("│"))


def test_balances_show_the_alarm(world, run):
    functions = world.ledgers.registry.functions
    plant = Key((9000).to_bytes(32, "big"))
    world.chain.send(functions.enrol((plant.address, 900, 2, 0, 0, 0)))
    houses = [Key((9001 + n).to_bytes(32, "big")) for n in range(2)]
    for n, house in enumerate(houses):
        world.chain.send(functions.enrol((house.address, 901 + n, 1, 900, 0, 50_000)))
    rows = json.loads(run("balance", "--json")[1])
    assert [row["reconciled"] for row in rows] == [False]
    for supplied in (20_000, 10_100, 15_000):
        periods = world.deployment.periods
        period = periods.of(world.clock.time_s)
        world.clock.time_s = periods.start(period + 1) + 60
        world.node.mine()
        data = world.closing(plant, world.clock.time_s, supplied)
        data += b"".join(world.closing(house, world.clock.time_s, 5000) for house in houses)
        world.chain.send(world.ledgers.energy.functions.close(data))
        world.chain.send(world.ledgers.energy.functions.reconcile(900, period))
    rows = json.loads(run("balance", "--feeder", "900", "--json")[1])
    assert [(row["supplied_wh"], row["sold_wh"], row["alarm"]) for row in rows] == [
        (20_000, 10_000, 3),  # all were enrolled within it
        (10_100, 10_000, 0),
        (15_000, 10_000, 1),
    ]
    assert [row["reason"] for row in rows] == ["the feeder was enrolled within the period", "", ""]
    [first, good, bad] = [line for line in run("balance")[1].splitlines() if "transformer" in line]
    assert cells(first)[4::2] == ("-", "the feeder was enrolled within the period")
    assert cells(good)[4::2] == ("0.99 %", "none")
    assert cells(bad)[4::2] == ("33.33 %", "theft")
    assert cells(good)[1] == world.deployment.periods.text(rows[1]["period"])
    code, _, err = run("balance", "--feeder", "7")
    assert (code, "there are: 900" in err) == (1, True)


def test_why_sums_do_not_compare_is_one_reason_in_words(run, tmp_path):
    with utility(f"sqlite:///{tmp_path}/store.db", closing_deadline_s=3600) as world:
        world.deployment.save(tmp_path / "deployment.json")
        _see_reasons(world, run)


def _see_reasons(world: Utility, run: Any) -> None:
    functions = world.ledgers.registry.functions
    keys = [Key((9100 + n).to_bytes(32, "big")) for n in range(3)]
    plant, one, two = keys
    wh = dict.fromkeys(keys, 0)

    def enrol(key: Key, number: int, kind: int, feeder: int, load_dw: int) -> None:
        world.chain.send(functions.enrol((key.address, number, kind, feeder, 0, load_dw)))

    def close(*meters: Key) -> int:
        periods = world.deployment.periods
        period = periods.of(world.clock.time_s)
        world.clock.time_s = periods.start(period + 1) + 60
        world.node.mine()
        for meter in meters:
            wh[meter] += 5000
            data = world.closing(meter, world.clock.time_s, wh[meter])
            world.chain.send(world.ledgers.energy.functions.close(data))
        return period

    def why(period: int) -> tuple[str, str]:
        rows = json.loads(run("balance", "--json")[1])
        told = [row["reason"] for row in rows if row["period"] == period]
        lines = [
            x for x in run("balance")[1].splitlines() if f"│ {period} (" in x.replace("  ", " ")
        ]
        assert [cells(line)[4] for line in lines] == ["-"]
        return told[0], cells(lines[0])[6]

    def reconcile(period: int) -> None:
        world.clock.time_s = world.deployment.periods.start(period + 1) + 3600
        world.node.mine()
        world.chain.send(world.ledgers.energy.functions.reconcile(900, period))

    enrol(plant, 900, 2, 0, 0)
    enrol(one, 901, 1, 900, 50_000)
    close(plant, one)
    enrol(two, 902, 1, 900, 50_000)
    period = close(plant, one, two)
    assert why(period)[1] == "not reconciled yet"
    reconcile(period)
    assert why(period) == ("meters came or went within the period (enrolled: 1)",) * 2
    period = close(one, two)
    assert "not reconciled yet: waits until 20" in why(period)[1]
    reconcile(period)
    assert why(period) == ("no supply reading: the feeder's own closing is missing",) * 2
    period = close(plant, one, two)
    world.chain.send(world.ledgers.energy.functions.reconcile(900, period))
    assert why(period) == ("closings that hold earlier periods, too: 1",) * 2
    wh[plant] += 20_000
    period = close(plant, one)
    reconcile(period)
    assert why(period) == ("closings are missing: 1", "theft, but closings are missing: 1")
