"""Excluded time ranges: event time in which a model's inputs were broken.

The cause is a change of unit, or a severe rise of missing or unknown values.  Events of an excluded
range train no model.  Where values are missing, invalid or unknown, the others are as good as ever,
so only the events without a valid value are excluded.  A name that the reference does not have is
valid: it is new more often than broken, and only training on it teaches a model what it means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stream_monitor.contracts import ENDED_PHASES, DriftAlert
from stream_monitor.reference.feature_reference import FeatureKind


class ExcludedRange(NamedTuple):
    """Event time from the onset of a quality episode to its end; ``None``: still open.

    It excludes events of ``version``, or of all versions with ``None``.  Another version has
    quality episodes of its own.  With ``feature`` it excludes only events that have no valid value
    of this feature, which is of that ``kind``.

    >>> ExcludedRange("e1", 10, None).covers(10, "1"), ExcludedRange("e1", 10, 20).covers(21, "1")
    (True, False)
    >>> ExcludedRange("e1", 10, None, "1").covers(10, "2")
    False
    >>> new_names = ExcludedRange("e1", 10, None, "1", "agent", "categorical")
    >>> [new_names.covers(10, "1", {"agent": value}) for value in ("a new one", None)]
    [False, True]
    """

    episode_id: str
    start_ms: int
    end_ms: int | None
    version: str | None = None
    feature: str | None = None
    kind: FeatureKind | None = None

    def covers(
        self, time_ms: int, version: str, features: Mapping[str, object] | None = None
    ) -> bool:
        """Whether an event is excluded; one with unknown ``features`` is, wherever one may be."""
        if not self.start_ms <= time_ms or (self.end_ms is not None and time_ms > self.end_ms):
            return False
        if self.version not in (None, version):
            return False
        if self.feature is None or self.kind is None or features is None:
            return True
        value = features.get(self.feature)
        if isinstance(value, str):
            return self.kind != "categorical"
        return value is None or (isinstance(value, float) and not math.isfinite(value))


def excludes_data(alert: DriftAlert) -> bool:
    """Whether the alert is about inputs that must not train a model."""
    severe = alert.kind == "quality" and alert.severity == "high"
    return severe or alert.cause == "unit_change"


def excluded_range_of(alert: DriftAlert) -> ExcludedRange:
    """Return the excluded time range as of this alert."""
    over = alert.phase in ENDED_PHASES
    end_ms = alert.decided_ms if over else None
    return ExcludedRange(alert.episode_id, alert.onset_ms, end_ms, alert.version)


def is_excluded(
    time_ms: int,
    version: str,
    excluded_ranges: Iterable[ExcludedRange],
    features: Mapping[str, object] | None = None,
) -> bool:
    """Whether any of the ranges covers an event of that time, version and features."""
    return any(one.covers(time_ms, version, features) for one in excluded_ranges)
