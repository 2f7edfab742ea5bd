"""Write to the store within one transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

import wire
from parwana.store.frames import SignedFrame
from parwana.store.held import Held, Span, ranges
from parwana.store.inspections import InspectionChanges
from parwana.store.leases import LeaseChanges
from parwana.store.pruning import PruneChanges
from parwana.store.rows import Place, Rows
from parwana.store.tables import (
    cursors,
    meters,
    permits,
    quarantine,
    signatures,
    tallies,
)
from parwana.store.updates import UpdateChanges

QUARANTINE_ROWS = 1000  # a reason
QUARANTINE_BYTES = 2048  # a payload
QUARANTINE_KEEP_S = 30 * 86400
CONTRADICTIONS_KEPT = 4  # frames of one sequence

_OF: sa.BindParameter[bytes] = sa.bindparam("of")
_AMONG: sa.BindParameter[bytes] = sa.bindparam("of", expanding=True)
_LOCK = (
    sa.select(meters)
    .where(meters.c.meter.in_(_AMONG), meters.c.number.is_not(None))
    .order_by(meters.c.meter)
    .with_for_update()
)
_HEARD = meters.update().where(meters.c.meter == _OF)
_LAST = (
    sa.select(permits.c.meter, sa.func.max(permits.c.serial).label("serial"))
    .where(permits.c.meter.in_(_AMONG))
    .group_by(permits.c.meter)
    .subquery()
)
_NEWEST = sa.select(permits).join(
    _LAST, (permits.c.meter == _LAST.c.meter) & (permits.c.serial == _LAST.c.serial)
)


@dataclass(frozen=True)
class Added:
    """What became of frames: new, held already, contradicting another, refused as one too many."""

    new: int
    repeated: int
    contradicting: list[SignedFrame]
    refused: list[SignedFrame]


class Writer(UpdateChanges, InspectionChanges, LeaseChanges, PruneChanges):
    """Write within one transaction; the store's only door for writing."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        self._held = Held(connection, [])  # of the last frames: they are wanted from there

    def _row(self, table: sa.Table, values: dict[str, Any]) -> None:
        """Insert a row, or update the one with its primary key."""
        keys = [column.name for column in table.primary_key]
        change = {name: value for name, value in values.items() if name not in keys}
        statement = self._insert(table).values(values)
        self._db.execute(statement.on_conflict_do_update(index_elements=keys, set_=change))

    def lock(self, of: Iterable[bytes]) -> dict[bytes, sa.Row]:
        """Return the rows of those that are enrolled, held for this transaction.

        They are taken in rising order, as by everyone, or two relays deadlock.
        """
        return {row.meter: row for row in self._db.execute(_LOCK, {"of": sorted(of)}).all()}

    def add_frames(self, meter: bytes, added: Sequence[SignedFrame], received_s: int) -> Added:
        """Keep frames of one meter; two of one sequence with other content are both kept."""
        return self.add_all({meter: added}, received_s)[meter]

    def add_all(
        self, added: Mapping[bytes, Sequence[SignedFrame]], received_s: int | None
    ) -> dict[bytes, Added]:
        """Keep frames of many meters, as `add_frames` does; `received_s` None: as each says."""
        every = [signed for of in added.values() for signed in of]
        spans = list(_spans(added))
        held = Held(self._db, [*spans, *_given_up(every)])
        rows = Rows(self._db, added)
        seen = [f for f in every if (f.meter, f.sequence) in held]
        known = rows.kept({(f.meter, f.sequence) for f in seen})
        if lacking := [f for f in seen if (f.meter, f.sequence) not in known]:
            known |= {(f.meter, f.sequence): [f.frame] for f in self.gone(lacking)}
        fresh: list[SignedFrame] = []
        done = {meter: _sort(of, known, fresh) for meter, of in added.items()}
        doubted = {(f.meter, f.sequence) for one in done.values() for f in one.contradicting}
        rows.doubt(doubted)
        # From 1 on in the order in which they came
        nth = {(m, f): i for m, s in doubted for i, f in enumerate(known[m, s], 1)}
        rows.add(fresh, nth, received_s)
        for span in (*spans, *_given_up(fresh)):
            held.add(*span)
        held.save()
        self._held = held
        return done

    def heard(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep what hellos and frames said: rows of the columns `meter` and others, all alike.

        Anyone can say a hello: it decides nothing but what `want` names.
        """
        if rows:
            self._db.execute(_HEARD, [{**row, "of": row["meter"]} for row in rows])

    def lowest_missing(self, oldest: Mapping[bytes, int]) -> dict[bytes, int]:
        """Return by meter the lowest sequence, not below its `oldest`, that is not held."""
        held = self._held
        asked = [
            (m, first, first) for m, first in oldest.items() if (m, max(1, first)) not in held
        ]
        looked = Held(self._db, asked)
        unknown = {meter for meter, _, _ in asked}
        return {
            meter: (looked if meter in unknown else held).lowest_missing(meter, first)
            for meter, first in oldest.items()
        }

    def quarantine(
        self, topic: str, payload: bytes, reason: str, detail: str, time_s: int
    ) -> bool:
        """Keep what was not believed, at most QUARANTINE_ROWS of a reason; count the rest.

        Return whether it was kept. `reason` comes from a fixed list, `detail` is free.
        """
        topic = _text(topic)
        key = sha256(f"{topic}\n{reason}\n".encode() + payload).digest()
        seen = self._db.execute(
            quarantine.update()
            .where(quarantine.c.digest == key)
            .values(seen=quarantine.c.seen + 1, last_s=time_s)
        )
        if seen.rowcount:
            return True
        first = self._insert(tallies).values(reason=reason, kept=0, dropped=0)
        self._db.execute(first.on_conflict_do_nothing())
        mine = tallies.c.reason == reason
        query = sa.select(tallies.c.kept).where(mine).with_for_update()
        kept = self._db.execute(query).scalar_one()
        if kept >= QUARANTINE_ROWS:
            old = (quarantine.c.reason == reason) & (
                quarantine.c.last_s < time_s - QUARANTINE_KEEP_S
            )
            kept -= self._db.execute(quarantine.delete().where(old)).rowcount
        full = kept >= QUARANTINE_ROWS
        if not full:
            row = {
                "digest": key,
                "reason": reason,
                "detail": _text(detail),
                "topic": topic,
                "payload": payload[:QUARANTINE_BYTES],
                "size": len(payload),
                "seen": 1,
                "first_s": time_s,
                "last_s": time_s,
            }
            # Two relays may see one message; the second finds the row.
            self._db.execute(self._insert(quarantine).values(row).on_conflict_do_nothing())
            kept += 1
        self._db.execute(
            tallies.update().where(mine).values(kept=kept, dropped=tallies.c.dropped + int(full))
        )
        return not full

    def enrol(self, meter: bytes, number: int, kind: int, feeder: int) -> None:
        """Keep what the MeterRegistry says of a meter in service; feeder 0 is none."""
        row = {"meter": meter, "number": number, "kind": kind, "feeder": feeder}
        self._row(meters, {**row, "in_service": True})

    def retire(self, meter: bytes) -> None:
        """Keep that a meter left service; what it still has to send is taken."""
        mine = meters.c.meter == meter
        self._db.execute(meters.update().where(mine).values(in_service=False))

    def newest_permits(self, of: Iterable[bytes]) -> dict[bytes, sa.Row]:
        """Return by meter its permit (meter, serial, bundle, block) of the greatest serial."""
        return newest_permits_of(self._db, of)

    def forget_permits(self, above: int) -> None:
        """Forget the permits of blocks above `above`: they may be reorganised away."""
        self._db.execute(permits.delete().where(permits.c.block > above))

    def add_permit(self, meter: bytes, serial: int, bundle: bytes, block: int) -> None:
        """Keep a bundle that the chain published."""
        self._row(permits, {"meter": meter, "serial": serial, "bundle": bundle, "block": block})

    def add_signature(
        self, scope: bytes, frame: bytes, digest: bytes, index: int, signature: bytes, time_s: int
    ) -> None:
        """Keep signer `index`'s signature of a frame; the first one stays."""
        row = {
            "digest": digest,
            "signer_index": index,
            "signature": signature,
            "frame": frame,
            "scope": scope,
            "made_s": time_s,
        }
        self._db.execute(self._insert(signatures).values(row).on_conflict_do_nothing())

    def set_cursor(self, name: str, block: int) -> None:
        """Remember that the chain was read up to `block`."""
        self._row(cursors, {"name": name, "block": block})


def _spans(added: Mapping[bytes, Sequence[SignedFrame]]) -> Iterator[Span]:
    for meter, of in added.items():
        for span in ranges(sorted({signed.sequence for signed in of})):
            yield meter, *span


def _sort(
    added: Sequence[SignedFrame],
    known: dict[Place, list[bytes]],
    fresh: list[SignedFrame],
) -> Added:
    """Say what is new of one meter's frames; put that into `fresh`, and all into `known`."""
    contradicting, refused, repeated, before = [], [], 0, len(fresh)
    for signed in added:
        alike = known.setdefault((signed.meter, signed.sequence), [])
        if signed.frame in alike:
            repeated += 1
            continue
        if alike:
            contradicting.append(signed)
            if len(alike) >= CONTRADICTIONS_KEPT:
                refused.append(signed)
                continue
        alike.append(signed.frame)
        fresh.append(signed)
    return Added(len(fresh) - before, repeated, contradicting, refused)


def _given_up(of: Iterable[SignedFrame]) -> Iterator[Span]:
    """Give what meters signed that they cannot read: wanted no more, so that they can go on."""
    for signed in of:
        event = wire.parse(signed.frame) if signed.kind == wire.KIND_EVENT else None
        if (
            isinstance(event, wire.Event)
            and (event.code, event.a) == (wire.EVENT_STATE_LOST, wire.STATE_JOURNAL)
            and 1 <= event.b <= event.c < event.sequence
        ):
            yield signed.meter, event.b, event.c


def newest_permits_of(db: sa.Connection, of: Iterable[bytes]) -> dict[bytes, sa.Row]:
    """Return by meter the permit of the greatest serial."""
    return {row.meter: row for row in db.execute(_NEWEST, {"of": list(of)})}


def _text(text: str) -> str:
    """Return what both databases take as text, 200 characters at most."""
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode()[:200]
