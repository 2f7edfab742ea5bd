"""Serve what a service knows of itself: /metrics for Prometheus, /healthz and /readyz.

A service says how to collect its figures at a look; nothing is kept twice. Names, units and types
are Prometheus's conventions. Source: https://prometheus.io/docs/practices/naming/
"""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from threading import Thread
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from parwana.world.logs import redacted

LOOPBACK = "127.0.0.1"
log = logging.getLogger("parwana.metrics")
_SLOWEST_S = 10  # a client may take
_TEXT = "text/plain; charset=utf-8"


class MetricsError(Exception):
    """The metrics cannot be served there; the text says what to write."""


class Answer(NamedTuple):
    """What a GET is answered: status, content type, body."""

    status: int
    type: str
    body: bytes


class Metrics:
    """The figures of one service, and whether it can do its work now.

    `prefix`, as `parwana_relay`, begins the names of its own figures. `lacking` returns what
    keeps it from its work, by part; nothing means that it is ready. A web application answers its
    own requests by `answer` and adds its figures to `registry`; others are served by `served`.
    """

    def __init__(self, prefix: str, lacking: Callable[[], Mapping[str, str]] = dict) -> None:
        self.prefix = prefix
        self.lacking = lacking
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.add(self._build)

    def _build(self) -> Iterator[Metric]:
        labels = {"version": version("parwana"), "service": self.prefix}
        made = GaugeMetricFamily("parwana_build_info", "The program.", labels=list(labels))
        made.add_metric(list(labels.values()), 1)
        yield made

    def add(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Call `collect` at each look, in the thread that answers."""
        self.registry.register(_Collector(collect))

    def counters(self, helps: Mapping[str, str], values: Mapping[str, int]) -> Iterator[Metric]:
        """Make a counter of each value that has a help text."""
        for name, help_text in helps.items():
            yield CounterMetricFamily(f"{self.prefix}_{name}", help_text, value=values[name])

    def gauge(self, name: str, help_text: str, value: float) -> Metric:
        """Make a gauge."""
        return GaugeMetricFamily(f"{self.prefix}_{name}", help_text, value=value)

    def gauges(self, name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
        """Make a gauge that has a value for each value of a label."""
        made = GaugeMetricFamily(f"{self.prefix}_{name}", help_text, labels=[label])
        for of, value in sorted(values.items()):
            made.add_metric([of], value)
        return made

    def failing(self, parts: Iterable[str], failures: Mapping[str, str]) -> Metric:
        """Make the gauge that says of each part whether it fails now; why, the log says."""
        text = "1 while a part of the service fails; its log says why."
        values = {part: int(part in failures) for part in {*parts, *failures}}
        return self.gauges("failing", text, "part", values)

    def answer(self, path: str, accept: str = "") -> Answer:
        """Answer a GET. /healthz: the process answers. /readyz: 503 with a line a lack."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return Answer(200, content_type, encode(self.registry))
        if path == "/healthz":
            return Answer(200, _TEXT, b"ok\n")
        if path == "/readyz":
            lacks = {part: redacted(text) for part, text in self.lacking().items()}
            told = "".join(f"{part}: {text}\n" for part, text in lacks.items())
            return Answer(503 if lacks else 200, _TEXT, (told or "ready\n").encode())
        return Answer(404, _TEXT, b"there are /metrics, /healthz and /readyz\n")


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect

    def describe(self) -> list[Metric]:
        """Name nothing at registration: the service may not have begun."""
        return []


class _Server(ThreadingHTTPServer):
    """One address, a thread a request; none outlives the program."""

    daemon_threads = True

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.metrics = metrics
        super().__init__((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = _SLOWEST_S
    server: _Server

    def do_GET(self) -> None:
        """Answer one request."""
        accept = self.headers.get("Accept", "")
        answer = self.server.metrics.answer(self.path.partition("?")[0], accept)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a look a few seconds is no news."""


def parse_place(text: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT, [IPv6]:PORT or PORT on the loopback. Raises MetricsError.

    Port 0 takes a free one.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise MetricsError(f"--metrics {text}: write HOST:PORT, or a port of the loopback alone")
    return host.strip("[]") or LOOPBACK, int(port)


@contextmanager
def served(place: str | None, metrics: Metrics) -> Iterator[str]:
    """Serve the metrics meanwhile; give their URL, "" without a place. Raises MetricsError."""
    if place is None:
        yield ""
        return
    host, port = parse_place(place)
    try:
        server = _Server(host, port, metrics)
    except OSError as error:
        raise MetricsError(f"--metrics {place}: {error.strerror or error}; take another") from None
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{server.server_address[1]}/metrics"
        log.info("figures for Prometheus: %s", url)
        yield url
    finally:
        server.shutdown()
        server.server_close()
