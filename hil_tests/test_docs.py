"""Hold the documentation against the repository: its links, and the commands that it shows."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from parwana import cli

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted(str(page.relative_to(REPO)) for page in (REPO / "docs").rglob("*.md"))
NAMES = ["README.md", "CONTRIBUTING.md", *PAGES]
COMMAND = re.compile(r"\bparwana ([a-z](?:(?!\bparwana )[^#|;)&])*)")
FOLDERS = ("firmware", "boards", "host_tools", "contracts", "hil_tests", "bench")
CITED = re.compile(r"\b(?:docs|firmware|bench|contracts|hil_tests)/[\w/-]+\.md\b")
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```", re.S | re.M)


@cache
def command(name: str) -> Any:
    """Return the click command of `parwana NAME`."""
    app: Any = typer.main.get_command(cli.build(name))
    return app.commands.get(name)


def shown(text: str) -> list[list[str]]:
    """Return the words after each `parwana` in a page's code blocks and code spans."""
    blocks = [line for b in BLOCK.findall(text) for line in b.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    return [found.split() for code in blocks + spans for found in COMMAND.findall(code)]


def wrong(words: list[str]) -> list[str]:
    """Return what `parwana` does not know of a command line."""
    name = cli.ALIASES.get(words[0], words[0])
    found: Any = command(name) if name in cli.COMMANDS else None
    rest = words[1:]
    if hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        _, found, rest = found.resolve_command(typer.Context(found), rest)
    if found is None:
        return words[:2]
    if "--" in rest:  # what follows is another command's
        rest = rest[: rest.index("--")]
    known = {"--help", "-h"}.union(*(p.opts + p.secondary_opts for p in found.params))
    return [word for word in rest if word.startswith("-") and word.split("=")[0] not in known]


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_to_a_file(name):
    page = REPO / name
    targets = re.findall(r"\]\(([^)#\s]+)", BLOCK.sub("", page.read_text()))
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_page_that_code_cites_is_there(folder):
    found = [path for path in (REPO / folder).rglob("*") if path.suffix in (".py", ".sh", ".vy")]
    cited = {page for path in found for page in CITED.findall(path.read_text())}
    assert [page for page in sorted(cited) if not (REPO / page).exists()] == []
    assert {"docs/protocol.md"} <= cited or folder != "firmware"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_shown_exists_with_its_options(name):
    assert [words for words in shown((REPO / name).read_text()) if wrong(words)] == []


def test_a_wrong_command_would_be_noticed():
    text = "```\nparwana key show \\\n  a.json --secret   # --x\n```\n`parwana nothing --x`"
    assert [wrong(words) for words in shown(text)] == [["--secret"], ["nothing", "--x"]]


def test_each_decision_has_a_number_of_its_own():
    pages = sorted((REPO / "docs" / "decisions").glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert len(set(numbers)) == len(numbers), numbers
    for page, number in zip(pages, numbers, strict=True):
        heading = page.read_text().splitlines()[0]
        assert re.match(rf"# {number}\. ", heading), page.name
