"""What was found weighs the next time."""

from types import SimpleNamespace

from parwana.losses.inspections import prior
from parwana.losses.series import DAY_S

NOW_S = 1_000 * DAY_S


def row(number: int, found: str, days_ago: int = 10) -> SimpleNamespace:
    return SimpleNamespace(number=number, found=found, at_s=NOW_S - days_ago * DAY_S)


def test_nothing_is_known_without_inspections() -> None:
    assert prior([], NOW_S).houses == {}
    assert prior([], NOW_S).tap == 0.5


def test_a_house_without_a_finding_is_believed_for_90_days() -> None:
    found = prior([row(1, "nothing"), row(2, "nothing", 91)], NOW_S)
    assert found.houses[1] < 1
    assert 2 not in found.houses


def test_a_house_that_was_caught_is_likelier_and_so_are_its_like() -> None:
    found = prior([row(1, "bypass", 400), row(2, "low"), row(2, "nothing", 5)], NOW_S)
    assert found.houses[1] > 1 > found.houses[2]
    assert found.tap < 0.5
    assert prior([row(9, "tap"), row(9, "tap")], NOW_S).tap > 0.5
