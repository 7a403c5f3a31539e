"""The relations of a watched version: what they tell, and what the features tell already.

A feature that moves, breaks or comes in another unit takes its dependence on others with it, and
one that no longer follows any other changes all its relations.  So what opens in a relation is
withheld while one of its features has an open episode, or while another of its relations was told
of; if it is still open when that is over, it is told then.  What was told of a relation before its
feature was found to have moved is told of the feature from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from stream_monitor.alerts.alert import Place
from stream_monitor.alerts.breaks import Onset
from stream_monitor.alerts.episode import Verdict
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.alerts.relation import RelationSeries
from stream_monitor.alerts.relation_alert import relation_alert
from stream_monitor.contracts import ENDED, DriftAlert, Phase
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transformed
from stream_monitor.watched.segments import Whole


def relation_key(name: str) -> str:
    """The series of a relation; its slash keeps it apart from the prediction and the loss."""
    return f"relation/{name}"


class Opened(NamedTuple):
    """A feature began to have an episode of its own."""

    feature: str
    time_ms: int


def _first(verdict: Verdict) -> Verdict:
    """What was withheld so far begins when it is told."""
    return verdict._replace(phase="started")


class WatchedRelations:
    """The series of all relations of one version."""

    def __init__(
        self, place: Place, profile: ReferenceProfile, arl0_events: float, policy: EpisodePolicy
    ) -> None:
        self._place = place
        weights = profile.weights()
        self.series = {
            relation_key(relation.name): RelationSeries(
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
        features: Mapping[str, Whole],
        onset: Onset,
    ) -> list[DriftAlert]:
        """Take events, once their features have; gives what is to be told, in log order.

        ``transformed`` and ``features``, what is known of their series, are by feature.
        """
        alerts: list[DriftAlert] = []
        for offset, key, what in self._in_order(batch, transformed, features, onset):
            series = self.series[key]
            if isinstance(what, Opened):
                alerts += self._hand_over(key, what, offset)
            elif self._is_told(series, what, features):
                verdict = what if series.told or what.phase in ENDED else _first(what)
                if verdict.phase in ENDED:
                    series.hush(offset)
                elif series.told is None:
                    series.told = verdict.suspicion
                alerts.append(relation_alert(self._place, key, series.relation, verdict))
        return alerts

    def _in_order(
        self,
        batch: EventBatch,
        transformed: Mapping[str, Transformed],
        features: Mapping[str, Whole],
        onset: Onset,
    ) -> list[tuple[int, str, Opened | Verdict]]:
        """What becomes of each relation, and of its features, by offset: features come first."""
        found: list[tuple[int, int, str, Opened | Verdict]] = []
        for key, series in self.series.items():
            first, second = series.relation.first, series.relation.second
            verdicts = series.observe(
                transformed[first], transformed[second], batch.offsets, batch.times_ms, onset
            )
            found += [(verdict.offset, 1, key, verdict) for verdict in verdicts]
            found += [
                (verdict.offset, 0, key, Opened(name, verdict.time_ms))
                for name in (first, second)
                for _, verdict in features[name].decisions
                if verdict.phase == "started"
            ]
        found.sort(key=lambda each: each[:3])
        return [(offset, key, what) for offset, _, key, what in found]

    def _is_told(
        self, series: RelationSeries, verdict: Verdict, features: Mapping[str, Whole]
    ) -> bool:
        if verdict.phase in ENDED:
            return series.told is not None
        if series.told is not None:
            return verdict.phase != "started"  # nothing new
        return verdict.clear is None and not self._is_explained(series, features, verdict)

    def _hand_over(self, key: str, opened: Opened, offset: int) -> list[DriftAlert]:
        """A feature of it has an episode of its own now, which tells what the relation told."""
        series = self.series[key]
        told = series.told
        if told is None:
            return []
        series.hush(offset)
        verdict = series.over(told, offset, opened.time_ms)
        return [relation_alert(self._place, key, series.relation, verdict, opened.feature)]

    def _is_explained(
        self, series: RelationSeries, features: Mapping[str, Whole], verdict: Verdict
    ) -> bool:
        """Whether a feature of it, or another relation of that, tells it already.

        Or did while these events were counted.
        """
        ends = {series.relation.first, series.relation.second}
        since, offset = verdict.since, verdict.offset
        return any(features[name].was_open(since, offset) for name in ends) or any(
            (other.told is not None or other.closed > since)
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

    def resolve_those_of(self, feature: str, offset: int, time_ms: int) -> Iterator[DriftAlert]:
        """A person resolved an episode of a feature: its relations begin anew, too."""
        for key, series in self.series.items():
            if feature in (series.relation.first, series.relation.second):
                yield from self._end(key, "resolved", offset, time_ms)

    def _end(self, key: str, phase: Phase, offset: int, time_ms: int) -> Iterator[DriftAlert]:
        series = self.series[key]
        verdict = series.end(phase, offset, time_ms)
        if verdict is not None:
            yield relation_alert(self._place, key, series.relation, verdict)

    def snapshot(self) -> dict[str, Any]:
        """All that changes, as plain data."""
        return {key: series.snapshot() for key, series in self.series.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit the profile."""
        if data.keys() != self.series.keys():
            raise ValueError("relations: not those of the profile")
        for key, series in self.series.items():
            series.restore(data[key])
