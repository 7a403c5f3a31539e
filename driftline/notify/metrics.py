"""The Prometheus metrics of the notifier.  Labels are the names of targets in the settings."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

STALL_S: Final = 60.0
"""A loop without an iteration for this time is not alive."""


class NotifyMetrics:
    """The metrics of one notifier."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = self._counter(
            "records", "Records of the alerts topic by what they were", "outcome"
        )
        self.messages = self._counter(
            "messages", "Attempts to send a message, by target and outcome", "target", "outcome"
        )
        self.unrouted = self._counter("unrouted", "Subjects that match no route")
        self.pending = self._gauge(
            "messages_pending", "Messages that are due and were not accepted yet", "target"
        )
        self.failing = self._gauge(
            "target_failing", "1 while the last attempt at the target failed", "target"
        )
        self.open = self._gauge("subjects_open", "Open incidents, gaps of coverage, and problems")
        self.lag = self._gauge("alerts_lag", "Alerts not read yet", "partition")
        self.sending = self._gauge(
            "sending", "1 while this notifier sends, 0 while it is the standby of another"
        )
        self.connected = self._gauge("kafka_connected", "1 while Kafka answers")
        self._loop_ran_s = time.monotonic()
        age = self._gauge("loop_age_seconds", "Seconds since the last iteration of the loop")
        age.set_function(self.loop_age_s)

    def mark_loop_ran(self) -> None:
        """Record an iteration of the loop."""
        self._loop_ran_s = time.monotonic()

    def loop_age_s(self) -> float:
        """Seconds since the last iteration of the loop."""
        return time.monotonic() - self._loop_ran_s

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"driftline_notify_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"driftline_notify_{name}", description, labels, registry=self.registry)
