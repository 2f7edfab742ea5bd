"""How somebody comes in: the utility's people by password, a household by label or key."""

import time
from datetime import UTC, datetime

from eth_account import Account
from eth_account.messages import encode_defunct
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from parwana.web.access import COOKIE, checked, limited, may_see, seat_down, sent, site_of
from parwana.web.houses import address_of
from parwana.web.limits import Limiter
from parwana.web.people import CHALLENGE_S, OWNER, STAFF, PeopleError
from parwana.web.site import Public, Site

_PAYMENTS = 6  # the last of them say whose house it is
_SEE_OTHER = 303
_TEXT = """{server} asks for your signature to show the page of meter {meter}.

It costs nothing and pays nothing.

Nonce: {nonce}
Good until: {until:%Y-%m-%d %H:%M:%S} UTC"""


def routes() -> list[Route]:
    """Return the paths."""
    tries, opens = Limiter(8, 30), Limiter(30, 10)

    def shown(request: Request, name: str, status: int = 200, wrong: str = "") -> Response:
        answer: Response = request.app.state.pages.page(request, name, status, wrong=wrong)
        return answer

    def ask_login(request: Request) -> Response:
        return shown(request, "login.html")

    async def login(request: Request) -> Response:
        values = await sent(request)
        name = values.get("name", "")
        limited(request, tries, name)
        people, password = site_of(request).people, values.get("password", "")
        token = await run_in_threadpool(people.login, name, password)
        if token is None:
            return await run_in_threadpool(shown, request, "login.html", 403, "login")
        return seat_down(request, RedirectResponse("/", _SEE_OTHER), token, STAFF)

    async def logout(request: Request) -> Response:
        checked(request, await sent(request))
        site_of(request).people.leave(request.cookies[COOKIE])
        answer = RedirectResponse("/", _SEE_OTHER)
        answer.delete_cookie(COOKIE)
        return answer

    def ask_join(request: Request) -> Response:
        limited(request, opens)
        if not site_of(request).people.is_invited(request.path_params["token"]):
            raise HTTPException(404)
        return shown(request, "join.html")

    async def join(request: Request) -> Response:
        values = await sent(request)
        limited(request, tries)
        given = request.path_params["token"], values.get("name", ""), values.get("password", "")
        try:
            token = await run_in_threadpool(site_of(request).people.join, *given)
        except PeopleError as error:
            return await run_in_threadpool(shown, request, "join.html", 400, str(error))
        return seat_down(request, RedirectResponse("/", _SEE_OTHER), token, STAFF)

    def by_link(request: Request) -> Response:
        site = site_of(request)
        limited(request, opens)
        found = site.people.opened(request.path_params["token"])
        if found is None or site.public is Public.AGGREGATE:
            raise HTTPException(404)
        number, token = found
        page = RedirectResponse(f"/m/{site.book.serving(number).lower()}", _SEE_OTHER)
        return seat_down(request, page, token, OWNER)

    async def unlink(request: Request) -> Response:
        seat = checked(request, await sent(request))
        meter = address_of(request)
        row = await run_in_threadpool(site_of(request).store.meter, meter)
        if row is None or seat.kind != STAFF and not may_see(request, row.number):
            raise HTTPException(403)
        await run_in_threadpool(site_of(request).people.unlink, row.number)
        return RedirectResponse(f"/m/0x{meter.hex()}", _SEE_OTHER)

    async def challenge(request: Request) -> Response:
        await sent(request)
        limited(request, tries)
        return JSONResponse(await run_in_threadpool(asked, site_of(request), address_of(request)))

    async def answer(request: Request) -> Response:
        values = await sent(request)
        limited(request, tries)
        site, meter = site_of(request), address_of(request)
        given = values.get("nonce", ""), values.get("signature", "")
        token = await run_in_threadpool(entered, site, meter, *given)
        if token is None:
            raise HTTPException(403)
        return seat_down(request, JSONResponse({"ok": True}), token, OWNER)

    return [
        Route("/login", ask_login),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/invite/{token}", ask_join),
        Route("/invite/{token}", join, methods=["POST"]),
        Route("/o/{token}", by_link),
        Route("/m/{address}/unlink", unlink, methods=["POST"]),
        Route("/m/{address}/challenge", challenge, methods=["POST"]),
        Route("/m/{address}/enter", answer, methods=["POST"]),
    ]


def asked(site: Site, meter: bytes) -> dict[str, str]:
    """Return a challenge for a meter's page, whether there is such a meter or not."""
    until = datetime.fromtimestamp(time.time() + CHALLENGE_S, UTC)
    server = site.url.partition("://")[2] or site.deployment.utility_id
    name = "0x" + meter.hex()

    def text(nonce: str) -> str:
        return _TEXT.format(server=server, meter=name, nonce=nonce, until=until)

    nonce, said = site.people.challenge(name, text)
    return {"nonce": nonce, "text": said}


def entered(site: Site, meter: bytes, nonce: str, signature: str) -> str | None:
    """Return the token of a session, None unless a key signed that pays the house's bills."""
    text = site.people.answered(nonce, "0x" + meter.hex())
    row = site.store.meter(meter)
    if text is None or row is None or row.number is None or site.public is Public.AGGREGATE:
        return None
    try:
        who = str(Account.recover_message(encode_defunct(text=text), signature=signature))
    except Exception:  # of many kinds, as the library finds it malformed
        return None
    if who.lower() not in owners(site.book.payers(row.number)):
        return None
    return site.people.owner(who, row.number)


def owners(payers: list[str]) -> set[str]:
    """Return whose house it is by who paid, the last first: who paid last, and half of the last
    six. Anybody may pay another's bill; that alone opens nothing but once it is half of them.
    """
    last = [payer.lower() for payer in payers[:_PAYMENTS]]
    return {payer for payer in last[:1] if 2 * last.count(payer) >= len(last)}
