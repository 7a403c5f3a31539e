"""Small pictures as SVG, drawn by the server: sparklines, and a distribution before and after.

Colours come from the style sheet by class.  Texts from events are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from driftline.dashboard.window_series import FeatureBucket, usual_bins
from producer.printable import printable
from stream_monitor.episodes.formatting import format_number, format_percent
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
