"""The pages of a single meter."""

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parwana.web.access import may_see, site_of
from parwana.web.household import House, house
from parwana.web.paying import carried, code, payment
from parwana.web.words import is_bad, supply_words

_SVG = "image/svg+xml"


def routes() -> list[Route]:
    """Return the paths of this page."""
    return [
        Route("/m/{address}", show),
        Route("/m/{address}/manifest.json", manifest),
        Route("/m/{address}/pay.svg", pay_code),
        Route("/m/{address}/permit.svg", permit_code),
    ]


def address_of(request: Request) -> bytes:
    """Return the meter that a path names. Raises HTTPException."""
    text = request.path_params["address"].lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise HTTPException(404)
    return bytes.fromhex(text)


def enrolled(request: Request) -> Any:
    """Return the row of a path's meter, if it may be seen. Raises HTTPException.

    What is not enrolled and what may not be seen answer alike.
    """
    row = site_of(request).store.meter(address_of(request))
    if not may_see(request, row.number if row else None):
        raise HTTPException(403)
    if row is None or row.number is None:
        raise HTTPException(404)
    return row


def seen(request: Request) -> House:
    """Return the house of a path, if it may be seen. Raises HTTPException."""
    site = site_of(request)
    with site.store.together():
        return house(site, enrolled(request))


def pay_code(request: Request) -> Response:
    """Give what a phone's wallet scans to pay what is due now."""
    site, row = site_of(request), enrolled(request)
    found = payment(site, site.book.bill("0x" + row.meter.hex(), row.number))
    if found is None or not found.uri:
        raise HTTPException(404)
    return Response(code(found.uri), media_type=_SVG)


def permit_code(request: Request) -> Response:
    """Give the permit that the meter took last, to carry it by hand."""
    bundle = site_of(request).store.accepted_permit(enrolled(request).meter)
    if bundle is None:
        raise HTTPException(404)
    return Response(code(carried(bundle)), media_type=_SVG)


def manifest(request: Request) -> Response:
    """Tell a phone how to keep the page among its programs. It says nothing of the house."""
    at = f"/m/0x{address_of(request).hex()}"
    icon = {"src": "/static/icon.svg", "sizes": "any", "type": "image/svg+xml"}
    colours = {"background_color": "#f6f7f5", "theme_color": "#0b5d52"}
    return JSONResponse(
        {"name": "Parwana", "id": at, "start_url": at, "display": "standalone", **colours,
         "icons": [icon]},
        media_type="application/manifest+json",
    )  # fmt: skip


def show(request: Request) -> Response:
    """Show a meter's page."""
    found = seen(request)
    paid = {entry["period"]: entry for entry in found.bill.payments} if found.bill else {}
    answer: Response = request.app.state.pages.page(
        request,
        "house.html",
        house=found,
        supply=supply_words(found.control, found.contactor),
        paid=paid,
        is_bad=is_bad,
        place=site_of(request).book.place(),
        payment=payment(site_of(request), found.bill) if found.bill else None,
        linked=site_of(request).people.has_link(found.number),
    )
    return answer
