"""What an alert says of the error rate that predictions let expect without a label."""

from __future__ import annotations

from typing import NamedTuple

from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.episodes.lifecycle import PhaseDecision
from stream_monitor.episodes.messages import format_number
from stream_monitor.reference.expected_loss import mean_expected_loss
from stream_monitor.statistics.fixed_point import FIXED_POINT


class EstimatedError(NamedTuple):
    """The error rate to expect of the reference, and of the fresh events of a verdict."""

    before: float
    now: float

    def words(self, track: str, realised: float | None) -> str:
        """How the sentence of an alert goes on.

        A loss is explained by its predictions if they foretell more than half of its change.

        >>> EstimatedError(0.236, 0.154).words("prediction", None)
        '; expected error rate 23.6 % → 15.4 %, without labels'
        >>> EstimatedError(0.236, 0.238).words("concept", 0.369)
        '; 0.238 was expected of such predictions: what changed is the truth'
        >>> EstimatedError(0.236, 0.344).words("concept", 0.346)
        '; 0.344 was expected of such predictions: they explain it'
        """
        if track != "concept":
            before, now = (f"{100 * share:.3g} %" for share in self)
            return f"; expected error rate {before} → {now}, without labels"
        if realised is None:
            return ""
        explained = abs(realised - self.now) < abs(realised - self.before) / 2
        why = "they explain it" if explained else "what changed is the truth"
        return f"; {format_number(self.now)} was expected of such predictions: {why}"


def estimated_error(series: MonitoredSignal, decision: PhaseDecision) -> EstimatedError | None:
    """What to expect of the events of a verdict; ``None`` where nothing is known, or none is."""
    if not decision.n_events:
        return None
    outcome = series.reference
    if outcome.kind == "outcome":
        before = mean_expected_loss(outcome, outcome.bin_counts)
        return EstimatedError(before, mean_expected_loss(outcome, decision.bins))
    if series.expected is None:
        return None
    return EstimatedError(
        series.expected.mean, decision.expected_total / decision.n_events / FIXED_POINT
    )
