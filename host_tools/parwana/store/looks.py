"""What is looked up of a single meter, however many there are; and the last reading of each."""

from typing import Any

import sqlalchemy as sa

import wire
from parwana.store.frames import SignedFrame
from parwana.store.tables import IS_EVENT, frames, meters, permits


class MeterReader:
    """The part of a Store that looks; `_connected`, `_signed` are the Store's."""

    _connected: Any
    _signed: Any

    def last_events(self, meter: bytes, count: int) -> list[SignedFrame]:
        """Return the meter's last events, the newest first."""
        query = sa.select(frames).where(frames.c.meter == meter, IS_EVENT)
        query = query.order_by(frames.c.sequence.desc()).limit(count)
        return list(self._signed(query, few=True))

    def newest_readings(self) -> dict[bytes, tuple[bytes, int]]:
        """Return by meter (frame, received_s) of its last reading, of those that have one."""

        def last(column: Any) -> Any:
            mine = frames.c.meter == meters.c.meter, frames.c.kind == wire.KIND_READING
            query = sa.select(column).where(*mine).correlate(meters)
            order = frames.c.sequence.desc(), frames.c.digest.desc()  # both of the same frame
            return query.order_by(*order).limit(1).scalar_subquery()

        query = sa.select(meters.c.meter, last(frames.c.frame), last(frames.c.received_s))
        with self._connected() as db:
            rows = db.execute(query, execution_options={"yield_per": 1000})
            return {meter: (frame, at_s) for meter, frame, at_s in rows if frame is not None}

    def registers(self, meter: bytes, from_s: int, to_s: int) -> list[tuple[int, int]]:
        """Return (time_s, energy_wh) of the meter's closing readings of from_s ≤ time_s < to_s.

        In the order of their time. Nothing else of the frames is fetched: a year is 366 of them.
        """
        energy = sa.func.substr(frames.c.frame, 13, 8, type_=sa.LargeBinary)  # protocol.md, 1
        query = sa.select(frames.c.time_s, energy).where(
            frames.c.closing,
            frames.c.meter == meter,
            frames.c.time_s >= from_s,
            frames.c.time_s < to_s,
        )
        with self._connected() as db:
            rows = db.execute(query.order_by(frames.c.time_s, frames.c.sequence))
            return [(row[0], int.from_bytes(row[1])) for row in rows]

    def latest(self, meter: bytes, count: int) -> list[SignedFrame]:
        """Return the meter's last frames, the newest first."""
        query = sa.select(frames).where(frames.c.meter == meter)
        query = query.order_by(frames.c.sequence.desc()).limit(count)
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
