"""Every line of docs/threat-model.md names the tests that show it, and these exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs/threat-model.md").read_text()
TEST = re.compile(r"`((?:[a-z_]+/)+[a-z_0-9]+)::([a-z_0-9]+)`")
ATTACKERS = {"Household", "Neighbour", "Relay", "Signer", "Utility", "Node", "Thief"}


def rows(page: str) -> list[list[str]]:
    """Return the cells of every row of every table."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return [row for row in cells if row[0] != "attack"]


@cache
def names_in(file: str) -> set[str]:
    path = HERE / Path(file).parent / f"test_{Path(file).name}.py"
    nodes = ast.walk(ast.parse(path.read_text())) if path.is_file() else ()
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def wrong(row: list[str]) -> list[str]:
    """Return what is wrong with a row."""
    if len(row) != 5:
        return [f"{len(row)} cells"]
    named = TEST.findall(row[4])
    if not named and not row[2].startswith("nothing"):
        return ["no test shows what stops it"]
    if TEST.sub("", row[4]).strip():
        return [f"what is no test: {TEST.sub('', row[4]).strip()}"]
    return [
        f"no test {file}::{name}" for file, name in named if f"test_{name}" not in names_in(file)
    ]


def test_every_attacker_has_lines() -> None:
    sections = PAGE.split("\n## ")[1:]
    told = {section.split()[0].strip(",") for section in sections if rows(section)}
    assert told == ATTACKERS


@pytest.mark.parametrize("row", rows(PAGE), ids=lambda row: row[0])
def test_every_line_is_shown_by_tests_that_exist(row: list[str]) -> None:
    assert wrong(row) == []


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("| a | b | c | d |", "4 cells"),
        ("| a | b | a signature | | |", "no test shows"),
        ("| a | b | c | d | `chain/merkle::nothing_of_the_kind` |", "no test chain/merkle"),
        ("| a | b | c | d | `nowhere/file::name` |", "no test nowhere"),
        (
            "| a | b | c | d | `chain/merkle::no_leaves_have_no_root` and so on |",
            "what is no test",
        ),
    ],
)
def test_a_line_that_shows_nothing_is_noticed(cells: str, words: str) -> None:
    (row,) = rows(cells)
    assert words in wrong(row)[0]


def test_what_nothing_stops_needs_no_test() -> None:
    (row,) = rows("| a | b | nothing at all | d | |")
    assert wrong(row) == []
