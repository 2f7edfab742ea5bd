"""Which path leads to which page."""

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from parwana.store.reader import StoreError
from parwana.web import assets, desk, doors, health, houses, live, office, regulator
from parwana.web.guard import Guard
from parwana.web.render import STATIC, VENDOR, Pages
from parwana.web.site import Site

_ASSETS_S = 365 * 86400


class Assets(StaticFiles):
    """Files; what is named with a word of its content is kept for ever, others are asked after."""

    def file_response(
        self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200
    ) -> Response:
        """Answer with a file."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        named = scope["query_string"].startswith(b"v=") or scope["path"].startswith(VENDOR)
        kept = f"public, max-age={_ASSETS_S}, immutable" if named else "public, no-cache"
        answer.headers["Cache-Control"] = kept
        return answer


def build(site: Site) -> ASGIApp:
    """Make the application."""
    pages = Pages(site)

    def failed(request: Request, error: Exception) -> Response:
        code = 503 if isinstance(error, StoreError) else getattr(error, "status_code", 500)
        return pages.page(request, "error.html", code, code=code)

    app = Starlette(
        routes=[
            *houses.routes(),
            *live.routes(),
            *office.routes(),
            *desk.routes(),
            *regulator.routes(),
            *doors.routes(),
            *health.routes(health.metrics(site)),
            Mount("/static", Assets(directory=STATIC)),
            Mount(VENDOR, Assets(directory=assets.folder())),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=500, compresslevel=6)],
        exception_handlers=dict.fromkeys((HTTPException, StoreError, Exception), failed),
    )
    app.state.site, app.state.pages = site, pages
    return Guard(app)
