"""Write which changes of trust (kinds 5 and 6) each meter is to take, and has."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parwana.store.tables import TAKEN, TOLD, UNTOLD, trust

TOLD_AT_ONCE = 3

_ORDERED = sa.select(trust).order_by(trust.c.meter, trust.c.serial).with_for_update()
_UNTOLD = _ORDERED.where(trust.c.state == UNTOLD)
_AMONG = trust.c.meter.in_(sa.bindparam("of", expanding=True))
_OF_THEM, _UNTOLD_OF_THEM = _ORDERED.where(_AMONG), _UNTOLD.where(_AMONG)
_CHANGE = trust.update().where(
    trust.c.meter == sa.bindparam("of"), trust.c.serial == sa.bindparam("at")
)


class Changes:
    """The part of a Writer that is about trust."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = self._db = connection
        dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
        self._insert = dialect.insert

    def add_trust(self, meter: bytes, serial: int, bundle: bytes) -> None:
        """Keep a kind 5 or 6 for a meter, to be told; the first one of a serial stays."""
        row = {"meter": meter, "serial": serial, "bundle": bundle, "state": UNTOLD}
        self._db.execute(self._insert(trust).values(row).on_conflict_do_nothing())

    def trusts(self, said: Mapping[bytes, Sequence[tuple[int, bool]]]) -> None:
        """Keep by meter at which trust serials it is, in their order: (serial, signed).

        What it signed holds; what a hello says holds for now.
        """
        rows = self._db.execute(_OF_THEM, {"of": list(said)})
        changed = []
        for row in rows:
            state = row.state
            for serial, signed in said[row.meter]:
                if row.serial <= serial:
                    state = TAKEN
                elif not signed:
                    state = UNTOLD
            if state != row.state:
                changed.append({"of": row.meter, "at": row.serial, "state": state})
        if changed:
            self._db.execute(_CHANGE, changed)

    def tell(self, of: Collection[bytes] | None = None) -> list[sa.Row]:
        """Return (meter, serial, bundle) of what is untold, oldest first; it counts as told.

        At most TOLD_AT_ONCE of a meter: it keeps few that it has not checked, and a later one
        means nothing without those before. Without `of`, of all meters.
        """
        asked = _UNTOLD if of is None else _UNTOLD_OF_THEM
        told: list[sa.Row] = []
        for row in self._db.execute(asked, {} if of is None else {"of": list(of)}):
            if sum(row.meter == one.meter for one in told[-TOLD_AT_ONCE:]) < TOLD_AT_ONCE:
                told.append(row)
        if told:
            changed = [{"of": row.meter, "at": row.serial, "state": TOLD} for row in told]
            self._db.execute(_CHANGE, changed)
        return told
