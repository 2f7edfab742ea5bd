"""Payments that a payer signs and anybody sends: what is signed is for one bill, once, here."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from hil_tests.contracts.evm import CHAIN_ID, Contract, Reverted
from hil_tests.contracts.world import (
    DAY_S,
    ESCROW_WINDOW_S,
    FIXED,
    OTHER,
    UTILITY,
    Key,
    Meter,
    World,
)
from parwana.chain.authorised import _TYPES, LEDGER, nonce

HALF_N = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
N = 2 * HALF_N + 1


def digest(domain: dict[str, Any], kind: str, message: dict[str, Any]) -> bytes:
    """Return what EIP-712 signs, by eth_account."""
    names = ("EIP712Domain", kind)
    types = {name: [{"name": n, "type": t} for n, t in _TYPES[name]] for name in names}
    full = {"types": types, "primaryType": kind, "domain": domain, "message": message}
    made = encode_typed_data(full_message=full)
    return keccak(b"\x19" + made.version + made.header + made.body)


class Town:
    """A world whose ledger is paid in a token that takes signed payments; house 9 owes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.token = world.deploy_here("AuthorisedToken")
        arguments = world.payment_arguments(token=self.token.address)
        world.payment = world.deploy("PaymentLedger", *arguments)
        self.payer, self.thief = Key("payer"), Key("thief")
        for key in (self.payer, self.thief):
            self.token.mint(key.address, 10 * FIXED)
        self.house, self.neighbour = world.enrol("house", 9), world.enrol("neighbour", 10)
        world.next_period()
        assert world.close((self.house, 0), (self.neighbour, 0)) == 2
        for meter in (self.house, self.neighbour):
            world.payment.settle(meter.address)
        self.until_s = world.evm.time_s + DAY_S

    @property
    def domain(self) -> dict[str, Any]:
        name = {"name": "Test Rupee", "version": "1", "chainId": CHAIN_ID}
        return {**name, "verifyingContract": self.token.address}

    def terms(self, changed: dict[str, Any]) -> dict[str, Any]:
        """Return what is signed for house 9, some of it changed."""
        terms = {
            "chain_id": CHAIN_ID,
            "ledger": self.world.payment.address,
            "meter": self.house.address,
            "period": self.world.payment.account(self.house.address).period,
            "amount": FIXED,
            "until_s": self.until_s,
        }
        assert not changed.keys() - terms.keys()
        return {**terms, **changed}

    def authorization(self, by: Key | None = None, **changed: Any) -> tuple[int, bytes, bytes]:
        """Sign EIP-3009 for house 9; return v, r, s."""
        key, terms = by or self.payer, self.terms(changed)
        message = {
            "from": self.payer.address,
            "to": terms["ledger"],
            "value": terms["amount"],
            "validAfter": 0,
            "validBefore": terms["until_s"],
            "nonce": nonce(**terms),
        }
        domain = {**self.domain, "chainId": terms["chain_id"]}
        return vrs(key.sign(digest(domain, "ReceiveWithAuthorization", message)))

    def permit(self, by: Key | None = None, **changed: Any) -> tuple[int, bytes, bytes, int, int]:
        """Sign EIP-2612 and Pay for house 9; return v, r, s and r, vs."""
        key, terms = by or self.payer, self.terms(changed)
        permit = {
            "owner": self.payer.address,
            "spender": terms["ledger"],
            "value": terms["amount"],
            "nonce": self.token.nonces(self.payer.address),
            "deadline": terms["until_s"],
        }
        pay = {
            "meter": terms["meter"],
            "amount": terms["amount"],
            "period": terms["period"],
            "payer": self.payer.address,
            "nonce": self.world.payment.nonces(self.payer.address),
            "deadline": terms["until_s"],
        }
        ours = {
            **LEDGER,
            "chainId": terms["chain_id"],
            "verifyingContract": terms["ledger"],
        }
        signed = key.sign(digest(ours, "Pay", pay))
        words = int.from_bytes(signed[:32]), int.from_bytes(signed[32:])
        token = {**self.domain, "chainId": terms["chain_id"]}
        return *vrs(key.sign(digest(token, "Permit", permit))), *words


def vrs(signature: bytes) -> tuple[int, bytes, bytes]:
    vs = int.from_bytes(signature[32:])
    return 27 + (vs >> 255), signature[:32], (vs % 2**255).to_bytes(32)


@pytest.fixture
def town(world: World) -> Iterator[Town]:
    """Give a world in a token; the session's ledger is put back afterwards."""
    before = world.payment
    yield Town(world)
    world.payment = before


def _pay(town: Town, standard: str, signed: Any = None, **given: Any) -> Any:
    ledger: Contract = town.world.payment
    sign, send = {
        "EIP-3009": (town.authorization, ledger.pay_with_authorization),
        "EIP-2612": (town.permit, ledger.pay_with_permit),
    }[standard]
    fields = {
        "meter": town.house.address,
        "amount": FIXED,
        "payer": town.payer.address,
        "until_s": town.until_s,
    }
    assert not given.keys() - fields.keys()
    return send(*{**fields, **given}.values(), *(signed or sign()), sender=OTHER)


def _signer(town: Town, standard: str) -> Callable[..., Any]:
    return {"EIP-3009": town.authorization, "EIP-2612": town.permit}[standard]


both = pytest.mark.parametrize("standard", ["EIP-3009", "EIP-2612"])
INVALID = "invalid signature|signature not the payer's"


@both
def test_the_payer_needs_no_coin(town: Town, standard: str) -> None:
    event = _pay(town, standard).event("Locked")
    assert (event.payer, event.amount, event.number) == (town.payer.address, FIXED, 9)
    assert town.token.balanceOf(town.payer.address) == 9 * FIXED
    assert town.token.balanceOf(town.world.payment.address) == FIXED
    # nor for the refund
    town.world.evm.at(town.world.evm.time_s + ESCROW_WINDOW_S + 1)
    town.world.payment.refund(9, sender=OTHER)
    assert town.world.payment.withdraw_for(town.payer.address, sender=OTHER).value == FIXED
    assert town.token.balanceOf(town.payer.address) == 10 * FIXED
    with pytest.raises(Reverted, match="no credit"):
        town.world.payment.withdraw_for(town.payer.address, sender=OTHER)


@both
@pytest.mark.parametrize(
    "changed",
    [
        {"chain_id": 1},
        {"ledger": OTHER},
        {"meter": OTHER},
        {"period": 1},
        {"amount": FIXED - 1},
        {"until_s": 2**32},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_was_signed_for_something_else(
    town: Town, standard: str, changed: dict[str, Any]
) -> None:
    signed = _signer(town, standard)(**changed)
    with pytest.raises(Reverted, match=INVALID):
        _pay(town, standard, signed)
    assert town.token.balanceOf(town.payer.address) == 10 * FIXED
    assert town.world.payment.locked(town.house.address).amount == 0


@both
def test_only_the_payer_signs(town: Town, standard: str) -> None:
    with pytest.raises(Reverted, match=INVALID):
        _pay(town, standard, _signer(town, standard)(by=town.thief))
    with pytest.raises(Reverted, match=INVALID):
        _pay(town, standard, payer=town.thief.address)


@both
def test_it_does_not_pay_the_neighbours_bill(town: Town, standard: str) -> None:
    """Same amount, same period, another house: whoever relays it cannot choose."""
    with pytest.raises(Reverted, match=INVALID):
        _pay(town, standard, meter=town.neighbour.address)
    with pytest.raises(Reverted, match="amount not what is due"):
        _pay(town, standard, amount=FIXED - 1)


@both
def test_it_counts_once(town: Town, standard: str) -> None:
    """Not again while it is locked, nor after a refund, when the same is due again."""
    signed = _signer(town, standard)()
    _pay(town, standard, signed)
    with pytest.raises(Reverted, match="nothing due"):
        _pay(town, standard, signed)
    town.token.approve(town.world.payment.address, 2**256 - 1, sender=town.payer.address)
    town.until_s += 30 * DAY_S
    town.world.evm.at(town.world.evm.time_s + ESCROW_WINDOW_S + 1)
    town.world.payment.refund(9)
    assert town.world.payment.account(town.house.address).due == FIXED
    town.until_s -= 30 * DAY_S
    with pytest.raises(Reverted, match="authorization expired|authorisation expired"):
        _pay(town, standard, signed)
    town.until_s += 30 * DAY_S
    again = _signer(town, standard)()
    _pay(town, standard, again)
    town.world.evm.at(town.world.evm.time_s + ESCROW_WINDOW_S + 1)
    town.world.payment.refund(9)
    # not over yet, and the allowance would do
    with pytest.raises(Reverted, match="authorization used|" + INVALID):
        _pay(town, standard, again)


@both
def test_it_ends(town: Town, standard: str) -> None:
    signed = _signer(town, standard)()
    town.world.evm.at(town.until_s + 1)
    with pytest.raises(Reverted, match="authorization expired|authorisation expired"):
        _pay(town, standard, signed)


def test_who_uses_the_permit_first_gains_nothing(town: Town) -> None:
    """The allowance stands, for this ledger alone; the payment is made all the same."""
    signed = town.permit()
    v, r, s = signed[:3]
    ledger = town.world.payment.address
    town.token.permit(town.payer.address, ledger, FIXED, town.until_s, v, r, s, sender=OTHER)
    with pytest.raises(Reverted):
        town.world.payment.pay(town.neighbour.address, FIXED, sender=OTHER)
    assert _pay(town, "EIP-2612", signed).event("Locked").number == 9


def test_who_sends_the_authorization_alone_is_refused(town: Town) -> None:
    """EIP-3009 binds the caller: nobody else can make the token take it, and leave no lock."""
    v, r, s = town.authorization()
    what = nonce(**town.terms({}))
    arguments = (town.payer.address, town.world.payment.address, FIXED, 0, town.until_s, what)
    with pytest.raises(Reverted, match="caller not the payee"):
        town.token.receiveWithAuthorization(*arguments, v, r, s, sender=OTHER)


def test_a_pay_signature_has_one_encoding(town: Town) -> None:
    v, r, s, pay_r, pay_vs = town.permit()
    high = (N - pay_vs % 2**255) | (1 - (pay_vs >> 255)) << 255
    for wrong in ((pay_r, high), (0, pay_vs), (pay_r, 0), (pay_r, pay_vs ^ 1 << 255)):
        with pytest.raises(Reverted, match="signature not the payer's"):
            _pay(town, "EIP-2612", (v, r, s, *wrong))
    _pay(town, "EIP-2612", (v, r, s, pay_r, pay_vs))


@both
def test_a_lock_of_somebody_who_has_too_little(town: Town, standard: str) -> None:
    town.token.transfer(OTHER, 10 * FIXED, sender=town.payer.address)
    with pytest.raises(Reverted):
        _pay(town, standard)
    assert town.world.payment.locked(town.house.address).amount == 0


def test_not_in_coin(world: World) -> None:
    house: Meter = world.enrol("house", 9)
    world.bill(house, 0)
    with pytest.raises(Reverted, match="no token"):
        world.payment.pay_with_authorization(
            house.address, FIXED, UTILITY, 2**40, 27, bytes(32), bytes(32)
        )
    with pytest.raises(Reverted):
        world.payment.pay_with_permit(
            house.address, FIXED, UTILITY, 2**40, 27, bytes(32), bytes(32), 0, 0
        )
    assert world.payment.locked(house.address).amount == 0
