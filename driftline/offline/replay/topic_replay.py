"""Replay a range of the event topic: each partition through its own `PartitionMonitor`.  Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from driftline.offline.replay.replay_episodes import (
    ReplayEpisode,
    ReplayResult,
    episodes_of,
    series_names,
)
from driftline.offline.replay.topic_range import TopicRange
from driftline.offline.tables.source_error import SourceError
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.reference.profile import Origin, ReferenceProfile
from stream_monitor.windows.closed_window import ClosedWindow

ProfileByVersion: TypeAlias = dict[tuple[int, str], ReferenceProfile]
"""The last reference of each version in each partition."""


class VersionReplay(NamedTuple):
    """The events of a version in the range; ``reference`` is the origin of its reference or null.

    A version has two of these if one partition uses the announced profile and another one its first
    events.  ``watched`` counts the events without those that the reference was learned from.
    ``reference_events`` and ``events_per_week`` are those of the first partition.
    """

    version: str
    events: int
    watched: int
    reference: Origin | None
    reference_events: int
    events_per_week: float | None = None


@dataclass(frozen=True, kw_only=True)
class TopicReplay(ReplayResult):
    """The result of a replay of a topic; ``profiles`` are the references that were used.

    ``coverage_episodes`` are the episodes about events that were not watched.
    """

    versions: list[VersionReplay]
    coverage_episodes: list[ReplayEpisode]
    profiles: list[ReferenceProfile]


def replay_topic(records: TopicRange, spec: MonitorSpec) -> TopicReplay:
    """Replay the records of every partition, as a monitor that starts at the range.

    Raises:
        SourceError: no version has a reference: none was announced, and there are too few events.
    """
    began = time.monotonic()
    profile_by_version: ProfileByVersion = {}
    alerts_by_row: list[tuple[int, DriftAlert]] = []
    rejected: list[DeadLetter] = []
    windows: list[ClosedWindow] = []
    episodes: list[ReplayEpisode] = []
    coverage_episodes: list[ReplayEpisode] = []
    suspected: set[str] = set()
    n_suppressed = 0
    for part in records.parts:
        monitor = PartitionMonitor(records.topic, part.partition, spec)
        alerts: list[DriftAlert] = []
        for batch in part.batches(records.topic):
            seen = monitor.observe(batch)
            # Ignore alerts about unreadable records: they are not of this model.
            alerts += [alert for alert in seen.alerts if alert.model == records.model]
            rejected += seen.dead_letters
            windows += [window for window in seen.windows if window.model == records.model]
            model = monitor.models.get(records.model)
            for version, watched in model.versions.items() if model is not None else ():
                profile_by_version[part.partition, version] = watched.profile
        if (model := monitor.models.get(records.model)) is not None:
            suspected |= {key for watched in model.versions.values() for key in watched.suspected()}
            n_suppressed += model.open_episodes.suppressed
        alerts_by_row += [
            (part.row(alert.decided_offset, alert.decided_row), alert) for alert in alerts
        ]
        episodes += episodes_of(alerts, part.row, str, timed=True)
        coverage_episodes += episodes_of(alerts, part.row, str, timed=True, coverage=True)
    versions = _versions(records, profile_by_version)
    if not any(version.watched for version in versions):
        raise SourceError(
            f"{records.topic}: no version of {records.model!r} has a reference in this range: no "
            f"profile was announced, and there are fewer than {spec.warm_up_events:,} events to "
            "learn one from",
            fix="give --reference first:10%, or announce a profile: driftline profile send",
        )
    return TopicReplay(
        n_events=sum(version.watched for version in versions),
        n_reference=sum(version.reference_events for version in versions),
        n_features=len(
            {name for profile in profile_by_version.values() for name in profile.features}
        ),
        alerts=[alert for _, alert in sorted(alerts_by_row, key=lambda pair: pair[0])],
        windows=windows,
        rejected=rejected,
        episodes=sorted(episodes, key=lambda episode: episode.alerted_event),
        span_ms=records.span_ms,
        seconds=time.monotonic() - began,
        versions=versions,
        coverage_episodes=sorted(coverage_episodes, key=lambda episode: episode.alerted_event),
        profiles=list(profile_by_version.values()),
        suspected=series_names(suspected, str),
        n_suppressed=n_suppressed,
        events_to_confirm=spec.episodes.first_test_events,
    )


def _versions(records: TopicRange, profile_by_version: ProfileByVersion) -> list[VersionReplay]:
    """The versions by origin of their reference, over all partitions."""
    found: dict[tuple[str, Origin | None], VersionReplay] = {}
    for part in records.parts:
        for version, n_events in part.n_events.items():
            profile = profile_by_version.get((part.partition, version))
            origin = None if profile is None else profile.origin
            n_own, n_reference, rate = n_events, 0, None
            if profile is not None:
                n_own = profile.n_events if origin == "warm_up" else 0
                n_reference, rate = profile.n_events, profile.events_per_week
            new = VersionReplay(version, 0, 0, origin, n_reference, events_per_week=rate)
            before = found.get((version, origin), new)
            found[version, origin] = before._replace(
                events=before.events + n_events, watched=before.watched + max(0, n_events - n_own)
            )
    return list(found.values())
