"""Broken data beside a drift: quality episodes of the very feature that is told to drift.

What a broken source sends looks like drift.  While it is open, drift of its feature says nothing
sure of the world; once it is over, only events after it do.  Alerts that are not of one feature
(relations, predictions, the loss) have no such neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stream_monitor.contracts import ENDED_PHASES, DriftAlert


class QualityEpisode(NamedTuple):
    """Broken data of one feature; ``end_ms`` None: no end was told.  Times are event time.

    ``explanation`` is that of the first alert of it: later ones may tell what a person did.
    """

    episode_id: str
    feature: str
    segment: str | None
    start_ms: int
    end_ms: int | None
    explanation: str


def is_data_quality(alert: DriftAlert) -> bool:
    """Whether the alert tells of broken data."""
    return alert.kind == "quality" or alert.cause == "unit_change"


def quality_episode_of(alert: DriftAlert) -> QualityEpisode | None:
    """The episode as far as the alert knows it; ``None`` where it is not one feature's."""
    if alert.feature is None or not is_data_quality(alert):
        return None
    end_ms = alert.decided_ms if alert.phase in ENDED_PHASES else None
    return QualityEpisode(
        alert.episode_id, alert.feature, alert.segment, alert.onset_ms, end_ms, alert.explanation
    )


def open_quality_episode(
    alert: DriftAlert, episodes: Iterable[QualityEpisode]
) -> QualityEpisode | None:
    """The earliest of the open episodes that the drift may come from."""
    found = [one for one in episodes if one.end_ms is None and _concerns(alert, one)]
    return min(found, key=lambda one: (one.start_ms, one.episode_id), default=None)


def valid_since_ms(alert: DriftAlert, episodes: Iterable[QualityEpisode]) -> int:
    """From when on events prove the drift: its onset, or the end of what was broken after it."""
    ends = [one.end_ms for one in episodes if one.end_ms is not None and _concerns(alert, one)]
    return max([alert.onset_ms, *ends])


def _concerns(alert: DriftAlert, episode: QualityEpisode) -> bool:
    same = alert.kind == "data" and alert.feature == episode.feature
    return same and segments_overlap(alert.segment, episode.segment)


def segments_overlap(one: str | None, other: str | None) -> bool:
    """Whether an event may lie in both segments; ``None`` is the whole traffic.

    >>> segments_overlap(None, "origin=EWR"), segments_overlap("origin=EWR", "carrier=UA")
    (True, True)
    >>> segments_overlap("origin=EWR", "origin=JFK")
    False
    """
    if one is None or other is None or one == other:
        return True
    return one.partition("=")[0] != other.partition("=")[0]
