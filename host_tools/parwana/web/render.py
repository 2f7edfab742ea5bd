"""Turn what pages say into HTML, in the reader's language."""

from collections.abc import Callable
from datetime import date
from functools import cache, lru_cache
from gettext import NullTranslations
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from parwana.web import assets, charts
from parwana.web.access import is_staff, seat_of
from parwana.web.household import local
from parwana.web.searcher import Searched
from parwana.web.site import Site
from parwana.web.spoken import spoken
from parwana.web.usage import Span

HERE = Path(__file__).parent
STATIC = HERE / "static"
COOKIE = "lang"
VENDOR = "/vendor"
_WORDS = ("why", "part", "text")  # values that are said, not named
_YEAR_S = 366 * 86400


@cache
def languages() -> dict[str, str]:
    """Return the languages there are, by code, in their own names; English is the source."""
    codes = ["en", *sorted(path.parent.parent.name for path in HERE.glob("locale/*/*/web.po"))]
    return {code: (Locale.parse(code).display_name or code).capitalize() for code in codes}


@cache
def translations(language: str) -> NullTranslations:
    """Return a language's catalogue."""
    path = HERE / "locale" / language / "LC_MESSAGES" / "web.po"
    if not path.is_file():
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def language_of(request: Request) -> str:
    """Return the language to answer in: asked for, chosen before, or the browser's."""
    asked = request.query_params.get("lang", ""), request.cookies.get(COOKIE, "")
    wanted = [part.split(";")[0] for part in request.headers.get("accept-language", "").split(",")]
    for code in (*asked, *(part.strip().lower()[:2] for part in wanted)):
        if code in languages():
            return code
    return "en"


@cache
def version(name: str) -> str:
    """Return a word that changes when a file of `static` does."""
    return sha256((STATIC / name).read_bytes()).hexdigest()[:10]


class Pages:
    """Render templates for one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._environments = {code: self._environment(code) for code in languages()}

    def _environment(self, language: str) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        )
        found: Any = environment
        found.install_gettext_translations(translations(language), newstyle=True)
        offset_s, currency = self._site.deployment.utc_offset_s, self._site.outlook
        shown: dict[str, Callable[..., str]] = {
            "kwh": kwh,
            "watts": lambda dw: f"{dw // 10} W",
            "money": lambda amount: currency.currency.text(amount),
            "when": lambda time_s: (
                format_datetime(local(time_s, offset_s), "d MMM y HH:mm", locale=language)
                if time_s
                else "–"
            ),
            "day": lambda day: dated(day, "d MMM", language),
            "month": lambda day: dated(day, "MMM y", language),
            "period": lambda number: self._period(number, language),
            "said": lambda text: translations(language).gettext(str(text)),
            "spoken": lambda text: spoken(str(text), translations(language)),
            "loss": loss,
            "percent": lambda share, digits=2: f"{100 * share:.{digits}f} %",
        }
        environment.filters.update(shown)
        environment.globals.update(
            languages=languages(),
            language=language,
            utility=self._site.deployment.utility_id,
            asset=lambda name: f"/static/{name}?v={version(name)}",
            public=str(self._site.public),
            said=lambda text, values: said(language, text, values),
            day_name=lambda span: day_name(span, language),
            month_name=lambda span: dated(span.end, "MMM y", language),
            clock_time=lambda time_s: f"{local(time_s, offset_s):%H:%M}",
            energy=charts.energy,
            curve=charts.curve,
            balance=lambda rows: self._balance(rows, language),
            lost=lambda rows, searched: self._lost(rows, searched, language),
            vendor=assets.urls(VENDOR),
            zip=zip,
        )
        environment.filters["pair"] = lambda alarm: (
            alarm,
            spoken(alarm, translations(language)),
        )
        return environment

    def _period(self, number: int, language: str) -> str:
        """Return a period's dates, as the bill names it."""
        periods, offset_s = self._site.deployment.periods, self._site.deployment.utc_offset_s
        first = local(periods.start(number), offset_s)
        last = local(periods.start(number + 1) - 1, offset_s)
        if periods.kind == "month":
            return dated(first.date(), "MMMM y", language)
        if periods.kind == "hours":
            return str(format_datetime(first, "d MMM HH:mm", locale=language))
        days = [dated(at.date(), "d MMM y", language) for at in (first, last)]
        return days[0] if days[0] == days[1] else " – ".join(days)

    def _balance(self, rows: list[dict[str, Any]], language: str) -> charts.Chart:
        """Return the chart of a feeder's periods."""
        said = translations(language).gettext
        lines = [
            charts.Line(said(name), [row[f"{name}_wh"] / 1000 for row in rows])
            for name in ("supplied", "sold")
        ]
        names = [self._period(row["period"], language) for row in rows]
        return charts.Chart("line", said("Balances"), said("period"), "kWh", names, lines)

    def _lost(
        self, rows: list[dict[str, Any]], searched: Searched | None, language: str
    ) -> charts.Chart:
        """Return the chart of a feeder's losses, per cent, beside what it may and should lose."""
        said, periods = translations(language).gettext, self._site.deployment.periods
        shares = [
            100 * (row["supplied_wh"] - row["sold_wh"]) / row["supplied_wh"]
            if row["supplied_wh"] and not row["reason"] else None
            for row in rows
        ]  # fmt: skip
        allowed = [row["tolerance_bp"] / 100 for row in rows]
        lines = [  # what is drawn later lies above
            charts.Line(said("most that is allowed"), allowed),
            charts.Line(said("least that is allowed"), [-one for one in allowed]),
            charts.Line(said("loss"), [None if one is None else round(one, 2) for one in shares]),
        ]
        if searched and searched.loss is not None:
            share = round(100 * searched.loss, 2)
            spans = [[periods.start(row["period"] + i) for i in (0, 1)] for row in rows]
            technical = [share if searched.covers(*span) else None for span in spans]
            lines.append(charts.Line(said("lines and meters"), technical))
        names = [self._period(row["period"], language) for row in rows]
        return charts.Chart("line", said("Losses"), said("period"), "%", names, lines, (0, 1))

    def text(self, name: str, language: str, **values: Any) -> str:
        """Return a template's text."""
        return self._environments[language].get_template(name).render(**values)

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Answer with a page; it knows its own place for links that keep it."""
        language = language_of(request)
        body = self.text(
            name,
            language,
            request=request,
            here=request.url.path,
            seat=seat_of(request),
            staff=is_staff(request),
            **values,
        )
        answer = HTMLResponse(body, status_code=status)
        answer.headers["Vary"] = "Cookie, Accept-Language"
        if "lang" in request.query_params:
            answer.set_cookie(COOKIE, language, _YEAR_S, httponly=True, samesite="strict")
        return answer


@lru_cache(4096)
def dated(day: date, form: str, language: str) -> str:
    """Return a day as a language writes it; a page names a hundred, and all pages the same."""
    return str(format_date(day, form, locale=language))


def kwh(energy_wh: int) -> str:
    """Return an energy in kWh, to the Wh."""
    sign, size = ("-", -energy_wh) if energy_wh < 0 else ("", energy_wh)
    return f"{sign}{size // 1000}.{size % 1000:03d} kWh"


def loss(balance: dict[str, Any]) -> str:
    """Return what a balance lost, as `parwana balance` says it."""
    supplied, sold = balance["supplied_wh"], balance["sold_wh"]
    return f"{100 * (supplied - sold) / supplied:.2f} %"


def said(language: str, text: str, values: dict[str, Any]) -> str:
    """Return a text of words.py in a language, with what stands in it."""
    known = translations(language)
    shown = {k: spoken(v, known) if k in _WORDS else v for k, v in values.items()}
    return Markup(escape(known.gettext(text))) % shown


def day_name(span: Span, language: str) -> str:
    """Return the day, or days, of a span."""
    first, last = (dated(day, "d MMM", language) for day in (span.start, span.end))
    return last if first == last else f"{first} – {last}"
