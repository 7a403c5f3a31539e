"""Excluded time ranges: event time in which a model's inputs were broken.

The cause is a change of unit, a constant, or a severe rise of missing, unknown or odd values.
Events of an excluded range train no model.  A change of unit changes all values.  Where values are
missing, invalid or unknown, the others are as good as ever, and where values are out of range or
repeat an unknown one, the monitor has found that the others did not change: there only the events
without a valid value are excluded.  A name that the reference does not have is valid: it is new
more often than broken, and only training on it teaches a model what it means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from stream_monitor.contracts import ENDED_PHASES, DriftAlert
from stream_monitor.reference.feature_reference import FeatureReference

ODD_VALUES: Final = "odd_values"
PARTIAL_CAUSES: Final = ("", ODD_VALUES)
"""Causes of episodes in which only some values are broken; missing values have none."""


class ValidValues(NamedTuple):
    """The values of a feature that may train while some of its values are broken.

    Numbers from ``low`` to ``high`` without the ``repeated`` one; names if the feature has names.

    >>> ValidValues(0.0, 99.0, repeated=50.0).hold(51), ValidValues(0.0, 99.0).hold(100.0)
    (True, False)
    >>> [ValidValues(names=True).hold(value) for value in ("a new one", None, math.nan)]
    [True, False, False]
    """

    low: float = -math.inf
    high: float = math.inf
    repeated: float | None = None
    names: bool = False

    def hold(self, value: object) -> bool:
        """Whether the value is valid."""
        if isinstance(value, str):
            return self.names
        if not isinstance(value, int | float) or not -math.inf < value < math.inf:
            return False
        return self.low <= value <= self.high and value != self.repeated


def valid_values(
    reference: FeatureReference, cause: str, repeated: float | None
) -> ValidValues | None:
    """Return the valid values in an episode of one of `PARTIAL_CAUSES`; ``None`` if unknown."""
    if cause != ODD_VALUES:
        return ValidValues(names=reference.kind == "categorical")
    bounds = reference.bounds
    return None if bounds is None else ValidValues(bounds.low, bounds.high, repeated)


class ExcludedRange(NamedTuple):
    """Event time from the onset of a quality episode to its end; ``None``: still open.

    It excludes events of ``version``, or of all versions with ``None``.  Another version has
    quality episodes of its own.  With ``valid`` it excludes only events whose value of ``feature``
    is not one of these.

    >>> ExcludedRange("e1", 10, None).covers(10, "1"), ExcludedRange("e1", 10, 20).covers(21, "1")
    (True, False)
    >>> ExcludedRange("e1", 10, None, "1").covers(10, "2")
    False
    >>> hot = ExcludedRange("e1", 10, None, "1", "temp", ValidValues(-20.0, 120.0))
    >>> [hot.covers(10, "1", {"temp": value}) for value in (50.0, 999.0, None)]
    [False, True, True]
    """

    episode_id: str
    start_ms: int
    end_ms: int | None
    version: str | None = None
    feature: str | None = None
    valid: ValidValues | None = None

    def covers(
        self, time_ms: int, version: str, features: Mapping[str, object] | None = None
    ) -> bool:
        """Whether an event is excluded; one with unknown ``features`` is, wherever one may be."""
        if not self.start_ms <= time_ms or (self.end_ms is not None and time_ms > self.end_ms):
            return False
        if self.version not in (None, version):
            return False
        if self.feature is None or self.valid is None or features is None:
            return True
        return not self.valid.hold(features.get(self.feature))


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
