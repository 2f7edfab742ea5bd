"""Hold what meters sent: verified frames for ever, the rest in a bounded quarantine.

SQLite by default, PostgreSQL for several relays, through the same code. What a `Writer` did is
durable when the `with store.transaction()` that gave it has ended, and not before.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from parwana.store.advice import StoreAway, StoreError, label, translated
from parwana.store.dailies import DayReader
from parwana.store.database import engine, prepare
from parwana.store.frames import SignedFrame, signed_frame
from parwana.store.held import Held
from parwana.store.inspections import InspectionReader
from parwana.store.looks import MeterReader
from parwana.store.pruning import PruneReader
from parwana.store.rows import CODE, FRAMES, frames_of, of, signed
from parwana.store.tables import (
    CLOSES,
    DOUBTED,
    IS_EVENT,
    IS_READING,
    cursors,
    framed,
    frames,
    meters,
    permits,
    quarantine,
    runs,
    signatures,
    tallies,
    trust,
)
from parwana.store.updates import UpdateReader
from parwana.store.writer import Added, Writer, newest_permits_of

_ORDER = frames.c.sequence, frames.c.variant
_METERS_MAX = 500  # a query; SQLite takes 32,766 values in one

__all__ = ["Added", "SignedFrame", "Store", "StoreAway", "StoreError", "Writer", "signed_frame"]


class Store(MeterReader, DayReader, UpdateReader, InspectionReader, PruneReader):
    """Open a store; `create=False` refuses one that is not there. Raises StoreError.

    `url` is sqlite:///path or postgresql://user:password@host/name. Any thread may use it.
    `patient` takes a server that is away: until it is back, whatever is asked raises StoreAway.
    """

    def __init__(self, url: str, *, create: bool = True, patient: bool = False) -> None:
        self._engine = engine(url, create)
        self._create = create
        self._mine = threading.local()
        self._prepared = False
        self.name = label(self._engine.url)
        self.url = self._engine.url.render_as_string(hide_password=False)
        try:
            self._prepare()
        except StoreError as error:
            if patient and isinstance(error, StoreAway):
                return
            self.close()
            raise

    def _prepare(self) -> None:
        with self._translated(), self._engine.connect() as connection:
            connection = connection.execution_options(parwana_write=True)
            with connection.begin():
                prepare(connection, self._create, self.name)
        self._prepared = True

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Give a Writer; commit at the end, or keep nothing if anything was raised.

        A server that goes away during the commit may have kept all: what is written again then
        must be the same.
        """
        with self._connected() as connection:
            connection = connection.execution_options(parwana_write=True)
            with connection.begin():
                yield Writer(connection)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all that this thread reads within take one connection: a page asks ten questions."""
        with self._connected() as self._mine.db:
            try:
                yield
            finally:
                self._mine.db = None

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        shared = getattr(self._mine, "db", None)
        if shared is not None:
            yield shared
            return
        if not self._prepared:
            self._prepare()
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise translated(error, self.name) from None

    def meter(self, meter: bytes) -> sa.Row | None:
        """Return the meter's row, None if the store never heard of it."""
        with self._connected() as db:
            return db.execute(sa.select(meters).where(meters.c.meter == meter)).one_or_none()

    def meters(self) -> list[sa.Row]:
        """Return the rows of all meters, by number."""
        with self._connected() as db:
            query = sa.select(meters).order_by(meters.c.number, meters.c.meter)
            return list(db.execute(query))

    def frames(self, meter: bytes, first: int = 1) -> Iterator[SignedFrame]:
        """Give the meter's frames from sequence `first` on, in order, without holding them all."""
        query = frames_of(meter).where(frames.c.sequence >= first)
        yield from self._signed(query.order_by(*_ORDER))

    def readings(
        self, meter: bytes, after_s: int, until_s: int, before_s: int
    ) -> Iterator[SignedFrame]:
        """Give the meter's readings of after_s < time_s ≤ until_s that were received before
        `before_s`, by sequence.
        """
        query = frames_of(meter).where(
            IS_READING,
            frames.c.time_s > after_s,
            frames.c.time_s <= until_s,
            frames.c.received_s < before_s,
        )
        yield from self._signed(query.order_by(*_ORDER))

    def count_frames(self, meter: bytes, last: int) -> int:
        """Return how many frames of the meter are held up to a sequence."""
        query = sa.select(sa.func.count()).where(of(meter), frames.c.sequence <= last)
        with self._connected() as db:
            return int(db.execute(query).scalar_one())

    def count_held(self) -> int:
        """Return how many sequences are held, of all meters."""
        query = sa.select(sa.func.sum(runs.c.last - runs.c.first + 1))
        with self._connected() as db:
            return int(db.execute(query).scalar_one() or 0)

    def count_signatures(self) -> dict[bytes, int]:
        """Return how many signatures of permit signers are kept, by scope."""
        query = sa.select(signatures.c.scope, sa.func.count()).group_by(signatures.c.scope)
        with self._connected() as db:
            return {row[0]: row[1] for row in db.execute(query)}

    def framed_meters(self) -> list[bytes]:
        """Return the meters that have frames, whether they are enrolled or not."""
        with self._connected() as db:
            any_of_it = sa.exists().where(frames.c.meter == framed.c.id)
            return list(db.execute(sa.select(framed.c.meter).where(any_of_it)).scalars())

    def closings(self, of: Sequence[bytes], from_s: int, to_s: int) -> list[SignedFrame]:
        """Return these meters' closing readings of from_s ≤ time_s < to_s, by time, sequence."""
        found: list[SignedFrame] = []
        for start in range(0, len(of), _METERS_MAX):
            query = FRAMES.where(
                CLOSES,
                framed.c.meter.in_(of[start : start + _METERS_MAX]),
                frames.c.time_s >= from_s,
                frames.c.time_s < to_s,
            )
            found += self._signed(query)
        return sorted(found, key=lambda frame: (frame.time_s, frame.meter, frame.sequence))

    def last_reading(self, meter: bytes, until_s: int) -> SignedFrame | None:
        """Return the meter's last reading of time_s ≤ until_s, if any."""
        query = frames_of(meter).where(IS_READING, frames.c.time_s <= until_s)
        query = query.order_by(frames.c.sequence.desc()).limit(1)
        return next(iter(list(self._signed(query, few=True))), None)

    def contradictions(self) -> dict[bytes, list[SignedFrame]]:
        """Return, for each meter that contradicts itself, two frames of one sequence."""
        found: dict[bytes, list[SignedFrame]] = {}
        with self._connected() as db:
            query = sa.select(framed.c.meter, sa.func.min(frames.c.sequence)).where(DOUBTED)
            joined = query.join(framed, framed.c.id == frames.c.meter)
            doubted = db.execute(joined.group_by(framed.c.meter)).all()
        for meter, sequence in doubted:
            alike = self._signed(frames_of(meter).where(frames.c.sequence == sequence))
            found[meter] = sorted(alike, key=lambda one: one.frame)[:2]
        return found

    def _signed(self, query: sa.Select, few: bool = False) -> Iterator[SignedFrame]:
        streaming = {} if few else {"yield_per": 1000}
        with self._connected() as db, db.execute(query, execution_options=streaming) as rows:
            yield from map(signed, rows.all() if few else rows)

    def lowest_missing(self, meter: bytes, oldest: int) -> int:
        """Return the lowest sequence, not below `oldest`, that is not held."""
        with self._connected() as db:
            return Held(db, [(meter, oldest, oldest)]).lowest_missing(meter, oldest)

    def runs(self, meter: bytes) -> list[tuple[int, int]]:
        """Return the held sequences as (first, last), rising."""
        with self._connected() as db:
            query = sa.select(runs.c.first, runs.c.last).where(runs.c.meter == meter)
            return [(first, last) for first, last in db.execute(query.order_by(runs.c.first))]

    def newest_permit(self, meter: bytes) -> sa.Row | None:
        """Return the permit (meter, serial, bundle, block) of the greatest serial, if any."""
        with self._connected() as db:
            return newest_permits_of(db, [meter]).get(meter)

    def outstanding(self) -> list[sa.Row]:
        """Return the newest permit of each meter that is not known to have accepted it."""
        newest = (
            sa.select(permits.c.meter, sa.func.max(permits.c.serial).label("serial"))
            .group_by(permits.c.meter)
            .subquery()
        )
        of_it = (permits.c.meter == newest.c.meter) & (permits.c.serial == newest.c.serial)
        query = (
            sa.select(permits)
            .join(newest, of_it)
            .join(meters, meters.c.meter == permits.c.meter)
            .where(meters.c.permit_serial < permits.c.serial)
        )
        with self._connected() as db:
            return list(db.execute(query))

    def permits(self) -> list[sa.Row]:
        """Return all permits (meter, serial, bundle, block) that were picked from the chain."""
        with self._connected() as db:
            return list(db.execute(sa.select(permits).order_by(permits.c.meter, permits.c.serial)))

    def accepted_permits(self) -> dict[bytes, bytes]:
        """Return by meter the bundle of the permit that it accepted last, as far as known."""
        same = (meters.c.meter == permits.c.meter) & (meters.c.permit_serial == permits.c.serial)
        with self._connected() as db:
            query = sa.select(permits.c.meter, permits.c.bundle).join(meters, same)
            return {row.meter: row.bundle for row in db.execute(query)}

    def last_signed(self) -> dict[int, int]:
        """Return by index when each signer last left a signature."""
        newest = sa.func.max(signatures.c.made_s)
        with self._connected() as db:
            query = sa.select(signatures.c.signer_index, newest)
            rows = db.execute(query.group_by(signatures.c.signer_index))
            return {row[0]: row[1] for row in rows}

    def signatures(self, digest: bytes) -> list[tuple[int, bytes]]:
        """Return (signer index, signature) of all that signed `digest`, by index."""
        columns = signatures.c.signer_index, signatures.c.signature
        with self._connected() as db:
            query = sa.select(*columns).where(signatures.c.digest == digest)
            return [(i, s) for i, s in db.execute(query.order_by(signatures.c.signer_index))]

    def signed(self, scope: bytes) -> list[sa.Row]:
        """Return the signatures (rows of the table) of one scope, the newest frame's last."""
        with self._connected() as db:
            query = sa.select(signatures).where(signatures.c.scope == scope)
            order = signatures.c.made_s, signatures.c.digest, signatures.c.signer_index
            return list(db.execute(query.order_by(*order)))

    def trust(self) -> list[sa.Row]:
        """Return the changes of trust (meter, serial, bundle, state) of all meters."""
        with self._connected() as db:
            return list(db.execute(sa.select(trust).order_by(trust.c.meter, trust.c.serial)))

    def events(self, codes: Sequence[int], from_s: int) -> Iterator[SignedFrame]:
        """Give all meters' events of these codes and of time_s ≥ from_s, by time."""
        query = FRAMES.where(
            IS_EVENT,
            frames.c.time_s >= from_s,
            CODE.in_([one.to_bytes(2, "big") for one in codes]),
        )
        yield from self._signed(query.order_by(frames.c.time_s, framed.c.meter))

    def cursor(self, name: str) -> int | None:
        """Return the block up to which `name` has read, None if it never did."""
        with self._connected() as db:
            query = sa.select(cursors.c.block).where(cursors.c.name == name)
            return db.execute(query).scalar_one_or_none()

    def quarantined(self) -> list[sa.Row]:
        """Return what is in quarantine, the newest last."""
        with self._connected() as db:
            return list(db.execute(sa.select(quarantine).order_by(quarantine.c.last_s)))

    def tallies(self) -> dict[str, tuple[int, int]]:
        """Return {reason: (kept, dropped)} of the quarantine."""
        with self._connected() as db:
            return {row.reason: (row.kept, row.dropped) for row in db.execute(sa.select(tallies))}
