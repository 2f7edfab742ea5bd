"""Deployment of the real contracts, by function and by command."""

import json
import re
from decimal import Decimal
from types import SimpleNamespace

import pytest
from eth_account import Account
from eth_utils import to_checksum_address
from web3 import Web3

from hil_tests.chainkit import terms
from hil_tests.fakenode import FakeNode
from parwana import cli
from parwana.chain import contracts, deploy, funds, keys, presets
from parwana.chain.deployment import Deployment
from parwana.chain.desk import Desk
from parwana.chain.node import Chain, Reverted
from parwana.chain.periods import Period
from parwana.chain.tariff import TariffError
from parwana.chain.terms import DEFAULT_TARIFF, DeployError, read_tariff, signer_key
from parwana.devchain.server import CHAIN_ID, DevChain


@pytest.fixture(scope="module")
def node():
    with DevChain(block_interval_s=60) as chain:
        yield chain


def arguments(node, out, *more):
    signers = [part for n in (1, 2, 3) for part in ("--signer", keys.dev_key(n).public_key.hex())]
    return [
        *("deploy", "--rpc", node.url, "--key", "dev:0", "--utility-id", "test"),
        *signers,
        *("--threshold", "2", "--period", "days:2", "--utc-offset", "19800"),
        *("--out", str(out), *more),
    ]


def test_deploys_and_writes_the_file(node, tmp_path, capsys):
    out = tmp_path / "new" / "deployment.json"
    assert cli.main(arguments(node, out, "--payment-window", "3600", "--json")) == 0
    made = Deployment.load(out)
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    assert (made.chain_id, made.payment_window_s) == (CHAIN_ID, 3600)
    assert made.period == {"kind": "days", "days": 2}
    assert made.store == f"sqlite:///{out.parent / 'store.sqlite'}"
    chain = Chain.of(made)
    ledgers = chain.ledgers(made)
    assert chain.call(ledgers.payment.functions.energy_ledger()) == made.energy_ledger
    assert chain.call(ledgers.energy.functions.registry()) == made.registry
    assert chain.call(ledgers.registry.functions.utility()) == keys.dev_key(0).address
    assert chain.call(ledgers.energy.functions.domain()) == made.reading_domain
    for index in range(3):
        signer = chain.call(ledgers.payment.functions.signers(index))
        assert signer == keys.dev_key(index + 1).address
    meter = keys.dev_key(9).address
    domain = chain.call(ledgers.payment.functions.permit_domain(meter))
    assert domain == made.permit_domain(meter)
    slabs = chain.call(ledgers.payment.functions.tariff(0))[1]
    assert [dict(zip(("upto_wh", "price_per_kwh"), s, strict=True)) for s in slabs] == (
        DEFAULT_TARIFF["slabs"]
    )


def test_several_nodes_are_written_in_their_order(node, tmp_path):
    out = tmp_path / "deployment.json"
    with FakeNode(node.url) as second:
        assert cli.main(arguments(node, out, "--rpc", second.url)) == 0
        assert Deployment.load(out).rpc == [node.url, second.url]
        assert Chain.of(Deployment.load(out)).urls == [node.url, second.url]


@pytest.mark.parametrize("given", [(), ("--coin", "GAS", "--finality", "9")])
def test_what_is_known_of_the_chain_is_the_default(node, tmp_path, monkeypatch, given):
    monkeypatch.setitem(presets.known(), CHAIN_ID, presets.Preset("X", "xCOIN", 5, 3))
    out = tmp_path / "deployment.json"
    assert cli.main(arguments(node, out, *given)) == 0
    made = Deployment.load(out)
    assert (made.coin, made.final_blocks) == (("GAS", 9) if given else ("xCOIN", 3))


@pytest.mark.parametrize("offset_s", [0, 19800, -12600])
@pytest.mark.parametrize("text", ["month", "days:1", "days:7", "hours:6"])
def test_periods_are_the_contracts_own(node, text, offset_s):
    chain = Chain(node.url, keys.dev_key(0))
    period = Period.parse(text, offset_s)
    made = deploy.deploy(chain, terms(period=period), "mqtt://x", "sqlite:///x", print)
    functions = chain.ledgers(made).energy.functions
    for time_s in (1_700_000_000, 1_709_164_800 - offset_s, 1_709_251_199 - offset_s, 2**32 - 1):
        number = period.of(time_s)
        assert chain.call(functions.period_of(time_s)) == number
        assert chain.call(functions.start_of(number)) == period.start(number)


def test_never_overwrites_without_force(node, tmp_path, capsys):
    out = tmp_path / "deployment.json"
    assert cli.main(arguments(node, out)) == 0
    before = out.read_text()
    head = Chain(node.url).head()
    assert cli.main(arguments(node, out)) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == before
    assert Chain(node.url).head() == head, "nothing was sent"
    assert cli.main(arguments(node, out, "--force")) == 0
    assert out.read_text() != before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--signer", "ab"), "parwana key show"),
        (("--signer", "00" * 64), "parwana key show"),
        (("--threshold", "4"), "permit_threshold"),
        (("--signer", keys.dev_key(1).public_key.hex()), "different"),
        (("--period", "week"), "month, or days:1"),
        (("--period", "hours:5"), "also hours:1"),
        (("--utc-offset", "5"), "steps of 900, -50400 to 50400"),
        (("--coin", "two words"), "1 to 11 letters or digits"),
        (("--tariff", "nowhere.json"), "nowhere.json"),
        (("--token", "0x12"), "--token"),
        (("--utility-id", "Upper Case"), "utility_id"),
        (("--broker", "localhost"), "broker"),
        (("--rpc", "nowhere"), "an http:// or https:// URL"),
        (("--key", "dev:99"), "dev"),
        (("--escrow-window", "0"), "escrow window is zero"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(node, tmp_path, capsys, more, words):
    out = tmp_path / "deployment.json"
    head = Chain(node.url).head()
    assert cli.main(arguments(node, out, *more)) == 1
    if words != "escrow window is zero":
        assert Chain(node.url).head() == head, "nothing was sent"
    errors = capsys.readouterr().err.strip().splitlines()
    assert words in errors[-1]
    assert errors[-1].startswith("parwana: ")
    assert not out.exists()


def test_an_account_without_coin_is_told_how_much_it_takes(node):
    giver, key = keys.dev_key(0), keys.Key((4712).to_bytes(32, "big"))
    rich, poor = Chain(node.url, giver), Chain(node.url, key)
    head, utility = rich.head(), key.address

    def fails():
        with pytest.raises(
            funds.FundsError, match=rf"{utility} has .* POL; deploying takes up to"
        ) as e:
            deploy.deploy(poor, terms(coin="POL"), "mqtt://x", "sqlite:///x", print)
        found = re.search(r"has (\S+) POL.* M gas\): send it (\S+) POL", str(e.value))
        assert found
        return found.groups()

    have, want = fails()
    assert (have, rich.head()) == ("0", head), "nothing was sent"
    wei = int(Decimal(want) * 10**18)

    def give(amount: int) -> None:
        fields = {"to": utility, "value": amount, "gas": 21_000, "chainId": CHAIN_ID}
        nonce = rich.w3.eth.get_transaction_count(Web3.to_checksum_address(giver.address))
        fields |= {"nonce": nonce, "gasPrice": 2 * rich.w3.eth.gas_price}
        signed = Account.sign_transaction(fields, giver.secret)
        rich.w3.eth.send_raw_transaction(signed.raw_transaction)

    give(wei // 2)
    assert fails()[0] != "0"
    give(wei - wei // 2)
    made = deploy.deploy(poor, terms(coin="POL"), "mqtt://x", "sqlite:///x", print)
    assert made.coin == "POL"
    spent = wei - rich.balance(utility)
    assert wei // 4 < spent < wei


def test_the_gas_that_contracts_take_is_known_before(node):
    chain = Chain(node.url, keys.dev_key(0))
    first = chain.head() + 1
    deploy.deploy(chain, terms(), "mqtt://x", "sqlite:///x", print)
    for number, name in enumerate(("MeterRegistry", "EnergyLedger", "PaymentLedger"), first):
        used = chain.w3.eth.get_block(number)["gasUsed"]
        assert used < funds.creation_gas(contracts.load(name)) < used * 6 // 5


def test_a_node_that_is_away_is_named(tmp_path, capsys):
    nobody = SimpleNamespace(url="http://127.0.0.1:9")
    assert cli.main(arguments(nobody, tmp_path / "deployment.json")) == 1
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_a_failure_halfway_is_named(node):
    chain = Chain(node.url, keys.dev_key(0))
    with pytest.raises(Reverted, match="rotation below escrow"):
        deploy.deploy(chain, terms(rotation_delay_s=1), "mqtt://x", "sqlite:///x", print)


def test_a_tariff_file_is_read(tmp_path):
    path = tmp_path / "tariff.json"
    path.write_text(
        '{"slabs": [{"upto_wh": 1, "price_per_kwh": 2}, {"upto_wh": null, "price_per_kwh": 3}],'
        ' "fixed_charge": 4}'
    )
    slabs = [{"upto_wh": 1, "price_per_kwh": 2}, {"upto_wh": 2**64 - 1, "price_per_kwh": 3}]
    assert read_tariff(str(path)) == {"slabs": slabs, "fixed_charge": 4}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slabs": [1], "fixed_charge": 1}'])
def test_a_wrong_tariff_file_shows_a_right_one(tmp_path, text):
    path = tmp_path / "tariff.json"
    path.write_text(text)
    with pytest.raises(TariffError, match="upto_wh|slabs"):
        read_tariff(str(path))


def test_a_signer_is_a_point_of_the_curve():
    assert signer_key(keys.dev_key(1).public_key.hex()) == keys.dev_key(1).public_key
    with pytest.raises(DeployError):
        signer_key(keys.dev_key(1).public_key.hex()[:-2] + "00")


class Broken(Exception):
    pass


@pytest.mark.parametrize("sent", [1, 2, 3])
def test_a_deployment_that_broke_off_goes_on(node, tmp_path, monkeypatch, sent):
    """The process ends after its nth broadcast; the same line finishes, three nonces in all."""
    out = tmp_path / "deployment.json"
    monkeypatch.setenv("PARWANA_STATE", str(tmp_path / "state"))
    chain = Chain(node.url)
    address = to_checksum_address(keys.dev_key(0).address)
    nonce, head = chain.w3.eth.get_transaction_count(address), chain.head()
    broadcasts = []

    def broadcast(self, work):
        real(self, work)
        broadcasts.append(work.signed.nonce)
        if len(broadcasts) == sent:
            raise Broken

    real = Desk.broadcast
    with monkeypatch.context() as patched:
        patched.setattr(Desk, "broadcast", broadcast)
        with pytest.raises(Broken):
            cli.main(arguments(node, out))
    assert not out.exists()
    assert cli.main(arguments(node, out)) == 0
    assert chain.w3.eth.get_transaction_count(address) == nonce + 3
    made = Deployment.load(out)
    ledgers = chain.ledgers(made)
    assert chain.call(ledgers.payment.functions.registry()) == made.registry
    assert chain.call(ledgers.payment.functions.energy_ledger()) == made.energy_ledger
    assert made.from_block <= head + 1
    assert list(tmp_path.glob("deployment.json*")) == [out], "nothing is left beside it"
    assert cli.main(arguments(node, out, "--force")) == 0
    assert Deployment.load(out).registry != made.registry, "asked for anew: other contracts"


def test_other_terms_go_on_with_what_they_share(node, tmp_path):
    out = tmp_path / "deployment.json"
    assert cli.main(arguments(node, out, "--escrow-window", "0")) == 1, "the third refuses"
    nonce = Chain(node.url).w3.eth.get_transaction_count(
        to_checksum_address(keys.dev_key(0).address)
    )
    assert cli.main(arguments(node, out)) == 0
    after = Chain(node.url).w3.eth.get_transaction_count(
        to_checksum_address(keys.dev_key(0).address)
    )
    assert after == nonce + 1


def test_what_another_chain_left_is_not_believed(node, tmp_path):
    out = tmp_path / "deployment.json"
    with DevChain(block_interval_s=60) as other:
        other.mine(900)
        assert cli.main(arguments(other, out, "--escrow-window", "0")) == 1
    head = Chain(node.url).head()
    assert cli.main(arguments(node, out)) == 0
    made = Deployment.load(out)
    assert made.from_block <= head
    assert Chain.of(made).code(made.payment_ledger)
