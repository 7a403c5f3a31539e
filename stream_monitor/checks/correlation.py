"""The correlation check: whether two features depend on each other as in the reference.

One channel, of the product of their scores, raises suspicions; fresh events confirm them by the
cells of both features, raked to the margins of these events.  Only events that have both values
count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stream_monitor.checks.correlation_alert import correlation_alert
from stream_monitor.checks.data_quality import Onset
from stream_monitor.checks.segment import WholeVersionState
from stream_monitor.contracts import ENDED_PHASES, DriftAlert, Phase
from stream_monitor.detectors.channel import Channel, ChannelState
from stream_monitor.episodes.alert import AlertSource
from stream_monitor.episodes.bin_counts import BinCounts
from stream_monitor.episodes.lifecycle import PhaseDecision, Suspicion, floats
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.repeating_tracker import RepeatingEpisodeTracker
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.reference.correlation_reference import (
    CorrelationReference,
    PairTable,
    paired_rows,
)
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transformed
from stream_monitor.state_parts import as_type
from stream_monitor.statistics.contingency import degrees_of_freedom, dependence_distance, raked
from stream_monitor.statistics.fixed_point import Floats


class CorrelationTracker(RepeatingEpisodeTracker):
    """Episode tracker of one feature correlation."""

    def __init__(self, relation: CorrelationReference, policy: EpisodePolicy) -> None:
        self._n_columns = len(relation.second_starts)
        cells = relation.cells
        freedom = degrees_of_freedom(len(cells), self._n_columns)
        super().__init__(cells, relation.tau, policy, relation.calendar, freedom)

    def _compared(self, tally: BinCounts) -> tuple[Floats, Floats]:
        return floats(tally.counts), raked(tally.counts, self._expected(tally), self._n_columns)

    def _distance(self, tally: BinCounts) -> tuple[float, float]:
        return dependence_distance(
            tally.counts.tolist(), self._expected(tally), self._n_columns, self._tau
        )


class CorrelationSignal:
    """Detectors and episodes of one correlation; ``reported`` began its reported episode."""

    def __init__(
        self,
        relation: CorrelationReference,
        first: FeatureReference,
        second: FeatureReference,
        arl0_events: float,
        policy: EpisodePolicy,
    ) -> None:
        self.relation = relation
        self.reported: Suspicion | None = None
        self.closed = -1  # offset at which what was told of it ended last
        self._arl0 = arl0_events
        self._joint = PairTable(first, second, relation.first_starts, relation.second_starts)
        self.channel = Channel(relation.channel, arl0_events)
        self.track = CorrelationTracker(relation, policy)

    def observe(
        self, first: Transformed, second: Transformed, offsets: Ints, times_ms: Ints, onset: Onset
    ) -> list[PhaseDecision]:
        """Take n consecutive events: both features' values, and where and when they are (n,)."""
        both, one, other = paired_rows(first, second)
        positions = None if both is None else np.flatnonzero(both)
        where, when = (offsets, times_ms) if both is None else (offsets[both], times_ms[both])
        values = products = self._joint.products(one, other)
        season = self.relation.channel.season
        if season is not None:
            values = season.residuals(products, when)
        suspicions = [
            Suspicion(
                signal.position + 1,
                signal.detector,
                signal.channel,
                signal.direction,
                int(where[signal.position]),
                int(when[signal.position]),
                *onset(
                    signal.position if positions is None else int(positions[signal.position]),
                    signal.onset_events,
                ),
            )
            for signal in self.channel.observe(values)
        ]
        if self.track.state == "quiet" and not suspicions:
            return []
        cells = self._joint.cells(one, other)
        return self.track.observe(cells, where, when, products, suspicions)

    def end(self, phase: Phase, offset: int, time_ms: int) -> PhaseDecision | None:
        """End from outside what is open; ``None`` where nobody was told of it.

        Resolved by a person, or superseded, the detectors begin anew on the reference.
        """
        drifts = self.track.state != "quiet"
        decision = self.track.end(phase, offset, time_ms)
        reported = self.reported is not None
        self.clear_reported(offset)
        if phase == "resolved" or drifts:
            self.channel = Channel(self.relation.channel, self._arl0)
        return decision if reported else None

    def clear_reported(self, offset: int) -> None:
        """What was told of it is over at ``offset``, whatever becomes of the episode itself."""
        if self.reported is not None:
            self.reported, self.closed = None, offset

    def superseded(self, reported: Suspicion, offset: int, time_ms: int) -> PhaseDecision:
        """What was told ends, and nothing was counted for that."""
        bins = (0,) * len(self.relation.cells)
        return PhaseDecision("superseded", reported, 0.0, 1.0, 0, 0, bins, offset, time_ms)

    def level(self) -> int:
        """0: nothing; 1: suspected, or withheld; 2: an episode is open."""
        if self.reported is not None:
            return 2
        return int(self.track.state != "quiet" and not self.track.is_unprompted)

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        reported = None if self.reported is None else list(self.reported._replace(seen=0))
        return [self.channel.snapshot(), self.track.snapshot(), reported, self.closed]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        channel, track, reported, *closed = data  # stored before ends were noted
        self.channel = Channel(self.relation.channel, self._arl0, as_type(channel, ChannelState))
        self.track.restore(track)
        if reported and self.track.state != "open":
            raise ValueError(f"{self.relation.name}: an episode was told of that is not open")
        if reported is True:  # stored before it was kept
            reported = self.track.suspicion
        self.reported = Suspicion(*reported) if reported else None
        self.closed = closed[0] if closed else -1


def correlation_key(name: str) -> str:
    """The series of a relation; its slash keeps it apart from the prediction and the loss."""
    return f"relation/{name}"


class FeatureEpisodeStart(NamedTuple):
    """A feature began to have an episode of its own."""

    feature: str
    time_ms: int


def _as_start(decision: PhaseDecision) -> PhaseDecision:
    """What was withheld so far begins when it is told."""
    return decision._replace(phase="started")


class CorrelationChecks:
    """The series of all relations of one version."""

    def __init__(
        self,
        source: AlertSource,
        profile: ReferenceProfile,
        arl0_events: float,
        policy: EpisodePolicy,
    ) -> None:
        self._source = source
        weights = profile.weights()
        self.series = {
            correlation_key(relation.name): CorrelationSignal(
                relation,
                profile.features[relation.first],
                profile.features[relation.second],
                arl0_events,
                policy.weighed(max(weights[relation.first], weights[relation.second])),
            )
            for relation in profile.relations
        }

    def observe(
        self,
        batch: EventBatch,
        transformed: Mapping[str, Transformed],
        features: Mapping[str, WholeVersionState],
        onset: Onset,
    ) -> list[DriftAlert]:
        """Take events, once their features have; gives what is to be told, in log order.

        ``transformed`` and ``features``, what is known of their series, are by feature.
        """
        alerts: list[DriftAlert] = []
        for offset, key, what in self._in_order(batch, transformed, features, onset):
            series = self.series[key]
            if isinstance(what, FeatureEpisodeStart):
                alerts += self._supersede_by_feature(key, what, offset)
            elif self._is_reportable(series, what, features):
                decision = (
                    what if series.reported or what.phase in ENDED_PHASES else _as_start(what)
                )
                if decision.phase in ENDED_PHASES:
                    series.clear_reported(offset)
                elif series.reported is None:
                    series.reported = decision.suspicion
                alerts.append(correlation_alert(self._source, key, series.relation, decision))
        return alerts

    def _in_order(
        self,
        batch: EventBatch,
        transformed: Mapping[str, Transformed],
        features: Mapping[str, WholeVersionState],
        onset: Onset,
    ) -> list[tuple[int, str, FeatureEpisodeStart | PhaseDecision]]:
        """What becomes of each relation, and of its features, by offset: features come first."""
        found: list[tuple[int, int, str, FeatureEpisodeStart | PhaseDecision]] = []
        for key, series in self.series.items():
            first, second = series.relation.first, series.relation.second
            decisions = series.observe(
                transformed[first], transformed[second], batch.offsets, batch.times_ms, onset
            )
            found += [(decision.offset, 1, key, decision) for decision in decisions]
            found += [
                (decision.offset, 0, key, FeatureEpisodeStart(name, decision.time_ms))
                for name in (first, second)
                for _, decision in features[name].findings
                if decision.phase == "started"
            ]
        found.sort(key=lambda each: each[:3])
        return [(offset, key, what) for offset, _, key, what in found]

    def _is_reportable(
        self,
        series: CorrelationSignal,
        decision: PhaseDecision,
        features: Mapping[str, WholeVersionState],
    ) -> bool:
        if decision.phase in ENDED_PHASES:
            return series.reported is not None
        if series.reported is not None:
            return decision.phase != "started"  # nothing new
        return decision.clear is None and not self._is_explained(series, features, decision)

    def _supersede_by_feature(
        self, key: str, opened: FeatureEpisodeStart, offset: int
    ) -> list[DriftAlert]:
        """A feature of it has an episode of its own now, which tells what the relation told."""
        series = self.series[key]
        reported = series.reported
        if reported is None:
            return []
        series.clear_reported(offset)
        decision = series.superseded(reported, offset, opened.time_ms)
        return [correlation_alert(self._source, key, series.relation, decision, opened.feature)]

    def _is_explained(
        self,
        series: CorrelationSignal,
        features: Mapping[str, WholeVersionState],
        decision: PhaseDecision,
    ) -> bool:
        """Whether a feature of it, or another relation of that, tells it already.

        Or did while these events were counted.
        """
        ends = {series.relation.first, series.relation.second}
        since, offset = decision.since, decision.offset
        return any(features[name].was_open(since, offset) for name in ends) or any(
            (other.reported is not None or other.closed > since)
            and ends & {other.relation.first, other.relation.second}
            for other in self.series.values()
            if other is not series
        )

    def supersede(self, offset: int, time_ms: int) -> Iterator[DriftAlert]:
        """The version was replaced: what was told of ends, what was withheld ends in silence."""
        for key in self.series:
            yield from self._end(key, "superseded", offset, time_ms)

    def resolve(self, key: str, offset: int, time_ms: int) -> list[DriftAlert]:
        """A person ends the episode of a relation, which begins anew on its reference."""
        return list(self._end(key, "resolved", offset, time_ms))

    def resolve_of_feature(self, feature: str, offset: int, time_ms: int) -> Iterator[DriftAlert]:
        """A person resolved an episode of a feature: its relations begin anew, too."""
        for key, series in self.series.items():
            if feature in (series.relation.first, series.relation.second):
                yield from self._end(key, "resolved", offset, time_ms)

    def _end(self, key: str, phase: Phase, offset: int, time_ms: int) -> Iterator[DriftAlert]:
        series = self.series[key]
        decision = series.end(phase, offset, time_ms)
        if decision is not None:
            yield correlation_alert(self._source, key, series.relation, decision)

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data."""
        return {key: series.snapshot() for key, series in self.series.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit the profile."""
        if data.keys() != self.series.keys():
            raise ValueError("relations: not those of the profile")
        for key, series in self.series.items():
            series.restore(data[key])
