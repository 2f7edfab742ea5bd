"""What changes on a house's page while somebody looks at it: server-sent events."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import wire
from parwana.fleet.rows import end_s_of
from parwana.store.advice import StoreError
from parwana.web.access import site_of
from parwana.web.houses import enrolled
from parwana.web.site import Site

EVERY_S = 1.0
QUIET_S = 15.0  # then a comment keeps the connection
LASTS_S = 600.0  # then the browser connects anew
MOST, MOST_HOST = 200, 8  # at a time


def state(site: Site, meter: bytes, number: int) -> dict[str, Any]:
    """Return what the page shows live. Raises StoreError."""
    bill = site.book.bill("0x" + meter.hex(), number)
    last = site.store.last_reading(meter, 2**32)
    reading: Any = wire.parse(last.frame) if last else None
    row = site.store.meter(meter)
    bundle = site.store.accepted_permit(meter)
    return {
        "due": str(bill.due),
        "due_text": site.outlook.currency.text(bill.due),
        "locked": bool(bill.locked),
        "published": max((permit["serial"] for permit in bill.permits), default=0),
        "accepted": row.permit_serial if row else 0,
        "until_s": end_s_of(bundle),
        "closed": bool(reading and reading.flags & wire.FLAG_OUTPUT_CLOSED),
        "reading_s": reading.time_s if reading else 0,
        "power_dw": reading.power_dw if reading else 0,
        "energy_wh": reading.energy_wh if reading else 0,
    }


def routes() -> list[Route]:
    """Return the path."""
    open_now: Counter[str] = Counter()

    async def live(request: Request) -> Response:
        site, row = site_of(request), await run_in_threadpool(enrolled, request)
        host = request.client.host if request.client else "?"
        if open_now.total() >= MOST or open_now[host] >= MOST_HOST:
            raise HTTPException(429)
        headers = {"X-Accel-Buffering": "no"}
        stream = _events(site, row.meter, row.number, open_now, host)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    return [Route("/m/{address}/live", live)]


async def _events(
    site: Site, meter: bytes, number: int, open_now: "Counter[str]", host: str
) -> AsyncIterator[str]:
    """Give an event whenever the state is another one."""
    open_now[host] += 1
    loop, told, told_s = asyncio.get_running_loop(), "", 0.0
    until_s = loop.time() + LASTS_S
    try:
        while loop.time() < until_s and not site.ending.is_set():
            try:
                now = json.dumps(await run_in_threadpool(state, site, meter, number))
            except StoreError:
                now = told  # the page keeps what it shows
            if now != told:
                told, told_s = now, loop.time()
                yield f"data: {now}\n\n"
            elif loop.time() - told_s > QUIET_S:
                told_s = loop.time()
                yield ":\n\n"
            await asyncio.sleep(EVERY_S)
    finally:
        open_now[host] -= 1
        if not open_now[host]:
            del open_now[host]
