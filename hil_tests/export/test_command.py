"""`parwana export`: what is chosen, in what file, and what happens when it is broken off."""

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

import wire
from hil_tests.export.conftest import FEEDER, HOUSES, OFFSET_S, START_S, Books
from hil_tests.services import UTILITY, SignedMeter
from parwana import cli
from parwana.chain.periods import DAY_S
from parwana.export import job
from parwana.export.job import Export, Format, Question
from parwana.export.selection import ExportError, Point, Span, chosen, instant
from parwana.world.clock import VARIABLE, WorldClock

NOW_S = START_S + 10 * DAY_S
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(
    books: Books,  # noqa: ARG001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run `parwana export --json`; return its answer."""

    def runner(*arguments: object) -> dict[str, Any]:
        monkeypatch.setenv(VARIABLE, str(WorldClock(NOW_S, time.time(), 1.0)))
        words = ("export", "--deployment", tmp_path / "town.json", *arguments, "--json")
        cli.main([str(word) for word in words])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return runner


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def points(books: Books, *numbers: int) -> list[Point]:
    return chosen(books.store, [], numbers or HOUSES, None)


def test_csv_has_what_the_meter_signed_in_its_integers(books: Books, run: Run, tmp_path: Path):
    books.read(17, START_S + 900, 12_345, wire.FLAG_BOOT | wire.FLAG_CLOSING)
    done = run("--out", tmp_path / "a.csv", "--number", 17)
    assert done == {
        "file": str(tmp_path / "a.csv"),
        "meters": 1,
        "readings": 1,
        "from_s": 0,
        "to_s": pytest.approx(NOW_S, abs=2),
    }
    assert rows(tmp_path / "a.csv") == [
        {
            "time": "2027-01-14T18:45:00Z",
            "time_s": str(START_S + 900),
            "number": "17",
            "kind": "house",
            "feeder": str(FEEDER),
            "meter": "0x" + books.meters[17].address.hex(),
            "sequence": "1",
            "energy_wh": "12345",
            "power_dw": "4000",
            "power_max_dw": "5000",
            "current_ma": "1800",
            "voltage_dv": "2300",
            "voltage_min_dv": "2280",
            "frequency_dhz": "500",
            "power_factor_pct": "97",
            "output_closed": "true",
            "control": "disconnected",
            "flags": "closing boot",
            "clock_trust": "1",
            "contradicted": "false",
        }
    ]
    assert sorted(path.name for path in tmp_path.glob("a.*")) == ["a.csv"]


def test_what_was_not_measured_is_empty_and_never_zero(books: Books, run: Run, tmp_path: Path):
    books.read(17, START_S + 900, 12_345, wire.FLAG_SENSOR_SILENT | wire.FLAG_MAINS_OUTAGE)
    run("--out", tmp_path / "a.csv")
    [row] = rows(tmp_path / "a.csv")
    assert (row["energy_wh"], row["flags"]) == ("12345", "sensor_silent mains_outage")
    names = ("power_dw", "power_max_dw", "current_ma", "voltage_dv", "voltage_min_dv")
    assert {row[name] for name in (*names, "frequency_dhz", "power_factor_pct")} == {""}


def test_a_day_is_from_its_midnight_to_the_next(books: Books, run: Run, tmp_path: Path) -> None:
    for day in range(3):
        books.day(17, START_S + day * DAY_S)
    run("--out", tmp_path / "a.csv", "--from", "2027-01-16", "--to", "2027-01-17")
    times = [int(row["time_s"]) for row in rows(tmp_path / "a.csv")]
    assert times == list(range(START_S + DAY_S + 900, START_S + 2 * DAY_S + 1, 900))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [17, 18, 19, 100]),
        (("--feeder", FEEDER), [17, 18, 19, 100]),
        (("--feeder", "0"), [100]),
        (("--number", "17", "--number", "19"), [17, 19]),
        (("--meter", SignedMeter(18).address.hex(), "--number", "17"), [17, 18]),
    ],
)
def test_meters_are_chosen_by_address_point_or_feeder(
    books: Books, run: Run, tmp_path: Path, options: tuple[object, ...], numbers: list[int]
) -> None:
    for number in books.meters:
        books.read(number, START_S, number)
    run("--out", tmp_path / "a.csv", *options)
    assert sorted(int(row["number"]) for row in rows(tmp_path / "a.csv")) == numbers


def test_a_point_whose_meter_was_replaced_has_both(books: Books, run: Run, tmp_path: Path):
    books.read(17, START_S, 500)
    with books.store.transaction() as tx:
        tx.retire(books.meters[17].address)
        tx.enrol(SignedMeter(500).address, 17, 1, FEEDER)
    books.meters[500] = SignedMeter(500)
    books.read(500, START_S + 900, 10)
    run("--out", tmp_path / "a.csv", "--number", 17)
    assert sorted(row["energy_wh"] for row in rows(tmp_path / "a.csv")) == ["10", "500"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--number", "7"), "--number 7 is not in the store; see: parwana meters"),
        (("--meter", "ab" * 20), "is not in the store"),
        (("--meter", "ab"), "write 40 hex digits"),
        (("--feeder", "7"), "has no such meters"),
        (("--from", "yesterday"), "write a date like 2027-01-15"),
        (("--from", "2027-02", "--to", "2027-01"), "--to is not after --from"),
        (("--store", "sqlite:///none.db"), "there is no store at"),
    ],
)
def test_what_cannot_be_exported_is_told(
    run: Run, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    told = run("--out", tmp_path / "a.csv", *options)
    assert words in told["error"]
    assert not list(tmp_path.glob("a.csv*"))


def test_times_are_the_utilitys() -> None:
    assert instant("2027-01-15", OFFSET_S) == START_S
    assert instant("2027-01-15T06:00", OFFSET_S) == START_S + 6 * 3600
    assert instant("2027-01-15T00:00:00Z", OFFSET_S) == START_S + OFFSET_S
    assert instant("2027-01", OFFSET_S) == START_S - 14 * DAY_S
    assert instant("1800000000", OFFSET_S) == 1_800_000_000


def test_a_file_that_is_there_is_kept(books: Books, run: Run, tmp_path: Path) -> None:
    books.read(17, START_S, 1)
    (tmp_path / "a.csv").write_text("mine")
    assert "is there already" in run("--out", tmp_path / "a.csv")["error"]
    assert (tmp_path / "a.csv").read_text() == "mine"


class Stop(Exception):
    """The power goes."""


@pytest.mark.parametrize("kind", Format)
def test_what_was_broken_off_goes_on_and_is_the_same(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Format
) -> None:
    """It is cut off within the second meter, and readings come in before it goes on."""
    for number in HOUSES:
        books.day(number)
    monkeypatch.setattr(job, "_TELL", 7)
    found = points(books)
    question = Question(UTILITY, OFFSET_S, kind, [point.address for point in found], 0, None)
    asked = question, books.store, found

    def cut(_what: str, done: int, _total: int) -> None:
        if done > 130:
            raise Stop

    job.write(*asked, tmp_path / "whole", NOW_S, lambda *_: None)
    with pytest.raises(Stop):
        job.write(*asked, tmp_path / "torn", NOW_S, cut)
    parts = tmp_path / "torn.parts"
    first = next(parts.glob("0x*-96"))
    inode = first.stat().st_ino
    assert (parts / "piece").stat().st_size >= 0
    books.read(17, NOW_S - 50, 10**6, received_s=NOW_S + 10)
    passed: list[int] = []

    def told(_what: str, done: int, total: int) -> None:
        passed.append(done)
        assert total == 3 * 96 + 1
        if done < 100:
            assert first.stat().st_ino == inode, "what was done is not done again"

    count, span = job.write(*asked, tmp_path / "torn", NOW_S + 500, told)
    assert (count, span) == (3 * 96, Span(0, NOW_S, NOW_S))
    assert passed == sorted(passed)
    assert not parts.exists()
    assert (tmp_path / "torn").read_bytes() == (tmp_path / "whole").read_bytes()


def test_the_pieces_of_another_export_are_not_mixed_in(
    books: Books, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.day(17)
    with monkeypatch.context() as patched:
        patched.setattr(job, "_join", lambda *_: os.close(-1))
        assert "error" in run("--out", tmp_path / "a.csv", "--number", 17)
    told = run("--out", tmp_path / "a.csv")["error"]
    assert "holds another export, which was broken off" in told
    assert run("--out", tmp_path / "a.csv", "--number", 17)["readings"] == 96


def test_two_processes_do_not_write_one_file(books: Books, run: Run, tmp_path: Path) -> None:
    books.day(17)
    with job._folder(tmp_path / "a.csv"):
        assert "another process writes" in run("--out", tmp_path / "a.csv")["error"]
    assert run("--out", tmp_path / "a.csv")["readings"] == 96


def test_parquet_has_the_same_rows_with_types(books: Books, run: Run, tmp_path: Path) -> None:
    books.day(17)
    books.read(18, START_S + 900, 5, wire.FLAG_SENSOR_SILENT)
    run("--out", tmp_path / "it's.csv")
    done = run("--out", tmp_path / "it's.parquet", "--format", "parquet")
    assert done["readings"] == 97
    assert (tmp_path / "it's.parquet").read_bytes()[:4] == b"PAR1"
    with duckdb.connect() as database:
        read = database.execute("FROM read_parquet(?)", [str(tmp_path / "it's.parquet")])
        names = [column[0] for column in read.description]
        kinds = dict(zip(names, (str(column[1]) for column in read.description), strict=True))
        found = [dict(zip(names, row, strict=True)) for row in read.fetchall()]
    wanted = rows(tmp_path / "it's.csv")
    assert kinds["energy_wh"] == "BIGINT"
    assert kinds["contradicted"] == "BOOLEAN"
    assert kinds["time"] == "TIMESTAMP WITH TIME ZONE"
    assert len(found) == len(wanted)
    for row, want in zip(found, wanted, strict=True):
        assert int(row["time"].timestamp()) == int(want["time_s"])
        said = {
            name: ""
            if value is None
            else str(value).lower()
            if type(value) is bool
            else str(value)
            for name, value in row.items()
            if name != "time"
        }
        assert said == {name: value for name, value in want.items() if name != "time"}
    assert found[-1]["power_dw"] is None


def test_parquet_without_its_library_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    told = run("--out", tmp_path / "a.parquet", "--format", "parquet")
    assert "pip install 'parwana[parquet]'" in told["error"]
    assert not list(tmp_path.glob("a.*"))


def test_a_page_gets_the_same_text_without_a_file(books: Books, run: Run, tmp_path: Path) -> None:
    books.day(17)
    found = points(books, 17)
    question = Question(UTILITY, OFFSET_S, Format.CSV, [found[0].address], 0, None)
    text = "".join(Export(question, Span(0, NOW_S, NOW_S), books.store).text(found))
    run("--out", tmp_path / "a.csv", "--number", 17)
    assert text.encode() == (tmp_path / "a.csv").read_bytes()


def test_a_contradiction_is_in_the_csv_twice_and_marked(books: Books, run: Run, tmp_path: Path):
    books.read(17, START_S, 100)
    books.read(17, START_S, 200, sequence=1)
    run("--out", tmp_path / "a.csv")
    found = [(row["sequence"], row["contradicted"]) for row in rows(tmp_path / "a.csv")]
    assert found == [("1", "true"), ("1", "true")]


def test_the_error_of_an_export_is_one_line() -> None:
    with pytest.raises(ExportError, match="midnight"):
        instant("2027-13", 0)
