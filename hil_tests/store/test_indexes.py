"""What relays ask of a store all the time is answered by an index, on SQLite and on PostgreSQL."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from hil_tests.services import SignedMeter
from parwana.store.reader import Store
from parwana.store.tables import metadata

METER = SignedMeter(1)
TABLES = "|".join(metadata.tables)
READ_WHOLE = re.compile(rf"Seq Scan|SCAN ({TABLES})\b(?!.*INDEX)")


@contextmanager
def asked() -> Iterator[list[tuple[str, Any]]]:
    """Collect the queries that are made, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, text: str, parameters: Any, _x: Any, many: bool) -> None:
        if not many and text.lstrip().startswith(("SELECT", "WITH")):
            found.append((text, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def plans(store: Store, queries: list[tuple[str, Any]]) -> str:
    """Return how the database would answer them, were the tables too large to be read whole."""
    said = []
    with store.transaction() as tx:
        postgresql = tx.connection.dialect.name == "postgresql"
        if postgresql:
            tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN "
        for text, parameters in queries:
            rows = tx.connection.exec_driver_sql(explain + text, parameters)
            said += [str(row[-1]) for row in rows]
    return "\n".join(said)


ASKS: dict[str, tuple[Callable[[Store], object], list[str]]] = {
    "contradictions": (lambda store: store.contradictions(), ["frames_doubted"]),
    "closings": (lambda store: store.closings([METER.address], 5, 9), ["frames_closing"]),
    "missing": (lambda store: store.lowest_missing(METER.address, 7), ["runs"]),
    "leaves": (lambda store: list(store.leaves(bytes(32), 5, 9, 99)), ["days"]),
    "last of each": (lambda store: store.newest_readings(), ["frames_sequence|PRIMARY KEY"]),
    "newest permit": (lambda store: store.newest_permit(METER.address), ["permits"]),
}


@pytest.mark.parametrize("what", ASKS)
def test_no_table_is_read_whole(store: Store, what: str) -> None:
    ask, indexes = ASKS[what]
    with store.transaction() as tx:
        tx.add_frames(METER.address, [METER.stored(s) for s in range(1, 40)], 1)
    with asked() as queries:
        ask(store)
    assert queries
    plan = plans(store, queries)
    assert not READ_WHOLE.search(plan), plan
    for index in indexes:
        assert re.search(index, plan), plan


def test_a_plan_tells_of_a_table_that_is_read_whole(store: Store) -> None:
    plan = plans(store, [("SELECT count(*) FROM quarantine WHERE size > 3", ())])
    assert READ_WHOLE.search(plan), plan
