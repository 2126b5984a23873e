"""Draws the dashboard as Grafana lays it out, from what a Prometheus answers:

python examples/observability/picture.py http://localhost:9090 60 dashboard.png
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import MINUTELY, AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

DASHBOARD: dict[str, Any] = json.loads(Path(__file__).with_name("dashboard.json").read_text())

COLUMN, ROW, HEAD, GAP = (
    40,
    27,
    44,
    5,
)  # pixels: those of Grafana's grid, of our title, between panels
Values = NDArray[np.float64]
LINES = [
    "#5794f2", "#ff9830", "#73bf69", "#f2495c", "#b877d9", "#e0b400", "#37b5c9", "#a0785a", "#8e9aaf", "#e377c2",
]  # fmt: skip


@dataclass(frozen=True)
class Theme:
    name: str
    page: str
    panel: str
    border: str
    text: str
    quiet: str


LIGHT = Theme("light", "#f4f5f5", "#ffffff", "#dcdfe3", "#24292e", "#5f6670")
DARK = Theme("dark", "#111217", "#181b1f", "#2c3038", "#d8d9da", "#9aa1ab")


@dataclass(frozen=True)
class Window:
    """The time range, in seconds; steps and `$__rate_interval` are as Grafana chooses them."""

    end: float
    seconds: float
    scrape: float = 15.0

    @property
    def step(self) -> float:
        return max(self.seconds / 200, self.scrape)

    @property
    def rate(self) -> float:
        return max(4 * self.scrape, self.step + self.scrape)

    @property
    def times(self) -> Values:
        return self.end - self.seconds + self.step * np.arange(int(self.seconds / self.step) + 1)


@dataclass(frozen=True)
class Prometheus:
    """Answers the queries of panels, as Grafana would ask them."""

    client: httpx.Client
    window: Window

    def lines(self, panel: dict[str, Any]) -> dict[str, Values]:
        """Each line of a panel, by its legend."""
        found = {
            named(legend, row["metric"]): self._values(row) for legend, row in self._rows(panel)
        }
        return {name: found[name] for name in sorted(found) if not np.isnan(found[name]).all()}

    def _rows(self, panel: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        times, rate = self.window.times, f"{self.window.rate * 1000:.0f}ms"
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", rate).replace("$graph", ".*")
            params = {"start": times[0], "end": times[-1], "step": self.window.step, "query": query}
            told = self.client.get("/api/v1/query_range", params=params).raise_for_status().json()
            yield from ((target["legendFormat"], row) for row in told["data"]["result"])

    def _values(self, row: dict[str, Any]) -> Values:
        values = np.full(len(self.window.times), np.nan)
        for at, value in row["values"]:
            values[round((at - self.window.times[0]) / self.window.step)] = float(value)
        return values


def draw(prometheus: Prometheus, theme: Theme = LIGHT) -> Figure:
    """The whole dashboard, one pair of axes per panel."""
    panels = DASHBOARD["panels"]
    width = 24 * COLUMN
    height = HEAD + ROW * max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels) + GAP
    figure = Figure(figsize=(width / 100, height / 100), dpi=200, facecolor=theme.page)
    sheet = Sheet(figure, FigureCanvasAgg(figure), theme, width, height)
    told = datetime.fromtimestamp(prometheus.window.end, UTC)
    sheet.write(12, HEAD / 2 + 2, DASHBOARD["title"], size=10.5, weight="bold")
    last = f"{prometheus.window.seconds / 60:.3g} minutes until {told:%H:%M} UTC"
    sheet.write(width - 12, HEAD / 2 + 2, last, size=7.5, ha="right", color=theme.quiet)
    for panel in panels:
        sheet.panel(panel, prometheus.lines(panel), prometheus.window)
    return figure


@dataclass(frozen=True)
class Sheet:
    """A figure with pixel coordinates from its upper left corner."""

    figure: Figure
    canvas: FigureCanvasAgg
    theme: Theme
    width: int
    height: int

    def write(self, x: float, y: float, text: str, **style: Any) -> Any:
        style = {"color": self.theme.text, "va": "center", **style}
        return self.figure.text(x / self.width, 1 - y / self.height, text, **style)

    def panel(self, panel: dict[str, Any], lines: dict[str, Values], window: Window) -> None:
        """Place a panel where Grafana would."""
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        left, top = x * COLUMN + GAP, y * ROW + HEAD
        wide, high = w * COLUMN - 2 * GAP, h * ROW - 2 * GAP
        self._card(left, top, wide, high)
        self.write(left + 10, top + 15, panel["title"], size=7.6, weight="bold")
        colors = dict(zip(lines, colors_of(panel, list(lines)), strict=True))
        bottom = self._legend(colors, left + 10, top + high - 12, left + wide - 10)
        axes = self._axes(panel, left + 48, bottom - 19, wide - 62, bottom - top - 50)
        self._plot(axes, lines, colors, window.times.astype("datetime64[s]"))

    def _card(self, left: float, top: float, wide: float, high: float) -> None:
        style = {"facecolor": self.theme.panel, "edgecolor": self.theme.border, "linewidth": 0.6}
        corner = (left / self.width, 1 - (top + high) / self.height)
        size = (wide / self.width, high / self.height)
        card = Rectangle(
            corner, *size, transform=self.figure.transFigure, zorder=-1, antialiased=False, **style
        )
        self.figure.add_artist(card)

    def _legend(self, colors: dict[str, str], left: float, bottom: float, right: float) -> float:
        """Write names in as many rows as they need, the last one at the bottom; gives the top of the first."""
        rows, x = [list[tuple[float, str]]()], left
        for name in colors:
            wide = 18 + self._width(name)
            if rows[-1] and x + wide > right:
                rows.append([])
                x = left
            rows[-1].append((x, name))
            x += wide + 12
        for y, row in zip(range(int(bottom), 0, -13), reversed(rows), strict=False):
            for x, name in row:
                self.write(x, y - 0.5, "━", size=7, color=colors[name])
                self.write(x + 15, y, name, size=6.6, color=self.theme.quiet)
        return bottom - 13 * len(rows) + 3

    def _width(self, name: str) -> float:
        text = self.write(0, 0, name, size=6.6)
        box = text.get_window_extent(self.canvas.get_renderer())
        text.remove()
        return box.width * 100 / self.figure.dpi

    def _axes(
        self, panel: dict[str, Any], left: float, bottom: float, wide: float, high: float
    ) -> Axes:
        box = (left / self.width, 1 - bottom / self.height, wide / self.width, high / self.height)
        axes = self.figure.add_axes(box, facecolor="none", label=panel["title"])
        axes.spines[:].set_visible(False)
        axes.grid(color=self.theme.border, linewidth=0.5)
        axes.tick_params(length=0, labelsize=6.4, labelcolor=self.theme.quiet, pad=3)
        ticks = AutoDateLocator(minticks=3, maxticks=6)
        ticks.intervald[MINUTELY] = [1, 2, 5, 10, 15, 30]
        axes.xaxis.set_major_locator(ticks)
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
        axes.yaxis.set_major_locator(MaxNLocator(4 if high > 70 else 2, steps=[1, 2, 5, 10]))
        unit = panel["fieldConfig"]["defaults"]["unit"]
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: with_unit(value, unit)))
        return axes

    def _plot(
        self, axes: Axes, lines: dict[str, Values], colors: dict[str, str], times: Any
    ) -> None:
        for name, values in lines.items():
            axes.plot(times, values, color=colors[name], linewidth=1.1)
            axes.fill_between(times, values, color=colors[name], alpha=0.08, linewidth=0)
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(0, 1.1 * max(map(np.nanmax, lines.values()), default=0) or 1)
        if not lines:
            style = {"size": 7.5, "ha": "center", "color": self.theme.quiet}
            axes.text(0.5, 0.5, "No data", transform=axes.transAxes, **style)


def colors_of(panel: dict[str, Any], names: list[str]) -> list[str]:
    """A line's color: the one that the dashboard sets for its name, else the next one."""
    fixed = [
        (rule["matcher"]["options"].strip("/"), rule["properties"][0]["value"]["fixedColor"])
        for rule in panel["fieldConfig"]["overrides"]
    ]
    others = cycle(LINES)
    return [
        next((color for ending, color in fixed if re.search(ending, name)), None) or next(others)
        for name in names
    ]


def named(legend: str, labels: dict[str, str]) -> str:
    """A line's legend."""
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), legend)


def with_unit(value: float, unit: str) -> str:
    """A number with its unit, as Grafana writes it."""
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    number = f"{value / 1000:.3g} K" if value >= 1000 else f"{value:.3g}"
    if unit == "currencyUSD":
        return f"${number}"
    return number + {"s": " s", "short": ""}.get(unit, unit.removeprefix("suffix:"))


def save(figure: Figure, file: Path) -> None:
    """Write a PNG of few colours, a third of the size."""
    figure.savefig(file, facecolor=figure.get_facecolor())
    with Image.open(file) as image:
        image.convert("RGB").quantize(128).save(file, optimize=True)


def main(address: str, minutes: str, file: str) -> None:
    with httpx.Client(base_url=address, timeout=30) as client:
        save(draw(Prometheus(client, Window(time.time(), float(minutes) * 60))), Path(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
