"""The time axis of an incident: a lane for each episode, with deploys, retrains and answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from producer.printable import printable
from stream_monitor.contracts import SEVERITY_RANK
from stream_monitor.episodes.formatting import format_time
from stream_monitor.episodes.incidents import Incident

_WIDTH: Final = 1080
_LEFT: Final = 190
_LANE: Final = 26
_TOP: Final = 26
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
    height = _TOP + rows * _LANE + 8

    def x(time_ms: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * (time_ms - low) / max(1, high - low)

    parts = [_grid(low, high, x(low), x(high), height)]
    for i, member in enumerate(members):
        y = _TOP + i * _LANE
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
        y = _TOP + len(members) * _LANE
        parts.append(f'<text class="name" x="0" y="{y + 16}">Deploys, retrains, people</text>')
        for event in shown:
            at = x(event.time_ms)
            title = f"{format_time(event.time_ms)}: {event.text}"
            parts.append(
                f'<g class="{event.kind}"><title>{escape(printable(title))}</title>'
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 4}" y2="{y + 12}" '
                f'stroke-dasharray="3 3"/><circle cx="{at:.1f}" cy="{y + 12}" r="5"/></g>'
            )
    return Markup(
        '<svg class="lanes" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(
        _WIDTH,
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
