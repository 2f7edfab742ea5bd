"""A store of an older Parwana becomes one of this, row by row."""

from typing import Any

import pytest
import sqlalchemy as sa

import wire
from hil_tests.services import SignedMeter
from hil_tests.store import schema1
from parwana.store.advice import StoreError
from parwana.store.database import engine
from parwana.store.frames import SignedFrame, signed_frame
from parwana.store.migrating import migrate, scripts
from parwana.store.reader import Store
from parwana.store.tables import VERSION, metadata

METERS = [SignedMeter(seed) for seed in (1, 2, 3)]
DAY_S = 86400
MIDNIGHT_S = 20_000 * DAY_S
CHANGED = {"frames", "parwana_schema"}


def frames_of(meter: SignedMeter) -> list[SignedFrame]:
    """Return readings, a closing, an event, the last sequence, and three of one sequence."""
    made = [meter.stored(s, time_s=MIDNIGHT_S + 900 * s) for s in range(1, 130)]
    made.append(meter.stored(0xFFFFFFFF, time_s=0xFFFFFFFF))
    made.append(meter.stored(200, time_s=MIDNIGHT_S + DAY_S, flags=wire.FLAG_CLOSING))
    event = meter.event(wire.EVENT_BOOT, 201, MIDNIGHT_S + DAY_S + 5, 7, 1)
    made.append(signed_frame(meter.address, *event))
    made += [meter.stored(3, time_s=MIDNIGHT_S + 2700, energy_wh=wh) for wh in (1, 2)]
    return made


def row_of(one: SignedFrame, domain: bytes, **values: Any) -> dict[str, Any]:
    """Return a frame as schema 1 has it."""
    digest, doubted = wire.digest(domain, one.frame), one.sequence == 3
    received_s = one.time_s % 2**31
    row = {**vars(one), "digest": digest, "kind": one.kind, "contradicted": doubted}
    return {**row, "received_s": received_s, **values}


def fill(url: str, *more: dict[str, Any]) -> dict[str, list[Any]]:
    """Make a store of schema 1 with rows in each table; return what is not of frames."""
    made = engine(url, create=True)
    with made.begin() as db:
        schema1.metadata.create_all(db)
        db.execute(schema1.schema.insert().values(version=1))
        rows = [row_of(one, meter.domain) for meter in METERS for one in frames_of(meter)]
        db.execute(schema1.frames.insert(), [*rows, *more])
        for table in schema1.metadata.sorted_tables:
            if table.name not in CHANGED:
                db.execute(table.insert(), [example(table, i) for i in (1, 2, 3)])
    told = everything(made)
    made.dispose()
    return told


def example(table: sa.Table, seed: int) -> dict[str, Any]:
    """Return a row, another for each seed."""

    def value(column: sa.Column[Any]) -> Any:
        if column.type.python_type is bytes:
            return bytes([seed]) * (column.type.length or 9)  # type: ignore[attr-defined]
        return column.type.python_type(seed)

    return {column.name: value(column) for column in table.columns}


def everything(made: sa.Engine) -> dict[str, list[Any]]:
    """Return the rows of all tables that stay as they are, in order."""
    found = {}
    with made.connect() as db:
        for table in schema1.metadata.sorted_tables:
            if table.name not in CHANGED:
                query = sa.select(table).order_by(*table.primary_key)
                found[table.name] = [tuple(row) for row in db.execute(query)]
    return found


def where(index: Any) -> list[str]:
    """Return which rows an index is of."""
    said = index.get("dialect_options", {}).items()
    return sorted(str(value) for key, value in said if key.endswith("_where"))


def shape(url: str) -> dict[str, Any]:
    """Return what the database says of its tables, columns and indexes."""
    made = engine(url, create=False)
    told = {}
    with made.connect() as db:
        found = sa.inspect(db)
        for name in sorted(set(found.get_table_names()) - {"alembic_version"}):
            columns = [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)]
            keys = found.get_pk_constraint(name)["constrained_columns"]
            unique = [one["column_names"] for one in found.get_unique_constraints(name)]
            indexes = sorted(
                (one["name"] or "", one["column_names"], one["unique"], where(one))
                for one in found.get_indexes(name)
            )
            told[name] = [columns, keys, unique, indexes]
    made.dispose()
    return told


def test_every_row_is_there_afterwards(url: str) -> None:
    before = fill(url)
    with pytest.raises(StoreError, match=r"has schema 1, .*run `parwana store migrate`"):
        Store(url)
    assert migrate(url) == 1
    made = engine(url, create=False)
    assert everything(made) == before
    made.dispose()
    store = Store(url, create=False)
    for meter in METERS:
        given = sorted(
            (one.sequence, one.frame, one.signature, one.time_s, one.closing)
            for one in frames_of(meter)
        )
        found = list(store.frames(meter.address))
        told = [(f.sequence, f.frame, f.signature, f.time_s, f.closing) for f in found]
        assert sorted(told) == given
        assert {f.sequence for f in found if f.contradicted} == {3}
        assert all(f.received_s == f.time_s % 2**31 for f in found)
        days = [
            leaf
            for day in store.days(0, 2**40)
            for leaf in store.leaves(meter.domain, day * DAY_S + 1, (day + 1) * DAY_S + 1, 2**40)
        ]
        assert len([leaf for leaf in days if leaf.meter == meter.address]) == len(given)
    store.close()
    assert migrate(url) == VERSION


def test_what_is_migrated_has_the_shape_of_what_is_made(
    url: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    fill(url)
    migrate(url)
    other = f"sqlite:///{tmp_path}/new.db"
    if url.startswith("postgresql"):
        other = request.getfixturevalue("postgresql").database()
    Store(other).close()
    assert shape(url) == shape(other)


def test_one_that_was_never_brought_up_to_date_is_taken(url: str) -> None:
    made = engine(url, create=True)
    with made.begin() as db:
        later = {"trust", "updates", "inspections", "leases"}
        schema1.metadata.create_all(
            db, [t for t in schema1.metadata.sorted_tables if t.name not in later]
        )
        db.execute(sa.text("DROP INDEX frames_day"))
        db.execute(schema1.schema.insert().values(version=1))
    made.dispose()
    migrate(url)
    store = Store(url, create=False)
    assert store.trust() == []
    assert store.inspections() == []
    store.close()


def test_a_row_that_its_frame_belies_is_set_aside(url: str) -> None:
    lies = [METERS[0].stored(s) for s in (301, 302, 303)]
    rows = [row_of(one, METERS[0].domain) for one in lies]
    rows[0]["sequence"] = 399
    rows[1]["time_s"] = -5
    rows[2]["frame"] = rows[2]["frame"][:39]
    fill(url, *rows)
    migrate(url)
    store = Store(url, create=False)
    assert max(f.sequence for f in store.frames(METERS[0].address, 202)) == 0xFFFFFFFF
    aside = [row for row in store.quarantined() if row.reason == "altered"]
    payloads = [row["frame"] + row["signature"] for row in rows]
    assert sorted(row.payload for row in aside) == sorted(payloads)
    assert store.tallies()["altered"] == (3, 0)
    store.close()


def test_nothing_is_changed_where_it_breaks_off(url: str) -> None:
    before = fill(url)

    def stop(_what: str, done: int, _total: int) -> None:
        if done > 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(url, stop)
    made = engine(url, create=False)
    assert everything(made) == before
    with made.connect() as db:
        count = db.execute(sa.select(sa.func.count()).select_from(schema1.frames)).scalar_one()
    assert count == sum(len(frames_of(meter)) for meter in METERS)
    made.dispose()
    assert migrate(url) == 1


@pytest.mark.parametrize("version", [VERSION + 1, 99])
def test_a_newer_one_is_left_alone(url: str, version: int) -> None:
    Store(url).close()
    made = engine(url, create=False)
    with made.begin() as db:
        db.execute(sa.text(f"UPDATE parwana_schema SET version = {version}"))
    made.dispose()
    for look in (migrate, Store):
        with pytest.raises(StoreError, match=f"schema {version}.*of a newer one"):
            look(url)


def test_what_is_no_store_is_not_migrated(url: str) -> None:
    with pytest.raises(StoreError, match="there is no store|holds no Parwana store"):
        migrate(url)


def test_the_last_revision_is_this_schema() -> None:
    assert scripts().get_heads() == [str(VERSION)]
    assert set(schema1.metadata.tables) <= set(metadata.tables)
