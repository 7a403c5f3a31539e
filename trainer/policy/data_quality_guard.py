"""The data-quality guard: no retrain for the drift of a feature whose data are broken.

A broken source looks like drift.  While its quality episode is open, drift of its feature proves
nothing; afterwards only later events count.  Alerts that do not concern one feature (correlations,
predictions, the error rate) are not guarded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stream_monitor.contracts import ENDED_PHASES, DriftAlert


class QualityEpisode(NamedTuple):
    """Broken data of one feature, in event time; ``end_ms`` is None while no end is known.

    ``explanation`` is that of the episode's first alert: later ones may describe a person's action.
    """

    episode_id: str
    feature: str
    segment: str | None
    start_ms: int
    end_ms: int | None
    explanation: str


def is_data_quality(alert: DriftAlert) -> bool:
    """Whether the alert is about broken data."""
    return alert.kind == "quality" or alert.cause == "unit_change"


def quality_episode_of(alert: DriftAlert) -> QualityEpisode | None:
    """Return the episode of an alert; ``None`` if it is not about broken data of one feature."""
    if alert.feature is None or not is_data_quality(alert):
        return None
    end_ms = alert.decided_ms if alert.phase in ENDED_PHASES else None
    return QualityEpisode(
        alert.episode_id, alert.feature, alert.segment, alert.onset_ms, end_ms, alert.explanation
    )


def open_quality_episode(
    alert: DriftAlert, episodes: Iterable[QualityEpisode]
) -> QualityEpisode | None:
    """Return the earliest open episode that may cause the drift."""
    found = [one for one in episodes if one.end_ms is None and _concerns(alert, one)]
    return min(found, key=lambda one: (one.start_ms, one.episode_id), default=None)


def valid_since_ms(alert: DriftAlert, episodes: Iterable[QualityEpisode]) -> int:
    """Return the event time from which events prove the drift.

    That is the onset, or the end of broken data after it.
    """
    ends = [one.end_ms for one in episodes if one.end_ms is not None and _concerns(alert, one)]
    return max([alert.onset_ms, *ends])


def _concerns(alert: DriftAlert, episode: QualityEpisode) -> bool:
    same = alert.kind == "data" and alert.feature == episode.feature
    return same and segments_overlap(alert.segment, episode.segment)


def segments_overlap(one: str | None, other: str | None) -> bool:
    """Whether an event may be in both segments; ``None`` is all traffic.

    >>> segments_overlap(None, "origin=EWR"), segments_overlap("origin=EWR", "carrier=UA")
    (True, True)
    >>> segments_overlap("origin=EWR", "origin=JFK")
    False
    """
    if one is None or other is None or one == other:
        return True
    return one.partition("=")[0] != other.partition("=")[0]
