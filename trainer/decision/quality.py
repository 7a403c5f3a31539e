"""Broken spans: event time in which a model's inputs were not what they say.

A change of unit, or a severe surge of missing or unseen values.  Its events train no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stream_monitor.contracts import ENDED, DriftAlert


class Span(NamedTuple):
    """From the onset of a data-quality episode to its end, in event time; ``None``: still open.

    >>> Span("e1", 10, None).covers(10), Span("e1", 10, 20).covers(21)
    (True, False)
    """

    episode_id: str
    start_ms: int
    end_ms: int | None

    def covers(self, time_ms: int) -> bool:
        """Whether an event of that time lies inside."""
        return self.start_ms <= time_ms and (self.end_ms is None or time_ms <= self.end_ms)


def is_broken(alert: DriftAlert) -> bool:
    """Whether the alert tells of inputs that must not train a model."""
    severe = alert.kind == "quality" and alert.severity == "high"
    return severe or alert.cause == "unit_change"


def span_of(alert: DriftAlert) -> Span:
    """The span as far as the alert knows it."""
    over = alert.phase in ENDED
    return Span(alert.episode_id, alert.onset_ms, alert.decided_ms if over else None)


def covered(time_ms: int, spans: Iterable[Span]) -> bool:
    """Whether any span covers an event of that time."""
    return any(span.covers(time_ms) for span in spans)
