"""Share work among relays: who holds a lease does it, others once it is over."""

from collections.abc import Collection

import sqlalchemy as sa

from parwana.store.changes import Changes
from parwana.store.tables import leases


class LeaseChanges(Changes):
    """The part of a Writer that is about leases. The database's clock counts, nobody else's."""

    def lease(self, works: Collection[bytes], holder: str, for_s: int) -> set[bytes]:
        """Take what nobody else holds of `works` for `for_s` seconds from now; return what is
        `holder`'s then.
        """
        if not works:
            return set()
        now_s = self._now_s()
        insert = self._insert(leases)
        statement = insert.on_conflict_do_update(
            index_elements=[leases.c.work],
            set_={"holder": insert.excluded.holder, "until_s": insert.excluded.until_s},
            where=(leases.c.until_s <= now_s) | (leases.c.holder == insert.excluded.holder),
        )
        # In rising order, as by everyone, or two relays deadlock.
        row = {"holder": holder, "until_s": now_s + for_s}
        self._db.execute(statement, [{"work": work, **row} for work in sorted(works)])
        mine = leases.c.work.in_(list(works)) & (leases.c.holder == holder)
        return set(self._db.execute(sa.select(leases.c.work).where(mine)).scalars())

    def give_back(self, works: Collection[bytes], holder: str) -> None:
        """End `holder`'s leases of `works`."""
        mine = leases.c.work.in_(list(works)) & (leases.c.holder == holder)
        self._db.execute(leases.delete().where(mine))

    def _now_s(self) -> int:
        lite = self._db.dialect.name == "sqlite"
        now = "strftime('%s', 'now')" if lite else "extract(epoch from clock_timestamp())"
        return int(self._db.execute(sa.text(f"SELECT {now}")).scalar_one())
