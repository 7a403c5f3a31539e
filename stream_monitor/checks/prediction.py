"""The checks of a model's prediction, its outputs, or the confidence of its predictions."""

from __future__ import annotations

from collections.abc import Iterator

from stream_monitor.checks.check import CheckContext
from stream_monitor.checks.error_estimate import references_of_model
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.checks.version_events import VersionEvents
from stream_monitor.episodes.finding import Finding


def prediction_checks(context: CheckContext) -> Iterator[PredictionCheck]:
    """The checks of the prediction series that the reference has."""
    estimate = context.estimate
    for key, (reference, main_check) in references_of_model(context.profile).items():
        if main_check == "prediction":
            expected = None if estimate is None or estimate.key != key else estimate.table
            signal = MonitoredSignal(
                reference, main_check, context.arl0_events, context.policy, expected
            )
            yield PredictionCheck(context.source, key, signal)


class PredictionCheck(SignalCheck[VersionEvents]):
    """The checks of one prediction series in all traffic of a version."""

    def observe(self, batch: VersionEvents) -> list[Finding]:
        """Apply the predictions of events; returns the phases of episodes that they decided."""
        scores, predictions = batch.scores[self.series], batch.predictions
        return self.findings_of(
            self.signal.observe(
                scores, predictions.offsets, predictions.times_ms, batch.prediction_onset
            )
        )
