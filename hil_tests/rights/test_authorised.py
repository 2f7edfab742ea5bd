"""Payments that one signs and another sends, by the command line, in tokens of both standards."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hil_tests.chainkit import Utility, terms
from hil_tests.rights.conftest import Run
from parwana.chain import contracts, keys
from parwana.chain.deploy import deploy
from parwana.chain.keys import Key, dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.chain.sender import Sender

SENDER = "dev:21"


@dataclass
class House:
    """A house with a bill in a token, and a payer who has the token but no coin."""

    world: Utility
    token: Any
    meter: Key
    payer: Key
    key: Path
    due: int
    file: Path

    def held(self, owner: str) -> int:
        """Return what somebody has of the token."""
        return int(self.world.chain.call(self.token.functions.balanceOf(owner)))

    def altered(self, **changes: Any) -> None:
        """Change fields of the signed file."""
        self.file.write_text(json.dumps({**json.loads(self.file.read_text()), **changes}))


@pytest.fixture(params=["AuthorisedToken", "PermitToken"])
def house(
    request: pytest.FixtureRequest,
    world: Utility,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    """Lend a house; `deployment.json` is that of a ledger paid in the token."""
    artifact = contracts.load(request.param, Path(__file__).parents[1] / "contracts")
    factory = world.chain.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    address = world.chain.send(factory.constructor())["contractAddress"]
    token = world.chain.w3.eth.contract(address=address, abi=artifact.abi)
    made = deploy(world.chain, terms(token=address), "mqtt://x", "sqlite:///x", lambda _: None)
    made.save(tmp_path / "deployment.json", force=True)
    other = Utility(world.node, world.clock, made, world.chain, world.chain.ledgers(made))
    meter = other.enrol(1001)
    other.close_period()
    due = other.owe(meter)
    password = tmp_path / "password"
    password.write_text("correct horse")
    password.chmod(0o600)
    monkeypatch.setenv(keys.PASSWORD_FILE, str(password))
    payer = keys.create(tmp_path / "me.json", "correct horse", iterations=2)
    world.chain.send(token.functions.mint(payer.address, due + 7))
    file = tmp_path / "payment.json"
    return House(other, token, meter, payer, tmp_path / "me.json", due, file)


def sign(run: Run, house: House, *more: str) -> None:
    done = run(
        "pay", "--number", 1001, "--key", house.key, "--authorise", house.file, *more, "--json"
    )
    assert (done.code, done.err) == (0, "")


def test_one_signs_and_another_sends(house: House, run: Run) -> None:
    before = house.world.chain.head()
    done = run("pay", "--number", 1001, "--key", house.key, "--authorise", house.file)
    assert done.code == 0
    assert f"parwana pay --submit {house.file}" in done.out
    assert house.world.chain.head() == before, "the payer has no coin and sends nothing"
    done = run("pay", "--submit", house.file, "--key", SENDER, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["locked"]["amount"] == house.due
    assert done.json["paid"]["payer"] == house.payer.address
    assert house.held(house.payer.address) == 7
    assert house.held(house.world.deployment.payment_ledger) == house.due
    again = run("pay", "--submit", house.file, "--key", SENDER, "--json")
    assert again.code == 1
    assert "parwana pay --status" in again.err
    assert house.held(house.payer.address) == 7
    other = run("pay", "--number", 1001, "--key", house.key, "--authorise", house.file)
    assert (other.code, "nothing is due" in other.err) == (1, True)


def test_a_refund_is_withdrawn_for_who_has_no_coin(house: House, run: Run) -> None:
    sign(run, house)
    assert run("pay", "--submit", house.file, "--key", SENDER).code == 0
    house.world.clock.time_s += DAY_S + 100
    house.world.node.mine()
    owner = house.payer.address
    refused = run("withdraw", "--key", SENDER, "--for", owner)
    assert (refused.code, "nothing is credited" in refused.err) == (1, True)
    done = run("pay", "--number", 1001, "--key", SENDER, "--refund")
    assert (done.code, f"nothing is credited to {dev_key(21).address}" in done.err) == (1, True)
    assert run("withdraw", "--key", SENDER, "--for", owner, "--show", "--json").json == {
        "account": owner, "credited": house.due,
    }  # fmt: skip
    done = run("withdraw", "--key", SENDER, "--for", owner.lower(), "--json")
    assert done.json == {"account": owner, "withdrawn": house.due}
    assert house.held(owner) == house.due + 7
    for wrong in ("0x12", "nobody", owner[:-1]):
        done = run("withdraw", "--key", SENDER, "--for", wrong)
        assert done.code == 1
        assert f"--for {wrong}: write the 40 hex digits of the account" in done.err
    sign(run, house)  # due again, and paid by another signature
    assert run("pay", "--submit", house.file, "--key", SENDER).code == 0


def test_a_killed_run_is_told_and_sends_nothing_twice(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(run, house)
    submit = ("pay", "--submit", house.file, "--key", SENDER, "--json")

    def killed(*_: object) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patched:
        patched.setattr(Sender, "_wait", killed)
        run(*submit)
    head = house.world.chain.head()
    done = run(*submit)
    assert done.code == 0
    assert done.json["paid"]["amount"] == house.due
    assert house.world.chain.head() == head
    assert run(*submit).code == 1, "it was told once"


def text(change: Callable[[str], str]) -> Callable[[House], None]:
    return lambda house: void(house.file.write_text(change(house.file.read_text())))


def fields(**changes: Any) -> Callable[[House], None]:
    return lambda house: house.altered(**changes)


def void(_: object) -> None:
    return None


NO_FILE = "is no signed payment"
SIGN_AGAIN = "let the payer sign again: parwana pay --authorise"
SPOILT: dict[str, tuple[Callable[[House], None], str]] = {
    "no file": (lambda house: house.file.unlink(), NO_FILE),
    "empty": (text(lambda _: ""), NO_FILE),
    "truncated": (text(lambda found: found[: len(found) // 2]), NO_FILE),
    "not JSON": (text(lambda _: "signed: yes"), NO_FILE),
    "not text": (lambda house: void(house.file.write_bytes(b"\xff\xfe\x00")), NO_FILE),
    "a list": (text(lambda found: f"[{found}]"), NO_FILE),
    "nested": (text(lambda _: "[" * 4000), NO_FILE),
    "endless": (text(lambda _: "[" * 100_000), NO_FILE),
    "another field": (fields(to="me"), NO_FILE),
    "a signature cut off": (fields(signature="0x" + "11" * 64), NO_FILE),
    "a signature of no hexadecimal": (fields(signature="0xzz"), NO_FILE),
    "another standard": (fields(standard="EIP-1"), NO_FILE),
    "no address": (fields(meter="0x12"), NO_FILE),
    "an amount as text": (fields(amount="5"), NO_FILE),
    "an amount with a fraction": (fields(amount=5.5), NO_FILE),
    "a negative amount": (fields(amount=-5), NO_FILE),
    "a period beyond any": (fields(period=2**256), NO_FILE),
    "less": (lambda house: house.altered(amount=house.due - 1), SIGN_AGAIN),
    "more": (lambda house: house.altered(amount=house.due + 1), SIGN_AGAIN),
    "another period": (fields(period=1), SIGN_AGAIN),
    "later": (fields(until_s=2**32), SIGN_AGAIN),
    "past": (fields(until_s=1), SIGN_AGAIN),
    "another payer": (fields(payer=dev_key(3).address), SIGN_AGAIN),
    "another signature": (lambda house: house.altered(signature="0x" + "11" * 65), SIGN_AGAIN),
    "another chain": (fields(chain_id=1), "use the deployment file of that utility"),
    "another ledger": (fields(ledger="0x" + "55" * 20), "use the deployment file"),
    "a stranger's meter": (fields(meter="0x" + "55" * 20), "no enrolled house"),
}


def test_a_spoilt_file_is_told_and_costs_nothing(house: House, run: Run) -> None:
    sign(run, house)
    good, head = house.file.read_bytes(), house.world.chain.head()
    for name, (spoil, words) in SPOILT.items():
        house.file.write_bytes(good)
        spoil(house)
        done = run("pay", "--submit", house.file, "--key", SENDER, "--json")
        assert done.code == 1, name
        assert words in done.err, (name, done.err)
        assert len(done.err.splitlines()) == 1, name
        assert done.json["ok"] is False
    assert house.world.chain.head() == head
    house.file.write_bytes(good)
    assert run("pay", "--submit", house.file, "--key", SENDER).code == 0


def test_a_payment_is_for_its_house_and_its_time_alone(house: House, run: Run) -> None:
    neighbour = house.world.enrol(1002)
    house.world.close_period()
    house.due = house.world.owe(house.meter)
    house.world.chain.send(house.token.functions.mint(house.payer.address, house.due))
    owed = house.world.owe(neighbour)
    sign(run, house, "--valid-hours", "1")
    good, head = house.file.read_bytes(), house.world.chain.head()
    for number in (("--number", "1002"), ("--meter", neighbour.address)):
        done = run("pay", "--submit", house.file, *number, "--key", SENDER)
        assert (done.code, SIGN_AGAIN in done.err) == (1, True)
    house.altered(meter=neighbour.address, amount=owed)
    done = run("pay", "--submit", house.file, "--key", SENDER)
    assert (done.code, SIGN_AGAIN in done.err) == (1, True), "other meter, what it owes"
    house.file.write_bytes(good)
    done = run("pay", "--submit", house.file)
    assert (done.code, "add --key FILE" in done.err) == (1, True)
    done = run("pay", "--submit", house.file, "--refund", "--key", SENDER)
    assert (done.code, "one of them" in done.err) == (1, True)
    assert house.world.chain.head() == head
    house.world.clock.time_s += 7200
    house.world.node.mine()
    done = run("pay", "--submit", house.file, "--key", SENDER)
    assert (done.code, "too old" in done.err, SIGN_AGAIN in done.err) == (1, True, True)
    assert not house.held(house.world.deployment.payment_ledger)


def test_a_payer_who_spent_it_meanwhile_is_told(house: House, run: Run) -> None:
    rich = dev_key(22)
    house.world.chain.send(house.token.functions.mint(rich.address, house.due))
    done = run("pay", "--number", 1001, "--key", "dev:22", "--authorise", house.file)
    assert done.code == 0
    chain = Chain.of(house.world.deployment, rich)
    chain.send(house.token.functions.transfer(house.payer.address, house.due))
    done = run("pay", "--submit", house.file, "--key", SENDER)
    assert (done.code, "spent the money" in done.err, SIGN_AGAIN in done.err) == (1, True, True)


@pytest.mark.parametrize("what", ["no key", "no token"])
def test_who_cannot_sign_is_told(house: House, run: Run, what: str, tmp_path: Path) -> None:
    if what == "no key":
        done = run("pay", "--number", 1001, "--authorise", house.file)
        assert (done.code, "add --key FILE" in done.err) == (1, True)
    else:
        keys.create(tmp_path / "poor.json", "correct horse", iterations=2)
        poor = ("--key", tmp_path / "poor.json")
        done = run("pay", "--number", 1001, *poor, "--authorise", house.file)
        assert (done.code, f"{house.due} are due" in done.err) == (1, True)
    assert not house.file.exists()


def test_where_coin_is_paid_nothing_is_signed(world: Utility, run: Run, tmp_path: Path) -> None:
    meter = world.enrol(1001)
    world.close_period()
    world.owe(meter)
    done = run(
        "pay", "--number", 1001, "--key", "dev:20", "--authorise", tmp_path / "payment.json"
    )
    assert (done.code, "pay without --authorise" in done.err) == (1, True)
