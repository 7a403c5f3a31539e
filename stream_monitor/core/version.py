"""One watched model version: its reference, and the checks of all its signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from producer.events import Prediction
from producer.names import version_key
from stream_monitor.checks.check import Check, CheckContext
from stream_monitor.checks.error_estimate import (
    CONFIDENCE,
    LOSS,
    PREDICTION,
    ErrorEstimate,
    ErrorEstimateState,
    output_key,
    references_of_model,
)
from stream_monitor.checks.error_rate import ErrorRateCheck, LabelLoss
from stream_monitor.checks.feature import feature_key
from stream_monitor.checks.offset_index import OffsetIndex, OffsetMarks
from stream_monitor.checks.schema import SchemaCheck
from stream_monitor.checks.segment import rows_of
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.checks.table import checks_of
from stream_monitor.checks.version_events import BatchPredictions, SegmentEvents, VersionEvents
from stream_monitor.contracts import CoverageReason, DriftAlert
from stream_monitor.core.alert_budget import arl0_per_detector
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.episodes.suppression import ExplainedEpisodes, ReportedEpisodes
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.labels.join import JoinedLabel
from stream_monitor.reference.fit import SKIPPED_PREDICTION, fit_loss
from stream_monitor.reference.loss import is_comparable, prediction_loss, scores_of
from stream_monitor.reference.outputs import output_columns
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from stream_monitor.reference.transform import Transformed
from stream_monitor.state_parts import StoredParts

_SHARD_CHECKS: Final = 16
_MAX_NAMED: Final = 32
"""The most features named under each reason for which they are not compared."""
UncomparedFeature: TypeAlias = tuple[str, CoverageReason, Ints | slice]


class VersionState(msgspec.Struct, array_like=True):
    """The state of a `VersionMonitor` but for its checks.

    ``losses`` are those collected for the loss reference, ``has_error_rate`` whether it is in use.
    ``prediction_offsets`` is ``None`` while all events have a prediction.
    """

    idle: bool
    not_comparable: int
    losses: list[float]
    has_error_rate: bool
    event_offsets: OffsetMarks
    prediction_offsets: OffsetMarks | None
    segment_offsets: dict[str, OffsetMarks]
    reported: ReportedEpisodes


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
        self._warm_up_labels = warm_up_labels
        self._losses: list[float] = []
        self.not_comparable = 0
        self.estimate = None if profile.expected_loss is None else ErrorEstimate(profile)
        self.arl0_events = arl0_per_detector(profile, budget)
        self._context = CheckContext(self.source, profile, self.arl0_events, policy, self.estimate)
        self.checks = checks_of(self._context)
        self.error_rate: ErrorRateCheck | None = None
        loss = references_of_model(profile).get(LOSS)
        if loss is not None:
            self.error_rate = ErrorRateCheck(self._context, loss[0])
        self._explained = ExplainedEpisodes()
        self._transforms = {
            key: check.signal.transform
            for key, check in self.checks.items()
            if isinstance(check, SignalCheck) and check.segment is None
        }
        self._names = tuple(profile.features)
        self._outputs = tuple(profile.outputs)
        self._event_offsets = OffsetIndex()
        self._prediction_offsets: OffsetIndex | None = (
            None  # of predictions, once there are events without one
        )
        self._segment_offsets = {segment.name: OffsetIndex() for segment in profile.segments}
        self._has_changes = set(self._all_checks())
        self._meta_changed = True

    def _all_checks(self) -> dict[str, Check[Any]]:
        """The checks of the events, and that of the error where it has a reference."""
        return self.checks | ({} if self.error_rate is None else {LOSS: self.error_rate})

    def observe(
        self, batch: EventBatch
    ) -> tuple[dict[str, Transformed], list[DriftAlert], Ints | None]:
        """Apply events (n,); returns transformed features, alerts, and expected losses (n,)."""
        events = self._events(batch)
        estimate = self.estimate
        losses = None
        if estimate is not None:
            losses = events.predictions.losses(estimate, events.scores, len(batch))
            estimate.observe(losses)
        self._meta_changed = True
        findings: list[Finding] = []
        for key, check in self.checks.items():
            if check.segment is None or check.segment in events.segments:
                findings += check.observe(events)
                self._has_changes.add(key)
        reported = self._explained.process(self._explained.in_order(findings))
        return dict(events.features), list(map(alert_of, reported)), losses

    def _events(self, batch: EventBatch) -> VersionEvents:
        """The events as the checks observe them."""
        features = {
            name: self._transforms[feature_key(name)].apply(column)
            for name, column in batch.features.columns(self._names).items()
        }
        predictions = BatchPredictions.of(batch)
        if predictions.has_missing and self._prediction_offsets is None:
            self._prediction_offsets = OffsetIndex(self._event_offsets.snapshot())  # same so far
        self._event_offsets.observe(batch.offsets, batch.times_ms)
        prediction_offsets = self._event_offsets
        if self._prediction_offsets is not None:
            prediction_offsets = self._prediction_offsets
            prediction_offsets.observe(predictions.offsets, predictions.times_ms)
        return VersionEvents(
            batch,
            features,
            self._event_offsets.at,
            predictions,
            self._scored(predictions.predictions),
            prediction_offsets.at,
            dict(self._segments(batch)),
        )

    def _segments(self, batch: EventBatch) -> Iterator[tuple[str, SegmentEvents]]:
        """The segments that have events in a batch."""
        for name, rows in rows_of(self.profile.segments, batch).items():
            if len(rows):
                offsets, times_ms = batch.offsets[rows], batch.times_ms[rows]
                index = self._segment_offsets[name]
                index.observe(offsets, times_ms)
                yield name, SegmentEvents(rows, offsets, times_ms, index.at)

    @property
    def not_compared(self) -> CoverageReason | None:
        """The reason why events are not compared with the reference; ``None`` if they are."""
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
        for check in self.checks.values():
            if isinstance(check, SchemaCheck):
                names, since = check.uncompared_features(len(batch))
                for name in [name for name in names if name not in skipped][:_MAX_NAMED]:
                    yield name, "feature_not_comparable", slice(since, None)

    def _scored(self, predictions: Sequence[Prediction]) -> dict[str, Transformed]:
        """The transformed values of the predictions, by series."""
        task, positive = self.profile.task, self.profile.positive
        scored: dict[str, Transformed] = {}
        if PREDICTION in self._transforms:
            scores = scores_of(predictions, task, positive)
            scored[PREDICTION] = self._transforms[PREDICTION].apply(scores)
        if self.profile.outputs:
            for name, column in output_columns(predictions, self._outputs).items():
                key = output_key(name)
                scored[key] = self._transforms[key].apply(column)
        if self.estimate is not None and self.estimate.key == CONFIDENCE:
            scored[CONFIDENCE] = self.estimate.look_up(predictions)
        return scored

    def compare_labels(
        self, joined: Sequence[JoinedLabel]
    ) -> list[tuple[JoinedLabel, float | None]]:
        """Each label with the loss of its prediction, ``None`` where they are not comparable."""
        return label_losses(self.profile, joined)

    def observe_labels(
        self, labels: Sequence[tuple[JoinedLabel, float | None]]
    ) -> list[DriftAlert]:
        """Apply the losses of `compare_labels`, in offset order."""
        compared = [(label, loss) for label, loss in labels if loss is not None]
        self.not_comparable += len(labels) - len(compared)
        self._meta_changed = True
        if self.error_rate is None:
            compared = self._warm_up_loss(compared)
        if self.error_rate is None or not compared:
            return []
        self._has_changes.add(LOSS)
        return list(map(alert_of, self._explained.process(self.error_rate.observe(compared))))

    def _warm_up_loss(self, compared: list[LabelLoss]) -> list[LabelLoss]:
        """Collect the first losses for the loss reference; returns the rest of ``compared``."""
        missing = self._warm_up_labels - len(self._losses)
        self._losses += [loss for _, loss in compared[:missing]]
        if len(self._losses) < self._warm_up_labels:
            return []
        self._start_error_rate()
        return compared[missing:]

    def _start_error_rate(self) -> None:
        """Check the error from now on, against the losses of the warm-up."""
        reference = fit_loss(self._losses, task=self.profile.task)
        self.error_rate = ErrorRateCheck(self._context, reference)
        self._has_changes.add(LOSS)

    def learnt_profile(self) -> ReferenceProfile:
        """The profile, with the loss reference that was fitted on labels here if it had none."""
        if self.error_rate is None or self.profile.loss is not None or self.estimate is not None:
            return self.profile
        return msgspec.structs.replace(self.profile, loss=self.error_rate.signal.reference)

    def is_on(self, profile: ReferenceProfile) -> bool:
        """Whether the reference in use equals ``profile``."""
        return profile_to_data(profile) == profile_to_data(self.profile)

    def supersede(self, offset: int, time_ms: int) -> list[DriftAlert]:
        """End open episodes as superseded: the version is idle, or its reference is replaced."""
        at = EventPosition(offset, time_ms)
        checks = self._all_checks()
        ended = [finding for check in checks.values() for finding in check.end("superseded", at)]
        self.idle = True
        self._meta_changed = True
        self._has_changes.update(checks)
        return list(map(alert_of, self._explained.process(ended)))

    def resolve(self, alert: DriftAlert, offset: int, time_ms: int) -> list[DriftAlert]:
        """End the episode of ``alert`` on a user's command; its series restarts on its reference.

        Episodes that it explains end with it.
        """
        at = EventPosition(offset, time_ms)
        ended = self._all_checks()[alert.series].end("resolved", at, alert)
        self._has_changes.add(alert.series)
        if ended:
            for key, check in self.checks.items():
                if check.explained_by is not None and alert.series in check.explained_by.parents:
                    ended += check.end("resolved", at, alert)
                    self._has_changes.add(key)
        self._meta_changed = True
        return list(map(alert_of, self._explained.process(ended)))

    def progress_of(self, alert: DriftAlert) -> RecoveryProgress | None:
        """The recovery progress of the open episode of ``alert``, where it is known."""
        check = self._all_checks().get(alert.series)
        return None if check is None else check.progress(alert)

    def levels(self) -> dict[str, int]:
        """Drift of every series: 0 none, 1 suspected or suppressed, 2 an open episode."""
        return {
            key: level
            if check.explained_by is None or self._explained.is_reported(key)
            else min(level, 1)
            for key, check in self._all_checks().items()
            if (level := check.level()) is not None
        }

    def suspected(self) -> list[str]:
        """The series with a suspicion that fresh events neither confirmed nor dismissed."""
        return [key for key, check in self._all_checks().items() if check.level() == 1]

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call."""
        parts: dict[str, Any] = {}
        if self._meta_changed:
            predicted = self._prediction_offsets
            parts["meta"] = VersionState(
                self.idle,
                self.not_comparable,
                self._losses,
                self.error_rate is not None,
                self._event_offsets.snapshot(),
                None if predicted is None else predicted.snapshot(),
                {name: index.snapshot() for name, index in self._segment_offsets.items()},
                self._explained.snapshot(),
            )
            if self.estimate is not None:
                parts["estimate"] = self.estimate.snapshot()
        checks = self._all_checks()
        keys = list(checks)
        for start in range(0, len(keys), _SHARD_CHECKS):
            shard = keys[start : start + _SHARD_CHECKS]
            if self._has_changes.intersection(shard):
                parts[f"checks-{start // _SHARD_CHECKS}"] = {
                    key: checks[key].snapshot() for key in shard
                }
        self._has_changes.clear()
        self._meta_changed = False
        return parts

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts.  Raises ValueError where they do not fit the profile."""
        state = parts.read("meta", VersionState)
        self.idle, self.not_comparable, self._losses = (
            state.idle,
            state.not_comparable,
            state.losses,
        )
        if state.has_error_rate and self.error_rate is None:
            self._start_error_rate()
        self._event_offsets = OffsetIndex(state.event_offsets)
        self._segment_offsets = {
            name: OffsetIndex(state.segment_offsets[name]) for name in self._segment_offsets
        }
        if state.prediction_offsets is not None:
            self._prediction_offsets = OffsetIndex(state.prediction_offsets)
        self._explained.state = state.reported
        if self.estimate is not None:
            self.estimate.restore(parts.read("estimate", ErrorEstimateState))
        shards = parts.under("checks-")
        stored = {
            key: data
            for name in shards
            for key, data in shards.read(name, dict[str, msgspec.Raw]).items()
        }
        checks = self._all_checks()
        if stored.keys() != checks.keys():
            raise ValueError(
                f"{version_key(self.source.model, self.source.version)}: checks are missing"
            )
        for key, check in checks.items():
            check.restore(stored[key])
        self._has_changes.clear()
        self._meta_changed = False


def label_losses(
    profile: ReferenceProfile, joined: Sequence[JoinedLabel]
) -> list[tuple[JoinedLabel, float | None]]:
    """Each label with the loss of its prediction, ``None`` where they are not comparable.

    A label that is not one of the two classes of a binary model is not comparable.
    """
    of = profile
    # An older profile has a loss, but not the classes of its labels.
    checked = of.task == "binary" and bool(of.labels or of.loss is None)
    return [
        (x, None)
        if checked and not is_comparable(x.label, of.positive, of.labels)
        else (x, prediction_loss(of.task, of.threshold, of.positive, x.prediction, x.label))
        for x in joined
    ]


def known_losses(
    compared: Sequence[tuple[JoinedLabel, float | None]],
) -> list[tuple[int, int, float]]:
    """Event time (ms), label delay (ms) and loss of the labels that could be compared."""
    return [(x.event_time_ms, x.delay_ms, loss) for x, loss in compared if loss is not None]
