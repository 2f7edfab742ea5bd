"""The catalogues: every text that a page says is in each, with what stands in it."""

import ast
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from hil_tests.town import FEEDER, Town
from hil_tests.web.conftest import Serve, live_a_day
from hil_tests.web.test_pages import words
from parwana.audit import balance
from parwana.audit.findings import KINDS
from parwana.fleet import rows as fleet_rows
from parwana.losses.inspections import WHAT
from parwana.web.auditor import Audited
from parwana.web.outlook import View
from parwana.web.render import HERE, languages, translations
from parwana.web.searcher import Searched
from parwana.web.site import Public
from parwana.web.spoken import TEXTS, spoken

METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"newstyle_gettext": "true"}}
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2)}
PLACE = re.compile(r"%\((\w+)\)s|%%")
OTHERS = [code for code in languages() if code != "en"]


def texts() -> Iterator[str]:
    """Give what the sources say, to be translated."""
    found = extract_from_dir(HERE, METHODS, OPTIONS, KEYWORDS)
    for _file, _line, message, _comments, _context in found:
        yield message[0] if isinstance(message, tuple) else message


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_every_text_and_no_other(language: str) -> None:
    path = HERE / "locale" / language / "LC_MESSAGES" / "web.po"
    with path.open("rb") as source:
        catalogue = read_po(source, locale=language)
    said = set(texts())
    assert len(said) > 250
    for text in said:
        message = catalogue.get(text)
        assert message is not None, text
        string: Any = message.string
        for one in string if isinstance(string, tuple) else (string,):
            assert one.strip(), text
            assert sorted(PLACE.findall(one)) == sorted(PLACE.findall(text)), text
    known = {m.id[0] if isinstance(m.id, tuple) else m.id for m in catalogue if m.id}
    assert known - said == set()
    assert not any(message.fuzzy for message in catalogue if message.id)


def test_hindi_is_there_and_chosen_by_link_cookie_or_browser(lived: Town, serve: Serve) -> None:
    house = f"/m/{lived.houses[0].key.address}"
    with serve(Public.ALL) as window:
        english = window.get(house)
        by_browser = window.get(house, headers={"Accept-Language": "hi-IN,hi;q=0.9,en;q=0.5"})
        by_link = window.get(house + "?lang=hi")
        by_cookie = window.get(house)
        back = window.get(house + "?lang=en")
        unknown = window.get(house + "?lang=xx")
        assert 'lang="en"' in english.text
        for answer in (by_browser, by_link, by_cookie):
            assert '<html lang="hi">' in answer.text
            assert "अभी देय" in words(answer.text)
            assert "kWh" in answer.text
        assert '<html lang="en">' in back.text
        assert '<html lang="en">' in unknown.text
        figures = re.findall(r"[\d.]+ kWh", words(english.text))
        assert figures == re.findall(r"[\d.]+ kWh", words(by_browser.text))


NAMES = {  # of things, units, commands and languages: the same in each language
    *("kWh", "UTC", "CSV", "Green", "Button", "Parwana", "parwana", "JavaScript", "test", "ETH"),
    *("MeterRegistry", "EnergyLedger", "PaymentLedger", "protocol", "md", "PZEM", "https", "http"),
    *("audit", "relay", "serve", "invite", "signers", "show", "apply", "ledger", "meters"),
    *("from", "learn", "host", "port"),
}
FOREIGN = re.compile(r"<(span|code|a)\b[^>]*\blang=\"en\"[^>]*>.*?</\1>", re.S)


def latin(said: str) -> set[str]:
    """Return the words of a text in Latin letters that are no names, addresses or places."""
    said = re.sub(r"0x[0-9a-fA-F]+|https?://\S+", " ", said)
    return set(re.findall(r"[A-Za-z]{2,}", said)) - NAMES


def read_aloud(page: str) -> str:
    """Return all that a page says: its text, what a screen reader and its scripts say."""
    page = FOREIGN.sub(" ", page)
    told = re.findall(r'(?:aria-label|alt|title|placeholder|data-(?:on|off|with|\w+ed|approve|'
                      r'confirm))="([^"]*)"', page)  # fmt: skip
    for chart in re.findall('data-chart="([^"]*)"', page):
        data = json.loads(html.unescape(chart))
        told += [data["axis"], *data["names"], *(one["label"] for one in data["series"])]
    for said in re.findall('data-words="([^"]*)"', page):
        told += json.loads(html.unescape(said)).values()
    return " ".join([words(page), *(html.unescape(one) for one in told)])


def reasons() -> list[str]:
    """Return each reason that a balance can have, as `parwana balance` says it."""
    row = {"missing": 0, "spanning": 0}
    missing, spanning = row | {"missing": 2}, row | {"spanning": 3}
    return [
        *(balance._reason(row, came, own_closed=True) for came in (2, -1)),
        balance._reason(row, 0, own_closed=False),
        *(balance._reason(one, 0, own_closed=True) for one in (missing, spanning)),
        *(balance._waits(2, end_s, 5) for end_s in (4, 10**9)),
        "the feeder was enrolled within the period",
    ]


@pytest.mark.parametrize("language", OTHERS)
def test_all_that_is_shown_is_said_in_the_language(
    lived: Town, serve: Serve, language: str
) -> None:
    """A world in which each reason, alarm, finding and suspicion that there can be is there."""
    live_a_day(lived, tapped=True)
    alarms = {*fleet_rows._FLAGS.values(), *fleet_rows._EVENTS.values(), "silent", "never heard"}
    alarms |= {"permit ended", "permit ends within 2 d", "permit not taken", "contradicts itself"}
    alarms |= {"change of trust not taken"}
    why = [text for text in filled() if text not in WHAT.values()]
    suspects = [
        {"kind": kind, "numbers": [101], "probability": 0.97, "missing_w": 9, "share": 0.4,
         "why": why} for kind in WHAT
    ]  # fmt: skip
    verdict = {"suspects": suspects, "innocent": why, "alarm": True, "missing_w": 9.0}
    verdict |= {"error_w": 1.0, "loss_w": 5.0, "feeder_w": 900.0, "from_s": 0, "to_s": 2**31}
    verdict |= {"limits_w": {"day": 9, "week": 5, "month": 4}}
    findings = [{"kind": kind, "meter": "", "where": "period 7", "expected": "a bill", "found": 5}
                for kind in KINDS]  # fmt: skip
    counts = dict.fromkeys(("balances", "closings", "daily_roots", "frames_under_roots"), 7)
    house = f"/m/{lived.houses[0].key.address}"
    paths = ["/", f"/feeder/{FEEDER}", "/meters", "/office", "/audit", "/coverage", "/login"]
    paths += [house, f"/m/{lived.houses[2].key.address}", house + "/journal", house + "/verify"]
    paths += [house + "/verify?node=x", "/nothing", f"/m/{lived.feeder.key.address}"]
    with serve(Public.ALL) as window:
        site = window.site
        site.watch.look()
        view = site.outlook.view
        last = view.balances[FEEDER][-1]
        balances = [last | {"reason": one, "alarm": i % 4} for i, one in enumerate(reasons())]
        told = [replace(row, alarms=sorted(alarms)) for row in view.rows]
        site.outlook.view = View(view.at_s, told, view.kinds, {FEEDER: [*balances, last]})
        site.searcher.found = {FEEDER: Searched(5, verdict=verdict)}
        site.auditor.last = Audited(5, counts, findings)
        for path in paths:
            page = window.get(path, headers={"Accept-Language": language}).text
            assert f'<html lang="{language}">' in page
            assert latin(read_aloud(page)) == set(), path
            if path not in ("/office", "/audit"):  # where a node, or a finding, has its say
                assert 'span lang="en"' not in page, path
        proof = window.get(house + "/proof.json", headers={"Accept-Language": language}).json()
        assert latin(proof.get("why", "")) == set()


def filled() -> Iterator[str]:
    """Give what commands say, with numbers where they put some."""
    for text in TEXTS:
        yield re.sub(r"%\(why\)s", "balanced", re.sub(r"%\([abc]\)s", "7", text)).replace(
            "%%", "%"
        )


@pytest.mark.parametrize("language", OTHERS)
def test_what_commands_say_is_known_again(language: str) -> None:
    known = translations(language)
    for text, told in zip(TEXTS, filled(), strict=True):
        expected = known.gettext(text)
        said = str(spoken(told, known))
        assert latin(said) == set(), text
        assert said.count("7") == told.count("7"), text
        assert said.split("7")[0] == re.split(r"%\(\w+\)s|7", html.escape(expected))[0], text
    assert (
        spoken("<b>node</b> away", known) == '<span lang="en">&lt;b&gt;node&lt;/b&gt; away</span>'
    )
    assert spoken("feeder 7, period 3: no", translations("en")) == "feeder 7, period 3: no"


def test_what_is_to_be_known_again_is_what_commands_say() -> None:
    """A text that was changed where it is made is not translated any more."""
    package = Path(balance.__file__).parent.parent
    files = [
        package / "web/regulator.py",
        *package.glob("losses/*.py"),
        *package.glob("audit/*.py"),
    ]
    constants = " ".join(
        node.value
        for file in [*files, *package.glob("fleet/*.py"), package / "web/auditor.py"]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ).replace("_", " ")
    for text in TEXTS:
        for part in re.split(r"%\(\w+\)s|%%|[;:,(]", text):
            assert pieces(part.strip(" )").split(), constants) <= 3, (text, part)


def pieces(words: list[str], constants: str) -> int:
    """Return of how many constants, or parts of them, words are made; many: of none."""
    count = 0
    while words:
        known = [n for n in range(1, len(words) + 1) if " ".join(words[:n]) in constants]
        count += 1 if known else 99
        words = words[max(known, default=1) :]
    return count
