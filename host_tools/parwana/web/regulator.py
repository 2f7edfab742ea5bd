"""What neighbour and regulator look at: what the audit found, which days there are, and the proof.

The proof is made by the page's own code (static/verify.js) against a node of the reader's choice;
what is served here is what it judges.
"""

import re
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parwana.audit.findings import KINDS
from parwana.audit.proof import ProofError
from parwana.audit.prove import prove
from parwana.chain.errors import ChainError
from parwana.chain.merkle import day_of
from parwana.chain.periods import DAY_S, closed_period
from parwana.web.access import limited, site_of, staff_only
from parwana.web.guard import policy
from parwana.web.houses import enrolled
from parwana.web.limits import Limiter
from parwana.web.render import language_of, translations
from parwana.web.site import Site
from parwana.web.spoken import spoken
from parwana.web.usage import marks

FRAMES = 96  # of each look
BILLS = 3
YEAR_S = 366 * DAY_S
DAYS = 14
PAGE = 100  # meters
ROOTED_S = 2 * DAY_S  # frames so old are under a root
_NODE = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


def routes() -> list[Route]:
    """Return the paths."""
    proofs = Limiter(12, 10)

    def proof(request: Request) -> Response:
        site, meter = site_of(request), enrolled(request).meter
        limited(request, proofs)
        try:
            return JSONResponse({"proof": rooted(site, meter)})
        except (ProofError, ChainError) as error:
            why = str(error) if isinstance(error, ProofError) else "the chain does not answer"
            told = spoken(why, translations(language_of(request)))
            return JSONResponse({"proof": None, "why": Markup(told).striptags()})

    return [
        Route("/audit", findings),
        Route("/coverage", coverage),
        Route("/m/{address}/verify", verify),
        Route("/m/{address}/evidence.json", evidence),
        Route("/m/{address}/proof.json", proof),
    ]


def findings(request: Request) -> Response:
    """Show what the audit found; of which house, only to who may see houses."""
    found = site_of(request).auditor.last
    answer: Response = request.app.state.pages.page(
        request,
        "audit.html",
        audited=found,
        kinds=Counter(finding["kind"] for finding in found.findings),
        meanings=KINDS,
    )
    return answer


def coverage(request: Request) -> Response:
    """Show which meters have signed a register at the end of which of the last days."""
    staff_only(request)
    site = site_of(request)
    offset_s = site.deployment.utc_offset_s
    rows = [row for row in site.outlook.view.rows if row.in_service]
    text = request.query_params.get("page", "1")
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(1, int(text) if text.isdecimal() else 1), pages)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    today = day_of(site.now_s, offset_s)
    days = list(range(today - DAYS, today))
    of = [bytes.fromhex(row.meter[2:]) for row in shown]
    found: dict[bytes, list[Any]] = {meter: [] for meter in of}
    for frame in site.store.closings(of, days[0] * DAY_S - offset_s, site.now_s + DAY_S):
        found[frame.meter].append(frame)
    held = {
        "0x" + meter.hex(): {mark.day for mark in marks(((f.time_s, 0) for f in frames), offset_s)}
        for meter, frames in found.items()
    }
    runs = {row.meter: len(site.store.runs(bytes.fromhex(row.meter[2:]))) for row in shown}
    answer: Response = request.app.state.pages.page(
        request,
        "coverage.html",
        rows=shown,
        days=[(day, datetime.fromtimestamp(day * DAY_S, UTC).date()) for day in days],
        held=held,
        gaps={meter: max(0, count - 1) for meter, count in runs.items()},
        page=page,
        pages=pages,
    )
    return answer


def verify(request: Request) -> Response:
    """Show the page that verifies, allowed to ask the node that the reader named."""
    site, meter = site_of(request), enrolled(request).meter
    node = request.query_params.get("node", "").lower()
    wrong = bool(node) and not _NODE.fullmatch(node)
    answer: Response = request.app.state.pages.page(
        request,
        "verify.html",
        meter="0x" + meter.hex(),
        made=site.deployment,
        node="" if wrong else node,
        wrong=wrong,
    )
    if node and not wrong:
        answer.headers["Content-Security-Policy"] = policy([node])
    return answer


def evidence(request: Request) -> Response:
    """Give the frames that the meter signed, and what this server says of its bills."""
    site, row = site_of(request), enrolled(request)
    made, meter, name = site.deployment, row.meter, "0x" + row.meter.hex()
    bills = site.book.last_bills(row.number, BILLS)
    closed = site.book.closings(name)[-BILLS - 1 :]
    frames = {frame.sequence: frame for frame in site.store.latest(meter, FRAMES)}
    ends = {one.period for one in closed}
    for frame in site.store.closings([meter], site.now_s - YEAR_S, site.now_s + DAY_S):
        if closed_period(frame.frame, made.periods) in ends:
            frames[frame.sequence] = frame
    body = {
        "meter": name,
        "utility_id": made.utility_id,
        "frames": [
            {"frame": "0x" + frame.frame.hex(), "signature": "0x" + frame.signature.hex()}
            for _, frame in sorted(frames.items())
        ],
        "closings": [
            {"period": str(one.period), "energy_wh": str(one.energy_wh)} for one in closed
        ],
        # As text: JavaScript's numbers are not whole above 2^53.
        "bills": [{k: str(v) for k, v in {"block": b.block, **b.values}.items()} for b in bills],
    }
    return JSONResponse(body)


def rooted(site: Site, meter: bytes) -> dict[str, Any]:
    """Return the proof of the newest frame that is old enough to be under a daily root.

    Raises ProofError, ChainError.
    """
    last = site.store.last_reading(meter, site.now_s - ROOTED_S)
    if last is None:
        raise ProofError("no reading is two days old yet, when a daily root covers it")
    chain, _, made = site.outlook.ledgers(energy=True)
    return asdict(prove(made, chain, site.store, meter, last.sequence))
