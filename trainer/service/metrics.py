"""The Prometheus metrics of a trainer, and the age of its loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from producer.names import escape
from stream_monitor.health import HealthProblem
from trainer.service.compare_versions import SWAP_RULE, RecordedEvents
from trainer.service.scored_events import ScoredEvents, ScorerStatus

STALL_S: Final = 60.0
"""A loop without an iteration for this time is not alive."""


class TrainerMetrics:
    """The Prometheus metrics of one trainer process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.alerts = self._counter(
            "alerts", "Alerts received, by model and decision", "model", "action", "rule"
        )
        self.skipped = self._counter(
            "alerts_skipped", "Records of the alerts topic that are not alerts"
        )
        self.jobs = self._counter("jobs", "Jobs that ended, by outcome", "model", "outcome")
        self.active = self._gauge("jobs_active", "Jobs that are not done", "state")
        self.lag = self._gauge("alerts_lag", "Alerts not received yet", "partition")
        self.unsent = self._gauge("events_unsent", "1 while events wait for Kafka to accept them")
        self.labelled = self._counter("labelled_events", "Labelled events counted", "model")
        self.compared = self._counter(
            "labelled_events_compared", "Labelled events on which versions were compared", "model"
        )
        self.swaps = self._counter("swaps", "Swaps to a stored version requested", "model")
        self.sampled = self._gauge(
            "labelled_events_sampled_share", "Share of labelled events that is scored", "model"
        )
        self.n_versions = self._gauge("versions_scored", "Stored versions that are scored", "model")
        self.unlabelled = self._gauge(
            "events_unlabelled", "Events that were dropped before their label came", "model"
        )
        self.left_out = self._gauge("versions_left_out", "Stored versions that cannot be scored")
        self.events_lag = self._gauge(
            "labelled_events_lag", "Records of the event topic not read yet", "partition"
        )
        self._problems = Gauge(
            "driftline_health_problem",
            "1 while this trainer sees the problem",
            ["kind", "subject"],
            registry=self.registry,
        )
        self._loop_ran_s = time.monotonic()
        since = self._gauge("loop_age_seconds", "Seconds since the last iteration of the loop")
        since.set_function(self.loop_age_s)

    def see(self, problems: Sequence[HealthProblem]) -> None:
        """Export the current problems."""
        self._problems.clear()
        for problem in problems:
            self._problems.labels(problem.kind, problem.subject).set(1)

    def count_scored(self, scored: ScoredEvents, recorded: RecordedEvents) -> None:
        """Count recorded events and the swaps that they caused."""
        model = escape(scored.model)
        self.labelled.labels(model).inc(scored.n_labelled)
        self.compared.labels(model).inc(recorded.n_compared)
        self.sampled.labels(model).set(scored.sampled_share)
        self.swaps.labels(model).inc(sum(job.work.rule == SWAP_RULE for job in recorded.jobs))

    def see_scoring(self, status: ScorerStatus) -> None:
        """Export the status of the scorer process."""
        for partition, lag in status.lag.items():
            self.events_lag.labels(str(partition)).set(lag)
        for model, count in status.n_scored_versions.items():
            self.n_versions.labels(escape(model)).set(count)
        for model, count in status.n_unlabelled.items():
            self.unlabelled.labels(escape(model)).set(count)
        self.left_out.set(len(status.left_out))

    def mark_loop_ran(self) -> None:
        """Record an iteration of the loop."""
        self._loop_ran_s = time.monotonic()

    def loop_age_s(self) -> float:
        """Return the seconds since the last iteration of the loop."""
        return time.monotonic() - self._loop_ran_s

    def health(self) -> dict[str, Any]:
        """Return whether the loop runs, for ``/healthz``."""
        age_s = self.loop_age_s()
        return {"alive": age_s < STALL_S, "loop_age_s": round(age_s, 1)}

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"driftline_trainer_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"driftline_trainer_{name}", description, labels, registry=self.registry)
