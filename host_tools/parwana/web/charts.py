"""Charts: a picture for every browser, and the same numbers for uPlot."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from parwana.web.usage import Span

WIDTH, HEIGHT = 600, 150
_LINE_MOST = 400  # points of a line


@dataclass(frozen=True)
class Line:
    """One row of numbers, in the unit that is shown; None: not known."""

    label: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """Bars or lines over names (of days, months, times)."""

    kind: str
    label: str
    axis: str
    unit: str
    names: Sequence[str]
    lines: Sequence[Line]
    band: tuple[int, int] | None = None  # lines, the upper first, between which all is well

    def data(self) -> str:
        """Return the numbers as JSON."""
        series = [{"label": line.label, "values": list(line.values)} for line in self.lines]
        values: dict[str, object] = {"kind": self.kind, "axis": self.axis, "unit": self.unit}
        if self.band:
            values["band"] = [place + 1 for place in self.band]  # uPlot's first series is x
        return json.dumps({**values, "names": list(self.names), "series": series})

    @cached_property
    def _ends(self) -> tuple[float, float]:
        known = [0.0, *(v for line in self.lines for v in line.values if v is not None)]
        return min(known), max(known) if any(known) else 1

    def _height(self, value: float) -> float:
        least, most = self._ends
        return (value - least) * (HEIGHT - 10) / (most - least)

    def bars(self) -> list[tuple[str, str, str, str, str]]:
        """Return (x, y, width, height, words) of each bar of the first row."""
        step = WIDTH / max(1, len(self.names))
        found = []
        for i, (name, value) in enumerate(zip(self.names, self.lines[0].values, strict=True)):
            height = self._height(value or 0)
            at = (i * step + step * 0.12, HEIGHT - 2 - height, step * 0.76, height)
            found.append((*(f"{number:.1f}" for number in at), f"{name}: {value} {self.unit}"))
        return found  # type: ignore[return-value]

    def paths(self) -> list[str]:
        """Return the path of each line; it breaks where a value is not known."""
        step = WIDTH / max(1, len(self.names) - 1)
        found = []
        for line in self.lines:
            path, pen = "", "M"
            for i, value in enumerate(line.values):
                if value is None:
                    pen = "M"
                    continue
                path += f"{pen}{i * step:.1f} {HEIGHT - 2 - self._height(value):.1f}"
                pen = "L"
            found.append(path)
        return found

    def area(self) -> str:
        """Return the path around the band, "" where there is none."""
        if not self.band:
            return ""
        step = WIDTH / max(1, len(self.names) - 1)
        upper, lower = (self.lines[place].values for place in self.band)
        there = [i for i, value in enumerate(upper) if value is not None]
        around = [(i, upper[i]) for i in there] + [(i, lower[i]) for i in reversed(there)]
        points = [f"{i * step:.1f} {HEIGHT - 2 - self._height(v or 0):.1f}" for i, v in around]
        return "M" + "L".join(points) + "Z" if points else ""


def energy(
    spans: Sequence[Span], label: str, axis: str, unit: str, name: Callable[[Span], str]
) -> Chart:
    """Return the bars of what was used."""
    values = [span.energy_wh / 1000 for span in spans]
    return Chart("bars", label, axis, unit, [name(s) for s in spans], [Line(unit, values)])


def curve(points: Sequence[tuple[int, int]], label: str, name: Callable[[int], str]) -> Chart:
    """Return the line of a power (time_s, tenths of a watt)."""
    shown = points[-_LINE_MOST:]
    values = [power_dw / 10 for _, power_dw in shown]
    return Chart("line", label, "", "W", [name(at) for at, _ in shown], [Line(label, values)])
