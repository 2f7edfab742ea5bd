"""Keep signed updates: what is offered, its archive, and how far it is rolled out."""

from typing import Any

import sqlalchemy as sa

from parwana.store.changes import Changes
from parwana.store.tables import updates


class UpdateChanges(Changes):
    """The part of a Writer that is about updates."""

    def add_update(self, serial: int, frame: bytes, image: bytes, since_s: int) -> None:
        """Keep what is offered, not signed yet and offered to nobody; the first one stays."""
        row = {"serial": serial, "frame": frame, "image": image, "since_s": since_s}
        start: dict[str, Any] = {"bundle": None, "percent": 0, "wait_s": 0, "stopped": ""}
        self._db.execute(self._insert(updates).values(row | start).on_conflict_do_nothing())

    def set_update(self, serial: int, **values: Any) -> None:
        """Change the columns of one that is there."""
        self._db.execute(updates.update().where(updates.c.serial == serial).values(values))


class UpdateReader:
    """The part of a Store that is about updates; `_connected` is the Store's."""

    _connected: Any

    def updates(self) -> list[sa.Row]:
        """Return all updates without their archives, the newest last."""
        columns = [column for column in updates.columns if column.name != "image"]
        with self._connected() as db:
            return list(db.execute(sa.select(*columns).order_by(updates.c.serial)))

    def update_image(self, serial: int) -> bytes | None:
        """Return the archive of an update, None if there is no such update."""
        with self._connected() as db:
            query = sa.select(updates.c.image).where(updates.c.serial == serial)
            image = db.execute(query).scalar_one_or_none()
            return None if image is None else bytes(image)
