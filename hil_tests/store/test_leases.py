"""Leases: one holder at a time, none for longer than was said."""

import threading

import pytest

from parwana.store.leases import LeaseChanges
from parwana.store.reader import Store

WORKS = [bytes([n]) * 24 for n in range(4)]


class Hand:
    """A database's clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000
        monkeypatch.setattr(LeaseChanges, "_now_s", lambda _: self.now_s)


def take(store: Store, holder: str, works: list[bytes], for_s: int = 60) -> set[bytes]:
    with store.transaction() as tx:
        return tx.lease(works, holder, for_s)


def test_what_one_holds_another_does_not_get(store: Store) -> None:
    assert take(store, "a", WORKS[:2]) == set(WORKS[:2])
    assert take(store, "b", WORKS) == set(WORKS[2:])
    assert take(store, "a", WORKS) == set(WORKS[:2]), "its own, again"
    assert take(store, "a", []) == set()
    with store.transaction() as tx:
        tx.give_back(WORKS, "a")
    assert take(store, "b", WORKS) == set(WORKS)
    with store.transaction() as tx:
        tx.give_back(WORKS, "a")
    assert take(store, "a", WORKS) == set(), "nobody gives back another's"


def test_who_died_holds_nobody_up_for_longer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Hand(monkeypatch)
    take(store, "dead", WORKS[:2])
    clock.now_s += 59
    assert take(store, "b", WORKS[:2]) == set()
    clock.now_s += 1
    assert take(store, "b", WORKS[:2]) == set(WORKS[:2])
    assert take(store, "dead", WORKS[:2]) == set(), "it comes back: they are another's now"


def test_taken_again_a_lease_lasts_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hand(monkeypatch)
    take(store, "a", WORKS)
    clock.now_s += 50
    take(store, "a", WORKS)
    clock.now_s += 50
    assert take(store, "b", WORKS) == set()


def test_many_at_once_never_hold_the_same(store: Store) -> None:
    works = [n.to_bytes(24, "big") for n in range(40)]
    held: dict[str, set[bytes]] = {}

    def run(holder: str) -> None:
        held[holder] = set()
        for at in range(0, len(works), 8):
            held[holder] |= take(store, holder, works[at : at + 8])

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(some) for some in held.values()) == len(works)
    assert set().union(*held.values()) == set(works)
