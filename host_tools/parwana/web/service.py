"""Build the site and serve it until told to end."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain
from parwana.store.reader import Store
from parwana.web.app import build
from parwana.web.book import Book
from parwana.web.outlook import Outlook
from parwana.web.site import Public, Site
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


@contextmanager
def site(options: Options, clock: WorldClock) -> Iterator[Site]:
    """Open store and book, follow the chain until the end. Raises DeploymentError, StoreError."""
    made = Deployment.load(options.file)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)

    def connect(of: Deployment) -> Chain:
        return Chain.of(of, rpc=options.rpc if of is made else options.energy_rpc)

    store = Store(options.store_url or made.store, create=False)
    book = Book(options.state, made)
    outlook = Outlook(made, store, book, connect, clock, options.silent_s, options.every_s)
    try:
        outlook.start()
        yield Site(made, store, book, outlook, clock, options.public, options.url)
    finally:
        outlook.stop()
        store.close()


def server(of: Site) -> uvicorn.Server:
    """Return a server of a site's pages."""
    config = uvicorn.Config(
        build(of),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ServeError."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise ServeError(
            f"{host}:{port} cannot be listened at ({error.strerror}); give another --port"
        ) from None


def serve(options: Options, clock: WorldClock) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    with site(options, clock) as made, listening(options.host, options.port) as sock:
        at = f"http://{options.host}:{sock.getsockname()[1]}"
        print(f"serve: {options.url or at}", flush=True)
        if options.public is Public.ALL:
            log.warning("--public all: everybody sees each house's readings")
        server(made).run(sockets=[sock])
