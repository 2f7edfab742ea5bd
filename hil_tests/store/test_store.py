"""The store: what it keeps, what it refuses, on SQLite and on PostgreSQL."""

import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

import wire
from hil_tests.services import SignedMeter
from parwana.store import writer
from parwana.store.frames import signed_frame
from parwana.store.reader import SignedFrame, Store, StoreError

METER = SignedMeter(1)
OTHER = SignedMeter(2)


def add(store: Store, meter: SignedMeter, *sequences: int, **values: int) -> writer.Added:
    with store.transaction() as tx:
        tx.enrol(meter.address, meter.address[0], 1, 0)
        tx.lock([meter.address])
        return tx.add_frames(meter.address, [meter.stored(s, **values) for s in sequences], 99)


def test_frames_come_back_as_they_were_given(store: Store) -> None:
    assert add(store, METER, 1, 2, 3) == writer.Added(3, 0, [], [])
    assert add(store, METER, 2, 3, 4) == writer.Added(1, 2, [], [])
    add(store, OTHER, 1)
    frames = list(store.frames(METER.address))
    assert [f.sequence for f in frames] == [1, 2, 3, 4]
    expected = METER.stored(2)
    assert frames[1] == SignedFrame(**{**vars(expected), "received_s": 99})
    assert frames[1].kind == wire.KIND_READING
    assert [f.sequence for f in store.frames(METER.address, 3)] == [3, 4]
    assert [f.sequence for f in store.frames(OTHER.address)] == [1]


def test_nothing_stays_of_a_transaction_that_failed(store: Store) -> None:
    def fail() -> None:
        with store.transaction() as tx:
            tx.add_frames(METER.address, [METER.stored(1)], 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(store.frames(METER.address)) == []
    assert store.lowest_missing(METER.address, 1) == 1


def test_lowest_missing_agrees_with_a_set(store: Store) -> None:
    rng = random.Random(7)
    held: set[int] = set()
    for _ in range(120):
        first = rng.randrange(1, 150)
        sequences = range(first, first + rng.randrange(1, 17))
        add(store, METER, *sequences)
        held.update(sequences)
        oldest = rng.randrange(0, 170)
        expected = max(1, oldest)
        while expected in held:
            expected += 1
        assert store.lowest_missing(METER.address, oldest) == expected
        runs = store.runs(METER.address)
        assert {s for a, b in runs for s in range(a, b + 1)} == held
        assert all(b + 1 < c for (_, b), (c, _) in zip(runs, runs[1:], strict=False))


def test_what_a_meter_signed_as_damaged_is_wanted_no_more(store: Store) -> None:
    def tell(sequence: int, record: int, first: int, last: int) -> int:
        told = METER.event(wire.EVENT_STATE_LOST, sequence, 1_800_000_000, 5, record, first, last)
        with store.transaction() as tx:
            tx.add_frames(METER.address, [signed_frame(METER.address, *told)], 99)
        return store.lowest_missing(METER.address, 1)

    add(store, METER, 1, 2, 8, 9)
    assert tell(10, wire.STATE_PERMITS, 3, 7) == 3
    for first, last in ((0, 7), (7, 3), (3, 99), (3, 12)):  # none that can be
        assert tell(11, wire.STATE_JOURNAL, first, last) == 3
    assert tell(13, wire.STATE_JOURNAL, 3, 5) == 6
    assert tell(14, wire.STATE_JOURNAL, 6, 7) == 12
    add(store, METER, 4, 12)  # one could be read after all
    assert store.lowest_missing(METER.address, 1) == 15
    assert [f.sequence for f in store.frames(METER.address)][:4] == [1, 2, 4, 8]


def test_lowest_missing_fits_four_bytes(store: Store) -> None:
    add(store, METER, 0xFFFFFFFF, time_s=1)
    assert wire.pack_want(store.lowest_missing(METER.address, 0xFFFFFFFF))


def test_a_contradiction_keeps_both_and_marks_both(store: Store) -> None:
    add(store, METER, 1, 2, 3)
    added = add(store, METER, 2, energy_wh=5)
    assert [f.sequence for f in added.contradicting] == [2]
    assert (added.new, added.repeated, added.refused) == (1, 0, [])
    assert [f.sequence for f in store.contradictions()[METER.address]] == [2, 2]
    marks = [(f.sequence, f.contradicted) for f in store.frames(METER.address)]
    assert marks == [(1, False), (2, True), (2, True), (3, False)]
    for energy_wh in range(6, 20):
        last = add(store, METER, 2, energy_wh=energy_wh)
    assert [f.sequence for f in last.refused] == [2]
    assert len(list(store.frames(METER.address))) == 2 + writer.CONTRADICTIONS_KEPT
    assert add(store, METER, 2).repeated == 1


def test_contradictions_within_one_message_are_both_kept(store: Store) -> None:
    with store.transaction() as tx:
        frames = [METER.stored(1), METER.stored(1, energy_wh=7)]
        added = tx.add_frames(METER.address, frames, 1)
    assert added.new == 2
    assert all(f.contradicted for f in store.frames(METER.address))


def test_closings_are_found_by_time(store: Store) -> None:
    with store.transaction() as tx:
        for meter in (METER, OTHER):
            frames = [
                meter.stored(1, time_s=1000, flags=wire.FLAG_CLOSING),
                meter.stored(2, time_s=1500),
                meter.stored(3, time_s=2000, flags=wire.FLAG_CLOSING),
            ]
            tx.add_frames(meter.address, frames, 1)
    both = [METER.address, OTHER.address]
    found = [(f.time_s, f.meter) for f in store.closings(both, 1000, 2000)]
    assert found == sorted([(1000, METER.address), (1000, OTHER.address)])
    assert len(store.closings(both, 0, 2001)) == 4
    assert [f.sequence for f in store.closings([OTHER.address], 0, 2001)] == [1, 3]
    assert store.closings([], 0, 2001) == []
    many = [bytes([i % 256, i // 256]) * 10 for i in range(1200)]
    assert len(store.closings([*many, METER.address], 0, 2001)) == 2
    last = store.last_reading(METER.address, 1999)
    assert last is not None
    assert last.sequence == 2
    assert store.last_reading(METER.address, 999) is None


def test_the_last_reading_of_each_meter(store: Store) -> None:
    for sequence in (1, 2):
        add(store, METER, sequence, time_s=1000 * sequence)
    with store.transaction() as tx:
        tx.enrol(METER.address, 17, 1, 3)
        tx.enrol(OTHER.address, 18, 1, 3)
        event = METER.event(wire.EVENT_BOOT, 3, 3000, 0)
        tx.add_frames(METER.address, [signed_frame(METER.address, *event)], 99)
    last = store.last_reading(METER.address, 2**32)
    assert last is not None
    assert store.newest_readings() == {METER.address: (last.frame, last.received_s)}


def test_what_is_read_together_takes_one_connection(store: Store) -> None:
    add(store, METER, 1)
    taken: list[object] = []
    sa.event.listen(store._engine, "checkout", lambda *_: taken.append(1))
    with store.together():
        first = [frame.sequence for frame in store.frames(METER.address)]
        assert first == [frame.sequence for frame in store.latest(METER.address, 9)] == [1]
        other = ThreadPoolExecutor(1).submit(store.latest, METER.address, 9).result()
        assert len(other) == 1
    assert len(taken) == 2  # this thread's, and the other's
    add(store, METER, 2)
    assert len(store.latest(METER.address, 9)) == 2


def test_readings_of_a_time_end_in_it_and_were_received_before_an_instant(store: Store) -> None:
    for sequence in (1, 2, 3):
        add(store, METER, sequence, time_s=1000 * sequence)
    with store.transaction() as tx:
        event = METER.event(wire.EVENT_BOOT, 4, 2000, 0)
        tx.add_frames(METER.address, [signed_frame(METER.address, *event)], 99)
        tx.add_frames(METER.address, [METER.stored(5, time_s=2000)], 150)

    def found(*span: int) -> list[int]:
        return [frame.sequence for frame in store.readings(METER.address, *span)]

    assert found(1000, 3000, 100) == [2, 3]
    assert found(0, 2999, 100) == [1, 2]
    assert found(0, 3000, 151) == [1, 2, 3, 5]
    assert found(0, 3000, 99) == []
    assert list(store.readings(OTHER.address, 0, 3000, 100)) == []


def test_only_an_enrolled_meter_has_a_row_to_lock(store: Store) -> None:
    with store.transaction() as tx:
        assert tx.lock([METER.address, OTHER.address]) == {}
        tx.enrol(METER.address, 17, 1, 3)
        row = tx.lock([OTHER.address, METER.address])[METER.address]
        assert (row.number, row.oldest, row.in_service) == (17, 1, True)
        tx.retire(METER.address)
        row = tx.lock([METER.address])[METER.address]
    assert not row.in_service


def test_enrolment_does_not_touch_what_a_hello_said(store: Store) -> None:
    with store.transaction() as tx:
        tx.enrol(METER.address, 17, 1, 3)
        tx.heard([{"meter": METER.address, "oldest": 5, "next": 6, "heard_s": 1}])
        tx.enrol(METER.address, 17, 1, 3)
        tx.enrol(OTHER.address, 3, 2, 0)
    assert [(m.number, m.feeder, m.oldest) for m in store.meters()] == [
        (3, 0, 1),
        (17, 3, 5),
    ]


def test_the_quarantine_is_bounded_and_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUARANTINE_ROWS", 20)
    with store.transaction() as tx:
        for i in range(50):
            assert tx.quarantine("t", b"%d" % i, "malformed", "x", 100) == (i < 20)
        assert tx.quarantine("t", b"1", "malformed", "x", 200)
        assert tx.quarantine("t/\0\ud800" + "a" * 999, b"z" * 99999, "address", "\0", 100)
    assert store.tallies() == {"malformed": (20, 30), "address": (1, 0)}
    rows = store.quarantined()
    assert len(rows) == 21
    assert rows[-1].seen == 2
    assert max(len(row.payload) for row in rows) == writer.QUARANTINE_BYTES
    assert max(row.size for row in rows) == 99999
    later = 200 + writer.QUARANTINE_KEEP_S + 1
    with store.transaction() as tx:
        assert tx.quarantine("t", b"new", "malformed", "x", later)
    assert store.tallies()["malformed"] == (1, 30)


def test_signatures_of_a_frame_are_exchanged(store: Store) -> None:
    digest, scope = b"d" * 32, b"meter"
    with store.transaction() as tx:
        tx.add_signature(scope, b"f" * 40, digest, 2, b"2" * 64, 1)
        tx.add_signature(scope, b"f" * 40, digest, 0, b"0" * 64, 2)
        tx.add_signature(scope, b"f" * 40, digest, 2, b"x" * 64, 3)
    assert store.signatures(digest) == [(0, b"0" * 64), (2, b"2" * 64)]
    assert [row.signer_index for row in store.signed(scope)] == [2, 0]
    assert store.signatures(b"e" * 32) == []


def test_permits_and_cursors(store: Store) -> None:
    assert store.newest_permit(METER.address) is None
    assert store.cursor("permits") is None
    with store.transaction() as tx:
        for serial in (5, 9, 7):
            tx.add_permit(METER.address, serial, b"bundle", serial)
            tx.set_cursor("permits", serial)
        tx.add_permit(METER.address, 9, b"bundle", 10)
    newest = store.newest_permit(METER.address)
    assert newest is not None
    assert (newest.serial, newest.block) == (9, 10)
    assert len(store.permits()) == 3
    assert store.cursor("permits") == 7
    with store.transaction() as tx:
        tx.forget_permits(7)
    assert [row.serial for row in store.permits()] == [5, 7]


def test_a_permit_is_outstanding_until_the_meter_signed_that_it_took_it(store: Store) -> None:
    with store.transaction() as tx:
        for meter in (METER, OTHER):
            tx.enrol(meter.address, meter.address[0], 1, 3)
            tx.add_permit(meter.address, 5, b"old", 1)
            tx.add_permit(meter.address, 9, b"new", 1)
        tx.heard([{"meter": OTHER.address, "permit_serial": 9}])
        tx.heard([{"meter": METER.address, "permit_serial": 5}])
    assert [(row.meter, row.bundle) for row in store.outstanding()] == [(METER.address, b"new")]


def test_two_writers_of_one_meter_lose_nothing(url: str) -> None:
    stores = [Store(url), Store(url)]
    errors: list[BaseException] = []

    def write(store: Store, first: int) -> None:
        try:
            for start in range(first, 161, 16):
                add(store, METER, *range(start, start + 8))
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=write, args=(store, first))
        for store, first in zip(stores, (1, 9), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert stores[0].runs(METER.address) == [(1, 160)]
    for store in stores:
        store.close()


def test_a_store_survives_being_closed(url: str) -> None:
    for sequence in (1, 2):
        store = Store(url)
        add(store, METER, sequence)
        store.close()
    store = Store(url, create=False)
    assert store.runs(METER.address) == [(1, 2)]
    store.close()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE parwana_schema SET version = 99")
    db.close()
    with pytest.raises(StoreError, match="schema 99.*of a newer one"):
        Store(f"sqlite:///{path}")


def test_a_missing_store_is_not_made_for_a_reader(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        Store(f"sqlite:///{tmp_path}/none.db", create=False)
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(StoreError, match="holds no Parwana store"):
        Store(f"sqlite:///{tmp_path}/other.db", create=False)


@pytest.mark.parametrize("offset_s", [0, 19_800, -18_000])
def test_days_and_their_leaves_in_the_order_of_a_root(store: Store, offset_s: int) -> None:
    midnight_s = 20_000 * 86_400 - offset_s
    meters = [SignedMeter(seed) for seed in range(1, 9)]  # addresses of both halves
    for meter in meters:
        with store.transaction() as tx:
            for i, time_s in enumerate((midnight_s, midnight_s + 1, midnight_s + 86_400)):
                frames = [meter.stored(s, time_s=time_s) for s in (300 + i, 5 + i)]
                frames.append(meter.stored(300 + i, time_s=time_s, energy_wh=1))
                tx.add_frames(meter.address, frames, 100 + i)
            tx.add_frames(meter.address, [meter.stored(1, time_s=1)], 1)
    early = int(offset_s >= 0)  # 1970 has begun
    assert store.days(offset_s, 1000) == {19_999: 24, 20_000: 48} | ({0: 8} if early else {})
    assert store.days(offset_s, 102) == {19_999: 24, 20_000: 24} | ({0: 8} if early else {})
    rows = list(store.leaves(METER.domain, midnight_s + 1, midnight_s + 86_401, 1000))
    told = [row[:3] for row in rows]
    assert told == sorted(told)
    assert len(told) == 48
    assert {row.received_s for row in rows} == {101, 102}
    assert len(list(store.leaves(METER.domain, midnight_s + 1, midnight_s + 86_401, 102))) == 24
    assert list(store.leaves(METER.domain, midnight_s + 86_401, midnight_s + 172_801, 1000)) == []
