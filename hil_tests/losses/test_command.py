"""`parwana losses` on a store: who is named, what is refused, what is kept."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.losses.world import START_S, World
from hil_tests.losses.worlds import DAYS, FEEDER, low, stored
from parwana import cli
from parwana.losses.series import DAY_S
from parwana.store.reader import Store

SWITCH = "2026-01-13"  # local: DAYS after the first midnight


@pytest.fixture(scope="module")
def lived() -> World:
    """Let a feeder live by the hour; one meter reads 30 % low from SWITCH on."""
    return low()


@pytest.fixture(scope="module")
def town(lived: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a deployment file whose store holds what that feeder's meters said."""
    return stored(lived.series, tmp_path_factory.mktemp("losses"))


def losses(town: Path, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["losses", *(str(word) for word in words), "--deployment", str(town)])
    return (code, *capsys.readouterr())


WINDOW = ("--from", SWITCH, "--to", "2026-01-25")


def test_the_meter_that_reads_low_is_named(
    town: Path, lived: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = losses(town, capsys, FEEDER, *WINDOW, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    [suspect] = told["suspects"]
    assert lived.house is not None
    assert suspect["numbers"] == [lived.house + 1]
    assert suspect["kind"] == "low"
    assert suspect["share"] == pytest.approx(0.3, abs=0.03)
    assert (told["feeder"], told["alarm"], len(told["daily_w"])) == (FEEDER, True, DAYS)
    assert told["from_s"] == START_S + DAYS * DAY_S


def test_it_is_said_in_words_and_drawn(
    town: Path, lived: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawing = tmp_path / "feeder.svg"
    code, out, _ = losses(town, capsys, FEEDER, *WINDOW, "--plot", drawing)
    assert code == 0
    assert lived.house is not None
    assert f"look first at house {lived.house + 1}: a meter that reads low" in out
    assert "a theft would show from" in out
    root = ElementTree.fromstring(drawing.read_text())
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert str(lived.house + 1) in texts
    assert f"feeder {FEEDER}: the last 12 days" in texts


def test_a_quiet_window_names_nobody(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = losses(town, capsys, FEEDER, "--from", "2026-01-12", "--to", SWITCH)
    assert code == 0
    assert "no more than chance" in out
    assert "look first" not in out


def test_a_window_alone_tells_what_it_can(
    town: Path, lived: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = losses(town, capsys, FEEDER, *WINDOW, "--alone", "--json")
    told = json.loads(out)
    assert lived.house is not None
    assert (code, told["named"]) == (0, [lived.house + 1])
    code, out, _ = losses(town, capsys, FEEDER, *WINDOW, "--alone")
    assert f"look first at house {lived.house + 1}: by the balance" in out
    assert "without a quiet time to learn from" in out


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ((FEEDER + 1,), f"no feeder {FEEDER + 1} in the store; there are: {FEEDER}"),
        ((FEEDER, "--from", "yesterday"), "--from yesterday: write a date as 2026-01-31"),
        ((FEEDER, "--from", "2026-01-25", "--to", SWITCH), "must follow one another"),
        ((FEEDER, "--from", "2026-01-01", "--to", SWITCH), "no complete interval to learn from"),
        ((FEEDER, "--from", "2027-01-01", "--to", "2027-01-02"), "choose another time"),
        (("inspected", 77, "--found", "tap"), "no point 77 in the store"),
        (("inspected", 1, "--found", "ghosts"), "write one of tap, bypass, low, silent, nothing"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_advice(
    town: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], advice: str
) -> None:
    code, out, err = losses(town, capsys, *words)
    assert (code, out) == (1, "")
    assert err.startswith("parwana: ")
    assert advice in err
    assert len(err.splitlines()) == 1


def test_a_feeder_with_nothing_under_it_is_told(
    town: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(json.loads(town.read_text())["store"])
    with store.transaction() as tx:
        tx.enrol(bytes(19) + b"\xee", 901, 2, 0)
    code, _, err = losses(town, capsys, 901)
    with store.transaction() as tx:
        tx.retire(bytes(19) + b"\xee")
    store.close()
    assert code == 1
    assert "no meter hangs on feeder 901" in err


def test_what_an_inspection_found_is_kept_and_weighs(
    town: Path, lived: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Last of the file: it changes the store."""
    assert lived.house is not None
    number = lived.house + 1
    when = ("--at", "2026-01-20")
    code, out, _ = losses(town, capsys, "inspected", number, "--found", "bypass", *when)
    assert (code, out) == (0, f"kept: bypass at {number}, 2026-01-19 18:30 UTC\n")
    code, out, _ = losses(town, capsys, "inspected", number, "--found", "low", *when, "--json")
    assert json.loads(out)["found"] == "low"
    store = Store(json.loads(town.read_text())["store"])
    [row] = store.inspections()
    store.close()
    assert (row.number, row.found) == (number, "low")
