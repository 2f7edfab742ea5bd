"""What every page is made from, built once by `parwana serve`."""

from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event

from parwana.chain.deployment import Deployment
from parwana.store.reader import Store
from parwana.web.auditor import Auditor
from parwana.web.book import Book
from parwana.web.outlook import Outlook
from parwana.web.people import People
from parwana.web.searcher import Searcher
from parwana.web.watch import Watch
from parwana.world.clock import WorldClock


class Public(StrEnum):
    """What --public takes: who sees what without signing in."""

    AGGREGATE = "aggregate"
    OWNER = "owner"
    ALL = "all"


@dataclass(frozen=True)
class Site:
    """The parts; `url` is what the world calls this server, "" if nobody said."""

    deployment: Deployment
    store: Store
    book: Book
    outlook: Outlook
    clock: WorldClock
    people: People
    auditor: Auditor
    watch: Watch
    searcher: Searcher
    public: Public
    url: str = ""
    ending: Event = field(default_factory=Event)  # set when the server shall end

    @property
    def now_s(self) -> int:
        """Return the world's time."""
        return int(self.clock.now())
