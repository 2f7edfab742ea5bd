"""Build the site and serve it until told to end."""

import logging
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain
from parwana.meter.label import Label
from parwana.rights.office import Office
from parwana.store.reader import Store
from parwana.web.app import build
from parwana.web.aside import Aside, tell
from parwana.web.auditor import Auditor
from parwana.web.book import Book
from parwana.web.outlook import Outlook
from parwana.web.people import People
from parwana.web.searcher import Searcher
from parwana.web.site import Public, Site
from parwana.web.watch import Watch
from parwana.world import logs
from parwana.world.clock import WorldClock

log = logging.getLogger("parwana.web")


class ServeError(Exception):
    """The pages cannot be served; the text says what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    file: Path
    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    public: Public = Public.AGGREGATE
    url: str = ""
    every_s: float = 5.0
    silent_s: int = 7200
    store_url: str | None = None
    rpc: list[str] | None = None
    energy_rpc: list[str] | None = None
    audit_s: float = 0
    losses_s: float = 0
    log_level: logs.Level = logs.Level.INFO
    log_form: logs.Form = logs.Form.TEXT


def _again(options: Options) -> list[str]:
    """Return what says the same to another of our commands."""
    named = [("--rpc", one) for one in options.rpc or ()]
    named += [("--energy-rpc", one) for one in options.energy_rpc or ()]
    return [word for pair in named for word in pair] + _stored(options)


def _stored(options: Options) -> list[str]:
    return ["--store", options.store_url] if options.store_url else []


def _lookers(
    options: Options, clock: WorldClock, made: Deployment, store: Store, book: Book
) -> tuple[Outlook, Watch]:
    """Return what looks at all meters, and at all parts."""

    def connect(of: Deployment) -> Chain:
        return Chain.of(of, rpc=options.rpc if of is made else options.energy_rpc)

    outlook = Outlook(made, store, book, connect, clock, options.silent_s, options.every_s)
    offices = {"chain": lambda: Office(options.file, rpc=options.rpc)}
    if made.energy:
        offices["energy chain"] = lambda: Office(options.file, rpc=options.energy_rpc, energy=True)
    url = options.store_url or made.store
    timing = clock, options.silent_s, options.every_s
    return outlook, Watch(made, url, book, lambda: outlook.view, offices, *timing)


def look_aside(options: Options, clock: WorldClock, pipe: Connection) -> None:
    """Look until nobody listens at the other end of the pipe: what `Aside` runs."""
    logs.start(options.log_level, options.log_form)
    made = Deployment.load(options.file)
    store = Store(options.store_url or made.store, create=False, patient=True)
    tell(pipe, *_lookers(options, clock, made, store, Book(options.state, made)))


@contextmanager
def site(options: Options, clock: WorldClock, *, aside: bool = False) -> Iterator[Site]:
    """Open what pages need; `aside`: look, until the end. Raises DeploymentError, StoreError."""
    made = Deployment.load(options.file)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(options.store_url or made.store, create=False)
    book = Book(options.state, made)
    auditor = Auditor(options.file, _again(options), options.audit_s, clock)
    outlook, watch = _lookers(options, clock, made, store, book)
    of = options.file, _stored(options), lambda: outlook.view.kinds
    searcher = Searcher(*of, options.losses_s, clock)
    looks = Aside(look_aside, (options, clock), outlook, watch) if aside else None
    try:
        if looks:
            looks.start()
        auditor.start()
        searcher.start()
        people = People(options.state)
        parts = made, store, book, outlook, clock, people, auditor, watch, searcher
        yield Site(*parts, options.public, options.url)
    finally:
        if looks:
            looks.stop()
        auditor.stop()
        searcher.stop()
        store.close()


def admit(
    options: Options, *, invite: bool, link: int | None, unlink: int | None, labels: Path
) -> Iterator[str]:
    """Make or revoke what lets somebody in; give what there is to say.

    Raises DeploymentError, StoreError, ServeError.
    """
    made = Deployment.load(options.file)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    people = People(options.state)
    base = options.url or f"http://{options.host}:{options.port}"
    if invite:
        yield f"{base}/invite/{people.invite()}"
        yield "open it within 24 hours; it makes one user, who sees each meter"
    if unlink is not None:
        people.unlink(unlink)
        yield f"number {unlink}: its link opens no more, and who used it must come in anew"
    if link is not None:
        with closing(Store(options.store_url or made.store, create=False)) as store:
            rows = [row for row in store.meters() if row.number == link and row.in_service]
        if not rows or rows[0].kind != 1:
            raise ServeError(f"no house {link} is in service; see: parwana meters")
        address = "0x" + rows[0].meter.hex()
        url = f"{base}/o/{people.link(link)}"
        label = Label(made.utility_id, link, address, "", rows[0].feeder, url)
        yield url
        yield f"its label: {', '.join(str(path) for path in label.save(labels))}"


class Server(uvicorn.Server):
    """A server that tells the site when it ends, so that open streams end, too."""

    def __init__(self, config: uvicorn.Config, site: Site) -> None:
        super().__init__(config)
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._site.ending.set()
        await super().shutdown(sockets)


def server(of: Site) -> Server:
    """Return a server of a site's pages."""
    config = uvicorn.Config(
        build(of),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
    )
    return Server(config, of)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ServeError."""
    try:
        sock = socket.create_server((host, port), backlog=128)
        # asyncio does not see that it is TCP; a page's body would wait 40 ms for its headers.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    except OSError as error:
        raise ServeError(
            f"{host}:{port} cannot be listened at ({error.strerror}); give another --port"
        ) from None


def serve(options: Options, clock: WorldClock) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    with site(options, clock, aside=True) as made, listening(options.host, options.port) as sock:
        at = f"http://{options.host}:{sock.getsockname()[1]}"
        print(f"serve: {options.url or at}", flush=True)
        if options.public is Public.ALL:
            log.warning("--public all: everybody sees each house's readings")
        server(made).run(sockets=[sock])
