"""Summarise the incidents of each model in a period.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from stream_monitor.contracts import SEVERITY_RANK
from stream_monitor.episodes.formatting import format_time
from stream_monitor.episodes.incidents import Incident


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """The incidents of a model that were open at any time between ``since_ms`` and ``upto_ms``.

    Both are event times; the period ends with the model's latest alert.
    """

    model: str
    since_ms: int
    upto_ms: int
    opened: int
    closed: int
    still_open: int
    acknowledged: int
    episodes_by_kind: dict[str, int]
    episodes_by_severity: dict[str, int]
    worst: str | None
    open_incidents: list[str]


def digests(incidents: Iterable[Incident], span_ms: int) -> list[Digest]:
    """A digest for each model with incidents, by name; ``span_ms`` is the length of the period."""
    by_model: dict[str, list[Incident]] = {}
    for incident in incidents:
        by_model.setdefault(incident.model, []).append(incident)
    return [_digest(model, by_model[model], span_ms) for model in sorted(by_model)]


def _digest(model: str, incidents: Sequence[Incident], span_ms: int) -> Digest:
    members = [member for incident in incidents for member in incident.members]
    upto_ms = max(max(m.started_ms, m.ended_ms or 0) for m in members)
    since_ms = upto_ms - span_ms
    seen = [i for i in incidents if i.closed_ms is None or i.closed_ms >= since_ms]
    members_in_span = [
        m for i in seen for m in i.members if m.ended_ms is None or m.ended_ms >= since_ms
    ]
    opened = [i for i in seen if i.closed_ms is None]
    worst = max(seen, key=lambda i: (SEVERITY_RANK[i.severity], i.opened_ms), default=None)
    return Digest(
        model=model,
        since_ms=since_ms,
        upto_ms=upto_ms,
        opened=sum(i.opened_ms >= since_ms for i in seen),
        closed=len(seen) - len(opened),
        still_open=len(opened),
        acknowledged=sum(i.acknowledged for i in opened),
        episodes_by_kind=dict(sorted(Counter(m.kind for m in members_in_span).items())),
        episodes_by_severity=dict(sorted(Counter(m.severity for m in members_in_span).items())),
        worst=None if worst is None else worst.explanation,
        open_incidents=[i.explanation for i in opened],
    )


def lines_of(digest: Digest) -> list[str]:
    """Format a digest as text."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in digest.episodes_by_kind.items()) or "none"
    lines = [
        f"{digest.model}, {format_time(digest.since_ms)} to {format_time(digest.upto_ms)}",
        (
            f"  incidents  {digest.opened} opened, {digest.closed} resolved, "
            f"{digest.still_open} open ({digest.acknowledged} acknowledged)"
        ),
        f"  episodes   {kinds}",
    ]
    if digest.worst is not None:
        lines.append(f"  worst      {digest.worst}")
    return lines + [f"  open       {explanation}" for explanation in digest.open_incidents]
