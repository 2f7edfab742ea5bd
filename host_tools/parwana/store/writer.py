"""Write to the store within one transaction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

import wire
from parwana.store.frames import SignedFrame
from parwana.store.tables import (
    cursors,
    frames,
    meters,
    permits,
    quarantine,
    runs,
    signatures,
    tallies,
)
from parwana.store.updates import UpdateChanges

QUARANTINE_ROWS = 1000  # a reason
QUARANTINE_BYTES = 2048  # a payload
QUARANTINE_KEEP_S = 30 * 86400
CONTRADICTIONS_KEPT = 4  # frames of one sequence
_SEQUENCE_MAX = 0xFFFFFFFF


@dataclass(frozen=True)
class Added:
    """What became of frames: new, held already, contradicting another, refused as one too many."""

    new: int
    repeated: int
    contradicting: list[SignedFrame]
    refused: list[SignedFrame]


class Writer(UpdateChanges):
    """Write within one transaction; the store's only door for writing."""

    def _row(self, table: sa.Table, values: dict[str, Any]) -> None:
        """Insert a row, or update the one with its primary key."""
        keys = [column.name for column in table.primary_key]
        change = {name: value for name, value in values.items() if name not in keys}
        statement = self._insert(table).values(values)
        self._db.execute(statement.on_conflict_do_update(index_elements=keys, set_=change))

    def lock(self, meter: bytes) -> sa.Row | None:
        """Return the row of an enrolled meter, held for this transaction; None if it is unknown.

        Whoever writes several meters takes them in rising order, or two relays deadlock.
        """
        enrolled = (meters.c.meter == meter) & meters.c.number.is_not(None)
        return self._db.execute(sa.select(meters).where(enrolled).with_for_update()).one_or_none()

    def add_frames(self, meter: bytes, added: Sequence[SignedFrame], received_s: int) -> Added:
        """Keep frames of one meter; two of one sequence with other content are both kept."""
        held: dict[int, set[bytes]] = {}
        query = sa.select(frames.c.sequence, frames.c.digest).where(
            frames.c.meter == meter, frames.c.sequence.in_([f.sequence for f in added])
        )
        for sequence, digest in self._db.execute(query):
            held.setdefault(sequence, set()).add(digest)
        rows, contradicting, refused, repeated = [], [], [], 0
        for signed in added:
            known = held.setdefault(signed.sequence, set())
            if signed.digest in known:
                repeated += 1
                continue
            if known:
                contradicting.append(signed)
                if len(known) >= CONTRADICTIONS_KEPT:
                    refused.append(signed)
                    continue
            known.add(signed.digest)
            place = {"kind": signed.kind, "contradicted": False, "received_s": received_s}
            rows.append({**vars(signed), **place})
        if rows:
            self._db.execute(frames.insert(), rows)
            for first, last in _ranges(sorted({row["sequence"] for row in rows})):
                self._hold(meter, first, last)
            for row in rows:
                self._give_up(meter, wire.parse(row["frame"]))
        if contradicting:
            doubted = {signed.sequence for signed in contradicting}
            self._db.execute(
                frames.update()
                .where(frames.c.meter == meter, frames.c.sequence.in_(doubted))
                .values(contradicted=True)
            )
        return Added(len(rows), repeated, contradicting, refused)

    def _give_up(self, meter: bytes, fields: Any) -> None:
        """Want no more what the meter signed that it cannot read, so that it can go on."""
        if isinstance(fields, wire.Event) and fields.code == wire.EVENT_STATE_LOST:
            journal = fields.a == wire.STATE_JOURNAL
            if journal and 1 <= fields.b <= fields.c < fields.sequence:
                self._hold(meter, fields.b, fields.c)

    def _hold(self, meter: bytes, first: int, last: int) -> None:
        """Merge first … last into the meter's runs."""
        query = (
            sa.select(runs.c.first, runs.c.last)
            .where(runs.c.meter == meter, runs.c.first <= last + 1)
            .order_by(runs.c.first.desc())
            .limit(last - first + 3)
        )
        touching = [run for run in self._db.execute(query) if run.last >= first - 1]
        start = min([first, *(run.first for run in touching)])
        stop = max([last, *(run.last for run in touching)])
        for run in touching:
            if run.first != start:
                self._db.execute(
                    runs.delete().where(runs.c.meter == meter, runs.c.first == run.first)
                )
        self._row(runs, {"meter": meter, "first": start, "last": stop})

    def heard(self, meter: bytes, hello: wire.Hello, time_s: int) -> None:
        """Keep what a hello said. Anyone can say it: it decides nothing but what `want` names."""
        self._row(
            meters,
            {
                "meter": meter,
                "oldest": hello.oldest,
                "next": hello.next,
                "permit_serial": hello.permit_serial,
                "boots": hello.boots,
                "version": hello.version,
                "control_state": hello.control_state,
                "heard_s": time_s,
            },
        )

    def lowest_missing(self, meter: bytes, oldest: int) -> int:
        """Return the lowest sequence, not below `oldest`, that is not held."""
        return lowest_missing_of(self._db, meter, oldest)

    def lower_oldest(self, meter: bytes, sequence: int) -> None:
        """Note that the meter has `sequence`, so that a hello of a higher oldest was not true."""
        self._db.execute(
            meters.update()
            .where(meters.c.meter == meter, meters.c.oldest > sequence)
            .values(oldest=sequence)
        )

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

    def accepted(self, meter: bytes, serial: int) -> None:
        """Keep the greatest serial of a permit that the meter signed to have accepted."""
        mine = (meters.c.meter == meter) & (meters.c.permit_serial < serial)
        self._db.execute(meters.update().where(mine).values(permit_serial=serial))

    def newest_permit(self, meter: bytes) -> sa.Row | None:
        """Return the permit (meter, serial, bundle, block) of the greatest serial, if any."""
        return newest_permit_of(self._db, meter)

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


def _ranges(rising: list[int]) -> Iterator[tuple[int, int]]:
    """Give (first, last) of each unbroken range of rising numbers."""
    start = 0
    for i in range(1, len(rising) + 1):
        if i == len(rising) or rising[i] != rising[i - 1] + 1:
            yield rising[start], rising[i - 1]
            start = i


def lowest_missing_of(db: sa.Connection, meter: bytes, oldest: int) -> int:
    oldest = max(1, oldest)
    query = (
        sa.select(runs.c.last)
        .where(runs.c.meter == meter, runs.c.first <= oldest)
        .order_by(runs.c.first.desc())
        .limit(1)
    )
    last = db.execute(query).scalar_one_or_none()
    if last is None or last < oldest:
        return oldest
    return min(last + 1, _SEQUENCE_MAX)


def newest_permit_of(db: sa.Connection, meter: bytes) -> sa.Row | None:
    """Return the permit of the greatest serial, if any."""
    query = sa.select(permits).where(permits.c.meter == meter)
    return db.execute(query.order_by(permits.c.serial.desc()).limit(1)).one_or_none()


def _text(text: str) -> str:
    """Return what both databases take as text, 200 characters at most."""
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode()[:200]
