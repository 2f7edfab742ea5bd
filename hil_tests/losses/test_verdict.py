"""Who is named: thieves of each kind, and nobody where nobody steals."""

import numpy as np
import pytest

from hil_tests.losses.worlds import DAYS, halves, judged, world
from parwana import REPO
from parwana.losses.inspections import Prior
from parwana.losses.model import TooLittle
from parwana.losses.series import Series
from parwana.losses.verdict import judge, quantile

HOUSEHOLDS = REPO / "hil_tests" / "data" / "households.csv"


@pytest.mark.parametrize(("kind", "size"), [("low", 0.2), ("bypass", 0.2), ("silent", 1.0)])
def test_the_house_is_named_and_how_it_steals(kind: str, size: float) -> None:
    verdict, made = judged(kind, size)
    [suspect] = verdict.suspects
    assert made.house is not None
    assert (suspect.kind, suspect.numbers) == (kind, (made.house + 1,))
    assert suspect.probability > 0.95
    assert suspect.missing_w == pytest.approx(made.stolen_wh / (24 * DAYS), rel=0.1)
    assert suspect.why
    if kind == "low":
        assert suspect.share == pytest.approx(size, abs=0.02)


def test_a_tap_is_told_as_a_tap_and_where() -> None:
    verdict, made = judged("tap", 500.0)
    [suspect] = verdict.suspects
    assert suspect.kind == "tap"
    assert set(suspect.numbers) & {house + 1 for house in made.tap_near[:3]}
    assert verdict.line > 0.95
    assert suspect.missing_w == pytest.approx(made.stolen_wh / (24 * DAYS), rel=0.1)


@pytest.mark.parametrize(
    ("kind", "size", "words"),
    [
        ("honest", 0.0, ""),
        ("growth", 0.3, ""),
        ("empty", 0.0, ""),
        ("swap", 0.0, "is not supplied by this feeder"),
        ("ct", 1.05, "the feeder's own meter reads 5."),
        ("ct", 5 / 6, "% low: see to its current transformers"),
        ("skew", 240.0, "the clock of"),
        ("connection", 0.4, "ohm: it may burn"),
    ],
)
def test_nobody_is_named_where_nobody_steals(kind: str, size: float, words: str) -> None:
    verdict, made = judged(kind, size)
    assert verdict.suspects == ()
    assert any(words in text for text in verdict.innocent) or not words
    if kind in ("swap", "skew", "connection"):
        assert made.house is not None
        assert str(made.house + 1) in verdict.innocent[0].split()


def test_a_theft_of_the_detection_limit_is_an_alarm_as_often_as_said() -> None:
    verdict, _ = judged()
    limits = verdict.limits_w
    assert limits["day"] > limits["week"] > limits["month"] > 0
    assert np.quantile(verdict.daily_w, 0.9) < limits["day"]
    assert limits["day"] < 0.003 * verdict.feeder_w


def stiff(tap_w: float, bypass: float = 0.0) -> tuple[Series, Series]:
    """Return two days by the hour of six recorded houses on a line whose voltage never moves."""
    data = np.loadtxt(HOUSEHOLDS, delimiter=",", skiprows=1)[: 48 * 4, :6]
    watts = data.reshape(48, 4, 6).mean(axis=1)
    rng = np.random.default_rng(3)
    late = np.arange(48) >= 24
    head = watts.sum(axis=1) * 1.004 + tap_w * late + rng.normal(0, 8, 48)
    shown = watts * (1 - bypass * late[:, None] * (np.arange(6) == 2))
    still = np.full(watts.shape, 230.0)
    made = Series(
        (1, 2, 3, 4, 5, 6), 3600, np.arange(1, 49) * 3600, shown, still, head, still[:, 0]
    )
    return made.between(0, 24 * 3600), made.between(24 * 3600, 48 * 3600)


def test_without_voltages_a_tap_is_a_tap_at_no_place() -> None:
    verdict = judge(*stiff(700.0))
    [suspect] = verdict.suspects
    assert (suspect.kind, suspect.numbers) == ("tap", ())
    assert suspect.missing_w == pytest.approx(700, abs=20)
    assert "where on the line no voltage tells" in suspect.why


def test_without_voltages_the_balance_alone_names_a_house() -> None:
    [suspect] = judge(*stiff(0.0, bypass=0.5)).suspects
    assert (suspect.kind, suspect.numbers) == ("low", (3,))
    assert "no voltages tell: the balance alone says so" in suspect.why


def test_an_alarm_without_a_culprit_names_nobody() -> None:
    """What is missing is spread over all houses alike, as no single thief's would be."""
    reference, window = halves(world())
    share = window.power_w * 0.9
    verdict = judge(reference, type(window)(**{**vars(window), "power_w": share}))
    assert verdict.alarm
    assert verdict.suspects == ()


def test_who_was_cleared_is_not_named_on_thin_evidence() -> None:
    """The prior counts: a house that was looked at yields to evidence only."""
    made = world("low", 0.2)
    assert made.house is not None
    cleared = judge(*halves(made), prior=Prior({made.house + 1: 0.05}, 0.5))
    assert cleared.houses[made.house + 1] <= judged("low", 0.2)[0].houses[made.house + 1]


def test_too_little_is_told() -> None:
    reference, window = halves(world())
    with pytest.raises(TooLittle, match="too few to learn from; take a longer time"):
        judge(reference.rows(np.arange(len(reference)) < 5), window)
    with pytest.raises(TooLittle, match="in the window are too few"):
        judge(reference, window.rows(np.arange(len(window)) < 3))


@pytest.mark.parametrize(
    ("alpha", "degrees", "table"), [(0.05, 10, 1.812), (0.01, 29, 2.462), (0.001, 29, 3.396)]
)
def test_students_t_as_in_the_tables(alpha: float, degrees: int, table: float) -> None:
    assert quantile(alpha, degrees) == pytest.approx(table, rel=2e-3)
