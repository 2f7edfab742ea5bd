"""A verdict in words and as a drawing."""

from datetime import UTC
from xml.etree import ElementTree

from hil_tests.losses.worlds import halves, judged
from parwana.losses import plot, words


def report(kind: str, size: float) -> list[str]:
    verdict, made = judged(kind, size)
    return words.report(900, *halves(made), verdict, UTC)


def test_a_thief_is_told_with_the_reasons() -> None:
    verdict, _ = judged("low", 0.2)
    [suspect] = verdict.suspects
    lines = report("low", 0.2)
    assert f"look first at house {suspect.numbers[0]}: a meter that reads low" in lines[4]
    assert "an inspection is worth" in lines[5]
    assert lines[6:] == [f"  {text}" for text in suspect.why]


def test_no_theft_is_told_as_none() -> None:
    lines = report("honest", 0.0)
    assert len(lines) == 4
    assert lines[2].endswith("no more than chance")
    assert any(line.startswith("no theft: the clock of") for line in report("skew", 240.0))


def test_the_drawing_has_a_bar_a_day_and_a_dot_a_house() -> None:
    verdict, made = judged("low", 0.2)
    root = ElementTree.fromstring(plot.svg(900, made.series, made.from_s, verdict))
    tags = [element.tag.rsplit("}")[-1] for element in root.iter()]
    assert tags.count("circle") == len(verdict.pattern)
    assert tags.count("rect") == 1 + len(verdict.daily_w) + 1 + len(verdict.houses)
