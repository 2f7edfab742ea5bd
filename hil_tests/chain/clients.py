"""Read the tables of docs/nodes.md: what clients answer there, the tests let them answer."""

import re
from dataclasses import dataclass

from hil_tests.fakenode import Odd
from parwana import REPO

ONCE, DEARER, REFUSED = "asks for its hash", "raises its fee", "is told at once"
_ANSWER = re.compile(
    r"(?:HTTP (\d+),? ?)?(?:(-?\d+) `(.*)`|body `(.*)`|(empty body)|(null)|(cut))"
)


@dataclass(frozen=True)
class Row:
    """One answer of a client to a method, and what becomes of it."""

    client: str
    method: str
    text: str
    becomes: str

    @property
    def answer(self) -> Odd:
        """Return the answer."""
        found = _ANSWER.fullmatch(self.text)
        assert found, f"docs/nodes.md: {self.text!r} is no answer"
        status, code, words, body, empty, _, cut = found.groups()
        return Odd(
            words=words,
            code=int(code or 0),
            status=int(status or 200),
            body="" if empty else body,
            cut=bool(cut),
        )


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading of docs/nodes.md."""
    section = (REPO / "docs/nodes.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[1:]]


def rows(*, sending: bool) -> list[Row]:
    """Return the answers to eth_sendRawTransaction, or those to all other methods."""
    found = [Row(*cells) for cells in table("Answers")]
    return [row for row in found if (row.method == "eth_sendRawTransaction") is sending]
