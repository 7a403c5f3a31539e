"""Excluded time ranges: event time in which a model's inputs were broken.

The cause is a change of unit, or a severe rise of missing or unknown values.  Events of an excluded
range train no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stream_monitor.contracts import ENDED_PHASES, DriftAlert


class ExcludedRange(NamedTuple):
    """Event time from the onset of a quality episode to its end; ``None``: still open.

    It excludes events of ``version``, or of all versions with ``None``.  Another version has
    quality episodes of its own.

    >>> ExcludedRange("e1", 10, None).covers(10, "1"), ExcludedRange("e1", 10, 20).covers(21, "1")
    (True, False)
    >>> ExcludedRange("e1", 10, None, "1").covers(10, "2")
    False
    """

    episode_id: str
    start_ms: int
    end_ms: int | None
    version: str | None = None

    def covers(self, time_ms: int, version: str) -> bool:
        """Whether an event of that time and version is excluded."""
        here = self.start_ms <= time_ms and (self.end_ms is None or time_ms <= self.end_ms)
        return here and self.version in (None, version)


def excludes_data(alert: DriftAlert) -> bool:
    """Whether the alert is about inputs that must not train a model."""
    severe = alert.kind == "quality" and alert.severity == "high"
    return severe or alert.cause == "unit_change"


def excluded_range_of(alert: DriftAlert) -> ExcludedRange:
    """Return the excluded time range as of this alert."""
    over = alert.phase in ENDED_PHASES
    end_ms = alert.decided_ms if over else None
    return ExcludedRange(alert.episode_id, alert.onset_ms, end_ms, alert.version)


def is_excluded(time_ms: int, version: str, excluded_ranges: Iterable[ExcludedRange]) -> bool:
    """Whether any of the ranges covers an event of that time and version."""
    return any(excluded_range.covers(time_ms, version) for excluded_range in excluded_ranges)
