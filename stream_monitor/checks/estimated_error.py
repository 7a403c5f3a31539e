"""The error rate that predictions let expect, for an alert of a change."""

from __future__ import annotations

from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.episodes.lifecycle import PhaseDecision
from stream_monitor.episodes.messages import ErrorEstimate
from stream_monitor.reference.expected_loss import mean_expected_loss
from stream_monitor.statistics.fixed_point import FIXED_POINT


def estimated_error(series: MonitoredSignal, decision: PhaseDecision) -> ErrorEstimate | None:
    """Estimate the error rate of the reference and of the fresh events of ``decision``.

    Returns None where the decision has no events, or the reference knows no expected error.
    """
    if not decision.n_events:
        return None
    outcome = series.reference
    if outcome.kind == "outcome":
        before = mean_expected_loss(outcome, outcome.bin_counts)
        return ErrorEstimate(before, mean_expected_loss(outcome, decision.bins))
    if series.expected is None:
        return None
    return ErrorEstimate(
        series.expected.mean, decision.expected_total / decision.n_events / FIXED_POINT
    )
