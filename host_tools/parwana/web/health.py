"""For whoever watches over the process: /metrics, /healthz, /readyz."""

import re
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parwana.web.site import Site
from parwana.world.metrics import Metrics


def metrics(site: Site) -> Metrics:
    """Return a site's figures; why something fails, its log says, as anybody may read this."""

    def lacking() -> dict[str, str]:
        found = {name: "fails" for name, one in site.outlook.troubles.items() if one.text}
        if site.book.place() is None:
            found.setdefault("chain", "not read yet")
        if not site.outlook.view.at_s:
            found.setdefault("store", "not read yet")
        return found

    made = Metrics("parwana_web", lacking)

    def collect() -> Iterator[Metric]:
        place, view = site.book.place(), site.outlook.view
        text = "Number of the newest block that was read."
        yield made.gauge("chain_block", text, place.head if place else 0)
        yield made.gauge("view_timestamp_seconds", "When the meters were read.", view.at_s)
        yield made.gauge("meters", "Meters in service.", sum(row.in_service for row in view.rows))
        alarms = Counter(
            re.sub(r" within \d+ d$", "", alarm) for row in view.rows for alarm in row.alarms
        )
        text = "Meters with an alarm, as `parwana meters` names them."
        yield made.gauges("meters_alarmed", text, "alarm", alarms)
        last = {str(feeder): view.last_balance(feeder) for feeder in view.balances}
        text = "What a feeder's last balance said: 0 nothing, 1 theft, 2 over-billing, 3 neither."
        said = {feeder: balance["alarm"] for feeder, balance in last.items() if balance}
        yield made.gauges("feeder_alarm", text, "feeder", said)
        failures = {name: one.text for name, one in site.outlook.troubles.items() if one.text}
        yield made.failing(site.outlook.troubles, failures)

    made.add(collect)
    return made


def routes(of: Metrics) -> list[Route]:
    """Return the paths."""

    def answer(request: Request) -> Response:
        found = of.answer(request.url.path, request.headers.get("accept", ""))
        return Response(found.body, found.status, media_type=found.type)

    return [Route(path, answer) for path in ("/metrics", "/healthz", "/readyz")]
