"""Figures as Prometheus reads them, whether a service works, and where that is told."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Histogram
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from parwana.world.metrics import Metrics, MetricsError, parse_place, served


def get(url: str, accept: str = "") -> tuple[int, str, str]:
    """Return (status, content type, text)."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def read(text: str) -> dict[str, float]:
    """Return each sample of a page by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


class Service:
    """Something that counts."""

    def __init__(self) -> None:
        self.state = {"frames_new": 0, "not_told": 5}
        self.failures: dict[str, str] = {}
        self.metrics = Metrics("parwana_test", lambda: self.failures)
        self.metrics.add(self._collect)

    def _collect(self) -> Iterator[Metric]:
        yield from self.metrics.counters({"frames_new": "Frames."}, self.state)
        yield self.metrics.gauge("waiting", "Waits.", 1.5)
        yield self.metrics.failing(["store", "chain"], self.failures)


@pytest.fixture
def service() -> Service:
    return Service()


def test_figures_are_collected_at_each_look(service: Service) -> None:
    with served("0", service.metrics) as url:
        assert url.startswith("http://127.0.0.1:")
        status, kind, text = get(url)
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        first = read(text)
        service.state["frames_new"] = 7
        service.failures["chain"] = "away"
        second = read(get(url)[2])
    assert first["parwana_test_frames_new_total"] == 0
    assert second["parwana_test_frames_new_total"] == 7
    assert second["parwana_test_waiting"] == 1.5
    assert "parwana_test_not_told_total" not in second
    assert [first[f"parwana_test_failing{{part={part}}}"] for part in ("chain", "store")] == [0, 0]
    assert [second[f"parwana_test_failing{{part={p}}}"] for p in ("chain", "store")] == [1, 0]
    [build] = [name for name in second if name.startswith("parwana_build_info")]
    assert "service=parwana_test" in build
    assert second["process_resident_memory_bytes"] > 1e6


def test_openmetrics_is_given_to_who_asks_for_it(service: Service) -> None:
    with served("127.0.0.1:0", service.metrics) as url:
        _, kind, text = get(url, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert "parwana_test_frames_new" in {family.name for family in openmetrics(text)}


def test_readiness_names_what_is_lacking_and_no_secret(service: Service) -> None:
    with served("0", service.metrics) as url:
        base = url.removesuffix("/metrics")
        assert get(base + "/readyz")[::2] == (200, "ready\n")
        service.failures["store"] = "postgresql://kalpa:sesame@db/kalpa is away"
        status, _, text = get(base + "/readyz")
        assert status == 503
        assert text.startswith("store: postgresql://kalpa:")
        assert "sesame" not in text
        assert get(base + "/healthz?x=1")[::2] == (200, "ok\n")
        assert get(base + "/")[0] == 404


def test_an_application_answers_by_itself_with_figures_of_its_own(service: Service) -> None:
    took = Histogram("parwana_test_seconds", "Time.", registry=service.metrics.registry)
    took.observe(0.02)
    answer = service.metrics.answer("/metrics")
    assert (answer.status, read(answer.body.decode())["parwana_test_seconds_count"]) == (200, 1)


def test_nothing_listens_unless_it_is_asked_for(service: Service) -> None:
    with served(None, service.metrics) as url:
        assert url == ""


def test_a_place_that_is_taken_is_told(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(MetricsError, match=f"{place}: .*take another"),
            served(place, service.metrics),
        ):
            pass


def test_the_loopback_of_ipv6_serves_too(service: Service) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with served("[::1]:0", service.metrics) as url:
        assert get(url)[0] == 200


@pytest.mark.parametrize(
    ("text", "place"),
    [("9101", ("127.0.0.1", 9101)), (":0", ("127.0.0.1", 0)), ("0.0.0.0:1", ("0.0.0.0", 1))],
)
def test_a_place_without_a_host_is_the_loopback(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "host", "host:", "host:65536", "host:-1", "host:²"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(MetricsError, match="write HOST:PORT"):
        parse_place(text)
