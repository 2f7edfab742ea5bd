"""Write which changes of trust (kinds 5 and 6) each meter is to take, and has."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parwana.store.tables import TAKEN, TOLD, UNTOLD, trust

TOLD_AT_ONCE = 3


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

    def trusts(self, meter: bytes, serial: int, *, signed: bool) -> None:
        """Keep the trust serial that a meter is at: as it signed, or as a hello says, for now."""
        mine = trust.c.meter == meter
        taken = mine & (trust.c.serial <= serial)
        self._db.execute(trust.update().where(taken).values(state=TAKEN))
        if not signed:
            lacks = mine & (trust.c.serial > serial)
            self._db.execute(trust.update().where(lacks).values(state=UNTOLD))

    def tell(self, meter: bytes | None = None) -> list[sa.Row]:
        """Return (meter, serial, bundle) of what is untold, oldest first; it counts as told.

        At most TOLD_AT_ONCE of a meter: it keeps few that it has not checked, and a later one
        means nothing without those before.
        """
        query = sa.select(trust).where(trust.c.state == UNTOLD).with_for_update()
        if meter is not None:
            query = query.where(trust.c.meter == meter)
        told: list[sa.Row] = []
        for row in self._db.execute(query.order_by(trust.c.meter, trust.c.serial)):
            if sum(row.meter == one.meter for one in told[-TOLD_AT_ONCE:]) < TOLD_AT_ONCE:
                told.append(row)
        for row in told:
            mine = (trust.c.meter == row.meter) & (trust.c.serial == row.serial)
            self._db.execute(trust.update().where(mine).values(state=TOLD))
        return told
