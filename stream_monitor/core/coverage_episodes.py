"""Coverage episodes: report events that are not compared with a reference, from start to end.

::

    an interval closes with counts of a reason ──► started, one for (version, reason)
    it concerns more of the traffic, or more features ──► ongoing
    the version is watched, or two hours pass without its events ──► recovered

Episodes change only where an interval of the append clock ends, so a replay gives the same alerts.
A user who resolves an episode accepts the gap: a new episode is reported only after it was over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from stream_monitor.contracts import COVERAGE_UNITS, CoverageReason, DriftAlert, Phase, Severity
from stream_monitor.core.coverage import (
    OTHERS,
    WATCHED,
    ClosedInterval,
    Coverage,
    CoverageCount,
    CoverageKey,
    CoverageRow,
    is_event,
)
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.coverage_messages import (
    CoverageGap,
    coverage_ended_message,
    coverage_evicted_message,
    coverage_message,
    coverage_removed_message,
    coverage_resolved_message,
)
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding, derived_id
from stream_monitor.episodes.rule_episode import RuleEpisode

MAX_OPEN: Final = 32
"""The most open episodes of a model, so that made-up versions do not fill its state."""
EPISODE_TIMEOUT_MS: Final = 2 * 3_600_000
"""A reason without events for so long is over; hourly jobs pause for less."""
_DAY_MS: Final = 24 * 3_600_000

OF_THE_MODEL: Final[frozenset[CoverageReason]] = frozenset(
    {
        "version_over_limit",
        "model_over_limit",
        "routed_by_stale_metadata",
        "label_prediction_elsewhere",
        "label_version_unwatched",
    }
)
"""Reasons with one episode for the whole model, because their versions may be made up."""
_WITHOUT: Final[frozenset[CoverageReason]] = frozenset({"label_warming_up", "shadow_not_recorded"})
"""Reasons without an episode: that of the events that warm up covers their labels too."""
_PASSING: Final[frozenset[CoverageReason]] = frozenset({"warming_up", "reference_replaced"})


class CoverageSource(NamedTuple):
    """The traffic that is counted; ``model`` is empty for all models over the limit."""

    topic: str
    partition: int
    model: str


class CoverageGroup(NamedTuple):
    """The subject of an episode; ``version`` is empty where it concerns the whole model."""

    version: str
    reason: CoverageReason


class OpenCoverageEpisode(msgspec.Struct):
    """An open gap: its episode, which a user may have resolved before its end, and its counts.

    ``names`` are the reported features, or versions.
    """

    episode: RuleEpisode
    n: int
    since_ms: int
    since_clock_ms: int
    last_clock_ms: int
    names: list[str]


OpenCoverageEpisodes: TypeAlias = dict[CoverageGroup, OpenCoverageEpisode]
"""The state of `CoverageEpisodes`."""


class CoverageEpisodes:
    """The episodes of one `Coverage`."""

    def __init__(self, source: CoverageSource, warm_up_events: int) -> None:
        self._source, self._warm_up_events = source, warm_up_events
        self._open: OpenCoverageEpisodes = {}
        self._has_changes = False

    def __bool__(self) -> bool:
        """Whether an episode is open, which may end as time passes."""
        return bool(self._open)

    def observe(self, interval: ClosedInterval, coverage: Coverage) -> list[DriftAlert]:
        """Apply a closed interval of ``coverage``; returns the alerts of episodes that changed."""
        if not interval.counts and not self._open:
            return []
        came = _by_group(interval.counts)
        rows: list[CoverageRow] | None = None
        findings: list[Finding] = []
        for group, counted in came.items():
            rows = coverage.last_hour(interval.clock_ms) if rows is None else rows
            findings += self._observed(group, counted, interval, rows)
        watched = {key.version for key in interval.counts if key.reason == WATCHED}
        for group in [group for group in self._open if group not in came]:
            findings += self._recover(group, interval, is_watched=group.version in watched)
        return list(map(alert_of, findings + self._evict_oldest(interval)))

    def _evict_oldest(self, interval: ClosedInterval) -> list[Finding]:
        """End the episodes beyond `MAX_OPEN` whose latest events are the oldest."""
        findings: list[Finding] = []
        while len(self._open) > MAX_OPEN:
            oldest = min(self._open, key=lambda group: (self._open[group].last_clock_ms, group))
            message = coverage_evicted_message(oldest.reason, MAX_OPEN)
            findings += self._end(oldest, "superseded", interval, message)
        return findings

    def _end(
        self, group: CoverageGroup, phase: Phase, interval: ClosedInterval, message: str
    ) -> list[Finding]:
        """Remove a gap; the end of its episode is reported, unless a user resolved it before."""
        episode = self._open.pop(group).episode
        if episode.latest is None:
            return []
        return [episode.enter(phase, EventPosition(interval.offset, interval.time_ms), message)]

    def _observed(
        self,
        group: CoverageGroup,
        counted: CoverageCount,
        interval: ClosedInterval,
        rows: Sequence[CoverageRow],
    ) -> list[Finding]:
        self._has_changes = True
        opened = self._open.get(group)
        gap = self._gap(group, rows, counted.first.time_ms if opened is None else opened.since_ms)
        if opened is None:
            episode = RuleEpisode()
            self._open[group] = OpenCoverageEpisode(
                episode,
                counted.n,
                counted.first.time_ms,
                interval.clock_ms,
                counted.last_clock_ms,
                list(gap.names),
            )
            return [episode.start(self._started(group, counted, interval, gap))]
        opened.n += counted.n
        opened.last_clock_ms = counted.last_clock_ms
        severity = _severity(gap, interval.clock_ms - opened.since_clock_ms)
        grown = COVERAGE_UNITS[group.reason] == "feature" and not set(gap.names) <= set(
            opened.names
        )
        episode = opened.episode
        if episode.latest is None or not (grown or episode.is_worse(severity)):
            return []
        opened.names = sorted({*opened.names, *gap.names}) if grown else opened.names
        return [
            episode.enter(
                "ongoing",
                EventPosition(interval.offset, interval.time_ms),
                coverage_message(gap),
                severity=severity,
                effect=round(gap.share, 6),
                window_events=gap.n,
            )
        ]

    def _recover(
        self, group: CoverageGroup, interval: ClosedInterval, *, is_watched: bool
    ) -> list[Finding]:
        """End an episode whose group had no events in the interval, if it is over."""
        opened = self._open[group]
        passed = is_watched and group.reason in ("warming_up", "no_profile")
        timeout_ms = _DAY_MS if group.reason == "warming_up" else EPISODE_TIMEOUT_MS
        if not passed and interval.clock_ms - opened.last_clock_ms < timeout_ms:
            return []
        self._has_changes = True
        message = coverage_ended_message(
            group.reason, group.version, opened.n, opened.since_ms, is_watched=passed
        )
        return self._end(group, "recovered", interval, message)

    def _gap(self, group: CoverageGroup, rows: Sequence[CoverageRow], since_ms: int) -> CoverageGap:
        """The counts of a group in the last hour."""
        of_model = group.reason in OF_THE_MODEL
        mine = [
            row
            for row in rows
            if row.key.reason == group.reason and (of_model or row.key.version == group.version)
        ]
        n = sum(row.last_hour for row in mine)
        n_events = sum(row.last_hour for row in rows if is_event(row.key))
        is_of_events = COVERAGE_UNITS[group.reason] == "event"
        names = [row.key.version if of_model else row.key.feature for row in mine if row.last_hour]
        if not of_model and COVERAGE_UNITS[group.reason] != "feature":
            names = []
        return CoverageGap(
            reason=group.reason,
            model=self._source.model,
            version=group.version,
            names=names,
            n=n,
            share=n / n_events if is_of_events and n_events else 0.0,
            since_ms=since_ms,
            n_total=sum(row.total for row in mine),
            n_needed=self._warm_up_events,
        )

    def _started(
        self,
        group: CoverageGroup,
        counted: CoverageCount,
        interval: ClosedInterval,
        gap: CoverageGap,
    ) -> Finding:
        source = self._source
        model = source.model or next(filter(None, gap.names), "unknown")
        series = f"coverage/{group.reason}"
        detected = EventPosition(interval.offset, interval.time_ms)
        return Finding(
            source=AlertSource(source.topic, source.partition, model, group.version),
            series=series,
            check=group.reason,
            episode_id=derived_id(*source, group.version, series, interval.offset),
            phase="started",
            kind="coverage",
            severity=_severity(gap, 0),
            channel=group.reason,
            direction="up",
            effect=round(gap.share, 6),
            window_events=gap.n,
            explanation=coverage_message(gap),
            onset=counted.first,
            detected=detected,
            decided=detected,
            cause=group.reason,
            drill=False,
        )

    def resolve(self, alert: DriftAlert, offset: int, time_ms: int) -> list[DriftAlert]:
        """End the episode of ``alert`` on a user's command; a new one starts only after its end."""
        for opened in self._open.values():
            latest = opened.episode.latest
            if latest is not None and latest.episode_id == alert.episode_id:
                self._has_changes = True
                message = coverage_resolved_message(alert.channel)
                at = EventPosition(offset, time_ms)
                return [alert_of(opened.episode.enter("resolved", at, message))]
        return []

    def end_all(self, offset: int, time_ms: int) -> list[DriftAlert]:
        """End all open episodes as superseded."""
        opened, self._open = self._open, {}
        self._has_changes = self._has_changes or bool(opened)
        at = EventPosition(offset, time_ms)
        return [
            alert_of(each.episode.enter("superseded", at, coverage_removed_message(group.reason)))
            for group, each in opened.items()
            if each.episode.latest is not None
        ]

    def take_changes(self) -> OpenCoverageEpisodes | None:
        """The open episodes, if they changed since the last call."""
        has_changes, self._has_changes = self._has_changes, False
        return self._open if has_changes else None

    def restore(self, opened: OpenCoverageEpisodes) -> None:
        """Continue from what `take_changes` returned."""
        self._open, self._has_changes = opened, False


def _by_group(counts: dict[CoverageKey, CoverageCount]) -> dict[CoverageGroup, CoverageCount]:
    """The counts of an interval by episode, in offset order."""
    groups: dict[CoverageGroup, CoverageCount] = {}
    for key, counted in counts.items():
        if key.reason == WATCHED or key.reason in _WITHOUT:
            continue
        group = CoverageGroup(OTHERS if key.reason in OF_THE_MODEL else key.version, key.reason)
        before = groups.get(group)
        groups[group] = counted if before is None else before.then(counted)
    return groups


def _severity(gap: CoverageGap, lasted_ms: int) -> Severity:
    """The severity of a gap: low if it passes by itself, high from half of the traffic on.

    >>> gap = CoverageGap("version_over_limit", "m", "1", [], 5, 0.2, 0, 5, 0)
    >>> _severity(gap, 0), _severity(gap._replace(reason="warming_up"), 0)
    ('medium', 'low')
    """
    if gap.reason in _PASSING and lasted_ms < _DAY_MS:
        return "low"
    if gap.reason in ("model_over_limit", "nothing_comparable"):
        return "high"
    if gap.reason == "prediction_absent":
        return "medium"
    if COVERAGE_UNITS[gap.reason] != "event" or gap.share < 0.1:
        return "low"
    return "high" if gap.share >= 0.5 and gap.reason not in _PASSING else "medium"
