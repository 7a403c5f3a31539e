"""Pictures as SVG, drawn by the server: sparklines, distributions, and the axis of an incident.

Colours come from the style sheet by class.  Texts from events are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from driftline.dashboard.window_series import FeatureBucket, usual_bins
from producer.printable import printable
from stream_monitor.contracts import SEVERITY_RANK
from stream_monitor.episodes.formatting import format_number, format_percent, format_time
from stream_monitor.episodes.incidents import Incident
from stream_monitor.reference.feature_reference import FeatureReference

_WIDTH, _HEIGHT = 116, 26
_LABEL_CHARS: Final = 9


class Distribution(NamedTuple):
    """Two distributions over the same bins, as shares, with the names of the bins."""

    labels: list[str]
    before: list[float]
    after: list[float]
    n_before: int
    n_after: int
    ordered: bool


def sparkline(
    values: Sequence[float], title: str, *, kind: str, limit: float | None = None
) -> Markup:
    """A line of the values over time; empty for fewer than two.

    ``kind`` is a class of the style sheet.  ``limit`` draws a threshold if it is in the range.
    """
    if len(values) < 2:
        return Markup("")
    top = max(*values, limit or 0.0, 1e-12)
    step = _WIDTH / (len(values) - 1)
    heights = [_HEIGHT - 2 - (_HEIGHT - 4) * value / top for value in values]
    line = " ".join(f"{i * step:.0f},{y:.1f}" for i, y in enumerate(heights))
    # The outline of the area continues outside of the picture, so that only the line is visible.
    left, right, below = f"-3,{heights[0]:.1f}", f"123,{heights[-1]:.1f}", _HEIGHT + 3
    rule = ""
    if limit is not None:
        y = _HEIGHT - 2 - (_HEIGHT - 4) * limit / top
        rule = f'<line x1="0" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return Markup(
        '<svg class="spark {}" viewBox="0 0 120 {}" role="img"><title>{}</title>{}'
        '<polygon points="-3,{} {} {} {} 123,{}"/><circle cx="{}" cy="{}" r="2"/></svg>'
    ).format(
        kind,
        _HEIGHT,
        title,
        Markup(rule),  # noqa: S704 - numbers only
        below,
        left,
        line,
        right,
        below,
        _WIDTH,
        f"{heights[-1]:.1f}",
    )


def bin_names(reference: FeatureReference) -> list[str]:
    """The names of the bins: a category, or the range of a numeric feature."""
    n = len(reference.bin_counts)
    if reference.kind != "numeric":
        if len(reference.bin_labels) == n:
            return [printable(label) for label in reference.bin_labels]
        if reference.kind == "boolean" and n == 2:
            return ["false", "true"]
        return [f"bin {i + 1}" for i in range(n)]
    quantiles = reference.quantiles
    if not len(quantiles):
        return [f"bin {i + 1}" for i in range(n)]
    edges = [
        float(quantiles[min(start // 2, len(quantiles) - 1)]) for start in reference.bin_starts
    ]
    names = []
    for i in range(n):
        low = edges[i] if i else None
        high = edges[i + 1] if i + 1 < n else None
        if low is None:
            names.append("all" if high is None else f"< {format_number(high)}")
        elif high is None:
            names.append(f"≥ {format_number(low)}")
        else:
            names.append(f"{format_number(low)} \N{EN DASH} {format_number(high)}")
    return names


def distribution(reference: FeatureReference, fresh: FeatureBucket | None) -> Distribution | None:
    """The reference and fresh values over the same bins; ``None`` where the bins do not fit.

    With a season, the reference is that of the same times of the day or week.
    """
    if not reference.bin_counts:
        return None
    if fresh is None:
        bins, usual = [0] * len(reference.bin_counts), list(reference.bin_counts)
    elif len(fresh.bins) != len(reference.bin_counts):
        return None
    else:
        bins, usual = list(fresh.bins), usual_bins(reference, fresh.start_ms, fresh.end_ms)
    return Distribution(
        labels=bin_names(reference),
        before=_shares(usual),
        after=_shares(bins),
        n_before=reference.n_events,
        n_after=0 if fresh is None else fresh.n,
        ordered=reference.kind == "numeric",
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def histogram(found: Distribution, *, width: int = 320, height: int = 112) -> Markup:
    """The reference as outlines and fresh values as bars, by bin, with the names below."""
    n = len(found.labels)
    if not n:
        return Markup("")
    bottom = height - 18
    top = max(*found.before, *found.after, 1e-9)
    slot = width / n
    bar = max(3.0, min(slot - 4, 30))
    parts: list[str] = []
    for i, name in enumerate(found.labels):
        x = i * slot + (slot - bar) / 2
        before, after = found.before[i], found.after[i]
        tip = f"{name}: {format_percent(before)} → {format_percent(after)}"
        parts.append(
            f"<g><title>{escape(tip)}</title>"
            f'<rect class="hit" x="{i * slot:.1f}" y="0" width="{slot:.1f}" height="{height}"/>'
            + _bar("after", x, bar, after / top, bottom)
            + _bar("before", x, bar, before / top, bottom)
            + "</g>"
        )
        if _is_named(i, n, ordered=found.ordered):
            label = name if len(name) <= _LABEL_CHARS or found.ordered else f"{name[:8]}…"
            anchor = "start" if i == 0 else "end" if i == n - 1 else "middle"
            at = 0 if i == 0 else width if i == n - 1 else i * slot + slot / 2
            parts.append(
                f'<text x="{at:.1f}" y="{height - 4}" text-anchor="{anchor}">{escape(label)}</text>'
            )
    words = f"Distribution over {n} bins: reference as outline, fresh values as bars"
    return Markup(
        '<svg class="histogram" viewBox="0 0 {} {}" role="img"><title>{}</title>'
        '<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>{}</svg>'
    ).format(width, height, words, width, bottom, bottom, Markup("".join(parts)))  # noqa: S704 - names are escaped above


def _bar(kind: str, x: float, width: float, part: float, bottom: int) -> str:
    tall = part * (bottom - 4)
    if kind == "before":  # an open outline, so that both remain visible
        left, right, y = x - 1.5, x + width + 1.5, bottom - tall
        return f'<path class="before" d="M{left:.1f} {bottom}V{y:.1f}H{right:.1f}V{bottom}"/>'
    return (
        f'<rect class="after" x="{x:.1f}" y="{bottom - tall:.1f}" width="{width:.1f}" '
        f'height="{tall:.1f}"/>'
    )


def _is_named(i: int, n: int, *, ordered: bool) -> bool:
    """Whether the name of a bin fits: first, middle and last of a numeric feature."""
    return i in (0, n // 2, n - 1) if ordered else n <= 6 or i in (0, n // 2, n - 1)


_AXIS_WIDTH: Final = 1080
_AXIS_LEFT: Final = 190
_LANE: Final = 26
_AXIS_TOP: Final = 26
_NAME_CHARS: Final = 26
MAX_LANES: Final = 24


class AxisEvent(NamedTuple):
    """Something that happened at a moment: a deploy, a step of a retrain, an answer of a person."""

    time_ms: int
    kind: str
    text: str


def incident_axis(incident: Incident, events: Sequence[AxisEvent], until_ms: int) -> Markup:
    """The episodes of an incident from onset to end on one axis, with events as vertical lines."""
    members = incident.members[:MAX_LANES]
    ends = [m.ended_ms or until_ms for m in members]
    first = min(m.onset_ms for m in members)
    last = max(*ends, *(m.started_ms for m in members), first + 3_600_000)
    pad = (last - first) // 25
    low, high = first - pad, last + pad
    shown = [event for event in events if low <= event.time_ms <= high]
    rows = len(members) + (1 if shown else 0)
    height = _AXIS_TOP + rows * _LANE + 8

    def x(time_ms: int) -> float:
        return _AXIS_LEFT + (_AXIS_WIDTH - _AXIS_LEFT - 10) * (time_ms - low) / max(1, high - low)

    parts = [_grid(low, high, x(low), x(high), height)]
    for i, member in enumerate(members):
        y = _AXIS_TOP + i * _LANE
        end = max(member.ended_ms or until_ms, member.onset_ms)
        width = max(3.0, x(end) - x(member.onset_ms))
        title = f"{member.explanation} Onset {format_time(member.onset_ms)}."
        parts.append(
            f"<g><title>{escape(printable(title))}</title>"
            f'<text class="name" x="0" y="{y + 16}">{escape(_cut(member.name))}</text>'
            f'<rect class="rank{SEVERITY_RANK[member.severity]}" x="{x(member.onset_ms):.1f}" '
            f'y="{y + 6}" width="{width:.1f}" '
            f'height="12" rx="2" opacity="{0.9 if member.ended_ms is None else 0.45}"/>'
            f'<circle class="rank{SEVERITY_RANK[member.severity]}" '
            f'cx="{x(member.started_ms):.1f}" cy="{y + 12}" r="6"/></g>'
        )
    if shown:
        y = _AXIS_TOP + len(members) * _LANE
        parts.append(f'<text class="name" x="0" y="{y + 16}">Deploys, retrains, people</text>')
        for event in shown:
            at = x(event.time_ms)
            title = f"{format_time(event.time_ms)}: {event.text}"
            parts.append(
                f'<g class="{event.kind}"><title>{escape(printable(title))}</title>'
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_AXIS_TOP - 4}" y2="{y + 12}" '
                f'stroke-dasharray="3 3"/><circle cx="{at:.1f}" cy="{y + 12}" r="5"/></g>'
            )
    return Markup(
        '<svg class="lanes" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(
        _AXIS_WIDTH,
        height,
        "Episodes from onset to end; the circle is the first alert",
        Markup("".join(parts)),  # noqa: S704 - texts are escaped above
    )


def _cut(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _NAME_CHARS else f"{text[: _NAME_CHARS - 1]}…"


def _grid(low: int, high: int, left: float, right: float, height: int) -> str:
    """Five moments with vertical lines."""
    parts = []
    for i in range(5):
        at = left + (right - left) * i / 4
        moment = datetime.fromtimestamp((low + (high - low) * i / 4) / 1000, UTC)
        anchor = "start" if i == 0 else "end" if i == 4 else "middle"
        text = f"{moment.day} {moment:%b %H:%M}"
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height - 4}"/>'
            f'<text x="{at:.1f}" y="12" text-anchor="{anchor}">{text}</text>'
        )
    return "".join(parts)
