"""One watched model version: its reference, its series, its windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from producer.events import Prediction
from producer.names import reference_of
from stream_monitor.alerts.alert import Place, alert_of, track_of
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.alerts.recovery import Clear
from stream_monitor.alerts.series import Decision, Series
from stream_monitor.contracts import DriftAlert
from stream_monitor.drift.calibration import Budget
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.labels.join import JoinedLabel
from stream_monitor.reference.fit import UNWATCHED_PREDICTION, fit_loss
from stream_monitor.reference.loss import is_comparable, loss_of, scores_of
from stream_monitor.reference.outputs import columns_of
from stream_monitor.reference.profile import (
    FeatureReference,
    ReferenceProfile,
    profile_to_data,
)
from stream_monitor.reference.transform import Transformed
from stream_monitor.reference.values import Column
from stream_monitor.watched.allowance import arl0_of
from stream_monitor.watched.coverage import CoverageReason
from stream_monitor.watched.estimate import (
    CONFIDENCE,
    LOSS,
    PREDICTION,
    Estimate,
    output_key,
)
from stream_monitor.watched.reasons import with_reasons
from stream_monitor.watched.relations import WatchedRelations
from stream_monitor.watched.said import Said
from stream_monitor.watched.schema import SCHEMA, WatchedSchema
from stream_monitor.watched.segments import WatchedSegment, Whole, rows_of
from stream_monitor.watched.series import feature_key, series_of
from stream_monitor.watched.trail import Trail

_SHARD_SERIES: Final = 16
_MAX_UNWATCHED: Final = 32
"""Features that are named, for each reason, among those that are not watched."""
Judged: TypeAlias = tuple[JoinedLabel, float | None]
NotWatched: TypeAlias = tuple[str, CoverageReason, Ints | slice]


class WatchedVersion:
    """Detectors, episodes of all series of one (model, version) that has a reference."""

    def __init__(
        self,
        topic: str,
        partition: int,
        profile: ReferenceProfile,
        budget: Budget,
        policy: EpisodePolicy,
        loss_warm_up: int,
    ) -> None:
        self.profile = profile
        self.place = Place(topic, partition, profile.model, profile.version, profile.origin)
        self.idle = False
        self._policy = policy
        self._loss_warm_up = loss_warm_up
        self._losses: list[float] = []
        self.not_comparable = 0
        self.estimate = None if profile.expected_loss is None else Estimate(profile)
        self.arl0_events = arl0_of(profile, budget)
        self.series = series_of(profile, self.estimate, self.arl0_events, policy)
        weights = profile.weights()
        self._segments = [
            WatchedSegment(s, self.arl0_events, policy, weights) for s in profile.segments
        ]
        self._segment_of = {key: s for s in self._segments for key in s.series}
        for segment in self._segments:
            self.series |= segment.series
        self.relations = WatchedRelations(self.place, profile, self.arl0_events, policy)
        self.schema = WatchedSchema(self.place, profile)
        self._names = tuple(profile.features)
        self._outputs = tuple(profile.outputs)
        self._trail = Trail()
        self._said_trail: Trail | None = None  # of predictions, once there are events without one
        self._loss_trail = Trail()
        self._dirty = set(self.series)
        self._meta_dirty = True

    def observe(
        self, batch: EventBatch
    ) -> tuple[dict[str, Transformed], list[DriftAlert], Ints | None]:
        """Take events; gives what the windows need of each, and alerts.

        That is each feature's transformed values and, last, what loss to expect.
        """
        transformed = {
            name: self.series[feature_key(name)].transform.apply(column)
            for name, column in batch.features.columns(self._names).items()
        }
        said = Said.of(batch)
        scored = self._scored(said.predictions)
        estimate = self.estimate
        losses = None if estimate is None else said.losses(estimate, scored, len(batch))
        if estimate is not None and losses is not None:
            estimate.observe(losses)
        if said.some_are_silent and self._said_trail is None:  # until now both were the same
            self._said_trail = self._trail.copy()
        self._trail.observe(batch.offsets, batch.times_ms)
        said_trail = self._trail
        if self._said_trail is not None:
            said_trail = self._said_trail
            said_trail.observe(said.offsets, said.times_ms)
        self._meta_dirty = True
        alerts: list[DriftAlert] = []
        whole: dict[str, Whole] = {}
        for key, series in self.series.items():
            if key == LOSS or key in self._segment_of:
                continue
            open_before, closed_before = series.open_tracks(), series.closed
            if key in scored:
                decisions = series.observe(scored[key], said.offsets, said.times_ms, said_trail.at)
            else:
                decisions = series.observe(
                    transformed[series.reference.name], batch.offsets, batch.times_ms,
                    self._trail.at,
                )  # fmt: skip
            self._dirty.add(key)
            whole[key] = Whole(open_before, decisions, closed_before)
            told = self._alerts(key, decisions)
            if key not in scored:
                told = list(with_reasons(told, decisions, series.reference, batch))
            alerts += told
        features = {name: whole[feature_key(name)] for name in transformed}
        alerts += self.relations.observe(batch, transformed, features, self._trail.at)
        alerts += self.schema.observe(batch, self._trail.at)
        return transformed, alerts + self._observe_segments(batch, whole), losses

    @property
    def unwatched(self) -> CoverageReason | None:
        """Why none of its events are compared with its reference; ``None`` where they are."""
        profile = self.profile
        watched = profile.features or profile.prediction or profile.outputs
        return None if watched else "nothing_comparable"

    def unwatched_features(self, batch: EventBatch) -> Iterator[NotWatched]:
        """What of the last events is not compared, their predictions included."""
        profile = self.profile
        known = profile.prediction is not None or bool(profile.outputs)
        if known or UNWATCHED_PREDICTION not in profile.skipped:  # known to be too few
            with_one = batch.said()
            if not known:
                rows = slice(None) if with_one is None else with_one
                yield UNWATCHED_PREDICTION, "feature_not_comparable", rows
            elif with_one is not None:
                without = np.setdiff1d(np.arange(len(batch), dtype=np.int64), with_one)
                yield UNWATCHED_PREDICTION, "prediction_absent", without
        skipped = profile.skipped
        for name in list(skipped)[:_MAX_UNWATCHED]:
            yield name, "series_too_short", slice(None)
        names, since = self.schema.beside(len(batch))
        for name in [name for name in names if name not in skipped][:_MAX_UNWATCHED]:
            yield name, "feature_not_comparable", slice(since, None)

    def _scored(self, predictions: Sequence[Prediction]) -> dict[str, Transformed]:
        """The predictions as their series see them."""
        task, positive = self.profile.task, self.profile.positive
        scored: dict[str, Transformed] = {}
        if PREDICTION in self.series:
            scores = scores_of(predictions, task, positive)
            scored[PREDICTION] = self.series[PREDICTION].transform.apply(scores)
        if self.profile.outputs:
            for name, column in columns_of(predictions, self._outputs).items():
                key = output_key(name)
                scored[key] = self.series[key].transform.apply(column)
        if self.estimate is not None and self.estimate.key == CONFIDENCE:
            scored[CONFIDENCE] = self.estimate.look_up(predictions)
        return scored

    def _observe_segments(self, batch: EventBatch, whole: Mapping[str, Whole]) -> list[DriftAlert]:
        alerts: list[DriftAlert] = []
        rows = rows_of(self.profile.segments, batch)
        for segment in self._segments:
            mine = rows[segment.reference.name]
            if not len(mine):
                continue
            for key, decisions in segment.observe(batch, mine, self.profile, whole):
                self._dirty.add(key)
                alerts += self._alerts(key, decisions)
        return alerts

    def judge(self, joined: Sequence[JoinedLabel]) -> list[Judged]:
        """Each label with the loss of its prediction, ``None`` where they do not compare.

        Nor does a label that is none of the two classes of a binary model.
        """
        of = self.profile
        # A profile with a loss and no labels is from before their classes were kept.
        checked = of.task == "binary" and bool(of.labels or of.loss is None)
        return [
            (x, None)
            if checked and not is_comparable(x.label, of.positive, of.labels)
            else (x, loss_of(of.task, of.threshold, of.positive, x.prediction, x.label))
            for x in joined
        ]

    def observe_labels(self, judged: Sequence[Judged]) -> list[DriftAlert]:
        """Take what `judge` gave, in log order: the loss is a watched signal."""
        compared = [(label, loss) for label, loss in judged if loss is not None]
        rows = [(label.offset, label.event_time_ms, loss) for label, loss in compared]
        self.not_comparable += len(judged) - len(rows)
        self._meta_dirty = True
        if LOSS not in self.series:
            rows = self._warm_up_loss(rows)
        if not rows:
            return []
        series = self.series[LOSS]
        offsets = np.array([row[0] for row in rows], dtype=np.int64)
        times_ms = np.array([row[1] for row in rows], dtype=np.int64)
        outcomes: Column = [row[2] for row in rows]
        if self.estimate is not None:
            predictions = [label.prediction for label, _ in compared]
            outcomes = self.estimate.observe_labels(predictions, outcomes).tolist()
        values = series.transform.apply(outcomes)
        self._loss_trail.observe(offsets, times_ms)
        self._dirty.add(LOSS)
        decisions = series.observe(values, offsets, times_ms, self._loss_trail.at)
        return self._alerts(LOSS, decisions)

    def _warm_up_loss(self, rows: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
        """The first losses become the reference of the loss; gives what is left of ``rows``."""
        missing = self._loss_warm_up - len(self._losses)
        self._losses += [row[2] for row in rows[:missing]]
        if len(self._losses) < self._loss_warm_up:
            return []
        self._add_loss(self._loss_reference())
        return rows[missing:]

    def _loss_reference(self) -> FeatureReference:
        return fit_loss(self._losses, task=self.profile.task)

    def _add_loss(self, reference: FeatureReference) -> None:
        self.series[LOSS] = Series(reference, "concept", self.arl0_events, self._policy)
        self._dirty.add(LOSS)

    def learnt_profile(self) -> ReferenceProfile:
        """The profile with what labels taught here: the reference of the loss, if it had none."""
        series = self.series.get(LOSS)
        if series is None or self.profile.loss is not None or self.estimate is not None:
            return self.profile
        return msgspec.structs.replace(self.profile, loss=series.reference)

    def _alerts(self, key: str, decisions: Sequence[Decision]) -> list[DriftAlert]:
        segment = self._segment_of.get(key)
        name = None if segment is None else segment.reference.name
        return [
            alert_of(self.place, key, self.series[key], decision, name) for decision in decisions
        ]

    def is_on(self, profile: ReferenceProfile) -> bool:
        """Whether ``profile`` is the very reference that it is watched on."""
        return profile_to_data(profile) == profile_to_data(self.profile)

    def supersede(self, offset: int, time_ms: int) -> list[DriftAlert]:
        """It is idle, or its reference goes: open episodes end as superseded."""
        alerts = [
            alert
            for key, series in self.series.items()
            if key not in self._segment_of
            for alert in self._alerts(key, series.supersede(offset, time_ms))
        ]
        for segment in self._segments:
            for key, decisions in segment.supersede(offset, time_ms):
                alerts += self._alerts(key, decisions)
        alerts += self.relations.supersede(offset, time_ms)
        alerts += self.schema.end("superseded", offset, time_ms)
        self.idle = True
        self._meta_dirty = True
        self._dirty.update(self.series)
        return alerts

    def resolve(self, alert: DriftAlert, offset: int, time_ms: int) -> list[DriftAlert]:
        """A person ends the episode of ``alert``; its series begins anew on its reference.

        With a feature's end what follows from it: its episodes in segments, and its relations.
        """
        if alert.series in self.relations.series:
            self._meta_dirty = True
            return self.relations.resolve(alert.series, offset, time_ms)
        if alert.series == SCHEMA:
            self._meta_dirty = True
            return self.schema.end("resolved", offset, time_ms)
        series, track = self.series[alert.series], track_of(alert)
        decision = series.resolve(track, offset, time_ms)
        self._dirty.add(alert.series)
        if decision is None:
            return []
        alerts = self._alerts(alert.series, [decision])
        if alert.series in self._segment_of:
            return alerts
        for segment in self._segments:
            for key, decisions in segment.resolve(alert.series, track, offset, time_ms):
                self._dirty.add(key)
                alerts += self._alerts(key, decisions)
        if alert.feature is not None:
            self._meta_dirty = True
            alerts += self.relations.resolve_those_of(alert.feature, offset, time_ms)
        return alerts

    def progress_of(self, alert: DriftAlert) -> Clear | None:
        """How far the open episode of ``alert`` is on its way to its end, where that is known."""
        if alert.series in self.relations.series:
            return self.relations.series[alert.series].track.progress
        series = self.series.get(alert.series)
        return None if series is None else series.progress(track_of(alert))

    def levels(self) -> dict[str, int]:
        """Drift of every series: 0 none, 1 suspected, 2 an open episode."""
        return (
            {key: series.level() for key, series in self.series.items()}
            | {key: series.level() for key, series in self.relations.series.items()}
            | {SCHEMA: self.schema.level()}
        )

    def dirty(self) -> dict[str, Any]:
        """The parts that changed since `clean`."""
        parts: dict[str, Any] = {}
        if self._meta_dirty:
            parts["meta"] = [
                self.idle, self.not_comparable, self._losses, LOSS in self.series,
                self._trail.snapshot(), self._loss_trail.snapshot(),
                *([[s.snapshot() for s in self._segments]] if self._segments else []),
            ]  # fmt: skip
            parts["schema"] = self.schema.snapshot()
            if self.relations.series:
                parts["relations"] = self.relations.snapshot()
            if self.estimate is not None:
                parts["estimate"] = self.estimate.snapshot()
            if self._said_trail is not None:
                parts["said"] = self._said_trail.snapshot()
        keys = list(self.series)
        for start in range(0, len(keys), _SHARD_SERIES):
            shard = keys[start : start + _SHARD_SERIES]
            if self._dirty.intersection(shard):
                parts[f"series-{start // _SHARD_SERIES}"] = {
                    key: self.series[key].snapshot() for key in shard
                }
        return parts

    def clean(self) -> None:
        """What `dirty` gave is durable."""
        self._dirty.clear()
        self._meta_dirty = False

    def restore(self, parts: dict[str, Any]) -> None:
        """Continue from the parts.  Raises ValueError where they do not fit the profile."""
        idle, not_comparable, losses, with_loss, trail, loss_trail, *segments = parts["meta"]
        self.idle, self.not_comparable, self._losses = idle, not_comparable, list(losses)
        if with_loss and LOSS not in self.series:
            self._add_loss(self._loss_reference())
        self._trail.restore(trail)
        self._loss_trail.restore(loss_trail)
        for segment, data in zip(self._segments, segments[0] if segments else (), strict=True):
            segment.restore(data)
        if "schema" in parts:  # not in what was stored before there was one
            self.schema.restore(parts["schema"])
        if self.relations.series:
            self.relations.restore(parts["relations"])
        if self.estimate is not None:
            self.estimate.restore(parts["estimate"])
        if "said" in parts:
            self._said_trail = Trail()
            self._said_trail.restore(parts["said"])
        stored = {
            key: data
            for name, shard in parts.items()
            if name.startswith("series-")
            for key, data in shard.items()
        }
        if stored.keys() != self.series.keys():
            raise ValueError(
                f"{reference_of(self.place.model, self.place.version)}: series are missing"
            )
        for key, series in self.series.items():
            series.restore(stored[key])
        self.clean()
