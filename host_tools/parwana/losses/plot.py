"""The evidence as a drawing: SVG, three panels, no library."""

from xml.sax.saxutils import escape

from parwana.losses.series import Series
from parwana.losses.verdict import NAMED, Verdict

_WIDTH, _HEIGHT, _GAP = 640, 180, 60
_BARS = 15
_INK, _FAINT, _BAR, _STRONG = "#222", "#bbb", "#7a9cc6", "#c0392b"


def svg(feeder: int, series: Series, from_s: int, verdict: Verdict) -> str:
    """Return the drawing: missing power by time, probabilities, voltages seen and expected."""
    panels = [
        _missing(verdict),
        _probable(verdict),
        _voltages(verdict),
    ]
    days = (int(series.end_s[-1]) - from_s) / 86400
    height = len(panels) * (_HEIGHT + _GAP) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 80} {height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(40, 24, f"feeder {feeder}: the last {days:.0f} days", _INK, 16),
    ]
    for place, panel in enumerate(panels):
        top = _GAP + place * (_HEIGHT + _GAP)
        parts.append(f'<g transform="translate(40 {top})">{panel}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _text(x: float, y: float, text: str, ink: str = _INK, size: int = 12, turn: int = 0) -> str:
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{ink}" font-size="{size}"{turned}>'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, ink: str = _INK) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}"/>'


def _bar(x: float, y: float, width: float, height: float, ink: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
        f'height="{max(height, 0.5):.1f}" fill="{ink}"/>'
    )


def _missing(verdict: Verdict) -> str:
    watts = [float(value) for value in verdict.daily_w]
    limit = verdict.limits_w["day"]
    top = max([*watts, limit, 1e-9]) * 1.1
    low = min([*watts, 0.0]) * 1.1
    scale = _HEIGHT / (top - low)
    wide = _WIDTH / len(watts)
    zero = top * scale
    bars = [
        _bar(
            i * wide,
            zero - max(value, 0) * scale,
            wide * 0.8,
            abs(value) * scale,
            _STRONG if value > limit else _BAR,
        )
        for i, value in enumerate(watts)
    ]
    shown = zero - limit * scale
    return "".join(
        [
            _text(0, -8, "missing power, W; red: more than a quiet day's"),
            *bars,
            _line(0, zero, _WIDTH, zero),
            _line(0, shown, _WIDTH, shown, _FAINT),
            _text(_WIDTH + 4, shown + 4, f"{limit:.0f} W"),
            _text(_WIDTH + 4, zero - max(watts) * scale + 4, f"{max(watts):.0f} W"),
        ]
    )


def _probable(verdict: Verdict) -> str:
    likely = sorted(verdict.houses.items(), key=lambda item: -item[1])[:_BARS]
    values = [("line", verdict.line), *((str(number), value) for number, value in likely)]
    wide = _WIDTH / len(values)
    parts = [_text(0, -8, f"probability of each place; nobody is named below {100 * NAMED:.0f} %")]
    for i, (name, value) in enumerate(values):
        ink = _STRONG if value >= NAMED else _BAR
        parts.append(_bar(i * wide, _HEIGHT * (1 - value), wide * 0.8, _HEIGHT * value, ink))
        parts.append(_text(i * wide, _HEIGHT + 14, name))
    limit = _HEIGHT * (1 - NAMED)
    return "".join(
        [*parts, _line(0, limit, _WIDTH, limit, _FAINT), _line(0, _HEIGHT, _WIDTH, _HEIGHT)]
    )


def _voltages(verdict: Verdict) -> str:
    title = "what the missing power did to each house's voltage, ohm: up seen, right expected"
    if not verdict.pattern:
        return _text(0, -8, "no voltages tell")
    most = max(max(abs(seen), abs(told)) for _, seen, told in verdict.pattern) or 1.0
    low = min(min(seen, told, 0.0) for _, seen, told in verdict.pattern)

    def at(value: float, span: float) -> float:
        return (value - low) / (most - low or 1.0) * span

    parts = [_text(0, -8, title), _line(0, _HEIGHT, _WIDTH, 0, _FAINT)]
    for number, seen, told in verdict.pattern:
        x, y = at(told, _WIDTH), _HEIGHT - at(seen, _HEIGHT)
        y = min(max(y, 0.0), float(_HEIGHT))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_BAR}"/>')
        parts.append(_text(x + 4, y - 4, str(number), _FAINT, 9))
    return "".join(parts)
