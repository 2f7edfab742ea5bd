"""Readings that are removed, and what stays, on SQLite and on PostgreSQL."""

import pytest

import wire
from hil_tests.services import SignedMeter
from parwana.store import pruning
from parwana.store.frames import signed_frame
from parwana.store.reader import Store

METERS = [SignedMeter(1), SignedMeter(2)]
DAY_S = 86400
FROM_S = 20_000 * DAY_S - 19_800 + 1  # a local day, of two UTC days
TO_S = FROM_S + DAY_S


def fill(store: Store) -> None:
    """Store three days of each meter, with an event, a closing and a contradiction on each."""
    for meter in METERS:
        made = []
        for sequence in range(1, 289):
            time_s = FROM_S - DAY_S + 899 + 900 * (sequence - 1)
            if sequence % 96 == 50:
                event = meter.event(wire.EVENT_BOOT, sequence, time_s, 0)
                made.append(signed_frame(meter.address, *event))
                continue
            flags = wire.FLAG_CLOSING if sequence % 96 == 0 else 0
            made.append(meter.stored(sequence, time_s=time_s, flags=flags))
            if sequence % 96 == 60:
                made.append(meter.stored(sequence, time_s=time_s, energy_wh=1))
        with store.transaction() as tx:
            tx.add_frames(meter.address, made[:-1], 100)
            tx.add_frames(meter.address, made[-1:], 200)


def prune(store: Store, before_s: int = 150) -> int:
    with store.transaction() as tx:
        tx.prune(FROM_S, TO_S, before_s, 97, bytes(32))
    [day], after, removed = store.pruned(), None, 0
    while True:
        with store.transaction() as tx:
            count, after = tx.remove(day, after)
        removed += count
        if after is None:
            return removed


def held(store: Store, meter: SignedMeter) -> list[int]:
    return [one.sequence for one in store.frames(meter.address)]


@pytest.mark.parametrize("pages", [1, 512])
def test_ordinary_readings_of_the_day_go(
    store: Store, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(pruning, "_PAGES", pages)
    fill(store)
    before = held(store, METERS[0])
    assert prune(store) == 2 * 93
    gone = set(range(97, 193)) - {146, 156, 192}
    for meter in METERS:
        assert held(store, meter) == [one for one in before if one not in gone]
        assert store.runs(meter.address) == [(1, 288)]
    left = list(store.leaves(METERS[0].domain, FROM_S, TO_S, 10**9))
    assert len(left) == 2 * 4
    assert len(list(store.leaves(METERS[0].domain, FROM_S - DAY_S, FROM_S, 10**9))) == 2 * 97
    assert prune(store) == 0


def test_what_was_received_later_and_the_last_reading_stay(store: Store) -> None:
    meter = METERS[0]
    with store.transaction() as tx:
        frames = [meter.stored(s, time_s=FROM_S + s) for s in (1, 2, 3, 4)]
        tx.add_frames(meter.address, frames[:2], 100)
        tx.add_frames(meter.address, frames[2:3], 150)
        tx.add_frames(meter.address, frames[3:], 100)
    assert prune(store) == 2
    assert held(store, meter) == [3, 4]


def test_a_day_that_is_empty_is_noted_again(store: Store) -> None:
    meter = METERS[0]
    with store.transaction() as tx:
        frames = [meter.stored(s, time_s=FROM_S + s) for s in (1, 2)]
        later = meter.stored(500, time_s=TO_S + 9 * DAY_S)
        tx.add_frames(meter.address, [later, *frames], 100)
    assert prune(store) == 2
    assert store.utc_days() == [later.time_s // DAY_S]
    with store.transaction() as tx:
        added = tx.add_frames(meter.address, [meter.stored(3, time_s=FROM_S + 3), *frames], 300)
    assert (added.new, added.repeated) == (1, 2)
    [leaf] = store.leaves(meter.domain, FROM_S, TO_S, 10**9)
    assert leaf.sequence == 3
