"""Prices: shown, checked, announced with notice; what leaves a gap is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from hil_tests.chainkit import Utility
from hil_tests.rights.conftest import Run
from parwana.chain.periods import DAY_S, PeriodError
from parwana.chain.tariff import TariffError, read_tariff
from parwana.chain.terms import DEFAULT_TARIFF

DEAR = {
    "slabs": [
        {"upto_wh": 100_000, "price_per_kwh": 8_300_000 * 10**9},
        {"upto_wh": None, "price_per_kwh": 18_000_000 * 10**9},
    ],
    "fixed_charge": 2_000_000 * 10**9,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tariff.json"
    path.write_text(json.dumps(DEAR))
    return path


def now(world: Utility) -> int:
    return world.deployment.periods.of(world.clock.time_s)


def test_show_tells_prices_in_the_coin_and_what_a_household_pays(world: Utility, run: Run) -> None:
    done = run("tariff", "show", "--kwh", "10")
    assert (done.code, done.err) == (0, "")
    assert "0.00415 ETH" in done.out
    assert "10 kWh in a period: 0.0425 ETH" in done.out
    assert world.deployment.periods.text(now(world) + 1) in done.out
    [only] = run("tariff", "show", "--kwh", "10", "--json").json["tariffs"]
    assert only["slabs"][-1]["upto_wh"] is None
    assert only["households"] == [{"kwh": 10, "pays": 425 * 10**14}]
    assert only["in_force"]


def test_check_compares_and_sends_nothing(world: Utility, run: Run, file: Path) -> None:
    head = world.chain.head()
    done = run("tariff", "check", file, "--kwh", "10", "--kwh", "200")
    assert done.code == 0
    assert "+100.0 %" in done.out
    assert "0.0425 ETH" in done.out
    assert "0.085 ETH" in done.out
    assert world.chain.head() == head


def test_what_was_announced_is_what_is_billed(world: Utility, run: Run, file: Path) -> None:
    house = world.enrol(1001)
    first = now(world) + 1
    said = run("tariff", "announce", file, "--key", "dev:0", "--kwh", "5", "--json")
    assert said.code == 0, said
    [household] = said.json["households"]
    assert said.json["from_period"] == first
    world.close_period()
    assert world.owe(house) == household["before"]
    world.close_period()
    due = world.owe(house)
    assert due - household["before"] == household["after"]
    shown = run("tariff", "show", "--json").json["tariffs"]
    assert [one["in_force"] for one in shown] == [False, True]


def test_an_announced_tariff_is_shown_beside_the_one_in_force(
    world: Utility, run: Run, file: Path
) -> None:
    assert run("tariff", "announce", file, "--key", "dev:0", "--yes").code == 0
    shown = run("tariff", "show").out
    assert "In force" in shown
    assert f"From period {world.deployment.periods.text(now(world) + 1)}" in shown


def test_a_missed_notice_names_the_earliest_period(world: Utility, run: Run, file: Path) -> None:
    head = world.chain.head()
    for first in (now(world), "2020-01", 0):
        for line in (("check", file), ("announce", file, "--key", "dev:0", "--yes")):
            done = run("tariff", *line, "--from", first)
            assert done.code == 1
            assert world.deployment.periods.text(now(world) + 1) in done.err
            assert "the notice is kept" in done.err
    assert world.chain.head() == head


def test_no_tariff_comes_before_one_that_is_announced(
    world: Utility, run: Run, file: Path
) -> None:
    later = now(world) + 5
    first = ("tariff", "announce", file, "--key", "dev:0", "--yes", "--from")
    assert run(*first, later).code == 0
    done = run(*first, later)
    assert done.code == 1
    assert "after the last one announced" in done.err
    assert world.deployment.periods.text(later + 1) in done.err


def test_a_date_names_the_period_that_holds_it(world: Utility, run: Run, file: Path) -> None:
    text = world.deployment.periods.text(now(world) + 9)
    date = text.split("(")[1].rstrip(")")
    said = run("tariff", "check", file, "--from", date, "--json")
    assert said.json["from_period"] == now(world) + 9
    assert run("tariff", "check", file, "--from", "soon").err.endswith("or a number\n")
    assert "write a date" in run("tariff", "check", file, "--from", "9999999999").err
    with pytest.raises(PeriodError):
        world.deployment.periods.named("-1")


def test_the_month_of_a_month(world: Utility) -> None:
    periods = type(world.deployment.periods)("month", 0, 19800)
    assert periods.named("2027-01") == periods.named("2027-01-31") == 12 * 57
    assert periods.start(periods.named("2027-01")) % DAY_S == DAY_S - 19800


def test_only_the_utility_announces(world: Utility, run: Run, file: Path) -> None:
    head = world.chain.head()
    done = run("tariff", "announce", file, "--key", "dev:7", "--yes")
    assert done.code == 1
    assert "only the utility" in done.err
    assert world.chain.head() == head
    assert world.chain.call(world.ledgers.payment.functions.tariff_count()) == 1


def test_a_no_sends_nothing(
    world: Utility, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda _question: False)
    assert "nothing was sent" in run("tariff", "announce", file, "--key", "dev:0").err
    assert world.chain.call(world.ledgers.payment.functions.tariff_count()) == 1


def _with(**changes: Any) -> str:
    return json.dumps({**DEAR, **changes})


def _slabs(*bounds: Any) -> str:
    return _with(slabs=[{"upto_wh": upto, "price_per_kwh": 1} for upto in bounds])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[]", "upto_wh"),
        ('{"slabs": 5}', "upto_wh"),
        (_with(slabs=[]), "0 slabs"),
        (_slabs(1, 2, 3, 4, 5, 6, None), "7 slabs"),
        (_slabs(100, 200), "above 200 Wh"),
        (_slabs(100, 100, None), "slab 2"),
        (_slabs(200, 100, None), "slab 2"),
        (_slabs(None, 100), "slab 2"),
        (_slabs(None, None), "slab 2"),
        (_slabs(0, None), "slab 1"),
        (_slabs(-5, None), "slab 1"),
        (_slabs(1.5, None), "slab 1"),
        (_slabs("100", None), "slab 1"),
        (_slabs(True, None), "slab 1"),
        (_slabs(2**64, None), "slab 1"),
        (_with(slabs=[{"upto_wh": None}]), "slab 1: price_per_kwh is None"),
        (_with(slabs=[{"upto_wh": None, "price_per_kwh": 0.00415}]), "0.00415"),
        (_with(slabs=[{"upto_wh": None, "price_per_kwh": -1}]), "-1"),
        (_with(slabs=[{"upto_wh": None, "price_per_kwh": 2**96}]), "price_per_kwh"),
        (_with(slabs=[{"from_wh": 5, "upto_wh": None, "price_per_kwh": 1}]), "'from_wh'"),
        (_with(fixed_charge=None), "fixed_charge"),
        (_with(vat=19), "'vat'"),
    ],
)
def test_slabs_that_leave_a_gap_or_a_doubt_are_refused(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(TariffError, match="tariff.json") as refused:
        read_tariff(file)
    assert words in str(refused.value)


def test_what_is_wrong_with_a_file_is_one_line_and_sends_nothing(
    world: Utility, run: Run, file: Path
) -> None:
    head = world.chain.head()
    file.write_text(_slabs(100, 200))
    done = run("tariff", "announce", file, "--key", "dev:0", "--yes")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "No such file" in run("tariff", "check", file.with_name("none.json")).err
    assert world.chain.head() == head


def test_the_default_tariff_is_one_that_a_file_can_hold(file: Path) -> None:
    file.write_text(json.dumps(DEFAULT_TARIFF))
    assert read_tariff(file).slabs[-1][0] == 2**64 - 1
