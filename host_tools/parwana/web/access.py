"""Who may see what."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

from parwana.web.site import Public, Site


def site_of(request: Request) -> Site:
    """Return the site that a request is for."""
    found: Site = request.app.state.site
    return found


def is_staff(request: Request) -> bool:
    """Say whether the utility's own people, or everybody, may see all."""
    return site_of(request).public is Public.ALL


def staff_only(request: Request) -> None:
    """Let the utility's own people pass. Raises HTTPException."""
    if not is_staff(request):
        raise HTTPException(403)


def may_see(request: Request, number: int | None) -> bool:
    """Say whether a house's page may be shown; a number of None is of nobody's."""
    del number
    return is_staff(request)
