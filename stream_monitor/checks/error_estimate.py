"""The error rate that predictions let expect without labels, and the realised one.

The estimate needs no label and cannot see concept drift; where labels arrive, it is compared with
the realised error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

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
    """The series of the model itself, and the track of each."""
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


class ErrorRates(NamedTuple):
    """The expected and the realised error rate of so many events, both 0 of none."""

    n_events: int
    expected: float
    realised: float


class ErrorEstimate:
    """The expected error of recent predictions, and the expected and the realised one of labels.

    Recent are the last 1,024 to 2,048 of them.  ``key`` names the series whose values say how sure
    a prediction is.
    """

    def __init__(self, profile: ReferenceProfile) -> None:
        expected = profile.expected_loss
        if expected is None:
            raise ValueError("the profile does not say what loss to expect")
        reference = expected.confidence or profile.prediction
        if reference is None:
            raise ValueError("there is no prediction to expect a loss of")
        self.key = PREDICTION if expected.confidence is None else CONFIDENCE
        self.table = ExpectedLossTable(expected, reference.n_indices)
        self._task, self._positive = profile.task, profile.positive
        self._transform = Transform(reference)
        self._predictions = _RecentErrors()
        self._labels = _RecentErrors()

    def look_up(self, predictions: Sequence[Prediction]) -> Transformed:
        """The index of each prediction by how sure it is, shape (n,)."""
        if self.key == CONFIDENCE:
            return self._transform.apply([confidence_of(p) for p in predictions])
        return self._transform.apply(scores_of(predictions, self._task, self._positive))

    def losses_of(self, scores: Transformed) -> Ints:
        """The loss to expect of each prediction in fixed point, -1 where nothing is known; (n,)."""
        losses = np.full(len(scores.valid), -1, dtype=np.int64)
        losses[scores.valid] = self.table.losses[scores.index]
        return losses

    def observe(self, losses: Ints) -> None:
        """Take what `losses_of` says of n consecutive events."""
        known = losses[losses >= 0]
        self._predictions.observe(known, np.zeros_like(known))

    def observe_labels(self, predictions: Sequence[Prediction], losses: Column) -> Ints:
        """Take joined labels, in log order; gives the outcome of each as the loss series has it."""
        wrong = np.array(losses, dtype=np.int64)
        cells = self.table.cells(self.look_up(predictions), wrong)
        self._labels.observe(self.table.expected_of(cells), wrong)
        return cells

    @property
    def of_predictions(self) -> ErrorRates:
        """Of recent predictions, labelled or not; what was realised is not known of them."""
        return self._predictions.share()

    @property
    def of_labels(self) -> ErrorRates:
        """Of recent labels."""
        return self._labels.share()

    def rates(self) -> dict[str, float]:
        """Recent error rates by what they are, as far as they are known."""
        estimated, of_labelled = self.of_predictions, self.of_labels
        rates = {"estimated": estimated.expected} if estimated.n_events else {}
        if of_labelled.n_events:
            rates |= {
                "estimated_of_labelled": of_labelled.expected,
                "realised": of_labelled.realised,
            }
        return rates

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [self._predictions.snapshot(), self._labels.snapshot()]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        predictions, labels = data
        self._predictions.restore(predictions)
        self._labels.restore(labels)


class _RecentErrors:
    """Exact sums of the current span of events, and of the one before it."""

    def __init__(self) -> None:
        self._spans = [[0, 0, 0], [0, 0, 0]]

    def observe(self, expected: Ints, wrong: Ints) -> None:
        """Take n consecutive events; spans are cut by count, so batches do not matter."""
        start = 0
        while start < len(expected):
            if self._spans[1][0] == SPAN_EVENTS:
                self._spans = [self._spans[1], [0, 0, 0]]
            current = self._spans[1]
            end = min(len(expected), start + SPAN_EVENTS - current[0])
            current[0] += end - start
            current[1] += int(expected[start:end].sum())
            current[2] += int(wrong[start:end].sum())
            start = end

    def share(self) -> ErrorRates:
        """Of both spans together."""
        before, current = self._spans
        n, expected, wrong = (a + b for a, b in zip(before, current, strict=True))
        return ErrorRates(n, expected / max(1, n) / FIXED_POINT, wrong / max(1, n))

    def snapshot(self) -> list[list[int]]:
        return [list(span) for span in self._spans]

    def restore(self, data: Sequence[Sequence[int]]) -> None:
        for span in data:
            n, expected, wrong = span
            if not 0 <= wrong <= n <= SPAN_EVENTS or not 0 <= expected <= n * FIXED_POINT:
                raise ValueError("impossible sums of expected losses")
        before, current = data
        self._spans = [list(before), list(current)]
