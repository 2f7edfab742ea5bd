"""The copy of the chain's logs: what it says of an account is what the contract says."""

from pathlib import Path

import pytest

from hil_tests.chainkit import Utility, utility
from parwana.chain.keys import Key
from parwana.web.book import Book


def agrees(book: Book, world: Utility, house: Key) -> int:
    """Hold the book against the contract; return what is due."""
    book.follow(world.chain, world.ledgers)
    call, functions = world.chain.call, world.ledgers.payment.functions
    account, locked = (call(f(house.address)) for f in (functions.account, functions.locked))
    bill = book.bill(house.address, account.number)
    assert (bill.due, bill.period) == (account.due, account.period)
    assert (bill.locked or {"amount": 0})["amount"] == locked.amount
    assert bill.due == {b.number: b for b in book.accounts()}[account.number].due
    closing = call(world.ledgers.energy.functions.closing(house.address))
    closed = book.closed(house.address)
    assert closed is not None
    assert (closed.period, closed.energy_wh) == (closing.period, closing.energy_wh)
    return int(account.due)


def test_an_account_through_bills_a_lock_and_a_refund(world: Utility, tmp_path: Path) -> None:
    book, house = Book(tmp_path, world.deployment), world.enrol(17)
    assert book.place() is None
    assert book.serving(17) == ""
    world.close_period()
    first = world.owe(house)
    assert agrees(book, world, house) == first > 0
    world.close_period(7000)
    assert world.owe(house) == agrees(book, world, house) > first
    world.pay(house)
    assert agrees(book, world, house) == 0
    world.clock.time_s += 5 * 86400
    world.node.mine()
    world.chain.send(world.ledgers.payment.functions.refund(17))
    assert agrees(book, world, house) > first
    assert book.serving(17).lower() == house.address.lower()
    place = book.place()
    assert place is not None
    assert place.head == world.chain.head()
    again = Book(tmp_path, world.deployment)
    assert again.place() == place
    assert not again.follow(world.chain, world.ledgers)


def test_tariffs_are_those_announced(world: Utility, tmp_path: Path) -> None:
    book = Book(tmp_path, world.deployment)
    book.follow(world.chain, world.ledgers)
    [tariff] = book.tariffs()
    known = world.chain.call(world.ledgers.payment.functions.tariff(0))
    assert tariff.slabs == [(s.upto_wh, s.price_per_kwh) for s in known.slabs]
    assert (tariff.from_period, tariff.fixed_charge) == (known.from_period, known.fixed_charge)


def test_what_a_reorganisation_took_back_is_forgotten(
    world: Utility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, house = Book(tmp_path, world.deployment), world.enrol(17)
    world.close_period()
    head = world.chain.head()
    world.owe(house)
    book.follow(world.chain, world.ledgers)
    assert book.bill(house.address, 17).due
    taken_back = world.chain.head()
    monkeypatch.setattr(world.chain, "head", lambda: head)  # the branch without the bill
    book.follow(world.chain, world.ledgers)
    assert book.bill(house.address, 17).due == 0
    monkeypatch.undo()
    assert taken_back > head
    agrees(book, world, house)


def test_the_book_of_another_chain_is_thrown_away(world: Utility, tmp_path: Path) -> None:
    book = Book(tmp_path, world.deployment)
    world.enrol(17)
    book.follow(world.chain, world.ledgers)
    with utility(f"sqlite:///{tmp_path}/other.db", utility_id="other") as other:
        other.node.mine(4)
        assert other.deployment.payment_ledger == world.deployment.payment_ledger
        book.follow(other.chain, other.ledgers)
    assert book.serving(17) == ""
