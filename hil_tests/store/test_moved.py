"""A file that is moved away, removed or replaced under a store that has it open."""

import shutil
from pathlib import Path

import pytest

from hil_tests.services import SignedMeter
from parwana.store.reader import Store, StoreError

METER = SignedMeter(1)


def add(store: Store, *sequences: int) -> None:
    with store.transaction() as tx:
        tx.add_frames(METER.address, [METER.stored(s) for s in sequences], 99)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def files(path: Path) -> list[Path]:
    """Return the file and what SQLite keeps beside it."""
    return sorted(path.parent.glob(f"{path.name}*"))


@pytest.fixture
def store(path: Path) -> Store:
    made = Store(f"sqlite:///{path}")
    add(made, 1)
    return made


def test_nothing_is_written_to_a_file_that_is_gone(store: Store, path: Path) -> None:
    for each in files(path):
        each.unlink()
    with pytest.raises(StoreError, match="was moved away or replaced"):
        add(store, 2)
    for _ in range(2):
        with pytest.raises(StoreError, match="is gone; put it back"):
            add(store, 2)
        with pytest.raises(StoreError, match="is gone; put it back"):
            store.runs(METER.address)
    assert files(path) == [], "no empty one is begun unasked"
    store.close()


def test_one_that_was_put_back_is_gone_on_with(store: Store, path: Path) -> None:
    away = path.parent / "away"
    away.mkdir()
    for each in files(path):
        each.rename(away / each.name)
    with pytest.raises(StoreError, match="was moved away or replaced"):
        add(store, 2)
    for each in away.iterdir():
        each.rename(path.parent / each.name)
    add(store, 2)
    assert store.runs(METER.address) == [(1, 2)]
    store.close()


def test_a_restored_copy_is_opened_next(store: Store, path: Path) -> None:
    store.close()
    shutil.copy(path, path.with_name("copy"))
    add(store, 2)
    store.close()
    assert store.runs(METER.address) == [(1, 2)]
    path.with_name("copy").replace(path)
    for each in files(path)[1:]:
        each.unlink()
    with pytest.raises(StoreError, match="what is there now is opened next"):
        store.runs(METER.address)
    assert store.runs(METER.address) == [(1, 1)]
    store.close()


def test_an_empty_file_in_its_place_is_no_store(store: Store, path: Path) -> None:
    for each in files(path):
        each.unlink()
    path.touch()
    with pytest.raises(StoreError, match="was moved away or replaced"):
        add(store, 2)
    with pytest.raises(StoreError, match=r"lacks a table.*restore a copy"):
        add(store, 2)
    store.close()
