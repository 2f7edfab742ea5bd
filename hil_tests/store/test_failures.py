"""What goes wrong with the database itself: told with advice that fits, without the password."""

import sqlite3
import threading
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from hil_tests.postgresql import Server
from hil_tests.services import SignedMeter
from parwana.store import advice
from parwana.store.reader import Store, StoreAway, StoreError

METER = SignedMeter(1)


def add(store: Store, *sequences: int) -> None:
    with store.transaction() as tx:
        tx.add_frames(METER.address, [METER.stored(s) for s in sequences], 99)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("no url", "does not parse"),
        ("postgresql://u:secret@h:not/db", "does not parse"),
        ("postgresql://u:pa@secret:1@h/db", "does not parse"),
        ("postgresql://u:pa@secret@h/db", "write that of a password as %40"),
        ("postgresql://u:pa@x/secret@h/db", "write that of a password as %40"),
        ("mysql://u:secret@h/db", "is for mysql"),
        ("sqlite://", "memory forgets"),
        ("sqlite:///:memory:", "memory forgets"),
        ("sqlite:////nowhere/at/all/s.db", "check that its folder exists"),
        ("postgresql://u@127.0.0.1:1/db?password=secret", "cannot be reached"),
        ("postgresql://u:secret@127.0.0.1/db?sslmode=maybe", "sslmode"),
        ("postgresql://u:secret@/db?host=127.0.0.1:1&host=127.0.0.1:2", "port 2 failed"),
    ],
)
def test_an_unusable_url_says_what_to_write(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        Store(url)
    assert "secret" not in str(caught.value)


# --- a file -------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_a_damaged_file_is_named(path: Path) -> None:
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(StoreError, match=r"is damaged.*restore a copy"):
        Store(f"sqlite:///{path}")


def test_a_page_that_is_damaged_later_is_named(path: Path) -> None:
    store = Store(f"sqlite:///{path}")
    add(store, *range(1, 100))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(StoreError, match=r"is damaged.*restore a copy"):
        Store(f"sqlite:///{path}")


def test_a_locked_file_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "WAIT_S", 0.1)
    store = Store(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"locked by another process.*end that one"):
        add(store, 1)
    other.execute("ROLLBACK")
    other.close()
    add(store, 1)
    store.close()


@pytest.mark.parametrize(
    ("pragma", "says"),
    [
        ("query_only = 1", "cannot be written; check who owns it"),
        ("max_page_count = 1", "the disk is full; make room"),
    ],
    ids=["read only", "full"],
)
def test_a_file_that_takes_no_more_is_named_and_goes_on(
    path: Path, pragma: str, says: str
) -> None:
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA {pragma}")

    store = Store(f"sqlite:///{path}")
    add(store, 1)
    sa.event.listen(store._engine, "checkout", lambda c, r, _p: limit(c, r))
    with pytest.raises(StoreError, match=says):
        add(store, *range(2, 500))
    store.close()
    store = Store(f"sqlite:///{path}")
    assert store.runs(METER.address) == [(1, 1)]
    store.close()


# --- a server -----------------------------------------------------------------------------------


@pytest.fixture
def url(postgresql: Server) -> str:
    return postgresql.database()


def test_a_patient_store_waits_for_a_server_that_is_away(
    url: str, stopped_postgresql: Server
) -> None:
    with pytest.raises(StoreAway, match=r"cannot be reached; check that it runs"):
        Store(url)
    store = Store(url, patient=True)
    for _ in range(2):
        with pytest.raises(StoreAway, match="cannot be reached"):
            add(store, 1)
        with pytest.raises(StoreAway, match="cannot be reached"):
            store.runs(METER.address)
    stopped_postgresql.start()
    assert store.runs(METER.address) == []
    add(store, 1)
    assert store.runs(METER.address) == [(1, 1)]
    store.close()


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize(
    ("user", "database", "says"),
    [
        ("parwana", "none", "has no such database; make it"),
        ("limited:secret", "postgres", "check user and password"),
        ("limited", "postgres", "check user and password"),
        ("nobody:secret", "postgres", "check user and password"),
        ("limited:right", "postgres", "make it the owner"),
    ],
    ids=["no database", "wrong password", "no password", "no user", "no right"],
)
def test_what_waiting_would_not_mend_is_told_at_once(
    postgresql: Server, user: str, database: str, says: str, patient: bool
) -> None:
    postgresql.ask_for_passwords("limited", "right")
    with pytest.raises(StoreError, match=says) as caught:
        Store(postgresql.url(database, user), patient=patient)
    assert not isinstance(caught.value, StoreAway)
    assert "secret" not in str(caught.value)
    assert "right" not in str(caught.value).split("(")[1]


def test_a_server_without_a_free_session_is_worth_waiting_for(url: str) -> None:
    with ExitStack() as held:
        while (session := _session(url)) is not None:
            held.enter_context(session)
        with pytest.raises(StoreAway, match="raise its max_connections.*too many clients"):
            Store(url)
    Store(url).close()


def _session(url: str) -> psycopg.Connection | None:
    try:
        return psycopg.connect(url)
    except psycopg.OperationalError:
        return None


def test_a_restart_in_the_middle_costs_one_try(store: Store, postgresql: Server) -> None:
    add(store, 1)

    def restart_within() -> None:
        with store.transaction() as tx:
            tx.add_frames(METER.address, [METER.stored(2)], 99)
            postgresql.stop()
            postgresql.start()
            tx.add_frames(METER.address, [METER.stored(3)], 99)

    with pytest.raises(StoreAway, match="restarts or fails over"):
        restart_within()
    assert store.runs(METER.address) == [(1, 1)]
    add(store, 2)
    postgresql.stop()
    postgresql.start()
    add(store, 3)
    assert store.runs(METER.address) == [(1, 3)]


def test_sessions_that_the_server_closed_cost_one_try(store: Store, postgresql: Server) -> None:
    begun, ended = threading.Barrier(2), threading.Barrier(2)

    def close_all() -> None:
        begun.wait(30)
        postgresql.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname LIKE 'test_%'"
        )
        ended.wait(30)

    def write_meanwhile() -> None:
        with store.transaction() as tx:
            tx.add_frames(METER.address, [METER.stored(1)], 99)
            begun.wait(30)
            ended.wait(30)

    closer = threading.Thread(target=close_all)
    closer.start()
    with pytest.raises(StoreAway, match="restarts or fails over"):
        write_meanwhile()
    closer.join(30)
    add(store, 1)
    assert store.runs(METER.address) == [(1, 1)]


def test_sessions_to_a_server_that_became_read_only_are_not_used_again(
    store: Store, url: str, postgresql: Server
) -> None:
    add(store, 1)
    store.close()
    database = url.rsplit("/", 1)[1]
    postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with pytest.raises(StoreAway, match="lead the URL to the primary"):
        add(store, 2)
    with store._engine.connect(), store._engine.connect():  # two sessions that stay read only
        assert store.runs(METER.address) == [(1, 1)]
    postgresql.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    with pytest.raises(StoreAway, match="lead the URL to the primary"):
        add(store, 2)
    add(store, 2)
    assert store.runs(METER.address) == [(1, 2)]


def test_of_several_hosts_the_one_that_takes_writes_is_used(url: str, postgresql: Server) -> None:
    hosts = f"host=127.0.0.1:1&host=127.0.0.1:{postgresql.port}&target_session_attrs=read-write"
    store = Store(f"postgresql://parwana:secret@/{url.rsplit('/', 1)[1]}?{hosts}")
    add(store, 1)
    assert store.runs(METER.address) == [(1, 1)]
    assert "secret" not in store.name
    store.close()


@pytest.mark.parametrize(
    ("state", "says"),
    [("53100", "make room on the server"), ("08006", "connects anew"), ("XX000", "cannot be")],
)
def test_what_the_server_signals_is_told_by_its_code_in_any_language(
    store: Store, url: str, postgresql: Server, state: str, says: str
) -> None:
    postgresql.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE 'geht nicht' USING ERRCODE = '{state}'; END $$",
        url,
    )
    trigger = "CREATE TRIGGER refuse BEFORE INSERT ON frames EXECUTE FUNCTION refuse()"
    postgresql.execute(trigger, url)
    with pytest.raises(StoreError, match=f"{says}.*geht nicht"):
        add(store, 1)
    postgresql.execute("DROP TRIGGER refuse ON frames", url)
    add(store, 1)


def test_a_row_that_another_session_holds_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "WAIT_S", 1)
    store = Store(url)
    with store.transaction() as tx:
        tx.enrol(METER.address, 1, 1, 0)
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM meters FOR UPDATE")
        with (
            pytest.raises(StoreError, match="locked by another session"),
            store.transaction() as tx,
        ):
            tx.lock([METER.address])
    store.close()


def test_tables_that_went_away_are_not_made_again_unasked(
    store: Store, url: str, postgresql: Server
) -> None:
    postgresql.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", url)
    with pytest.raises(StoreError, match="lacks a table.*restore a copy"):
        add(store, 1)
