"""The check of a feature correlation: compares the dependence of two features with the reference.

Detectors of the product of both scores raise suspicions.  Fresh events confirm them by the joint
counts of both features, adjusted to the marginal counts of these events.  Only events with valid
values of both features count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from stream_monitor.checks.check import Check, CheckContext
from stream_monitor.checks.feature import feature_key
from stream_monitor.checks.version_events import Onset, VersionEvents
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.detectors.channel import Channel, ChannelState
from stream_monitor.episodes.bin_counts import BinCounts, floats
from stream_monitor.episodes.finding import EventPosition, ExplainedBy, Finding, finding_of
from stream_monitor.episodes.lifecycle import TrackerState
from stream_monitor.episodes.messages import correlation_message
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.episodes.repeating_tracker import RepeatingEpisodeTracker
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.correlation_reference import (
    CorrelationReference,
    PairTable,
    paired_rows,
)
from stream_monitor.reference.transform import Transformed
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.contingency import degrees_of_freedom, dependence_distance, raked
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats


def correlation_key(name: str) -> str:
    """Return the name of the signal of a feature correlation, unique among all signals."""
    return f"relation/{name}"


def correlation_checks(context: CheckContext) -> Iterator[CorrelationCheck]:
    """The checks of all feature correlations of the reference."""
    weights = context.profile.weights()
    for reference in context.profile.correlations:
        yield CorrelationCheck(context, reference, weights)


class CorrelationTracker(RepeatingEpisodeTracker):
    """Episode tracker of one feature correlation."""

    def __init__(self, reference: CorrelationReference, policy: EpisodePolicy) -> None:
        self._n_columns = len(reference.second_starts)
        cells = reference.cells
        freedom = degrees_of_freedom(len(cells), self._n_columns)
        super().__init__(cells, reference.tau, policy, reference.calendar, freedom)

    def _compared(self, counts: BinCounts) -> tuple[Floats, Floats]:
        return floats(counts.counts), raked(counts.counts, self._expected(counts), self._n_columns)

    def _distance(self, counts: BinCounts) -> tuple[float, float]:
        return dependence_distance(
            counts.counts.tolist(), self._expected(counts), self._n_columns, self._tau
        )


class CorrelationState(msgspec.Struct, array_like=True):
    """The state of a `CorrelationCheck`."""

    channel: ChannelState
    tracker: TrackerState


class CorrelationCheck(Check[VersionEvents]):
    """The check of the correlation of two features.

    An episode of one of the features, or of another correlation of one of them, explains its own.
    """

    def __init__(
        self, context: CheckContext, reference: CorrelationReference, weights: Mapping[str, float]
    ) -> None:
        """``weights`` are the importances of the features of the profile."""
        profile, first, second = context.profile, reference.first, reference.second
        policy = context.policy.weighed(max(weights[first], weights[second]))
        self.series = correlation_key(reference.name)
        self.explained_by = ExplainedBy(
            (feature_key(first), feature_key(second)),
            siblings=tuple(
                correlation_key(other.name)
                for other in profile.correlations
                if other is not reference and {first, second} & {other.first, other.second}
            ),
            ends=True,
        )
        self._source, self._reference, self._arl0_events = (
            context.source,
            reference,
            context.arl0_events,
        )
        features = profile.features
        self._joint = PairTable(
            features[first], features[second], reference.first_starts, reference.second_starts
        )
        self.channel = Channel(reference.channel, context.arl0_events)
        self.tracker = CorrelationTracker(reference, policy)

    def observe(self, batch: VersionEvents) -> list[Finding]:
        """Apply events; returns the phases of episodes that they decided."""
        first, second = self._reference.first, self._reference.second
        events = batch.batch
        decisions = self.observe_pair(
            batch.features[first],
            batch.features[second],
            events.offsets,
            events.times_ms,
            batch.onset,
        )
        return [self._finding(decision) for decision in decisions]

    def observe_pair(
        self, first: Transformed, second: Transformed, offsets: Ints, times_ms: Ints, onset: Onset
    ) -> list[PhaseDecision]:
        """Apply n consecutive events: the values of both features, offsets and event times (n,)."""
        reference = self._reference
        both, one, other = paired_rows(first, second)
        positions = None if both is None else np.flatnonzero(both)
        if both is not None:
            offsets, times_ms = offsets[both], times_ms[both]
        values = products = self._joint.products(one, other)
        season = reference.channel.season
        if season is not None:
            values = season.residuals(products, times_ms)
        suspicions = [
            Suspicion(
                signal.position + 1,
                signal.detector,
                signal.channel,
                signal.direction,
                int(offsets[signal.position]),
                int(times_ms[signal.position]),
                *onset(
                    signal.position if positions is None else int(positions[signal.position]),
                    signal.onset_events,
                ),
            )
            for signal in self.channel.observe(values)
        ]
        if self.tracker.state == "quiet" and not suspicions:
            return []
        cells = self._joint.cells(one, other)
        return self.tracker.observe(cells, offsets, times_ms, products, suspicions)

    def _finding(self, decision: PhaseDecision) -> Finding:
        reference, after = self._reference, None
        if decision.n_events:
            after = reference.correlation_of(decision.total / decision.n_events / FIXED_POINT)
        subject = f"`{reference.first}` and `{reference.second}`"
        return finding_of(
            self._source,
            self.series,
            "data",
            decision,
            kind="data",
            severity=decision.severity or "low",
            direction=decision.suspicion.direction,
            explanation=correlation_message(
                subject, self._source.version, reference.correlation, after, decision
            ),
            subject=subject,
            explained_by=self.explained_by,
            before=round(reference.correlation, 6),
            after=None if after is None else round(after, 6),
        )

    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End the open episode; the detectors restart on the reference.

        ``alert`` may be of one of the features: the cause of its episode is resolved.
        """
        has_drift = self.tracker.state != "quiet"
        decision = self.tracker.end(phase, at.offset, at.time_ms)
        if phase == "resolved" or has_drift:
            self.channel = Channel(self._reference.channel, self._arl0_events)
        return [] if decision is None else [self._finding(decision)]

    def level(self) -> int | None:
        """Return the level: 0 no change, 1 a suspicion, 2 an open episode."""
        if self.tracker.state == "open":
            return 2
        return int(self.tracker.state != "quiet" and not self.tracker.is_unprompted)

    def progress(self, alert: DriftAlert) -> RecoveryProgress | None:
        """Return the recovery progress of the open episode; ``None`` if unknown."""
        return self.tracker.progress

    def snapshot(self) -> CorrelationState:
        """The state of the detectors and of the episode."""
        return CorrelationState(self.channel.snapshot(), self.tracker.snapshot())

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        state = as_type(data, CorrelationState)
        self.channel = Channel(self._reference.channel, self._arl0_events, state.channel)
        self.tracker.restore(state.tracker)
