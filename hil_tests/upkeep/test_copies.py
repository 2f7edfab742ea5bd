"""A store's frames as a file, and back: nothing is lost, nothing is believed unsigned."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.services import SignedMeter
from hil_tests.store.conftest import url as url
from parwana import cli
from parwana.chain.deployment import Deployment
from parwana.store.frames import SignedFrame, signed_frame
from parwana.store.reader import Store
from parwana.upkeep import copies
from parwana.upkeep.copies import RECORD, CopyError, Imported, read, write

NOW_S = 1_900_000_000


@pytest.fixture
def made(world: Utility) -> Deployment:
    return world.deployment


@pytest.fixture
def meters(made: Deployment) -> list[SignedMeter]:
    return [SignedMeter(seed, made.reading_domain) for seed in (11, 12, 13)]


@pytest.fixture
def full(meters: list[SignedMeter], tmp_path: Path) -> Iterator[Store]:
    """Lend a store with readings, an event, a gap and a contradiction."""
    store = Store(f"sqlite:///{tmp_path}/full.db")
    for i, meter in enumerate(meters):
        event = signed_frame(meter.address, *meter.event(wire.EVENT_BOOT, 9, NOW_S - 9, 7))
        with store.transaction() as tx:
            tx.add_frames(meter.address, [meter.stored(s) for s in range(1, 8)], NOW_S - 100 + i)
            tx.add_frames(meter.address, [event, meter.stored(3, energy_wh=5)], NOW_S - 50)
    yield store
    store.close()


@pytest.fixture
def empty(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


def held(store: Store) -> list[tuple[object, ...]]:
    def told(one: SignedFrame) -> tuple[object, ...]:
        return one.meter, one.sequence, one.frame, one.signature, one.received_s, one.contradicted

    return sorted(told(one) for meter in store.framed_meters() for one in store.frames(meter))


def test_what_is_exported_comes_back(
    full: Store, empty: Store, made: Deployment, tmp_path: Path
) -> None:
    out = tmp_path / "frames"
    assert write(full, made, out) == 27
    assert out.stat().st_size == len(f"parwana-frames 1 {made.utility_id}\n") + 27 * RECORD
    assert read(empty, made, out, NOW_S) == Imported(27, 0, 3, 0)
    assert held(empty) == held(full)
    for meter in full.framed_meters():
        assert empty.runs(meter) == full.runs(meter)
    assert read(empty, made, out, NOW_S) == Imported(0, 27, 0, 0)
    with pytest.raises(CopyError, match="is there already"):
        write(full, made, out)


@pytest.mark.parametrize("cut", [1, 40, 200, 9 * RECORD, 9 * RECORD + 64, 3000])
def test_an_export_that_was_broken_off_goes_on(
    full: Store, made: Deployment, tmp_path: Path, cut: int
) -> None:
    write(full, made, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "again.part").write_bytes(whole[:-cut] if cut < len(whole) else b"")
    assert write(full, made, tmp_path / "again") == 27
    assert (tmp_path / "again").read_bytes() == whole


def test_an_import_that_was_broken_off_goes_on(
    full: Store, empty: Store, made: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "frames"
    write(full, made, out)
    monkeypatch.setattr(copies, "BATCH", 5)

    def stop(_what: str, done: int, _total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(empty, made, out, NOW_S, stop)
    assert len(held(empty)) == 15
    assert read(empty, made, out, NOW_S).new == 12
    assert held(empty) == held(full)


def test_nothing_is_believed_without_its_meters_signature(
    full: Store, empty: Store, made: Deployment, tmp_path: Path
) -> None:
    out, head = tmp_path / "frames", len(f"parwana-frames 1 {made.utility_id}\n")
    write(full, made, out)
    data = bytearray(out.read_bytes())
    data[head] ^= 1  # another meter's
    data[head + RECORD + 24 + 15] ^= 1  # another energy
    data[head + 2 * RECORD + 24] = 7  # no format
    out.write_bytes(data)
    assert read(empty, made, out, NOW_S).refused == 3
    assert {row.reason for row in empty.quarantined()} == {"signature", "malformed"}
    assert len(held(empty)) == 24


def test_no_frame_was_received_later_than_now(
    full: Store, empty: Store, made: Deployment, tmp_path: Path
) -> None:
    write(full, made, tmp_path / "frames")
    read(empty, made, tmp_path / "frames", NOW_S - 80)
    assert max(one[4] for one in held(empty)) == NOW_S - 80  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no copy of a store"),
        (b"SQLite format 3\0" * 9, "no copy of a store"),
        (b"parwana-frames 1 another\n" + bytes(128), "is not of"),
        (None, "was cut off"),
    ],
)
def test_another_file_is_refused(
    full: Store, empty: Store, made: Deployment, tmp_path: Path, data: bytes | None, says: str
) -> None:
    out = tmp_path / "frames"
    write(full, made, out)
    out.write_bytes(out.read_bytes()[:-1] if data is None else data)
    with pytest.raises(CopyError, match=says):
        read(empty, made, out, NOW_S)
    if data:
        (tmp_path / "other.part").write_bytes(data)
        with pytest.raises(CopyError, match="is of something else"):
            write(full, made, tmp_path / "other")


def test_memory_is_flat(made: Deployment, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        store = Store(f"sqlite:///{tmp_path}/{count}.db")
        meter = SignedMeter(5, made.reading_domain)
        with store.transaction() as tx:
            made_ = [meter.stored(s) for s in range(1, count + 1)]
            tx.add_frames(meter.address, made_, NOW_S)
        del made_
        tracemalloc.start()
        write(store, made, tmp_path / f"{count}")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        store.close()
        return most

    peak(10)
    assert peak(6000) < peak(3000) + 200_000


def test_the_commands_say_what_they_did(
    full: Store, made: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = ["--deployment", str(tmp_path / "deployment.json"), "--json", "--store"]
    out = str(tmp_path / "frames")
    assert made
    assert cli.main(["store", "export", "--out", out, *of, full.name]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 27
    other = f"sqlite:///{tmp_path}/other.db"
    assert cli.main(["store", "import", out, *of, other]) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 27
    assert cli.main(["store", "import", out + "x", *of, other]) == 1
    assert "there is no file" in capsys.readouterr().out
