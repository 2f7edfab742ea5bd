"""Prune the store: which days are old enough, and proven on the chain."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from parwana.chain import merkle
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.store.reader import Store
from parwana.world.progress import Told, untold

_DAYS = {"d": 1, "w": 7, "m": 31, "y": 366}
_SETTLE_S = 60  # a transaction of a relay may still write what it received by now


class PruneError(Exception):
    """It cannot be pruned so; the text says what to write instead."""


@dataclass
class Pruned:
    """What was done: days, readings, and the days that must wait for a root."""

    days: int = 0
    readings: int = 0
    waiting: list[int] = field(default_factory=list)


def period_s(text: str) -> int:
    """Return the seconds of a period as people write it. Raises PruneError."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})([dwmy])", text)
    if not found:
        raise PruneError(f"--keep {text}: write days, weeks, months or years: 400d, 60w, 18m, 2y")
    return int(found[1]) * _DAYS[found[2]] * DAY_S


def prune(
    chain: Chain,
    deployment: Deployment,
    store: Store,
    keep_s: int,
    now_s: int,
    told: Told = untold,
) -> Pruned:
    """Remove readings of days that were over `keep_s` ago and whose root is final on the chain.

    `deployment` and `chain` are of energy. Broken off, it goes on when it is asked again. Raises
    ChainError, StoreError.
    """
    done, offset_s = Pruned(), deployment.utc_offset_s
    for row in store.pruned():  # what an earlier run did not finish
        done.readings += sum(_remove(store, row))
    before = {row.from_s for row in store.pruned()}
    held = {merkle.day_of(at_s, offset_s) for at_s in _edges(store.utc_days())}
    old = [day for day in sorted(held) if merkle.bounds_s(day, offset_s)[1] <= now_s - keep_s]
    wanted = [day for day in old if day >= 0 and merkle.bounds_s(day, offset_s)[0] not in before]
    roots = _final_roots(chain, deployment) if wanted else {}
    for i, day in enumerate(wanted, 1):
        from_s, to_s = merkle.bounds_s(day, offset_s)
        before_s = now_s - _SETTLE_S
        leaves = store.leaves(deployment.reading_domain, from_s, to_s, before_s)
        root, count = merkle.root(leaf.digest for leaf in leaves)
        if count and (count, root) in roots[day]:
            with store.transaction() as tx:
                tx.prune(from_s, to_s, before_s, count, root)
            [fresh] = [row for row in store.pruned() if row.from_s == from_s]
            done.readings += sum(_remove(store, fresh))
            done.days += 1
        elif count:
            done.waiting.append(day)
        told("days", i, len(wanted))
    return done


def _edges(utc_days: list[int]) -> Iterator[int]:
    for day in utc_days:  # a UTC day is of two local days
        yield from (day * DAY_S, (day + 1) * DAY_S - 1)


def _final_roots(chain: Chain, deployment: Deployment) -> dict[int, set[tuple[int, bytes]]]:
    """Return by day (leaves, root) of what anybody committed, for ever."""
    event = chain.ledgers(deployment).energy.events.DailyRoot
    found: dict[int, set[tuple[int, bytes]]] = defaultdict(set)
    last = chain.finalized_block()
    for entry in chain.logs(event, deployment.from_block, last, feeder=merkle.UTILITY):
        values: Any = entry["args"]
        found[values.day].add((values.leaves, bytes(values.root)))
    return found


def _remove(store: Store, day: Any) -> Iterator[int]:
    """Remove a day's readings, a transaction at a time; give how many each removed."""
    after = None
    while True:
        with store.transaction() as tx:
            count, after = tx.remove(day, after)
        yield count
        if after is None:
            return
