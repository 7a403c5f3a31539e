"""The check of a model's error, from labels that were joined with their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from stream_monitor.checks.check import CheckContext
from stream_monitor.checks.error_estimate import LOSS
from stream_monitor.checks.monitored_signal import MonitoredSignal, SignalState
from stream_monitor.checks.offset_index import OffsetIndex, OffsetMarks
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.episodes.finding import Finding
from stream_monitor.labels.join import JoinedLabel
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.values import Column
from stream_monitor.state_parts import as_type

LabelLoss: TypeAlias = tuple[JoinedLabel, float]
"""A joined label, and the loss of its prediction."""


class ErrorRateState(msgspec.Struct, array_like=True):
    """The state of an `ErrorRateCheck`."""

    signal: SignalState
    offsets: OffsetMarks


class ErrorRateCheck(SignalCheck[Sequence[LabelLoss]]):
    """The check of the error of one version, whose ``reference`` is known."""

    def __init__(self, context: CheckContext, reference: FeatureReference) -> None:
        signal = MonitoredSignal(reference, "concept", context.arl0_events, context.policy)
        super().__init__(context.source, LOSS, signal)
        self._estimate = context.estimate
        self._offsets = OffsetIndex()

    def observe(self, batch: Sequence[LabelLoss]) -> list[Finding]:
        """Apply joined labels in offset order; returns the phases of episodes that they decided."""
        if not batch:
            return []
        offsets = np.array([label.offset for label, _ in batch], dtype=np.int64)
        times_ms = np.array([label.event_time_ms for label, _ in batch], dtype=np.int64)
        outcomes: Column = [loss for _, loss in batch]
        if self._estimate is not None:
            predictions = [label.prediction for label, _ in batch]
            outcomes = self._estimate.observe_labels(predictions, outcomes).tolist()
        values = self.signal.transform.apply(outcomes)
        self._offsets.observe(offsets, times_ms)
        decisions = self.signal.observe(values, offsets, times_ms, self._offsets.at)
        return self.findings_of(decisions)

    def snapshot(self) -> ErrorRateState:
        """The state of the signal, and the offset index of the labels."""
        return ErrorRateState(self.signal.snapshot(), self._offsets.snapshot())

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        state = as_type(data, ErrorRateState)
        self.signal.restore(state.signal)
        self._offsets = OffsetIndex(state.offsets)
