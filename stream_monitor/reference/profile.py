"""The reference profile of a model version: all that the monitor knows of its training data.

A profile is immutable plain data, sent inside a `ModelUpdate`.  It does not depend on the
false-alarm budget: thresholds follow from both when detectors are built.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, TypeAlias

import msgspec

from stream_monitor.reference.correlation_reference import CorrelationReference
from stream_monitor.reference.expected_loss import ExpectedLoss, validate_expected_loss
from stream_monitor.reference.feature_reference import (
    ChannelReference,
    FeatureKind,
    FeatureReference,
)
from stream_monitor.reference.segment_reference import SegmentReference
from stream_monitor.reference.validation import validate_correlation, validate_feature

__all__ = [
    "ChannelReference",
    "ClassLabel",
    "CorrelationReference",
    "FeatureKind",
    "FeatureReference",
    "Origin",
    "ReferenceProfile",
    "SegmentReference",
    "Task",
    "profile_from_data",
    "profile_to_data",
]

Task: TypeAlias = Literal["binary", "multiclass", "regression"]
Origin: TypeAlias = Literal["training", "warm_up"]
ClassLabel: TypeAlias = float | int | str | bool

FORMAT: Final = 2
"""The format of profiles; another one is rejected."""


class ReferenceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of a model version: its features, its prediction, its loss.

    ``prediction`` is the reference of the score or the predicted class, ``loss`` that of the
    out-of-fold 0/1 error or absolute error.  ``skipped`` contains the names that cannot be watched,
    with reasons.  ``segmented_by`` are the declarations of ``segments``.  ``correlations`` are
    the feature correlations that are watched, the strongest first.  ``expected_loss`` is the loss
    expected from the prediction alone, where it contains its confidence.  ``importances`` of
    features, on any scale, weigh the severity of their drift.  ``events_per_week`` of event time is
    the rate of the whole traffic of the model, ``None`` where unknown; a budget per week uses it.
    ``labels`` are the classes of a binary model's labels, where the reference had any.  ``outputs``
    replaces ``prediction`` where a model predicts several numbers.
    """

    format: int = FORMAT
    model: str
    version: str
    origin: Origin
    n_events: int
    features: dict[str, FeatureReference]
    prediction: FeatureReference | None = None
    loss: FeatureReference | None = None
    task: Task
    threshold: float = 0.5
    positive: ClassLabel = 1
    importances: dict[str, float] = {}
    skipped: dict[str, str] = {}
    segmented_by: tuple[str, ...] = ()
    segments: tuple[SegmentReference, ...] = ()
    correlations: tuple[CorrelationReference, ...] = msgspec.field(name="relations", default=())
    expected_loss: ExpectedLoss | None = None
    events_per_week: float | None = None
    outputs: dict[str, FeatureReference] = {}
    labels: tuple[str, ...] = ()

    @property
    def kinds(self) -> dict[str, FeatureKind]:
        """The kind of each feature."""
        return {name: reference.kind for name, reference in self.features.items()}

    def weights(self) -> dict[str, float]:
        """The importance of each feature relative to the most important one; 1 where unknown.

        A negative importance (by permutation, it is chance) counts as 0.
        """
        most = max((self.importances.get(name, 0.0) for name in self.features), default=0.0)
        if most <= 0:
            return dict.fromkeys(self.features, 1.0)
        return {name: max(0.0, self.importances.get(name, most)) / most for name in self.features}


def profile_to_data(profile: ReferenceProfile) -> dict[str, Any]:
    """The profile as plain data that JSON can hold."""
    plain: dict[str, Any] = msgspec.to_builtins(profile)
    return plain


def profile_from_data(data: Any) -> ReferenceProfile:
    """Read and validate the data of `profile_to_data`.

    Raises:
        ValueError: it is no profile, or detectors cannot be built from it; the text names the part.
    """
    try:
        profile = msgspec.convert(data, ReferenceProfile)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"not a reference profile: {error}") from error
    validate_profile(profile)
    return profile


def validate_profile(profile: ReferenceProfile) -> None:
    """Raise ValueError if detectors cannot be built from a profile; the text names the part."""
    if profile.format != FORMAT:
        raise ValueError(f"reference profile of format {profile.format}; {FORMAT} is known")
    _check_numbers(profile)
    _check_features(profile.features)
    _check_features(profile.outputs)
    _check_correlations(profile)
    for segment in profile.segments:
        if not 0 < segment.share <= 1:
            raise ValueError(f"segment {segment.name}: a share of {segment.share}")
        _check_features(segment.features)
    if len({segment.name for segment in profile.segments}) < len(profile.segments):
        raise ValueError("reference profile: a segment is there twice")
    others = (segment.prediction for segment in profile.segments)
    for extra in (profile.prediction, profile.loss, *others):
        if extra is not None:
            validate_feature(extra)
    if profile.expected_loss is not None:
        validate_expected_loss(profile.expected_loss, profile.prediction)


def _check_numbers(profile: ReferenceProfile) -> None:
    if not all(map(math.isfinite, (profile.threshold, *profile.importances.values()))):
        raise ValueError("reference profile: threshold and importances must be finite")
    if profile.events_per_week is not None and not 0 < profile.events_per_week < math.inf:
        raise ValueError("reference profile: events_per_week must be positive and finite")


def _check_features(features: dict[str, FeatureReference]) -> None:
    for name, feature in features.items():
        if name != feature.name:
            raise ValueError(f"feature {name!r} is named {feature.name!r} inside")
        validate_feature(feature)


def _check_correlations(profile: ReferenceProfile) -> None:
    for pair in profile.correlations:
        validate_correlation(pair, profile.features)
    if len({pair.name for pair in profile.correlations}) < len(profile.correlations):
        raise ValueError("reference profile: a feature correlation is there twice")
