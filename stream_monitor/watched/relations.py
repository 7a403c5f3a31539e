"""The relations of a watched version: what they tell, and what the features tell already.

A feature that moves, breaks or comes in another unit takes its dependence on others with it, and
one that no longer follows any other changes all its relations.  So what opens in a relation is
withheld while one of its features has an open episode, or while another of its relations was told
of; if it is still open when that is over, it is told then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
        found = [
            (verdict.offset, key, verdict)
            for key, series in self.series.items()
            for verdict in series.observe(
                transformed[series.relation.first],
                transformed[series.relation.second],
                batch.offsets,
                batch.times_ms,
                onset,
            )
        ]
        found.sort(key=lambda each: each[:2])
        alerts: list[DriftAlert] = []
        for offset, key, verdict in found:
            series = self.series[key]
            told = series.told
            if verdict.phase in ENDED:
                series.told = False
                series.closed = offset if told else series.closed
            elif told:
                told = verdict.phase != "started"  # nothing new
            elif verdict.clear is None and not self._is_explained(series, features, verdict):
                verdict = verdict._replace(phase="started")  # noqa: PLW2901
                told = series.told = True
            if told:
                alerts.append(relation_alert(self._place, key, series.relation, verdict))
        return alerts

    def _is_explained(
        self, series: RelationSeries, features: Mapping[str, Whole], verdict: Verdict
    ) -> bool:
        """Whether a feature of it, or another relation of that, tells it already.

        Or did while these events were counted.
        """
        ends = {series.relation.first, series.relation.second}
        since, offset = verdict.since, verdict.offset
        return any(features[name].was_open(since, offset) for name in ends) or any(
            (other.told or other.closed > since)
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
