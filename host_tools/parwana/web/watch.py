"""What the utility's people look at each morning: state of the parts, receivables, what to do."""

import logging
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from parwana.audit.energy import OVERBILLING, THEFT
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError
from parwana.fleet.parts import OK, WRONG, Limits, Line
from parwana.fleet.status import look
from parwana.rights.office import Office
from parwana.web.again import Again
from parwana.web.book import Book
from parwana.web.outlook import View
from parwana.world.clock import WorldClock
from parwana.world.logs import Trouble

log = logging.getLogger("parwana.web")
OWING = 100  # houses in the list of receivables


def _(text: str) -> str:
    return text


@dataclass(frozen=True)
class Owing:
    """What a house owes, and how many bills it has not paid."""

    number: int
    due: int
    unpaid: int


@dataclass(frozen=True)
class Task:
    """Something to do: a msgid, what stands in it, and where to look; `bad`: today."""

    text: str
    values: dict[str, object]
    link: str
    bad: bool


@dataclass(frozen=True)
class Desk:
    """The state of each part, and what is owed; `at_s` 0: not looked yet."""

    at_s: int = 0
    lines: list[Line] = field(default_factory=list)
    owing: list[Owing] = field(default_factory=list)
    due: int = 0
    locked: int = 0


class Watch:
    """Look at all parts every so many real seconds; `desk` is what was seen last."""

    def __init__(
        self,
        deployment: Deployment,
        store_url: str,
        book: Book,
        view: Callable[[], View],
        connect: dict[str, Callable[[], Office]],
        clock: WorldClock,
        silent_s: int,
        every_s: float,
    ) -> None:
        self._deployment, self._store_url, self._book = deployment, store_url, book
        self._view, self._connect, self._clock = view, connect, clock
        self._silent_s = silent_s
        self._again = Again(self.look, 6 * every_s, rest=4)
        self._trouble = Trouble(log, "status")
        self.desk = Desk()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._again.start()

    def look(self) -> None:
        """Ask each part for itself, and add up what is owed."""
        now_s = int(self._clock.now())
        limits = Limits(now_s, silent_s=self._silent_s)
        view = self._view()
        rows = view.rows if view.at_s else None
        try:
            lines = list(look(self._deployment, limits, self._store_url, self._connect, rows))
            self._trouble.over()
        except ChainError as error:
            self._trouble.failed(str(error))
            lines = [Line("chain", WRONG, str(error))]
        bills = self._book.accounts()
        owing = [Owing(b.number, b.due, len(b.billed) - len(b.payments)) for b in bills if b.due]
        owing.sort(key=lambda one: -one.due)
        locked = sum(bill.locked["amount"] for bill in bills if bill.locked)
        due = sum(one.due for one in owing)
        self.desk = Desk(now_s, lines, owing[:OWING], due, locked)


def tasks(desk: Desk, view: View, pointed: Collection[int] = ()) -> list[Task]:
    """Return what is to be done, the worst first; `pointed`: feeders of which a place is named."""
    found = []
    for feeder in sorted(pointed):
        text = _("Feeder %(number)s: look first where its losses point to.")
        found.append(Task(text, {"number": feeder}, f"/feeder/{feeder}#losses", True))
    for feeder in sorted(view.kinds):
        balance = view.last_balance(feeder)
        if balance and balance["alarm"] == THEFT:
            text = _("Feeder %(number)s lost more than it may: look at its houses.")
            found.append(Task(text, {"number": feeder}, f"/meters?feeder={feeder}", True))
        if balance and balance["alarm"] == OVERBILLING:
            text = _(
                "Under feeder %(number)s more was billed than was supplied: check its meters."
            )
            found.append(Task(text, {"number": feeder}, f"/feeder/{feeder}", True))
    for line in desk.lines:
        if line.state != OK and line.part not in ("meters", "closings"):
            bad = line.state == WRONG
            found.append(Task(_("%(part)s: %(text)s"), vars(line), "", bad))
    counts = Counter(alarm for row in view.rows for alarm in row.alarms)
    for alarm, count in counts.most_common():
        values: dict[str, object] = {"count": count, "why": alarm}
        link = f"/meters?alarm={alarm.replace(' ', '+')}"
        found.append(Task(_("%(count)s meters: %(why)s"), values, link, False))
    if desk.owing:
        text = _("%(count)s houses owe for bills that they have not paid.")
        found.append(Task(text, {"count": len(desk.owing)}, "/office#owing", False))
    return sorted(found, key=lambda task: not task.bad)
