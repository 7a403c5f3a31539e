"""A chart over time as SVG, for files that run no script.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from driftline.dashboard.charts import Chart, Line
from driftline.dashboard.page_templates import shown_time
from stream_monitor.episodes.formatting import format_number, format_percent

_WIDTH: Final = 360
_LEFT: Final = 46
_TOP: Final = 6
_BELOW: Final = 18


class _Axes(NamedTuple):
    """Maps moments (s) and values to positions in the picture."""

    first: float
    last: float
    low: float
    high: float
    bottom: float

    def x(self, at: float) -> float:
        part = (min(max(at, self.first), self.last) - self.first) / (self.last - self.first)
        return _LEFT + part * (_WIDTH - _LEFT)

    def y(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return self.bottom - part * (self.bottom - _TOP)


def line_picture(chart: Chart, title: str, *, height: int = 130) -> Markup:
    """The series of a chart, with its limits, bands and marks; empty for fewer than two moments."""
    values = [value for line in chart.series for value in line.y if value is not None]
    if len(chart.x) < 2 or not values:
        return Markup("")
    low = 0.0 if chart.zero else min(*values, *chart.limits.values())
    high = max(*values, chart.top, *chart.limits.values())
    axes = _Axes(chart.x[0], chart.x[-1], low, high if high > low else low + 1.0, height - _BELOW)
    shown: Callable[[float], str] = format_percent if chart.unit == "percent" else format_number
    parts = [
        *(_band(axes, band.start, band.end, band.kind) for band in chart.bands),
        *(_limit(axes, kind, value) for kind, value in chart.limits.items()),
        *(_series(axes, chart.x, line) for line in chart.series),
        *(_mark(axes, mark.at, mark.text) for mark in chart.marks),
        _text(_LEFT - 6, _TOP + 8, "end", shown(axes.high)),
        _text(_LEFT - 6, axes.bottom, "end", shown(axes.low)),
        _text(_LEFT, height - 4, "start", shown_time(round(axes.first * 1000))),
        _text(_WIDTH, height - 4, "end", shown_time(round(axes.last * 1000))),
    ]
    return Markup(
        '<svg class="lines" viewBox="0 0 {} {}" role="img"><title>{}</title>'
        '<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>{}</svg>'
    ).format(
        _WIDTH,
        height,
        title,
        _LEFT,
        _WIDTH,
        axes.bottom,
        axes.bottom,
        Markup("".join(parts)),  # noqa: S704 - texts are escaped below
    )


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _band(axes: _Axes, start: float, end: float, kind: str) -> str:
    if end < axes.first or start > axes.last:
        return ""
    left, right = axes.x(start), axes.x(end)
    return (
        f'<rect class="band {escape(kind)}" x="{left:.1f}" y="{_TOP}" '
        f'width="{max(1.0, right - left):.1f}" height="{axes.bottom - _TOP:.1f}"/>'
    )


def _limit(axes: _Axes, kind: str, value: float) -> str:
    y = axes.y(value)
    return (
        f'<line class="limit {escape(kind)}" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
    )


def _mark(axes: _Axes, at: float, text: str) -> str:
    if not axes.first <= at <= axes.last:
        return ""
    x = axes.x(at)
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{axes.bottom:.1f}">'
        f"<title>{escape(text)}</title></line>"
    )


def _series(axes: _Axes, moments: Sequence[float], line: Line) -> str:
    path, pen_down = [], False
    for at, value in zip(moments, line.y, strict=True):
        if value is not None:
            step = "L" if pen_down else "M"
            path.append(f"{step}{axes.x(at):.1f} {axes.y(value):.1f}" + "h.1" * (not pen_down))
        pen_down = value is not None
    dash = " dash" if line.dash else ""
    return f'<path class="series {escape(line.kind)}{dash}" d="{"".join(path)}"/>'
