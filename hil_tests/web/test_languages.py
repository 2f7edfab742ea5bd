"""The catalogues: every text that a page says is in each, with what stands in it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from hil_tests.town import Town
from hil_tests.web.conftest import Serve
from hil_tests.web.test_pages import words
from parwana.web.render import HERE, languages
from parwana.web.site import Public

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
