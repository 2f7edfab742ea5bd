"""The utility's own pages: what to do next, what is owed, and a meter's journal."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import wire
from parwana.export.job import Export, Format, Question
from parwana.export.selection import Point, Span
from parwana.web.access import seat_of, site_of, staff_only
from parwana.web.houses import seen
from parwana.web.office import searched, suspects
from parwana.web.people import STAFF
from parwana.web.watch import tasks
from parwana.web.words import event_words, is_bad

FRAMES = 100  # a page of the journal
_TYPES = {Format.CSV: "text/csv", Format.GREEN_BUTTON: "application/atom+xml"}
_ENDS = {Format.CSV: "csv", Format.GREEN_BUTTON: "xml"}


def routes() -> list[Route]:
    """Return the paths."""
    return [
        Route("/office", office),
        Route("/m/{address}/journal", journal),
        Route("/m/{address}/readings.{ending:str}", download),
    ]


def office(request: Request) -> Response:
    """Show what to do next."""
    staff_only(request)
    site = site_of(request)
    desk, view, seat = site.watch.desk, site.outlook.view, seat_of(request)
    if seat is None or seat.kind != STAFF:  # what a part says may name hosts and files
        desk = replace(desk, lines=[replace(line, text="") for line in desk.lines])
    answer: Response = request.app.state.pages.page(
        request,
        "office.html",
        desk=desk,
        tasks=tasks(desk, view, [n for n, one in searched(request).items() if suspects(one)]),
        meters={row.number: row.meter for row in view.rows if row.in_service},
    )
    return answer


def journal(request: Request) -> Response:
    """Show the frames of a meter, as it signed them."""
    found = seen(request)
    site, meter = site_of(request), bytes.fromhex(found.meter[2:])
    last = next(iter(site.store.latest(meter, 1)), None)
    newest = last.sequence if last else 0
    text = request.query_params.get("from", "")
    first = min(int(text), newest) if text.isdecimal() else max(1, newest - FRAMES + 1)
    rows: list[tuple[Any, Any]] = []
    for frame in islice(site.store.frames(meter, first), FRAMES):
        fields: Any = wire.parse(frame.frame)
        is_event = frame.kind == wire.KIND_EVENT
        rows.append((fields, event_words(fields) if is_event else None))
    answer: Response = request.app.state.pages.page(
        request,
        "journal.html",
        house=found,
        rows=rows[::-1],
        is_bad=is_bad,
        older=max(1, first - FRAMES) if first > 1 else 0,
        newer=first + FRAMES if first + FRAMES <= newest else 0,
    )
    return answer


def download(request: Request) -> Response:
    """Give all readings of a meter as a file, without holding them all."""
    found = seen(request)
    site = site_of(request)
    kinds = {ending: kind for kind, ending in _ENDS.items()}
    kind = kinds.get(request.path_params["ending"], Format.CSV)
    made = site.deployment
    place = found.meter, found.number, found.kind, found.feeder
    point = Point(bytes.fromhex(place[0][2:]), *place[1:])
    now_s = site.now_s
    question = Question(made.utility_id, made.utc_offset_s, kind, [found.meter], 0, now_s)
    export = Export(question, Span(0, now_s, now_s), site.store)

    def text() -> Iterator[str]:
        yield from export.text([point])

    name = f"{made.utility_id}-{found.number}.{_ENDS[kind]}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(text(), media_type=_TYPES[kind], headers=headers)
