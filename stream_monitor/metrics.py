"""Every metric of the monitor, under the names dashboards use.

No feature value and no id is ever a label; series of drift are capped.  A ``model`` is escaped
(`producer.names`), alone or as ``MODEL@VERSION``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from producer.names import escape, parse_version_key
from producer.printable import printable
from producer.synthetic import is_synthetic
from stream_monitor.contracts import COVERAGE_UNITS, DeadLetter, DriftAlert
from stream_monitor.core.coverage import WATCHED, CoverageRow, is_event

MAX_REJECTED: Final = 200
"""Models, reasons and producers of rejected records that are told apart; the others are `OTHER`."""
MAX_PRODUCER: Final = 80
OTHER: Final = "other"
MAX_SERIES: Final = 1_000
"""Series of drift that are exported; the others are only counted."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Outcomes = Callable[[], Iterable[tuple[int, dict[str, int]]]]
Levels = Callable[[], Iterable[tuple[str, str, int]]]
ErrorRates = Callable[[], Iterable[tuple[int, str, str, float]]]
LabelSamples = Callable[[], Iterable[tuple[int, str, float, int]]]


class Metrics:
    """The registry of one worker.  Counts begin with the process, except ``events_total``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = self._counter("records", "Records read from the log", "partition")
        self.refused = self._counter("events_invalid", "Records rejected, by reason", "reason")
        self.rejected = self._counter(
            "records_rejected",
            "Records rejected, by model, reason and producer",
            "model",
            "reason",
            "producer",
        )
        self._rejected_of: set[tuple[str, str, str]] = set()
        self.alerts = self._counter(
            "alerts", "Phases of episodes", "model", "detector", "severity", "phase"
        )
        self.published = self._counter("outbox_published", "Outbox entries published", "kind")
        self.commits = self._counter("commits", "Commits of state and offset", "outcome")
        self.dropped = self._counter("batches_dropped", "Batches not taken", "reason")
        self.lost = self._counter("records_lost", "Records retention deleted unread", "partition")
        self.ticks = self._counter("ticks", "Ticks appended to idle partitions")
        self.store_errors = self._counter("redis_errors", "Calls Redis did not answer")
        self.processing = self._counter("processing_seconds", "Time spent folding records in")
        self.commit_seconds = self._histogram("commit_seconds", "Duration of a commit")
        self.batch_records = Histogram(
            "driftline_batch_records",
            "Records in a batch",
            buckets=(1, 10, 100, 1_000, 10_000),
            registry=self.registry,
        )
        self.lag = self._gauge("consumer_lag", "Records not read yet", "topic", "partition")
        self.blocked = self._gauge(
            "records_blocked", "Records behind an open transaction", "topic", "partition"
        )
        self.offset = self._gauge("next_offset", "Next offset committed", "topic", "partition")
        self.problems = self._gauge(
            "health_problem", "1 while this worker sees the problem", "kind", "subject"
        )
        self.owned = self._gauge("partitions_owned", "Partitions this worker owns")

    def watch(
        self, outcomes: Outcomes, levels: Levels, error_rates: ErrorRates, samples: LabelSamples
    ) -> None:
        """Export what the folds themselves count, read when somebody asks."""
        self.registry.register(_StateCollector(outcomes, levels, error_rates, samples))

    def watch_coverage(self, coverages: Coverages) -> None:
        """Export what the folds count as watched, and as not watched."""
        self.registry.register(CoverageCollector(coverages))

    def observed(self, alerts: Iterable[DriftAlert], letters: Iterable[DeadLetter]) -> None:
        """Count what a batch led to.  Drills are no alerts, and each has a name of its own."""
        for alert in alerts:
            if alert.drill:
                continue
            self.alerts.labels(
                escape(alert.model), alert.detector, alert.severity, alert.phase
            ).inc()
        for letter in letters:
            self.refused.labels(letter.reason).inc()
            self.rejected.labels(*self._producer_of(letter)).inc()

    def _producer_of(self, letter: DeadLetter) -> tuple[str, str, str]:
        """Labels of a dead letter; of `MAX_REJECTED` models, reasons and producers, no more."""
        of = escape(letter.model), letter.reason, printable(letter.source[:MAX_PRODUCER])
        if of not in self._rejected_of and len(self._rejected_of) >= MAX_REJECTED:
            return OTHER, letter.reason, OTHER
        self._rejected_of.add(of)
        return of

    def forget(self, topic: str, partition: int) -> None:
        """The partition is no longer ours to report on."""
        for gauge in (self.lag, self.offset, self.blocked):
            gauge.remove_by_labels({"topic": topic, "partition": str(partition)})

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"driftline_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"driftline_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(f"driftline_{name}", description, buckets=_SECONDS, registry=self.registry)


class _StateCollector:
    def __init__(
        self, outcomes: Outcomes, levels: Levels, error_rates: ErrorRates, samples: LabelSamples
    ) -> None:
        self._outcomes = outcomes
        self._levels = levels
        self._error_rates = error_rates
        self._samples = samples

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "driftline_events",
            "Records since the beginning of the log, by how they were counted",
            labels=["partition", "outcome"],
        )
        for partition, outcomes in self._outcomes():
            for outcome, count in outcomes.items():
                events.add_metric([str(partition), outcome], count)
        yield events
        state = GaugeMetricFamily(
            "driftline_drift_state",
            "0 none, 1 suspected, 2 an open episode",
            labels=["model", "series"],
        )
        worst: dict[tuple[str, str], int] = {}
        for model, series, level in self._levels():  # several partitions may know one series
            if not is_synthetic(parse_version_key(model).model):
                worst[model, series] = max(level, worst.get((model, series), 0))
        for (model, series), level in islice(worst.items(), MAX_SERIES):
            state.add_metric([model, series], level)
        yield state
        errors = GaugeMetricFamily(
            "driftline_error_rate",
            "Of recent predictions, as they let expect it; of recent labels, expected and realised",
            labels=["partition", "model", "kind"],
        )
        of_models = (
            each
            for each in self._error_rates()
            if not is_synthetic(parse_version_key(each[1]).model)
        )
        for partition, model, of, rate in islice(of_models, MAX_SERIES):
            errors.add_metric([str(partition), model, of], rate)
        yield errors
        shares = GaugeMetricFamily(
            "driftline_label_sampling_ratio",
            "Share of the predictions that may wait for a label; below 1 where too many wait",
            labels=["partition", "model"],
        )
        left = CounterMetricFamily(
            "driftline_labels_sampled_out",
            "Labels not joined since the beginning of the log, for too many predictions waited",
            labels=["partition", "model"],
        )
        samples = (each for each in self._samples() if not is_synthetic(each[1]))
        for partition, model, share, sampled_out in islice(samples, MAX_SERIES):
            shares.add_metric([str(partition), escape(model)], share)
            left.add_metric([str(partition), escape(model)], sampled_out)
        yield shares
        yield left


MAX_COVERAGE_SERIES: Final = 2_000
OVERFLOW: Final = "~other"
"""All versions, or models, without a row of their own; no escaped name has a ``~``."""

Coverages = Callable[[], Iterable[tuple[int, str, Sequence[CoverageRow]]]]
"""Partition, model, and what was counted of it there."""


class CoverageCollector:
    """Reads the counts of the folds when somebody asks."""

    def __init__(self, coverages: Coverages) -> None:
        self._coverages = coverages

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the first collection."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The four families."""
        labels = ["partition", "model", "version", "reason"]
        events = CounterMetricFamily(
            "driftline_coverage_events",
            "Accepted events since the beginning of the log: watched, or why they were not",
            labels=labels,
        )
        unused = CounterMetricFamily(
            "driftline_coverage_unused",
            "Labels and records that were not used, since the beginning of the log, and why",
            labels=[*labels, "unit"],
        )
        features = GaugeMetricFamily(
            "driftline_coverage_unwatched_features",
            "Features of the last hour's events that are not watched, and why",
            labels=labels,
        )
        ratio = GaugeMetricFamily(
            "driftline_coverage_ratio",
            "Share of the last hour's accepted events that was watched",
            labels=["partition", "model"],
        )
        ours = [(p, m, rows) for p, m, rows in self._coverages() if not is_synthetic(m)]
        for partition, model, rows in ours[:MAX_COVERAGE_SERIES]:
            share = _share(rows)
            if share is not None:
                ratio.add_metric([str(partition), escape(model) or OVERFLOW], share)
        every = ((p, m, row) for p, m, rows in ours for row in rows)
        n_features: dict[tuple[str, str, str, str], int] = {}
        for partition, model, row in islice(every, MAX_COVERAGE_SERIES):
            key = row.key
            names = escape(model) or OVERFLOW, escape(key.version) or OVERFLOW
            at: tuple[str, str, str, str] = (str(partition), *names, key.reason)
            if is_event(key):
                events.add_metric([*at], row.total)
            elif key.reason != WATCHED and COVERAGE_UNITS[key.reason] == "feature":
                n_features[at] = n_features.get(at, 0) + bool(row.last_hour)
            elif key.reason != WATCHED:
                unused.add_metric([*at, COVERAGE_UNITS[key.reason]], row.total)
        for at, n in n_features.items():
            features.add_metric([*at], n)
        yield from (events, unused, features, ratio)


def _share(rows: Sequence[CoverageRow]) -> float | None:
    """Of the last hour's events; ``None`` without one."""
    events = sum(row.last_hour for row in rows if is_event(row.key))
    watched = sum(row.last_hour for row in rows if row.key.reason == WATCHED)
    return watched / events if events else None
