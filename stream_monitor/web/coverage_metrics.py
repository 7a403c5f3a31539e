"""Coverage as metrics: events by model, version and reason, the share of the last hour, features.

Label values are bounded: a model has at most `MAX_ROWS` rows of its own, and of all models the
first `MAX_COVERAGE_SERIES` rows are exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from producer.drill import is_shadow
from producer.names import escape
from stream_monitor.watched.coverage import UNITS, WATCHED, HourRow, is_event

MAX_COVERAGE_SERIES: Final = 2_000
OTHER: Final = "~other"
"""All versions, or models, without a row of their own; no escaped name has a ``~``."""

Coverages = Callable[[], Iterable[tuple[int, str, Sequence[HourRow]]]]
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
        ours = [(p, m, rows) for p, m, rows in self._coverages() if not is_shadow(m)]
        for partition, model, rows in ours[:MAX_COVERAGE_SERIES]:
            share = _share(rows)
            if share is not None:
                ratio.add_metric([str(partition), escape(model) or OTHER], share)
        every = ((p, m, row) for p, m, rows in ours for row in rows)
        n_features: dict[tuple[str, str, str, str], int] = {}
        for partition, model, row in islice(every, MAX_COVERAGE_SERIES):
            key = row.key
            names = escape(model) or OTHER, escape(key.version) or OTHER
            at: tuple[str, str, str, str] = (str(partition), *names, key.reason)
            if is_event(key):
                events.add_metric([*at], row.total)
            elif key.reason != WATCHED and UNITS[key.reason] == "feature":
                n_features[at] = n_features.get(at, 0) + bool(row.last_hour)
            elif key.reason != WATCHED:
                unused.add_metric([*at, UNITS[key.reason]], row.total)
        for at, n in n_features.items():
            features.add_metric([*at], n)
        yield from (events, unused, features, ratio)


def _share(rows: Sequence[HourRow]) -> float | None:
    """Of the last hour's events; ``None`` without one."""
    events = sum(row.last_hour for row in rows if is_event(row.key))
    watched = sum(row.last_hour for row in rows if row.key.reason == WATCHED)
    return watched / events if events else None
