"""Changes of trust in the store, on SQLite and on PostgreSQL: told in order, known as taken."""

import wire
from hil_tests.services import SignedMeter
from parwana.store.frames import signed_frame
from parwana.store.reader import Store
from parwana.store.tables import TAKEN, TOLD, UNTOLD

ONE, TWO = bytes([1] * 20), bytes([2] * 20)


def add(store: Store, meter: bytes, *serials: int) -> None:
    with store.transaction() as tx:
        for serial in serials:
            tx.add_trust(meter, serial, b"bundle %d" % serial)


def tell(store: Store, meter: bytes | None = None) -> list[tuple[bytes, int]]:
    with store.transaction() as tx:
        return [(row.meter, row.serial) for row in tx.tell(None if meter is None else [meter])]


def states(store: Store) -> dict[tuple[bytes, int], int]:
    return {(row.meter, row.serial): row.state for row in store.trust()}


def test_what_is_new_is_told_once_in_order_and_not_all_at_once(store: Store) -> None:
    add(store, ONE, 5, 3, 4, 9)
    add(store, TWO, 7)
    assert tell(store, TWO) == [(TWO, 7)]
    assert tell(store) == [(ONE, 3), (ONE, 4), (ONE, 5)]
    assert tell(store) == [(ONE, 9)]
    assert tell(store) == []
    add(store, ONE, 9)
    assert tell(store) == [], "the first one of a serial stays"


def test_a_hello_says_what_is_lacking_until_the_next_and_a_signature_says_it_for_good(
    store: Store,
) -> None:
    add(store, ONE, 3, 5)
    add(store, TWO, 3)
    tell(store)
    with store.transaction() as tx:
        tx.trusts({ONE: [(2**32 - 1, False)]})  # anybody can say it
    assert states(store) == {(ONE, 3): TAKEN, (ONE, 5): TAKEN, (TWO, 3): TOLD}
    with store.transaction() as tx:
        tx.trusts({ONE: [(3, False)]})
    assert states(store)[ONE, 5] == UNTOLD
    assert tell(store, ONE) == [(ONE, 5)]
    with store.transaction() as tx:
        tx.trusts({ONE: [(5, True)]})
    assert states(store) == {(ONE, 3): TAKEN, (ONE, 5): TAKEN, (TWO, 3): TOLD}


def test_events_are_found_by_their_code(store: Store) -> None:
    meter = SignedMeter(1)
    made = [
        meter.event(code, sequence, 1_800_000_000 + sequence, 0, sequence)
        for sequence, code in enumerate((18, 12, 19, 18, 274), 1)
    ]
    made.append(meter.reading(6, time_s=1_800_000_006, flags=18))
    with store.transaction() as tx:
        tx.enrol(meter.address, 1, 1, 0)
        frames = [signed_frame(meter.address, *one) for one in made]
        tx.add_frames(meter.address, frames, 5)

    def found(from_s: int, *codes: int) -> list[int]:
        return [event.sequence for event in store.events(codes, from_s)]

    assert found(0, wire.EVENT_SIGNER_CHANGED) == [1, 4]
    assert found(1_800_000_002, 18, 19) == [3, 4]
    assert found(1_800_000_005, 18, 19) == []
