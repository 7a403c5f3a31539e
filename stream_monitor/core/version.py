"""One watched model version: its reference, and the checks of all its signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from producer.events import Prediction
from producer.names import version_key
from stream_monitor.checks.batch_predictions import BatchPredictions
from stream_monitor.checks.correlation import CorrelationChecks
from stream_monitor.checks.error_estimate import (
    CONFIDENCE,
    LOSS,
    PREDICTION,
    ErrorEstimate,
    output_key,
)
from stream_monitor.checks.invalid_values import explain_invalid_values
from stream_monitor.checks.monitored_signal import Finding, MonitoredSignal, feature_key, signals_of
from stream_monitor.checks.offset_index import OffsetIndex
from stream_monitor.checks.schema import SCHEMA, SchemaCheck
from stream_monitor.checks.segment import SegmentChecks, WholeVersionState, rows_of
from stream_monitor.checks.signal_alert import alert_of, check_of
from stream_monitor.contracts import CoverageReason, DriftAlert
from stream_monitor.core.alert_budget import arl0_per_detector
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.alert import AlertSource
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.labels.join import JoinedLabel
from stream_monitor.reference.fit import SKIPPED_PREDICTION, fit_loss
from stream_monitor.reference.loss import is_comparable, prediction_loss, scores_of
from stream_monitor.reference.outputs import output_columns
from stream_monitor.reference.profile import FeatureReference, ReferenceProfile, profile_to_data
from stream_monitor.reference.transform import Transformed
from stream_monitor.reference.values import Column
from stream_monitor.state_parts import StoredParts

_SHARD_SERIES: Final = 16
_MAX_NAMED: Final = 32
"""The most features named under each reason for which they are not compared."""
LabelLoss: TypeAlias = tuple[JoinedLabel, float | None]
UncomparedFeature: TypeAlias = tuple[str, CoverageReason, Ints | slice]


class VersionState(msgspec.Struct, array_like=True):
    """The state of a `VersionMonitor` but for its series and their checks.

    ``losses`` are those collected for the loss reference, ``with_loss`` whether it is in use.
    ``prediction_offsets`` is ``None`` while all events have a prediction.
    """

    idle: bool
    not_comparable: int
    losses: list[float]
    with_loss: bool
    event_offsets: Any
    label_offsets: Any
    prediction_offsets: Any
    segments: list[Any]


class VersionMonitor:
    """Detectors and episodes of all series of one (model, version) that has a reference."""

    def __init__(
        self,
        topic: str,
        partition: int,
        profile: ReferenceProfile,
        budget: Budget,
        policy: EpisodePolicy,
        warm_up_labels: int,
    ) -> None:
        self.profile = profile
        self.source = AlertSource(topic, partition, profile.model, profile.version, profile.origin)
        self.idle = False
        self._policy = policy
        self._warm_up_labels = warm_up_labels
        self._losses: list[float] = []
        self.not_comparable = 0
        self.estimate = None if profile.expected_loss is None else ErrorEstimate(profile)
        self.arl0_events = arl0_per_detector(profile, budget)
        self.series = signals_of(profile, self.estimate, self.arl0_events, policy)
        weights = profile.weights()
        self._segments = [
            SegmentChecks(s, self.arl0_events, policy, weights) for s in profile.segments
        ]
        self._segment_of = {key: s for s in self._segments for key in s.series}
        for segment in self._segments:
            self.series |= segment.series
        self.correlations = CorrelationChecks(self.source, profile, self.arl0_events, policy)
        self.schema = SchemaCheck(self.source, profile)
        self._names = tuple(profile.features)
        self._outputs = tuple(profile.outputs)
        self._event_offsets = OffsetIndex()
        self._prediction_offsets: OffsetIndex | None = (
            None  # of predictions, once there are events without one
        )
        self._label_offsets = OffsetIndex()
        self._has_changes = set(self.series)
        self._meta_changed = True

    def observe(
        self, batch: EventBatch
    ) -> tuple[dict[str, Transformed], list[DriftAlert], Ints | None]:
        """Apply events (n,); returns transformed features, alerts, and expected losses (n,)."""
        transformed = {
            name: self.series[feature_key(name)].transform.apply(column)
            for name, column in batch.features.columns(self._names).items()
        }
        predicted = BatchPredictions.of(batch)
        scored = self._scored(predicted.predictions)
        estimate = self.estimate
        losses = None if estimate is None else predicted.losses(estimate, scored, len(batch))
        if estimate is not None and losses is not None:
            estimate.observe(losses)
        if (
            predicted.has_missing and self._prediction_offsets is None
        ):  # without segments both are the same
            self._prediction_offsets = self._event_offsets.copy()
        self._event_offsets.observe(batch.offsets, batch.times_ms)
        prediction_offsets = self._event_offsets
        if self._prediction_offsets is not None:
            prediction_offsets = self._prediction_offsets
            prediction_offsets.observe(predicted.offsets, predicted.times_ms)
        self._meta_changed = True
        alerts: list[DriftAlert] = []
        whole: dict[str, WholeVersionState] = {}
        for key, series in self.series.items():
            if key == LOSS or key in self._segment_of:
                continue
            open_before, closed_before = series.open_checks(), series.closed
            if key in scored:
                findings = series.observe(
                    scored[key], predicted.offsets, predicted.times_ms, prediction_offsets.at
                )
            else:
                findings = series.observe(
                    transformed[series.reference.name],
                    batch.offsets,
                    batch.times_ms,
                    self._event_offsets.at,
                )
            self._has_changes.add(key)
            whole[key] = WholeVersionState(open_before, findings, closed_before)
            found = self._alerts(key, findings)
            if key not in scored:
                found = list(explain_invalid_values(found, findings, series.reference, batch))
            alerts += found
        features = {name: whole[feature_key(name)] for name in transformed}
        alerts += self.correlations.observe(batch, transformed, features, self._event_offsets.at)
        alerts += self.schema.observe(batch, self._event_offsets.at)
        return transformed, alerts + self._observe_segments(batch, whole), losses

    @property
    def not_compared(self) -> CoverageReason | None:
        """The reason why no event is compared with the reference; ``None`` where they are."""
        profile = self.profile
        watched = profile.features or profile.prediction or profile.outputs
        return None if watched else "nothing_comparable"

    def uncompared_features(self, batch: EventBatch) -> Iterator[UncomparedFeature]:
        """The features, and the prediction, of the last events that are not compared."""
        profile = self.profile
        known = profile.prediction is not None or bool(profile.outputs)
        # Predictions in ``skipped`` are too few in the reference, and counted below.
        if known or SKIPPED_PREDICTION not in profile.skipped:
            with_one = batch.rows_with_prediction()
            if not known:
                rows = slice(None) if with_one is None else with_one
                yield SKIPPED_PREDICTION, "feature_not_comparable", rows
            elif with_one is not None:
                without = np.setdiff1d(np.arange(len(batch), dtype=np.int64), with_one)
                yield SKIPPED_PREDICTION, "prediction_absent", without
        skipped = profile.skipped
        for name in list(skipped)[:_MAX_NAMED]:
            yield name, "series_too_short", slice(None)
        names, since = self.schema.uncompared_features(len(batch))
        for name in [name for name in names if name not in skipped][:_MAX_NAMED]:
            yield name, "feature_not_comparable", slice(since, None)

    def _scored(self, predictions: Sequence[Prediction]) -> dict[str, Transformed]:
        """The transformed values of the predictions, by series."""
        task, positive = self.profile.task, self.profile.positive
        scored: dict[str, Transformed] = {}
        if PREDICTION in self.series:
            scores = scores_of(predictions, task, positive)
            scored[PREDICTION] = self.series[PREDICTION].transform.apply(scores)
        if self.profile.outputs:
            for name, column in output_columns(predictions, self._outputs).items():
                key = output_key(name)
                scored[key] = self.series[key].transform.apply(column)
        if self.estimate is not None and self.estimate.key == CONFIDENCE:
            scored[CONFIDENCE] = self.estimate.look_up(predictions)
        return scored

    def _observe_segments(
        self, batch: EventBatch, whole: Mapping[str, WholeVersionState]
    ) -> list[DriftAlert]:
        alerts: list[DriftAlert] = []
        rows = rows_of(self.profile.segments, batch)
        for segment in self._segments:
            mine = rows[segment.reference.name]
            if not len(mine):
                continue
            for key, findings in segment.observe(batch, mine, self.profile, whole):
                self._has_changes.add(key)
                alerts += self._alerts(key, findings)
        return alerts

    def compare_labels(self, joined: Sequence[JoinedLabel]) -> list[LabelLoss]:
        """Each label with the loss of its prediction, ``None`` where they are not comparable.

        A label that is not one of the two classes of a binary model is not comparable.
        """
        of = self.profile
        # An older profile has a loss, but not the classes of its labels.
        checked = of.task == "binary" and bool(of.labels or of.loss is None)
        return [
            (x, None)
            if checked and not is_comparable(x.label, of.positive, of.labels)
            else (x, prediction_loss(of.task, of.threshold, of.positive, x.prediction, x.label))
            for x in joined
        ]

    def observe_labels(self, labels: Sequence[LabelLoss]) -> list[DriftAlert]:
        """Apply the losses of `compare_labels`, in offset order."""
        compared = [(label, loss) for label, loss in labels if loss is not None]
        rows = [(label.offset, label.event_time_ms, loss) for label, loss in compared]
        self.not_comparable += len(labels) - len(rows)
        self._meta_changed = True
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
        self._label_offsets.observe(offsets, times_ms)
        self._has_changes.add(LOSS)
        findings = series.observe(values, offsets, times_ms, self._label_offsets.at)
        return self._alerts(LOSS, findings)

    def _warm_up_loss(self, rows: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
        """Collect the first losses for the loss reference; returns the rest of ``rows``."""
        missing = self._warm_up_labels - len(self._losses)
        self._losses += [row[2] for row in rows[:missing]]
        if len(self._losses) < self._warm_up_labels:
            return []
        self._add_loss(self._loss_reference())
        return rows[missing:]

    def _loss_reference(self) -> FeatureReference:
        return fit_loss(self._losses, task=self.profile.task)

    def _add_loss(self, reference: FeatureReference) -> None:
        self.series[LOSS] = MonitoredSignal(reference, "concept", self.arl0_events, self._policy)
        self._has_changes.add(LOSS)

    def learnt_profile(self) -> ReferenceProfile:
        """The profile, with the loss reference that was fitted on labels here if it had none."""
        series = self.series.get(LOSS)
        if series is None or self.profile.loss is not None or self.estimate is not None:
            return self.profile
        return msgspec.structs.replace(self.profile, loss=series.reference)

    def _alerts(self, key: str, findings: Sequence[Finding]) -> list[DriftAlert]:
        segment = self._segment_of.get(key)
        name = None if segment is None else segment.reference.name
        return [alert_of(self.source, key, self.series[key], finding, name) for finding in findings]

    def is_on(self, profile: ReferenceProfile) -> bool:
        """Whether ``profile`` equals the reference in use."""
        return profile_to_data(profile) == profile_to_data(self.profile)

    def supersede(self, offset: int, time_ms: int) -> list[DriftAlert]:
        """End open episodes as superseded: the version is idle, or its reference is replaced."""
        alerts = [
            alert
            for key, series in self.series.items()
            if key not in self._segment_of
            for alert in self._alerts(key, series.supersede(offset, time_ms))
        ]
        for segment in self._segments:
            for key, findings in segment.supersede(offset, time_ms):
                alerts += self._alerts(key, findings)
        alerts += self.correlations.supersede(offset, time_ms)
        alerts += self.schema.end("superseded", offset, time_ms)
        self.idle = True
        self._meta_changed = True
        self._has_changes.update(self.series)
        return alerts

    def resolve(self, alert: DriftAlert, offset: int, time_ms: int) -> list[DriftAlert]:
        """End the episode of ``alert`` on a user's command; its series restarts on its reference.

        The feature's episodes in segments and in feature correlations end with it.
        """
        if alert.series in self.correlations.series:
            self._meta_changed = True
            return self.correlations.resolve(alert.series, offset, time_ms)
        if alert.series == SCHEMA:
            self._meta_changed = True
            return self.schema.end("resolved", offset, time_ms)
        series, track = self.series[alert.series], check_of(alert)
        finding = series.resolve(track, offset, time_ms)
        self._has_changes.add(alert.series)
        if finding is None:
            return []
        alerts = self._alerts(alert.series, [finding])
        if alert.series in self._segment_of:
            return alerts
        for segment in self._segments:
            for key, findings in segment.resolve(alert.series, track, offset, time_ms):
                self._has_changes.add(key)
                alerts += self._alerts(key, findings)
        if alert.feature is not None:
            self._meta_changed = True
            alerts += self.correlations.resolve_of_feature(alert.feature, offset, time_ms)
        return alerts

    def progress_of(self, alert: DriftAlert) -> RecoveryProgress | None:
        """The recovery progress of the open episode of ``alert``, where it is known."""
        if alert.series in self.correlations.series:
            return self.correlations.series[alert.series].track.progress
        series = self.series.get(alert.series)
        return None if series is None else series.progress(check_of(alert))

    def levels(self) -> dict[str, int]:
        """Drift of every series: 0 none, 1 suspected, 2 an open episode."""
        return (
            {key: series.level() for key, series in self.series.items()}
            | {key: series.level() for key, series in self.correlations.series.items()}
            | {SCHEMA: self.schema.level()}
        )

    def pending_changes(self) -> dict[str, Any]:
        """The parts that changed since `mark_committed`."""
        parts: dict[str, Any] = {}
        if self._meta_changed:
            predicted = self._prediction_offsets
            parts["meta"] = VersionState(
                self.idle,
                self.not_comparable,
                self._losses,
                LOSS in self.series,
                self._event_offsets.snapshot(),
                self._label_offsets.snapshot(),
                None if predicted is None else predicted.snapshot(),
                [segment.snapshot() for segment in self._segments],
            )
            parts["schema"] = self.schema.snapshot()
            if self.correlations.series:
                parts["correlations"] = self.correlations.snapshot()
            if self.estimate is not None:
                parts["estimate"] = self.estimate.snapshot()
        keys = list(self.series)
        for start in range(0, len(keys), _SHARD_SERIES):
            shard = keys[start : start + _SHARD_SERIES]
            if self._has_changes.intersection(shard):
                parts[f"series-{start // _SHARD_SERIES}"] = {
                    key: self.series[key].snapshot() for key in shard
                }
        return parts

    def mark_committed(self) -> None:
        """Mark what `pending_changes` returned as durable."""
        self._has_changes.clear()
        self._meta_changed = False

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts.  Raises ValueError where they do not fit the profile."""
        state = parts.read("meta", VersionState)
        self.idle, self.not_comparable, self._losses = (
            state.idle,
            state.not_comparable,
            state.losses,
        )
        if state.with_loss and LOSS not in self.series:
            self._add_loss(self._loss_reference())
        self._event_offsets.restore(state.event_offsets)
        self._label_offsets.restore(state.label_offsets)
        if state.prediction_offsets is not None:
            self._prediction_offsets = OffsetIndex()
            self._prediction_offsets.restore(state.prediction_offsets)
        for segment, data in zip(self._segments, state.segments, strict=True):
            segment.restore(data)
        self.schema.restore(parts.read("schema"))
        if self.correlations.series:
            self.correlations.restore(parts.read("correlations"))
        if self.estimate is not None:
            self.estimate.restore(parts.read("estimate"))
        shards = parts.under("series-")
        stored = {
            key: data for name in shards for key, data in shards.read(name, dict[str, Any]).items()
        }
        if stored.keys() != self.series.keys():
            raise ValueError(
                f"{version_key(self.source.model, self.source.version)}: series are missing"
            )
        for key, series in self.series.items():
            series.restore(stored[key])
        self.mark_committed()
