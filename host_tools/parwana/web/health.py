"""For whoever watches over the process."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parwana.web.access import site_of


def routes() -> list[Route]:
    """Return the paths."""
    return [Route("/healthz", alive), Route("/readyz", ready)]


def alive(_request: Request) -> Response:
    """Say that the process answers."""
    return JSONResponse({"ok": True})


def ready(request: Request) -> Response:
    """Say whether pages can be shown: store and chain were read and go on being read."""
    site = site_of(request)
    wrong = {name: one.text for name, one in site.outlook.troubles.items() if one.text}
    if site.book.place() is None:
        wrong.setdefault("chain", "not read yet")
    if not site.outlook.view.at_s:
        wrong.setdefault("store", "not read yet")
    return JSONResponse({"ok": not wrong, **({"wrong": sorted(wrong)})}, 503 if wrong else 200)
