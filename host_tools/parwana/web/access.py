"""Who may see what, and which requests may change anything."""

import hmac
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from parwana.web.limits import Limiter
from parwana.web.people import OWNER, OWNER_S, STAFF, STAFF_S, Seat
from parwana.web.site import Public, Site

COOKIE = "seat"
SUM_LEAST = 3  # houses: of fewer a sum tells too much of each
_BODY_MOST = 8192


def site_of(request: Request) -> Site:
    """Return the site that a request is for."""
    found: Site = request.app.state.site
    return found


def seat_of(request: Request) -> Seat | None:
    """Return who asks, None if nobody who signed in."""
    if not hasattr(request.state, "seat"):
        token = request.cookies.get(COOKIE, "")
        request.state.seat = site_of(request).people.seat(token) if token else None
    found: Seat | None = request.state.seat
    return found


def is_staff(request: Request) -> bool:
    """Say whether who asks may see all: the utility's people; with --public all everybody."""
    if site_of(request).public is Public.ALL:
        return True
    seat = seat_of(request)
    return seat is not None and seat.kind == STAFF


def staff_only(request: Request) -> None:
    """Let the utility's own people pass. Raises HTTPException."""
    if not is_staff(request):
        raise HTTPException(403)


def may_see(request: Request, number: int | None) -> bool:
    """Say whether a meter's page may be shown; None is nobody's number.

    A feeder's is everybody's, where it is the sum of several houses.
    """
    if is_staff(request):
        return True
    site, seat = site_of(request), seat_of(request)
    if number is not None and site.outlook.view.houses(number) >= SUM_LEAST:
        return True
    return (
        site.public is Public.OWNER
        and seat is not None
        and seat.kind == OWNER
        and seat.number == number
    )


def limited(request: Request, limiter: Limiter, key: str = "") -> None:
    """Count a try of who asks, and one of `key`. Raises HTTPException."""
    host = request.client.host if request.client else "?"
    if not limiter.take(f"host {host}") or (key and not limiter.take(f"key {key}")):
        raise HTTPException(429)


async def sent(request: Request) -> dict[str, str]:
    """Return the fields of a form, or of a JSON object, that a page of ours sent.

    Raises HTTPException for another's: where the browser does not say whose page it was, too.
    """
    from_us = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    if not (from_us == "same-origin" if from_us else origin == request.headers.get("host")):
        raise HTTPException(403)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_MOST:
            raise HTTPException(413)
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            values: Any = json.loads(body)
            return {str(k): str(v) for k, v in values.items()}
        return {k: v[0] for k, v in parse_qs(body.decode(), max_num_fields=20).items()}
    except (ValueError, AttributeError):
        raise HTTPException(400) from None


def checked(request: Request, values: dict[str, str]) -> Seat:
    """Return who changes something; the form must hold the session's own word.

    Raises HTTPException.
    """
    seat = seat_of(request)
    if seat is None or not hmac.compare_digest(values.get("csrf", ""), seat.csrf):
        raise HTTPException(403)
    return seat


def seat_down(request: Request, answer: Response, token: str, kind: str) -> Response:
    """Give the browser a session."""
    site = site_of(request)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=STAFF_S if kind == STAFF else OWNER_S,
        httponly=True,
        secure=site.url.startswith("https://") or request.url.scheme == "https",
        samesite="lax",  # a link on a label leads here from elsewhere; posts are checked
    )
    return answer
