"""What is looked up of a single meter, however many there are; and the last reading of each."""

from typing import Any

import sqlalchemy as sa

from parwana.store.frames import SignedFrame
from parwana.store.rows import ENERGY, FRAMES, frames_of, newest_reading, of
from parwana.store.tables import (
    CLOSES,
    IS_EVENT,
    IS_READING,
    framed,
    frames,
    meters,
    permits,
)


class MeterReader:
    """The part of a Store that looks; `_connected`, `_signed` are the Store's."""

    _connected: Any
    _signed: Any

    def last_events(self, meter: bytes, count: int) -> list[SignedFrame]:
        """Return the meter's last events, the newest first."""
        query = frames_of(meter).where(IS_EVENT).order_by(frames.c.sequence.desc()).limit(count)
        return list(self._signed(query, few=True))

    def newest_readings(self) -> dict[bytes, tuple[bytes, int]]:
        """Return by meter (frame, received_s) of its last reading, of those that have one."""
        of_each = sa.select(framed.c.id, newest_reading(framed.c.id).label("sequence"))
        # First this, or SQLite reads all frames.
        found_first = of_each.join(meters, meters.c.meter == framed.c.meter).cte("last")
        newest = found_first.prefix_with("MATERIALIZED")
        of_them = sa.and_(frames.c.meter == newest.c.id, frames.c.sequence == newest.c.sequence)
        query = FRAMES.join(newest, of_them).where(IS_READING)
        found = self._signed(query.order_by(frames.c.variant))
        return {one.meter: (one.frame, one.received_s) for one in found}

    def registers(self, meter: bytes, from_s: int, to_s: int) -> list[tuple[int, int]]:
        """Return (time_s, energy_wh) of the meter's closing readings of from_s ≤ time_s < to_s.

        In the order of their time. Nothing else of the frames is fetched: a year is 366 of them.
        """
        query = sa.select(frames.c.time_s, ENERGY).where(
            CLOSES,
            of(meter),
            frames.c.time_s >= from_s,
            frames.c.time_s < to_s,
        )
        with self._connected() as db:
            rows = db.execute(query.order_by(frames.c.time_s, frames.c.sequence)).all()
            return [(row[0], int.from_bytes(row[1])) for row in rows]

    def latest(self, meter: bytes, count: int) -> list[SignedFrame]:
        """Return the meter's last frames, the newest first."""
        query = frames_of(meter).order_by(frames.c.sequence.desc()).limit(count)
        return list(self._signed(query, few=True))

    def accepted_permit(self, meter: bytes) -> bytes | None:
        """Return the bundle of the permit that the meter accepted last, as far as known."""
        same = (meters.c.meter == permits.c.meter) & (meters.c.permit_serial == permits.c.serial)
        query = sa.select(permits.c.bundle).join(meters, same).where(permits.c.meter == meter)
        with self._connected() as db:
            found = db.execute(query).scalar_one_or_none()
            return None if found is None else bytes(found)

    def latest_permits(self, meter: bytes, count: int) -> list[sa.Row]:
        """Return the newest permits (serial, bundle) of the meter, the greatest serial first."""
        query = sa.select(permits.c.serial, permits.c.bundle).where(permits.c.meter == meter)
        with self._connected() as db:
            return list(db.execute(query.order_by(permits.c.serial.desc()).limit(count)))
