"""Green Button: ESPI's elements in ESPI's order, read by another program to the same energy.

The XML schema (espi.xsd, of REQ.21) is in no package that could be had for these tests; ORDER is
what it says of the elements that are used.
"""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import greenbutton_objects.parse as other
import pytest

import wire
from hil_tests.export.conftest import FEEDER, HOUSES, OFFSET_S, START_S, Books
from hil_tests.services import UTILITY
from parwana.chain.periods import DAY_S
from parwana.export.job import Export, Format, Question
from parwana.export.selection import Span, chosen

ATOM, ESPI = "{http://www.w3.org/2005/Atom}", "{http://naesb.org/espi}"
NOW_S = START_S + 10 * DAY_S
# Source: espi.xsd 4.0, the sequences of its complex types; of RFC 4287 what every entry must have
ORDER = {
    "LocalTimeParameters": ["dstEndRule", "dstOffset", "dstStartRule", "tzOffset"],
    "ReadingType": [
        *("accumulationBehaviour", "commodity", "consumptionTier", "currency", "dataQualifier"),
        *("defaultQuality", "flowDirection", "intervalLength", "kind", "phase"),
        *("powerOfTenMultiplier", "timeAttribute", "tou", "uom", "cpp", "interharmonic"),
        *("measuringPeriod", "argument"),
    ],
    "UsagePoint": ["roleFlags", "ServiceCategory", "status", "serviceDeliveryPoint"],
    "ServiceCategory": ["kind"],
    "MeterReading": [],
    "IntervalBlock": ["interval", "IntervalReading"],
    "IntervalReading": ["cost", "ReadingQuality", "timePeriod", "value"],
    "ReadingQuality": ["quality"],
    "interval": ["duration", "start"],
    "timePeriod": ["duration", "start"],
}
NEEDED = {"LocalTimeParameters": 4, "interval": 2, "timePeriod": 2, "ReadingQuality": 1}
NUMBER = {  # of the schema's types: least, most
    **dict.fromkeys(["duration", "status", "quality", "kind", "uom"], (0, 2**32 - 1)),
    **dict.fromkeys(["start", "tzOffset", "dstOffset", "value"], (-(2**47), 2**47 - 1)),
}
Feed = Callable[..., Path]


@pytest.fixture
def feed(books: Books, tmp_path: Path) -> Feed:
    """Write a Green Button file of some points; each is held against ORDER."""

    def make(*numbers: int, after_s: int = 0, until_s: int = NOW_S) -> Path:
        points = chosen(books.store, [], numbers, None)
        addresses = [point.address for point in points]
        question = Question(UTILITY, OFFSET_S, Format.GREEN_BUTTON, addresses, after_s, until_s)
        export = Export(question, Span(after_s, until_s, NOW_S), books.store)
        path = tmp_path / "feed.xml"
        path.write_text("".join(export.text(points)))
        assert faults(path.read_text()) == []
        return path

    return make


def faults(text: str) -> list[str]:
    """Return what is not as ESPI in Atom is to be."""
    root = ElementTree.fromstring(text)
    found = [] if root.tag == f"{ATOM}feed" else [root.tag]
    found += [] if root.find(f"{ATOM}author/{ATOM}name") is not None else ["author"]
    seen = set()
    for node in (root, *root.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            found += [f"{name} of an entry"] * (len(node.findall(ATOM + name)) != 1)
        seen.add(node.findtext(f"{ATOM}id"))
        rels = [link.get("rel") for link in node.findall(f"{ATOM}link")]
        found += ["self"] * (rels.count("self") != 1)
        for content in node.findall(f"{ATOM}content"):
            found += ["content"] * (len(content) != 1)
            for element in content.iter():
                found += _of(element) if element is not content else []
    found += ["ids repeat"] * (len(seen) != 1 + len(root.findall(f"{ATOM}entry")))
    return found


def _of(element: ElementTree.Element) -> list[str]:
    if not element.tag.startswith(ESPI):
        return [f"{element.tag} is not of ESPI"]
    name = element.tag.removeprefix(ESPI)
    inside = [child.tag.removeprefix(ESPI) for child in element]
    found = []
    if name in ORDER and not (name == "kind" or (name in NUMBER and not inside)):
        order = ORDER[name]
        places = [order.index(child) if child in order else -1 for child in inside]
        if -1 in places or places != sorted(places):
            found.append(f"{name} has {inside}")
        if len({*inside}) < NEEDED.get(name, 0):
            found.append(f"{name} lacks something")
    elif inside:
        found.append(f"{name} is not in the table")
    elif name in NUMBER and not NUMBER[name][0] <= int(element.text or "") <= NUMBER[name][1]:
        found.append(f"{name} {element.text}")
    return found


def read(path: Path) -> dict[str, list[tuple[int, int, int, bool]]]:
    """Return by point (start, duration, Wh, questionable), as greenbutton-objects reads it."""
    found = {}
    for usage in other.parse_feed(str(path)):
        assert usage.serviceCategory.name == "electricity"
        [series] = usage.meterReadings
        kind = series.readingType
        assert (kind.uom.name, kind.powerOfTenMultiplier) == ("wattHours", 0)
        assert kind.accumulationBehaviour.name == "deltaData"
        assert kind.flowDirection.name == "forward"
        found[usage.title] = [_interval(interval) for interval in series.intervalReadings]
    return found


def _interval(one: Any) -> tuple[int, int, int, bool]:
    doubts = [quality.quality.name for quality in one.readingQualities]
    assert doubts in ([], ["questionable"])
    start = one.timePeriod.start - datetime.datetime.fromtimestamp(0, datetime.UTC)
    return (
        round(start.total_seconds()),
        round(one.timePeriod.duration.total_seconds()),
        int(one.value),
        bool(doubts),
    )


def test_another_program_reads_the_energy_of_each_interval(books: Books, feed: Feed) -> None:
    for number in (FEEDER, *HOUSES):
        books.day(number, wh=number)
    found = read(feed())
    assert list(found) == [
        f"{'transformer' if n == FEEDER else 'house'} {n}, meter 0x{books.meters[n].address.hex()}"
        for n in (*HOUSES, FEEDER)
    ]
    for number, intervals in zip((*HOUSES, FEEDER), found.values(), strict=True):
        assert intervals == [
            (START_S + 900 * n, 900, number, False) for n in range(1, 96)
        ]  # the first reading begins the first interval


def test_a_month_begins_with_the_register_before_it(books: Books, feed: Feed) -> None:
    for day in range(3):
        books.day(17, START_S + day * DAY_S)
    path = feed(17, after_s=START_S + DAY_S, until_s=START_S + 2 * DAY_S)
    [intervals] = read(path).values()
    assert len(intervals) == 96
    assert intervals[0][:2] == (START_S + DAY_S, 900)
    assert sum(interval[2] for interval in intervals) == 96 * 100
    blocks = list(ElementTree.parse(path).iter(f"{ESPI}interval"))
    assert [(b.findtext(f"{ESPI}start"), b.findtext(f"{ESPI}duration")) for b in blocks] == [
        (str(START_S + DAY_S), str(DAY_S))
    ]


def test_a_local_day_is_a_block(books: Books, feed: Feed) -> None:
    for day in range(3):
        books.day(17, START_S + day * DAY_S)
    text = feed(17).read_text()
    assert text.count("<IntervalBlock ") == 3
    for name in ("2027-01-15", "2027-01-16", "2027-01-17"):
        assert f"/IntervalBlock/{name}" in text
    assert f"<tzOffset>{OFFSET_S}</tzOffset>" in text


def test_a_gap_is_one_long_interval(books: Books, feed: Feed) -> None:
    books.read(17, START_S, 100)
    books.read(17, START_S + 7 * 3600, 900)
    assert read(feed(17)).popitem()[1] == [(START_S, 7 * 3600, 800, False)]


def test_what_the_meter_was_not_sure_of_is_questionable(books: Books, feed: Feed) -> None:
    books.read(17, START_S, 100)
    flags = (wire.FLAG_SENSOR_SILENT, wire.FLAG_CLOCK_UNTRUSTED, wire.FLAG_STEP_HELD, 0)
    for n, flag in enumerate(flags, 1):
        books.read(17, START_S + 900 * n, 100 + n, flag)
    [intervals] = read(feed(17)).values()
    assert [interval[3] for interval in intervals] == [True, True, True, False]


def test_no_energy_is_lost_or_counted_twice_where_a_clock_was_set_back(
    books: Books, feed: Feed
) -> None:
    for offset_s, energy_wh in ((0, 100), (9000, 200), (1800, 300), (2700, 400), (9900, 500)):
        books.read(17, START_S + offset_s, energy_wh)
    assert read(feed(17)).popitem()[1] == [
        (START_S, 9000, 100, False),
        (START_S + 9000, 900, 300, True),
    ]


def test_of_a_contradiction_one_counts_and_is_questionable(books: Books, feed: Feed) -> None:
    books.read(17, START_S, 100)
    books.read(17, START_S + 900, 200)
    books.read(17, START_S + 900, 700, sequence=2)
    books.read(17, START_S + 1800, 800)
    [intervals] = read(feed(17)).values()
    assert sum(interval[2] for interval in intervals) == 700
    assert [interval[:2] for interval in intervals] == [(START_S, 900), (START_S + 900, 900)]
    assert intervals[0][3]


def test_a_meter_without_readings_is_named(feed: Feed) -> None:
    assert read(feed(17)).popitem()[1] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<duration>900</duration>", ""),
        ("<value>100</value>", "<value>100</value><cost>1</cost>"),
        ("<value>100</value>", "<value>-200000000000000</value>"),
        ("<kind>0</kind>", "<sort>0</sort>"),
        ("<uom>72</uom>", "<unit>72</unit>"),
        ("<title>Energy</title>", ""),
        ('<link rel="self" href="/espi/1_1/resource/ReadingType/1"/>', ""),
    ],
)
def test_a_wrong_feed_would_be_noticed(books: Books, feed: Feed, before: str, after: str) -> None:
    books.day(17, count=3)
    text = feed(17).read_text()
    assert before in text
    assert faults(text.replace(before, after)) != []
