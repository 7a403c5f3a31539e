"""Estimates the error rate from predictions without labels, and measures it with labels.

The estimate needs no label and cannot see concept drift; where labels arrive, it is compared with
the realised error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from producer.events import Prediction
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.expected_loss import ExpectedLossTable
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.loss import confidence_of, scores_of
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transform, Transformed
from stream_monitor.reference.values import Column
from stream_monitor.statistics.fixed_point import FIXED_POINT

PREDICTION: Final = "prediction"
CONFIDENCE: Final = "confidence"
LOSS: Final = "loss"
MainCheck: TypeAlias = Literal["prediction", "concept"]
SPAN_EVENTS: Final = 1024


def references_of_model(profile: ReferenceProfile) -> dict[str, tuple[FeatureReference, MainCheck]]:
    """Return the references of the model's own signals, each with its main check."""
    found: dict[str, tuple[FeatureReference, MainCheck]] = {}
    if profile.prediction is not None:
        found[PREDICTION] = (profile.prediction, "prediction")
    for name, output in profile.outputs.items():
        found[output_key(name)] = (output, "prediction")
    expected = profile.expected_loss
    if expected is not None and expected.confidence is not None:
        found[CONFIDENCE] = (expected.confidence, "prediction")
    loss = profile.loss if expected is None else expected.outcome
    if loss is not None:
        found[LOSS] = (loss, "concept")
    return found


def output_key(name: str) -> str:
    """The series of one of several outputs of the model."""
    return f"{PREDICTION}/{name}"


class ErrorSums(msgspec.Struct, array_like=True):
    """Exact sums of ``n`` events: their expected losses in fixed point, and wrong predictions."""

    n: int = 0
    expected: int = 0
    wrong: int = 0

    def __post_init__(self) -> None:
        fits = 0 <= self.wrong <= self.n <= SPAN_EVENTS
        if not fits or not 0 <= self.expected <= self.n * FIXED_POINT:
            raise ValueError("the stored sums of expected losses are invalid")


class RecentErrors(msgspec.Struct, array_like=True):
    """The sums of the current span of events, and of the one before it."""

    before: ErrorSums = msgspec.field(default_factory=ErrorSums)
    current: ErrorSums = msgspec.field(default_factory=ErrorSums)

    def observe(self, expected: Ints, wrong: Ints) -> None:
        """Apply n consecutive events; a span has a fixed count, independent of batch boundaries."""
        start = 0
        while start < len(expected):
            if self.current.n == SPAN_EVENTS:
                self.before, self.current = self.current, ErrorSums()
            current = self.current
            end = min(len(expected), start + SPAN_EVENTS - current.n)
            current.n += end - start
            current.expected += int(expected[start:end].sum())
            current.wrong += int(wrong[start:end].sum())
            start = end

    def share(self) -> ErrorRates:
        """Return the rates over both spans."""
        before, current = self.before, self.current
        n = before.n + current.n
        return ErrorRates(
            n,
            (before.expected + current.expected) / max(1, n) / FIXED_POINT,
            (before.wrong + current.wrong) / max(1, n),
        )


class ErrorEstimateState(msgspec.Struct, array_like=True):
    """The state of an `ErrorEstimate`."""

    predictions: RecentErrors
    labels: RecentErrors


class ErrorRates(NamedTuple):
    """The expected and the realised error rate of ``n_events`` events; 0 without events."""

    n_events: int
    expected: float
    realised: float


class ErrorEstimate:
    """The expected error of recent predictions, and expected and realised errors of labels.

    Recent are the last 1,024 to 2,048 of them.  ``key`` names the series with the confidence of a
    prediction.
    """

    def __init__(self, profile: ReferenceProfile) -> None:
        expected = profile.expected_loss
        if expected is None:
            raise ValueError("the profile has no expected loss")
        reference = expected.confidence or profile.prediction
        if reference is None:
            raise ValueError("the profile has no prediction")
        self.key = PREDICTION if expected.confidence is None else CONFIDENCE
        self.table = ExpectedLossTable(expected, reference.n_indices)
        self._task, self._positive = profile.task, profile.positive
        self._transform = Transform(reference)
        self._predictions = RecentErrors()
        self._labels = RecentErrors()

    def look_up(self, predictions: Sequence[Prediction]) -> Transformed:
        """Return the index of each prediction by its confidence, shape (n,)."""
        if self.key == CONFIDENCE:
            return self._transform.apply([confidence_of(p) for p in predictions])
        return self._transform.apply(scores_of(predictions, self._task, self._positive))

    def losses_of(self, scores: Transformed) -> Ints:
        """The expected loss of each prediction in fixed point, (n,); -1 where it is unknown."""
        losses = np.full(len(scores.valid), -1, dtype=np.int64)
        losses[scores.valid] = self.table.losses[scores.index]
        return losses

    def observe(self, losses: Ints) -> None:
        """Apply the result of `losses_of` for n consecutive events."""
        known = losses[losses >= 0]
        self._predictions.observe(known, np.zeros_like(known))

    def observe_labels(self, predictions: Sequence[Prediction], losses: Column) -> Ints:
        """Apply joined labels, in offset order; returns the outcome codes of the loss series."""
        wrong = np.array(losses, dtype=np.int64)
        cells = self.table.cells(self.look_up(predictions), wrong)
        self._labels.observe(self.table.expected_of(cells), wrong)
        return cells

    @property
    def of_predictions(self) -> ErrorRates:
        """The expected error rate of recent predictions, labelled or not."""
        return self._predictions.share()

    @property
    def of_labels(self) -> ErrorRates:
        """The error rates of recent labels."""
        return self._labels.share()

    def rates(self) -> dict[str, float]:
        """Recent error rates by kind, as far as they are known."""
        estimated, of_labelled = self.of_predictions, self.of_labels
        rates = {"estimated": estimated.expected} if estimated.n_events else {}
        if of_labelled.n_events:
            rates |= {
                "estimated_of_labelled": of_labelled.expected,
                "realised": of_labelled.realised,
            }
        return rates

    def snapshot(self) -> ErrorEstimateState:
        """The state."""
        return ErrorEstimateState(self._predictions, self._labels)

    def restore(self, state: ErrorEstimateState) -> None:
        """Continue from `snapshot`."""
        self._predictions, self._labels = state.predictions, state.labels
