"""The Prometheus metrics of a trainer, and the age of its loop."""

from __future__ import annotations

import time
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from stream_monitor.health import HealthProblem

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
        self._problems = Gauge(
            "driftline_health_problem",
            "1 while this trainer sees the problem",
            ["kind", "subject"],
            registry=self.registry,
        )
        self._loop_ran_s = time.monotonic()
        since = self._gauge("loop_age_seconds", "Seconds since the last iteration of the loop")
        since.set_function(self.loop_age_s)

    def see(self, problem: HealthProblem | None) -> None:
        """Export the problem of the monitor's workers; ``None``: there is none."""
        self._problems.clear()
        if problem is not None:
            self._problems.labels(problem.kind, problem.subject).set(1)

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
