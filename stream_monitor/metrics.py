"""The Prometheus metrics of a monitor's worker.

No feature value and no event id is a label, and the number of time series is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from producer.names import escape, parse_version_key
from producer.printable import printable
from producer.synthetic import is_synthetic
from stream_monitor.contracts import COVERAGE_UNITS, DeadLetter, DriftAlert
from stream_monitor.core.coverage import WATCHED, CoverageRow, is_event
from stream_monitor.state.partition_state import PartitionState
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.drift_level import LEVELS, DriftLimits, SeriesDrift, drift_of_window

MAX_REJECTED: Final = 200
"""Combinations of model, reason and producer with a count of their own; the rest is `OTHER`."""
MAX_PRODUCER: Final = 80
OTHER: Final = "other"
MAX_SERIES: Final = 1_000
"""Time series of each metric that are exported of the state of the partitions."""
MAX_COVERAGE_SERIES: Final = 2_000
OVERFLOW: Final = "~other"
"""All versions, or models, without a row of their own; no escaped name has a ``~``."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Label: TypeAlias = Literal[
    "detector",
    "kind",
    "model",
    "outcome",
    "partition",
    "phase",
    "producer",
    "reason",
    "series",
    "severity",
    "subject",
    "topic",
    "unit",
    "version",
]
"""Every label a metric may have.  ``model`` and ``version`` are escaped (`producer.names`)."""
States: TypeAlias = Callable[[], Iterable[tuple[int, PartitionState]]]
"""The number and the state of each partition that the worker owns."""


class Metrics:
    """The metrics of one worker.

    Counters start at 0 with the process; those of `StateCollector` count since the first record of
    the partition.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = self._counter("records", "Records read from the event topic", "partition")
        self.rejected = self._counter(
            "records_rejected",
            "Records rejected, by model, reason and producer",
            "model",
            "reason",
            "producer",
        )
        self._rejected_of: set[tuple[str, str, str]] = set()
        self.alerts = self._counter(
            "alerts",
            "Alerts, one for each phase of an episode",
            "model",
            "version",
            "detector",
            "severity",
            "phase",
        )
        self.published = self._counter("outbox_published", "Outbox entries published", "kind")
        self.commits = self._counter("commits", "Commits of state and offset", "outcome")
        self.dropped = self._counter(
            "batches_dropped", "Fetched batches that were discarded", "reason"
        )
        self.lost = self._counter(
            "records_lost", "Records that retention deleted before they were read", "partition"
        )
        self.ticks = self._counter("ticks", "Ticks appended to idle partitions")
        self.store_errors = self._counter("redis_errors", "Calls to Redis that failed")
        self.processing = self._counter("processing_seconds", "Time spent processing records")
        self.commit_seconds = self._histogram("commit_seconds", "Duration of a commit")
        self.batch_records = Histogram(
            "driftline_batch_records",
            "Records in a batch",
            buckets=(1, 10, 100, 1_000, 10_000),
            registry=self.registry,
        )
        self.lag = self._gauge("consumer_lag", "Records not yet read", "topic", "partition")
        self.blocked = self._gauge(
            "records_blocked", "Records behind an open transaction", "topic", "partition"
        )
        self.offset = self._gauge("next_offset", "Next offset committed", "topic", "partition")
        self.problems = self._gauge(
            "health_problem", "1 while this worker observes the problem", "kind", "subject"
        )
        self.owned = self._gauge("partitions_owned", "Partitions this worker owns")

    def watch(self, states: States, limits: DriftLimits | None = None) -> None:
        """Export what the state of the partitions counts; read at every scrape.

        ``limits`` are those of ``driftline_psi_level``.
        """
        self.registry.register(StateCollector(states, limits or DriftLimits()))

    def observed(self, alerts: Iterable[DriftAlert], dead_letters: Iterable[DeadLetter]) -> None:
        """Count the alerts and dead letters of a batch; alerts of drills are left out."""
        for alert in alerts:
            if alert.drill:
                continue
            self.alerts.labels(
                escape(alert.model),
                escape(alert.version),
                alert.detector,
                alert.severity,
                alert.phase,
            ).inc()
        for dead_letter in dead_letters:
            self.rejected.labels(*self._producer_of(dead_letter)).inc()

    def _producer_of(self, dead_letter: DeadLetter) -> tuple[str, str, str]:
        """Model, reason and producer of a dead letter, as labels; `OTHER` beyond `MAX_REJECTED`."""
        source = printable(dead_letter.source[:MAX_PRODUCER])
        of = escape(dead_letter.model), dead_letter.reason, source
        if of not in self._rejected_of and len(self._rejected_of) >= MAX_REJECTED:
            return OTHER, dead_letter.reason, OTHER
        self._rejected_of.add(of)
        return of

    def forget(self, topic: str, partition: int) -> None:
        """Remove the gauges of a partition that the worker no longer owns."""
        for gauge in (self.lag, self.offset, self.blocked):
            gauge.remove_by_labels({"topic": topic, "partition": str(partition)})

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: Label) -> Counter:
        return Counter(f"driftline_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: Label) -> Gauge:
        return Gauge(f"driftline_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(f"driftline_{name}", description, buckets=_SECONDS, registry=self.registry)


class StateCollector:
    """Exports the counts that the state of the partitions holds.  Models of drills are left out."""

    def __init__(self, states: States, limits: DriftLimits) -> None:
        self._states, self._limits = states, limits

    def describe(self) -> Iterable[Metric]:
        """No metric exists before the first collection."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of all partitions, at each scrape."""
        states = list(self._states())
        yield _events(states)
        yield _drift_state(states)
        yield from _drift(states, self._limits)
        yield _error_rates(states)
        yield from _label_sampling(states)
        yield from _coverage(states)


_States: TypeAlias = Sequence[tuple[int, PartitionState]]


def _counts(name: str, description: str, *labels: Label) -> CounterMetricFamily:
    return CounterMetricFamily(f"driftline_{name}", description, labels=labels)


def _values(name: str, description: str, *labels: Label) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"driftline_{name}", description, labels=labels)


def _events(states: _States) -> Metric:
    events = _counts(
        "events",
        "Records since the first one of the partition, by how they were counted",
        "partition",
        "outcome",
    )
    for partition, state in states:
        for outcome, count in state.outcomes().items():
            events.add_metric([str(partition), outcome], count)
    return events


def _drift_state(states: _States) -> Metric:
    """The worst level of each series: one series may be known to several partitions."""
    drift = _values(
        "drift_state", "0 none, 1 suspected, 2 an open episode", "model", "version", "series"
    )
    worst: dict[tuple[str, str], int] = {}
    for _, state in states:
        for name, level in state.levels().items():
            worst[name] = max(level, worst.get(name, 0))
    shown = (
        (parse_version_key(version_key), series, level)
        for (version_key, series), level in worst.items()
    )
    real = ((key, series, level) for key, series, level in shown if not is_synthetic(key.model))
    for key, series, level in islice(real, MAX_SERIES):
        drift.add_metric([escape(key.model), escape(key.version or ""), series], level)
    return drift


def _error_rates(states: _States) -> Metric:
    errors = _values(
        "error_rate",
        "Error rate: expected of recent predictions; expected and realised of recent labels",
        "partition",
        "model",
        "version",
        "kind",
    )
    rates = (
        (partition, parse_version_key(version_key), kind, rate)
        for partition, state in states
        for (version_key, kind), rate in state.error_rates().items()
    )
    real = (each for each in rates if not is_synthetic(each[1].model))
    for partition, key, kind, rate in islice(real, MAX_SERIES):
        errors.add_metric(
            [str(partition), escape(key.model), escape(key.version or ""), kind], rate
        )
    return errors


def _label_sampling(states: _States) -> tuple[Metric, Metric]:
    ratios = _values(
        "label_sampling_ratio",
        "Ratio of predictions that may wait for a label; below 1 where too many wait",
        "partition",
        "model",
    )
    sampled_out = _counts(
        "labels_sampled_out",
        "Labels not joined because too many predictions waited, since the partition's first record",
        "partition",
        "model",
    )
    samples = (
        (partition, model, *sample)
        for partition, state in states
        for model, sample in state.label_samples().items()
        if not is_synthetic(model)
    )
    for partition, model, ratio, n_sampled_out in islice(samples, MAX_SERIES):
        ratios.add_metric([str(partition), escape(model)], ratio)
        sampled_out.add_metric([str(partition), escape(model)], n_sampled_out)
    return ratios, sampled_out


def _coverage(states: _States) -> tuple[Metric, ...]:
    labels: tuple[Label, ...] = ("partition", "model", "version", "reason")
    events = _counts(
        "coverage_events",
        "Accepted events since the partition's first record: watched, or why they were not",
        *labels,
    )
    unused = _counts(
        "coverage_unused",
        "Labels and records that were not used, since the partition's first record, and why",
        *labels,
        "unit",
    )
    features = _values(
        "coverage_unwatched_features",
        "Features of the last hour's events that are not watched, and why",
        *labels,
    )
    ratios = _values(
        "coverage_ratio",
        "Ratio of the last hour's accepted events that was watched",
        "partition",
        "model",
    )
    models = [
        (partition, model, rows)
        for partition, state in states
        for model, rows in state.coverage().items()
        if not is_synthetic(model)
    ]
    for partition, model, rows in models[:MAX_COVERAGE_SERIES]:
        ratio = _watched_ratio(rows)
        if ratio is not None:
            ratios.add_metric([str(partition), escape(model) or OVERFLOW], ratio)
    every = ((partition, model, row) for partition, model, rows in models for row in rows)
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
    return events, unused, features, ratios


def _watched_ratio(rows: Sequence[CoverageRow]) -> float | None:
    """The watched ratio of the last hour's events; ``None`` without an event."""
    events = sum(row.last_hour for row in rows if is_event(row.key))
    watched = sum(row.last_hour for row in rows if row.key.reason == WATCHED)
    return watched / events if events else None


def _drift(states: _States, limits: DriftLimits) -> tuple[Metric, ...]:
    """PSI, chi-square and level of each signal in the latest closed window of each version.

    The window is the latest that this process has closed, so a signal has no value after a restart
    until its next window closes.  A signal in several partitions has its largest value.  At most
    `MAX_SERIES` signals are exported, those with the largest effect; the others are counted.
    """
    of_series: tuple[Label, ...] = ("model", "version", "series")
    psi = _values(
        "psi",
        "Population stability index of the latest closed window against the reference",
        *of_series,
    )
    p_value = _values(
        "chi_square_p_value",
        "p-value of the chi-square test of the latest closed window against the reference",
        *of_series,
    )
    level = _values(
        "psi_level",
        "0 none, 1 warning, 2 critical: PSI without the bias of few events, by [psi]",
        *of_series,
    )
    left_out = _values(
        "psi_series_left_out", "Signals without a PSI here, because there are too many"
    )
    ended = _values(
        "window_end_timestamp_seconds",
        "End (event time) of the latest closed window",
        "model",
        "version",
    )
    events = _values(
        "window_events",
        "Events in the latest closed window, in the partitions of this process",
        "model",
        "version",
    )
    windows = [window for _, state in states for window in state.latest_windows()]
    found = _largest(windows, limits)
    for (model, version, series), drift in found[:MAX_SERIES]:
        labels = [escape(model), escape(version), series]
        psi.add_metric(labels, drift.psi)
        p_value.add_metric(labels, drift.chi_square_p)
        level.add_metric(labels, LEVELS.index(drift.level))
    left_out.add_metric([], max(0, len(found) - MAX_SERIES))
    by_version: dict[tuple[str, str], list[ClosedWindow]] = {}
    for window in windows:
        by_version.setdefault((window.model, window.version), []).append(window)
    for (model, version), of_version in list(by_version.items())[:MAX_SERIES]:
        end_ms = max(window.end_ms for window in of_version)
        n_events = sum(window.n_events for window in of_version if window.end_ms == end_ms)
        ended.add_metric([escape(model), escape(version)], end_ms / 1000)
        events.add_metric([escape(model), escape(version)], n_events)
    return psi, p_value, level, left_out, ended, events


def _largest(
    windows: Sequence[ClosedWindow], limits: DriftLimits
) -> list[tuple[tuple[str, str, str], SeriesDrift]]:
    """Each signal with the largest effect of its partitions; the largest signal first."""
    found: dict[tuple[str, str, str], SeriesDrift] = {}
    for window in windows:
        for drift in drift_of_window(window, limits):
            key = window.model, window.version, drift.series
            known = found.get(key)
            if known is None or drift.effect > known.effect:
                found[key] = drift
    return sorted(found.items(), key=lambda item: (-item[1].effect, item[0]))
