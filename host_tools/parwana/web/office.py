"""The utility's pages: feeders for everybody, the meters for its own people."""

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parwana.audit.balance import ALARMS
from parwana.audit.energy import OVERBILLING, THEFT
from parwana.fleet.rows import Row
from parwana.losses.inspections import WHAT
from parwana.web.access import is_staff, site_of, staff_only
from parwana.web.searcher import Searched

PAGE = 100  # meters


def routes() -> list[Route]:
    """Return the paths of these pages."""
    return [
        Route("/", home),
        Route("/feeder/{number:int}", feeder),
        Route("/meters", meters),
    ]


@dataclass(frozen=True)
class Branch:
    """A feeder in the tree, with its last balance and those below it."""

    number: int
    kind: str
    balance: dict[str, Any] | None
    alarm: str
    houses: int
    below: list["Branch"]
    suspects: list[dict[str, Any]]


def tree(request: Request) -> list[Branch]:
    """Return the feeders that hang on none, each with those below."""
    view, found = site_of(request).outlook.view, searched(request)
    places = {row.number: row.feeder for row in view.rows if row.in_service}

    def branch(number: int) -> Branch:
        balance = view.last_balance(number)
        mine = [n for n, above in places.items() if above == number]
        return Branch(
            number,
            view.kinds[number],
            balance,
            ALARMS[balance["alarm"]]
            if balance and balance["alarm"] in (THEFT, OVERBILLING)
            else "",
            sum(n not in view.kinds for n in mine),
            [branch(n) for n in sorted(mine) if n in view.kinds],
            suspects(found.get(number)),
        )

    return [branch(n) for n in sorted(view.kinds) if places.get(n, 0) not in view.kinds]


def searched(request: Request) -> dict[int, Searched]:
    """Return what is known of losses by feeder, to who may see houses: it names them."""
    return site_of(request).searcher.found if is_staff(request) else {}


def suspects(of: Searched | None) -> list[dict[str, Any]]:
    """Return where to look first, if that is sure enough to be said."""
    return of.verdict["suspects"] if of and of.verdict else []


def home(request: Request) -> Response:
    """Show the feeders and the totals."""
    view = site_of(request).outlook.view
    served = [row for row in view.rows if row.in_service]
    totals = {
        "houses": sum(row.kind == "house" for row in served),
        "heard": sum(row.kind == "house" and row.contactor == "closed" for row in served),
        "power_dw": sum(row.power_dw for row in served if row.kind == "house"),
    }
    answer: Response = request.app.state.pages.page(
        request, "home.html", branches=tree(request), totals=totals, view=view
    )  # fmt: skip
    return answer


def feeder(request: Request) -> Response:
    """Show what a feeder's periods balanced."""
    number, view = request.path_params["number"], site_of(request).outlook.view
    if number not in view.kinds:
        raise HTTPException(404)
    answer: Response = request.app.state.pages.page(
        request,
        "feeder.html",
        number=number,
        kind=view.kinds[number],
        balances=view.balances.get(number, []),
        alarms=ALARMS,
        searched=searched(request).get(number),
        what=WHAT,
        numbers={row.number: row.meter for row in view.rows if row.in_service},
        meter=next((row.meter for row in view.rows if row.number == number), ""),
        view=view,
    )
    return answer


FILTERS = ("kind", "feeder", "contactor", "alarm", "text")


def wanted(row: Row, asked: dict[str, str]) -> bool:
    """Say whether a meter passes the filters of a URL."""
    return (
        (not asked["kind"] or row.kind == asked["kind"])
        and (not asked["feeder"] or str(row.feeder) == asked["feeder"])
        and (not asked["contactor"] or row.contactor == asked["contactor"])
        and (not asked["alarm"] or (bool(row.alarms) if asked["alarm"] == "any"
                                    else asked["alarm"] in row.alarms))
        and (not asked["text"] or asked["text"].lower().removeprefix("0x") in row.meter
             or asked["text"] == str(row.number))
    )  # fmt: skip


def meters(request: Request) -> Response:
    """Show the meters, filtered as the URL says."""
    staff_only(request)
    view = site_of(request).outlook.view
    asked = {name: request.query_params.get(name, "") for name in FILTERS}
    rows = [row for row in view.rows if row.in_service and wanted(row, asked)]
    page = int(text) if (text := request.query_params.get("page", "1")).isdecimal() else 1
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(1, page), pages)

    def link(number: int) -> str:
        return "?" + urlencode({k: v for k, v in asked.items() if v} | {"page": number})

    answer: Response = request.app.state.pages.page(
        request,
        "meters.html",
        rows=[asdict(row) for row in rows[(page - 1) * PAGE : page * PAGE]],
        count=len(rows),
        asked=asked,
        page=page,
        pages=pages,
        link=link,
        feeders=sorted(view.kinds),
        alarms=sorted({alarm for row in view.rows for alarm in row.alarms}),
        view=view,
    )
    return answer
